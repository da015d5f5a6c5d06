//! SQLite: one file, for the processes of one machine.
//!
//! Invariant: a transaction that writes has the write lock before it reads the revision.

use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{Sqlite, SqlitePool};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Dialect, REVISION, SqlStore};
use crate::error::FlagError;

/// How long a store that others are opening too is tried: a busy timeout does not cover it.
const OPENS_WITHIN: Duration = Duration::from_secs(10);

/// The wait between two tries.
const AGAIN: Duration = Duration::from_millis(20);

/// A [`crate::FlagStore`] in an SQLite database.
pub type SqliteStore = SqlStore<Sqlite>;

impl SqlStore<Sqlite> {
    /// Opens the store, and brings its tables up to date.
    ///
    /// `writer` should have one connection, so that writers of this process queue here and not at
    /// the file's lock; `reader` may have several, and may be the same pool. Both should be in WAL
    /// mode with a busy timeout. Several processes may open one new file at the same time.
    ///
    /// # Errors
    ///
    /// [`FlagError::SchemaTooNew`] if a newer program has set the tables up, [`FlagError::Store`] if
    /// the database cannot be read or written.
    pub async fn open(writer: SqlitePool, reader: SqlitePool) -> Result<Self, FlagError> {
        let until = Instant::now() + OPENS_WITHIN;
        loop {
            match Self::open_with(writer.clone(), reader.clone()).await {
                Err(error) if is_busy(&error) && Instant::now() < until => {
                    tokio::time::sleep(AGAIN).await;
                }
                opened => return opened,
            }
        }
    }
}

/// Whether another process stood in the way. A new file becomes one with a write-ahead log under an
/// exclusive lock, and SQLite answers "busy" at once to whoever comes in between.
fn is_busy(error: &FlagError) -> bool {
    const BUSY: u32 = 5;
    let FlagError::Store { source, .. } = error else {
        return false;
    };
    let Some(sqlx::Error::Database(error)) = source.downcast_ref() else {
        return false;
    };
    // Extended codes keep the primary one in their low byte.
    let code = error.code().and_then(|code| code.parse::<u32>().ok());
    code.is_some_and(|code| code & 0xff == BUSY)
}

impl Dialect for Sqlite {
    // A deferred transaction would take its lock at the first write, after the comparison, and
    // would be answered "busy" at once if somebody else had written in between.
    const BEGIN: &'static str = "BEGIN IMMEDIATE";
    const LOCK_MIGRATIONS: Option<&'static str> = None;
    const TABLES: &'static str = include_str!("../../../migrations/1_flags.sqlite.sql");
    const HOLD_REVISION: &'static str = REVISION;
    const ANNOUNCE: Option<&'static str> = None;

    /// SQLite tells nobody: polling it costs a few microseconds.
    fn listen(_: SqlitePool, _: Arc<Notify>) -> impl Future<Output = ()> + Send {
        pending()
    }
}

#[cfg(test)]
mod tests;
