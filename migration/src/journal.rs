//! Where migrations are written down, durably and in order.
//!
//! Invariants: an entry, once appended, is never changed; numbers have no gap; at most one
//! migration is live, which the store itself enforces; a future that is dropped has appended all
//! of its events or none.

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod memory;
mod sqlite;

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::command::{Command, CommandRow};
use crate::error::JournalError;
use crate::event::{Entry, Event};
use crate::id::MigrationId;
use crate::phase::Phase;
use crate::plan::Plan;

pub use memory::MemoryJournal;
pub use sqlite::SqliteJournal;

/// The journals of all migrations.
#[async_trait]
pub trait Journal: Inbox {
    /// Begins a migration with its first entry, [`Event::Started`].
    ///
    /// # Errors
    ///
    /// [`JournalError::AlreadyRunning`] where one is live.
    async fn create(&self, id: &MigrationId, start: Start<'_>) -> Result<(), JournalError>;

    /// Appends events, all or none, and answers the number of the last. A compare-and-set: the
    /// journal must end where the writer thinks it does.
    ///
    /// # Errors
    ///
    /// [`JournalError::Conflict`] where it does not; [`JournalError::AlreadyRunning`] where the
    /// append would make this migration live again beside another one; [`JournalError::Store`]
    /// where nothing can be written.
    async fn append(&self, id: &MigrationId, append: Append<'_>) -> Result<u64, JournalError>;

    /// The entries after `after`, in order, at most `limit`.
    ///
    /// # Errors
    ///
    /// [`JournalError::Unknown`] where there is no such migration.
    async fn entries(
        &self,
        id: &MigrationId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, JournalError>;

    /// The newest migrations first, at most `limit`.
    ///
    /// # Errors
    ///
    /// [`JournalError::Store`].
    async fn history(&self, limit: usize) -> Result<Vec<Summary>, JournalError>;
}

/// Where any process with the store may leave a command.
#[async_trait]
pub trait Inbox: Send + Sync + 'static {
    /// Leaves a command, and answers its number.
    ///
    /// # Errors
    ///
    /// [`JournalError::Unknown`] where there is no such migration.
    async fn post(&self, id: &MigrationId, post: Post<'_>) -> Result<u64, JournalError>;

    /// The commands after `after`, in order.
    ///
    /// # Errors
    ///
    /// [`JournalError::Store`].
    async fn commands(&self, id: &MigrationId, after: u64)
    -> Result<Vec<CommandRow>, JournalError>;

    /// The number of the last command, 0 where there is none. Asked for several times a second, so
    /// it should be cheap.
    ///
    /// # Errors
    ///
    /// [`JournalError::Store`].
    async fn last_command(&self, id: &MigrationId) -> Result<u64, JournalError>;

    /// Returns once there may be a command after `after`, whoever leaves it: a hint to read them, which
    /// may be for nothing. It asks for [`Inbox::last_command`] several times a second; a journal that
    /// knows better tells at once. May be dropped at any await.
    async fn news(&self, id: &MigrationId, after: u64) {
        /// A rollback from another process is obeyed within a quarter of a second of its commit, and
        /// the rest of that is for the write that obeys it.
        const EVERY: Duration = Duration::from_millis(150);
        /// While the store does not answer.
        const TROUBLED: Duration = Duration::from_secs(1);
        loop {
            tokio::time::sleep(EVERY).await;
            match self.last_command(id).await {
                Ok(last) if last > after => return,
                Ok(_) => {}
                Err(_) => tokio::time::sleep(TROUBLED).await,
            }
        }
    }
}

/// What a migration begins with.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// What is going to be done.
    pub plan: &'a Plan,
    /// Who begins it.
    pub who: &'a str,
    /// Why.
    pub why: &'a str,
    /// When.
    pub at: Timestamp,
}

/// Events to append.
#[derive(Debug, Clone, Copy)]
pub struct Append<'a> {
    /// The last entry, as far as the writer knows.
    pub expected_seq: u64,
    /// What happened.
    pub events: &'a [Event],
    /// When.
    pub at: Timestamp,
    /// The phase after all of them. Decides whether the migration is live.
    pub phase: Phase,
    /// How it ended, in one line, once it has.
    pub outcome: Option<&'a str>,
}

/// A command to leave.
#[derive(Debug, Clone, Copy)]
pub struct Post<'a> {
    /// What is asked for.
    pub command: Command,
    /// Who asks.
    pub who: &'a str,
    /// Why.
    pub why: &'a str,
    /// When.
    pub at: Timestamp,
}

/// A migration in one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Which.
    pub id: MigrationId,
    /// What was being brought in.
    pub candidate: String,
    /// What served.
    pub stable: String,
    /// Where it is.
    pub phase: Phase,
    /// Who began it.
    pub who: String,
    /// Why.
    pub why: String,
    /// How it ended, in one line, once it has.
    pub outcome: Option<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended, once it has.
    pub ended_at: Option<Timestamp>,
    /// Its last entry.
    pub last_seq: u64,
}
