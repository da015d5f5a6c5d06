//! Every error of this crate that a caller decides on.

use dspex_flags::Percent;

use crate::command::Command;
use crate::id::MigrationId;
use crate::phase::Phase;
use crate::plan::InvalidPlan;
use crate::state::BrokenJournal;
use crate::wording;

/// Why a journal did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// Another migration is under way.
    #[error("migration {id} is under way: wait for its end, or roll it back")]
    AlreadyRunning {
        /// Which.
        id: MigrationId,
    },
    /// There is no such migration.
    #[error("there is no migration {id}")]
    Unknown {
        /// What was asked for.
        id: MigrationId,
    },
    /// Somebody else wrote to this journal. Read it again.
    #[error("the journal of {id} is at entry {actual}, not {expected}: somebody else wrote to it")]
    Conflict {
        /// Whose journal.
        id: MigrationId,
        /// What the writer took for the last entry.
        expected: u64,
        /// The last entry.
        actual: u64,
    },
    /// The store holds something that is no journal.
    #[error("the journal of {id} cannot be read: {problem}")]
    Corrupt {
        /// Whose journal.
        id: MigrationId,
        /// What is wrong with it.
        problem: String,
    },
    /// The store cannot be reached, is locked, is full. Nothing was written.
    #[error("the migration journal is not available: {problem}")]
    Store {
        /// What the store said.
        problem: String,
    },
}

impl From<BrokenJournal> for JournalError {
    fn from(BrokenJournal { id, problem }: BrokenJournal) -> Self {
        Self::Corrupt { id, problem }
    }
}

/// Why a migration did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrationError {
    /// Another migration is under way.
    #[error("migration {id} is under way: wait for its end, or roll it back")]
    AlreadyRunning {
        /// Which.
        id: MigrationId,
    },
    /// The newest is complete, and its old pool is still there.
    #[error(
        "migration {id} is complete, and its old pool is still kept for the way back: decommission it first \
         (`dspex decommission`), or roll it back; leave the flags as they are"
    )]
    NotDecommissioned {
        /// Which.
        id: MigrationId,
    },
    /// No migration has ever been begun.
    #[error("there is no migration: start one first")]
    None,
    /// There is no such migration.
    #[error("there is no migration {id}")]
    Unknown {
        /// What was asked for.
        id: MigrationId,
    },
    /// Traffic goes to the candidate's lane already, so it cannot be taken to its first stage.
    #[error(
        "{} of the traffic goes to the candidate's lane already: roll the earlier migration back, or set \
         gradual_rollout_percentage to 0",
        wording::share(*.percent)
    )]
    TrafficNotAtRest {
        /// The share.
        percent: Percent,
    },
    /// The command makes no sense where the migration is.
    #[error("{command} is refused in phase {phase}: {reason}")]
    Refused {
        /// What was asked for.
        command: Command,
        /// Where it is.
        phase: Phase,
        /// Why it was not obeyed.
        reason: String,
    },
    /// A start or a command came without saying who asks for it or why.
    #[error("say {missing}: it is written into the journal")]
    Unsigned {
        /// `who` or `why`.
        missing: &'static str,
    },
    /// The plan cannot be carried out.
    #[error(transparent)]
    InvalidPlan(#[from] InvalidPlan),
    /// The journal.
    #[error(transparent)]
    Journal(JournalError),
}

impl From<JournalError> for MigrationError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::AlreadyRunning { id } => Self::AlreadyRunning { id },
            JournalError::Unknown { id } => Self::Unknown { id },
            other => Self::Journal(other),
        }
    }
}

/// Whether it is said who asks for something, and why.
pub(crate) fn signed(who: &str, why: &str) -> Result<(), MigrationError> {
    for (missing, text) in [("who", who), ("why", why)] {
        if text.trim().is_empty() {
            return Err(MigrationError::Unsigned { missing });
        }
    }
    Ok(())
}
