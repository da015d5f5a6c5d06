//! What sessions of stateful programs leave from one call to the next.
//!
//! Read in this order: [`SessionStore`] (where states are kept so that they survive workers, lanes
//! and servers), [`SessionsConfig`], then `states` (how a call reads and writes one), `turns` (one
//! call of a session at a time) and `cache` (a hot session reads nothing from disk).
//!
//! Invariants: a state is durable before the call that left it is answered; a failed call leaves the
//! state as it was; a state is filed under the program's version, so a program that was made anew
//! never sees the states of the one before it.

pub(crate) mod cache;
mod config;
mod gone;
mod memory;
mod sqlite;
pub(crate) mod states;
pub(crate) mod turns;

use std::sync::Arc;

use async_trait::async_trait;
use dspex_pool::{ProgramKey, SessionState};
use jiff::Timestamp;
use serde::Serialize;

pub use self::config::SessionsConfig;
pub use self::memory::MemorySessions;
pub use self::sqlite::SqliteSessions;

/// A store of session states.
#[async_trait]
pub trait SessionStore: Send + Sync + 'static {
    /// The state of a session of a program, with the time of its last use.
    async fn get(&self, key: &SessionKey) -> Result<Option<Saved>, SessionError>;

    /// Keeps a state in place of the one before it, and answers once it is durable.
    ///
    /// Where there are more than `keep` sessions then, those that were used longest ago are dropped,
    /// never the one that was just written; they are answered.
    async fn put(
        &self,
        key: &SessionKey,
        saved: &Saved,
        keep: u64,
    ) -> Result<Vec<SessionKey>, SessionError>;

    /// Drops every session of this program version, and says how many there were.
    async fn forget(&self, program: &ProgramKey) -> Result<u64, SessionError>;

    /// Drops every session that was last used before this, and says how many there were.
    async fn sweep(&self, before: Timestamp) -> Result<u64, SessionError>;

    /// How many sessions there are, and how large their states are together.
    async fn totals(&self) -> Result<SessionTotals, SessionError>;
}

/// One session of one program version. A version belongs to one program and is never used twice, so
/// it stands for the program.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionKey {
    /// As [`ProgramKey::version`].
    pub version: u64,
    /// The caller's key.
    pub session: Arc<str>,
}

/// A state, with the time of its last use.
#[derive(Debug, Clone, PartialEq)]
pub struct Saved {
    /// What the session's last call left.
    pub state: SessionState,
    /// When that was, to the millisecond.
    pub used_at: Timestamp,
}

/// What a store holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct SessionTotals {
    /// Sessions that have a state.
    pub sessions: u64,
    /// Their states together, in bytes of JSON.
    pub bytes: u64,
}

/// Why the store did not do what it was asked to.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SessionError {
    /// The tables were made by a newer program. Nothing was touched.
    #[error(
        "the store of session states has schema version {found}, and this program knows up to {known}: use the newer \
         program, or another database"
    )]
    SchemaTooNew {
        /// A schema version found in the database that this program does not know.
        found: i64,
        /// The newest one that this program knows.
        known: i64,
    },
    /// The tables could not be brought to this version's form.
    #[error("the tables of session states could not be prepared: {0}")]
    Schema(Arc<sqlx::migrate::MigrateError>),
    /// A row does not hold a state. Other sessions are not affected.
    #[error(
        "the state of session {session:?} of program version {version} cannot be read: {reason}"
    )]
    Corrupt {
        /// The program's version.
        version: u64,
        /// The caller's key.
        session: Arc<str>,
        /// What is wrong with it.
        reason: String,
    },
    /// The database failed.
    #[error("the database of session states failed while {doing}: {source}")]
    Store {
        /// What was being done.
        doing: &'static str,
        /// The database's words; shared, because several writes may fail together.
        source: Arc<sqlx::Error>,
    },
    /// The task that writes broke off, so it is not known whether the state was kept.
    #[error("the writing of a session's state broke off")]
    Interrupted,
}
