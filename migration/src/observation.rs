//! Everything that a decision is made from, beside the state.
//!
//! Invariant: plain data. A decision made twice from the same observation is the same decision.

use std::time::Duration;

use dspex_flags::{Percent, Revision};

use crate::candidate::Check;
use crate::cause::Cause;
use crate::command::CommandRow;
use crate::evidence::Evidence;
use crate::gate::Answer;
use crate::ledger::LedgerChange;
use crate::sample::Sample;
use crate::scenario::Scenario;
use crate::step::Step;
use crate::succession::Removed;
use crate::vault::Saved;

/// What the controller sees at one moment.
#[derive(Debug, Clone, Default)]
pub struct Observation {
    /// The flags that move traffic, as this process serves them.
    pub flags: FlagsSeen,
    /// Commands in the inbox after the last one that was taken, in order.
    pub commands: Vec<CommandRow>,
    /// What came of the act that was under way.
    pub outcome: Option<Outcome>,
    /// A rollback that was decided before, and could not be written down. It is not taken back.
    pub insisted: Option<Insisted>,
    /// A look at the candidate, while it has traffic to look at.
    pub look: Option<Look>,
}

/// A rollback that is not taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Insisted {
    /// On whose word.
    pub cause: Cause,
    /// What kind of trouble it is for.
    pub scenario: Scenario,
}

/// The flags that move traffic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlagsSeen {
    /// Of all flags.
    pub revision: Revision,
    /// The kill switch.
    pub enabled: bool,
    /// The share.
    pub percent: Percent,
    /// Who changed them last and why, where they are not as this migration left them.
    pub changed_by: Option<String>,
}

impl FlagsSeen {
    /// The share of traffic that really goes to the candidate.
    #[must_use]
    pub fn effective(&self) -> Percent {
        if self.enabled {
            self.percent
        } else {
            Percent::ZERO
        }
    }
}

/// A look at the candidate.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// What was seen.
    pub evidence: Evidence,
    /// What it has proved, and looks before it that were not written down.
    pub ledger: LedgerChange,
    /// The how many-th beginning of the windows it belongs to.
    pub epoch: u32,
    /// What came since the look before.
    pub sample: Sample,
    /// Time since the look before, by a monotonic clock: zero at the first look of a stage, and
    /// of a controller.
    pub elapsed: Duration,
    /// Calls on stable and on the candidate since the look before.
    pub calls: (u64, u64),
    /// Time in which the candidate was seen to serve all traffic and that no event has counted yet.
    /// Zero before the migration is complete.
    pub served: Duration,
}

impl Look {
    /// Whether the candidate has a worker that takes calls.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let pool = self.evidence.candidate_pool.as_ref();
        pool.is_some_and(|pool| pool.ready > 0)
    }
}

/// What came of an act.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// A step that looks: what was looked at. All well, or the step failed.
    Checked(Step, Vec<Check>),
    /// A step that does something, or why it could not.
    Done(Step, Result<(), String>),
    /// A step that puts something aside, or why it could not.
    Saved(Step, Result<Saved, String>),
    /// The old pool is gone, and what was cleaned away with it; or what is left and why.
    Retired(Result<Removed, String>),
    /// Traffic was raised to the share, or why it was not.
    Raised(Percent, Result<Revision, NotRaised>),
    /// Traffic was taken to 0 %, or why that is not certain yet.
    Zeroed(Result<Revision, NotZeroed>),
    /// The old pool is stable, or why that is not certain yet.
    Demoted(Result<(), String>),
    /// The candidate was withdrawn (calls finished, calls cut off), or why it was not.
    Withdrawn(Result<(u64, u64), String>),
    /// What a webhook said about leaving the stage, or why it said nothing.
    Asked(usize, Result<Answer, String>),
    /// The old pool is cold (calls finished, calls cut off), or why it is not.
    Rested(Result<(u64, u64), String>),
}

/// Why traffic was not raised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotRaised {
    /// Somebody else moved the lever. It is not fought over.
    Drift(FlagsSeen),
    /// Not yet: it is tried again.
    Delayed(String),
}

/// Why traffic is not certain to be at 0 %. It is tried again until it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotZeroed {
    /// The revision that has it at 0 %, where it could be written and is only not acknowledged.
    pub written: Option<Revision>,
    /// Why, in one line.
    pub reason: String,
}
