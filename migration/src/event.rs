//! What can happen to a migration: the entries of its journal.
//!
//! Invariant: an entry is never edited. What an event does to the state is in
//! [`State::next`](crate::State::next) and nowhere else.

mod json;

use dspex_flags::{Percent, Revision};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::analysis::{Analysis, Verdict};
use crate::candidate::Check;
use crate::cause::Cause;
use crate::checklist_line::ChecklistLine;
use crate::command::Command;
use crate::ledger::LedgerChange;
use crate::plan::Plan;
use crate::scenario::Scenario;
use crate::step::Step;
use crate::succession::Removed;
use crate::vault::Saved;

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
        /// What was put aside, for a step that does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        saved: Option<Saved>,
        /// What was cleaned away, for the step that does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        removed: Option<Removed>,
    },
    /// A step failed. Before the first stage that takes the candidate back; after it, the step is
    /// tried again or a person decides, as the events after it say.
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
        /// What it has proved.
        #[serde(default, skip_serializing_if = "LedgerChange::is_empty")]
        ledger: LedgerChange,
    },
    /// The candidate was looked at after the last stage: written down where what is to be said of it
    /// has changed, and now and then while the old pool is still kept.
    Watched {
        /// Time in which the candidate was seen to serve all traffic, in milliseconds.
        served_ms: u64,
        /// What was seen.
        analysis: Analysis,
        /// What was proved since it was last written down.
        #[serde(default, skip_serializing_if = "LedgerChange::is_default")]
        ledger: LedgerChange,
    },
    /// The stage's hold was seen, and its gate is not open. Once for each reason.
    GateWaiting {
        /// Which stage, from 0.
        stage: usize,
        /// Who must say yes, or why it was none.
        reason: String,
    },
    /// The stage's gate is open.
    GateOpened {
        /// Which stage, from 0.
        stage: usize,
        /// On whose word.
        cause: Cause,
    },
    /// It would go on, but for a freeze. Once for each freeze.
    Frozen {
        /// Why.
        why: String,
        /// Until when; none where that cannot be told.
        until: Option<Timestamp>,
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
    /// A person stands for a line of the production checklist.
    Signed {
        /// Which line.
        line: ChecklistLine,
        /// Who.
        who: String,
        /// Why they may.
        why: String,
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
        /// What kind of trouble it is for. None in journals of older versions.
        #[serde(default)]
        scenario: Option<Scenario>,
        /// What was seen last. None where nothing was.
        #[serde(default)]
        snapshot: Option<Analysis>,
    },
    /// Traffic is at 0 %, and every router serves that.
    TrafficZeroed {
        /// The revision of the flags with it.
        revision: Revision,
    },
    /// The plan's stable pool is certain to be stable: the rollback came in the middle of a
    /// promotion.
    Demoted,
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
    /// The last stage is over: the candidate is validated.
    ValidationBegan,
    /// It is not validated, or is complete in spite of its validation.
    ValidationSkipped {
        /// On whose word: the controller's where the plan asks for none.
        cause: Cause,
    },
    /// The candidate serves all traffic and was seen healthy. The end, until somebody rolls back or
    /// takes the old pool out of service.
    Completed,
    /// The old pool has served its time as the warm way back: it has no workers, and wakes on a call.
    Rested {
        /// Calls that finished while it drained.
        finished: u64,
        /// Calls that were cut off at the drain's limit.
        abandoned: u64,
    },
    /// The old pool could not be made cold. It is tried again.
    RestDelayed {
        /// Why, in one line.
        reason: String,
    },
    /// The old pool is taken out of service, step by step.
    DecommissionBegan {
        /// On whose word.
        cause: Cause,
    },
    /// The old pool stays: it may not go yet.
    DecommissionCalledOff {
        /// Why, in one line.
        reason: String,
    },
    /// The candidate is stable, and the old pool is gone. The end.
    Decommissioned,
    /// The candidate is gone and traffic is where it was before. The end.
    RolledBack,
}

impl Event {
    /// The same event as it is shown and sent: a plan without the whole address of any gate, as
    /// [`Gate::shown`](crate::Gate::shown) says.
    #[must_use]
    pub fn shown(&self) -> Self {
        let mut event = self.clone();
        if let Self::Started { plan, .. } = &mut event {
            for stage in &mut plan.stages {
                stage.gate = stage.gate.shown();
            }
        }
        event
    }

    /// Whether a person should look: something failed, or traffic is being taken back.
    #[must_use]
    pub fn is_trouble(&self) -> bool {
        match self {
            Self::StepFailed { .. }
            | Self::TrafficDelayed { .. }
            | Self::RollbackBegan { .. }
            | Self::WithdrawFailed { .. }
            | Self::RestDelayed { .. }
            | Self::DecommissionCalledOff { .. }
            | Self::Stuck { .. } => true,
            Self::Watched { analysis, .. } => analysis.verdict == Verdict::Critical,
            Self::Paused { cause } => matches!(cause, Cause::Controller { .. }),
            _ => false,
        }
    }
}
