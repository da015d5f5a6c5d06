//! PostgreSQL: one database, for the processes of many machines.
//!
//! Invariants: a transaction that writes holds the row of the revision before it reads it. A notice
//! is only a wake-up: it may be lost, and polling finds what it was about.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgListener, PgPool, PgPoolOptions, Postgres};
use tokio::sync::Notify;

use super::{Dialect, SqlStore};
use crate::error::FlagError;

/// A [`crate::FlagStore`] in a PostgreSQL database.
pub type PostgresStore = SqlStore<Postgres>;

/// What writers notify, and readers listen to.
const CHANNEL: &str = "dspex_flags";

/// How long to leave a server alone that does not let us listen.
const AGAIN: Duration = Duration::from_secs(5);

impl SqlStore<Postgres> {
    /// Opens the store, and brings its tables up to date.
    ///
    /// Give the pool an `acquire_timeout` of a few seconds: that is how long a write tries to reach
    /// a server that is gone. Beside the pool the store has one connection of its own to listen on,
    /// from the first time that [`crate::Flags::run`] watches it.
    ///
    /// # Errors
    ///
    /// [`FlagError::SchemaTooNew`] if a newer program has set the tables up, [`FlagError::Store`] if
    /// the database cannot be read or written.
    pub async fn open(pool: PgPool) -> Result<Self, FlagError> {
        Self::open_with(pool.clone(), pool).await
    }
}

impl Dialect for Postgres {
    const BEGIN: &'static str = "BEGIN";
    const LOCK_MIGRATIONS: Option<&'static str> =
        Some("SELECT pg_advisory_xact_lock(hashtext('_dspex_flags_migrations'))");
    const TABLES: &'static str = include_str!("../../../migrations/1_flags.postgres.sql");
    const HOLD_REVISION: &'static str =
        "SELECT revision FROM flag_revision WHERE id = 1 FOR UPDATE";
    const ANNOUNCE: Option<&'static str> = Some("SELECT pg_notify('dspex_flags', '')");

    fn listen(pool: PgPool, wake: Arc<Notify>) -> impl Future<Output = ()> + Send {
        // A connection of its own: in a pool of one it would be the only one.
        let own = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(AGAIN)
            .connect_lazy_with((*pool.connect_options()).clone());
        async move {
            loop {
                if let Err(error) = wake_on_notices(&own, &wake).await {
                    tracing::debug!(%error, "the flag store cannot be listened to; polling goes on");
                }
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// Until the connection is lost.
async fn wake_on_notices(pool: &PgPool, wake: &Notify) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    // What was written before we listened was told to nobody.
    wake.notify_one();
    while listener.try_recv().await?.is_some() {
        wake.notify_one();
    }
    Ok(())
}

#[cfg(test)]
mod tests;
