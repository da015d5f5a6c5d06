//! SQLite: one file, for the processes of one machine.
//!
//! Invariant: a transaction that writes has the write lock before it reads the revision.

use std::future::{Future, pending};
use std::sync::Arc;

use sqlx::sqlite::{Sqlite, SqlitePool};
use tokio::sync::Notify;

use super::{Dialect, REVISION, SqlStore};
use crate::error::FlagError;

/// A [`crate::FlagStore`] in an SQLite database.
pub type SqliteStore = SqlStore<Sqlite>;

impl SqlStore<Sqlite> {
    /// Opens the store, and brings its tables up to date.
    ///
    /// `writer` should have one connection, so that writers of this process queue here and not at
    /// the file's lock; `reader` may have several, and may be the same pool. Both should be in WAL
    /// mode with a busy timeout.
    ///
    /// # Errors
    ///
    /// [`FlagError::SchemaTooNew`] if a newer program has set the tables up, [`FlagError::Store`] if
    /// the database cannot be read or written.
    pub async fn open(writer: SqlitePool, reader: SqlitePool) -> Result<Self, FlagError> {
        Self::open_with(writer, reader).await
    }
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
