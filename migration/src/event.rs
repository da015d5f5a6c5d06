//! What can happen to a migration: the entries of its journal.
//!
//! Invariant: an entry is never edited. What an event does to the state is in
//! [`State::next`](crate::State::next) and nowhere else.

use dspex_flags::{Percent, Revision};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::analysis::Analysis;
use crate::candidate::Check;
use crate::command::Command;
use crate::plan::Plan;

/// One line of a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Counts from 1 without a gap.
    pub seq: u64,
    /// When it was written, by the wall clock. A label: nothing is computed from it.
    pub at: Timestamp,
    /// What happened.
    pub event: Event,
}

/// A step on the way to the first stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Step {
    /// Can it be begun at all?
    Preflight,
    /// Bring the candidate up, with no traffic.
    Deploy,
    /// Can the candidate serve?
    Verify,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Preflight => "preflight",
            Self::Deploy => "deploy",
            Self::Verify => "verify",
        })
    }
}

/// On whose word something was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "by")]
#[non_exhaustive]
pub enum Cause {
    /// The controller's, from what it saw.
    Controller {
        /// What it saw.
        why: String,
    },
    /// A person's.
    Person {
        /// Who.
        who: String,
        /// Why.
        why: String,
    },
}

impl Cause {
    /// Why, without whose word it was.
    #[must_use]
    pub fn why(&self) -> &str {
        match self {
            Self::Controller { why } | Self::Person { why, .. } => why,
        }
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Controller { why } => f.write_str(why),
            Self::Person { who, why } => write!(f, "{who}: {why}"),
        }
    }
}

/// What can happen to a migration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
#[non_exhaustive]
pub enum Event {
    /// It began. Always the first entry, and never another one.
    Started {
        /// What is going to be done.
        plan: Plan,
        /// Who began it.
        who: String,
        /// Why.
        why: String,
    },
    /// A step succeeded.
    StepDone {
        /// Which.
        step: Step,
        /// What was looked at, for a step that looks.
        checks: Vec<Check>,
    },
    /// A step failed.
    StepFailed {
        /// Which.
        step: Step,
        /// What was looked at, for a step that looks.
        checks: Vec<Check>,
        /// Why, in one line.
        reason: String,
    },
    /// It was decided that traffic goes to this stage's share.
    StageEntered {
        /// Which stage, from 0.
        stage: usize,
        /// Its share.
        percent: Percent,
        /// The stage needs no hold: a person promoted to the end.
        waived: bool,
    },
    /// The share was written, and every router serves it.
    TrafficSet {
        /// The share.
        percent: Percent,
        /// The revision of the flags with it.
        revision: Revision,
    },
    /// The share could not be set, or is not acknowledged (yet). It is tried again.
    TrafficDelayed {
        /// Why, in one line.
        reason: String,
    },
    /// The candidate was looked at.
    Ticked {
        /// Healthy time that the stage is credited with, in milliseconds.
        credit_ms: u64,
        /// Calls on stable since the look before.
        calls_stable: u64,
        /// Calls on the candidate since the look before.
        calls_candidate: u64,
        /// What was seen.
        analysis: Analysis,
    },
    /// A stage is over.
    StageLeft {
        /// Which stage, from 0.
        stage: usize,
        /// On whose word: the controller's where its hold was seen healthy.
        cause: Cause,
        /// Calls on stable that no look has counted yet.
        calls_stable: u64,
        /// Calls on the candidate that no look has counted yet.
        calls_candidate: u64,
    },
    /// A command was taken from the inbox. What it does is told by the events after it.
    Commanded {
        /// The command's number in the inbox.
        command_id: u64,
        /// What was asked for.
        command: Command,
        /// Who asked.
        who: String,
        /// Why.
        why: String,
        /// Why it was not obeyed, where it was not.
        refused: Option<String>,
    },
    /// Nothing goes on until a person resumes it, but for a rollback.
    Paused {
        /// On whose word.
        cause: Cause,
    },
    /// It goes on.
    Resumed {
        /// On whose word.
        cause: Cause,
    },
    /// It was decided that the candidate is taken back: traffic first.
    RollbackBegan {
        /// On whose word.
        cause: Cause,
    },
    /// Traffic is at 0 %, and every router serves that.
    TrafficZeroed {
        /// The revision of the flags with it.
        revision: Revision,
    },
    /// The candidate is gone.
    Withdrawn {
        /// Calls that finished while it drained.
        finished: u64,
        /// Calls that were cut off at the drain's limit.
        abandoned: u64,
    },
    /// The candidate could not be withdrawn. It is tried again, a few times.
    WithdrawFailed {
        /// Why, in one line.
        reason: String,
    },
    /// A person must act.
    Stuck {
        /// What to do by hand.
        todo: String,
    },
    /// The candidate serves all traffic and was seen healthy. The end, until somebody rolls back.
    Completed,
    /// The candidate is gone and traffic is where it was before. The end.
    RolledBack,
}

impl Event {
    /// Whether a person should look: something failed, or traffic is being taken back.
    #[must_use]
    pub fn is_trouble(&self) -> bool {
        match self {
            Self::StepFailed { .. }
            | Self::TrafficDelayed { .. }
            | Self::RollbackBegan { .. }
            | Self::WithdrawFailed { .. }
            | Self::Stuck { .. } => true,
            Self::Paused { cause } => matches!(cause, Cause::Controller { .. }),
            _ => false,
        }
    }
}
