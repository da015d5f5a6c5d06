//! What every look saw, kept: so that a run can be judged again, by other rules.
//!
//! Invariants: recording never waits and never fails a look; what could not be kept is counted, and
//! the next row that is kept says how many are missing before it. Calls stand in one row each, so a
//! row is small however long the windows are. The number of rows and their age are bounded; the rollout
//! of the newest migration goes last.

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod memory;
mod sqlite;
mod written;

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::analysis::Verdict;
use crate::error::JournalError;
use crate::id::MigrationId;
use crate::sample::Sample;
use crate::thresholds::Action;

pub use memory::MemoryRecorder;
pub use sqlite::SqliteRecorder;

/// What one look saw, and what was made of it.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Whose look.
    pub migration: MigrationId,
    /// The last entry of the journal after it.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// The stage, from 0.
    pub stage: Option<usize>,
    /// Whether the migration was complete: the candidate serves, and nothing moves.
    pub watched: bool,
    /// The how many-th beginning of the windows it belongs to.
    pub epoch: u32,
    /// Rows before it that could not be kept, since the last one that was.
    pub missing: u64,
    /// The names of stable's and the candidate's pool.
    pub pools: [String; 2],
    /// What came since the look before.
    pub sample: Sample,
    /// The verdict.
    pub verdict: Verdict,
    /// What was to be done at once.
    pub action: Option<Action>,
    /// The reasons for the verdict in one line.
    pub summary: String,
}

impl Recorded {
    /// The look as one line of JSON, for whoever keeps it outside the store: both lanes' figures as the
    /// store has them, in one object.
    ///
    /// # Errors
    ///
    /// Where a figure is none that JSON has.
    pub fn line(&self) -> Result<String, serde_json::Error> {
        written::line(self)
    }
}

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keep {
    /// Looks, of all migrations together. Where there are more, those of the oldest migration go first;
    /// of the newest, those that came after its rollout.
    pub looks: u64,
    /// How long each is kept. Text with a unit, such as `"90d"`.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub age: Duration,
}

impl Default for Keep {
    /// Ten migrations of the default plan, for a quarter of a year.
    fn default() -> Self {
        Self {
            looks: 120_000,
            age: Duration::from_secs(90 * 24 * 3600),
        }
    }
}

/// Where looks are kept.
#[async_trait]
pub trait Recorder: Send + Sync + 'static {
    /// Keeps a look, soon. Never waits.
    fn record(&self, look: Recorded);

    /// The looks of a migration in order, after the first `skip` of them, at most `limit`.
    ///
    /// # Errors
    ///
    /// [`JournalError::Store`], or [`JournalError::Corrupt`] where a row cannot be read.
    async fn looks(
        &self,
        migration: &MigrationId,
        skip: u64,
        limit: u64,
    ) -> Result<Vec<Recorded>, JournalError>;

    /// Removes the looks of a migration, and answers how many there were. It holds up nobody who writes
    /// for long, however many they are. May be dropped at any await and asked again: what is gone stays
    /// gone, and no look is left by half.
    ///
    /// # Errors
    ///
    /// [`JournalError::Store`]. Some of them may be gone then.
    async fn remove(&self, migration: &MigrationId) -> Result<u64, JournalError>;

    /// Waits until all that was recorded so far is kept or counted as missing.
    async fn settled(&self);

    /// How many looks could not be kept.
    fn lost(&self) -> u64;
}
