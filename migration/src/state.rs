//! Where a migration is, as the fold of its journal.
//!
//! Invariants: [`State::next`] is the only way a state changes, live and in replay. It takes any
//! event in any state and never fails: an event that makes no sense there changes nothing but
//! `seq`. Whatever is wanted next is read off the state ([`State::wants`]), so a crash between
//! a decision and its act resumes to the same act.

use std::time::Duration;

use dspex_flags::{Percent, Revision};
use jiff::Timestamp;

use crate::analysis::Analysis;
use crate::event::{Cause, Entry, Event, Step};
use crate::id::MigrationId;
use crate::lever::{Act, Lever};
use crate::phase::Phase;
use crate::plan::Plan;
use crate::stage_record::StageRecord;

/// Where a migration is.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Which migration.
    pub id: MigrationId,
    /// What it is going to do.
    pub plan: Plan,
    /// Who began it.
    pub who: String,
    /// Why.
    pub why: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended, once it has.
    pub ended_at: Option<Timestamp>,
    /// The last entry in it.
    pub seq: u64,
    /// The part of the way it is on.
    pub phase: Phase,
    /// Why it is paused, while it is.
    pub paused: Option<Cause>,
    /// The stage it is in, from 0; none before the first.
    pub stage: Option<usize>,
    /// The stage needs no hold: a person promoted to the end.
    pub waived: bool,
    /// Healthy time seen in this stage.
    pub healthy: Duration,
    /// Where the lever is.
    pub lever: Lever,
    /// The revision of the flags at which the lever was last acknowledged.
    pub revision: Option<Revision>,
    /// One for each stage that was entered.
    pub stages: Vec<StageRecord>,
    /// The last look.
    pub analysis: Option<Analysis>,
    /// The last command taken from the inbox.
    pub last_command: u64,
    /// Withdrawals that failed since the rollback began.
    pub withdraw_failures: u32,
    /// Why it was rolled back, once that was decided.
    pub rollback: Option<Cause>,
    /// What stands in the way at present, or what a person must do.
    pub problem: Option<String>,
}

/// Why a journal cannot be replayed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the journal of {id} cannot be replayed: {problem}")]
pub struct BrokenJournal {
    /// Whose journal.
    pub id: MigrationId,
    /// What is wrong with it.
    pub problem: String,
}

impl State {
    /// The state after a whole journal.
    ///
    /// # Errors
    ///
    /// [`BrokenJournal`] where the first entry is no start, a number is missing, or the plan in it
    /// is not valid.
    pub fn replay(id: &MigrationId, entries: &[Entry]) -> Result<Self, BrokenJournal> {
        let broken = |problem: String| BrokenJournal {
            id: id.clone(),
            problem,
        };
        let Some(first) = entries.first() else {
            return Err(broken("it is empty".into()));
        };
        let Event::Started { plan, who, why } = &first.event else {
            return Err(broken("its first entry is not a start".into()));
        };
        plan.validate()
            .map_err(|invalid| broken(invalid.to_string()))?;
        let state = Self::begin(id.clone(), plan.clone(), who.clone(), why.clone(), first.at);
        entries[1..].iter().try_fold(state, |state, entry| {
            if entry.seq != state.seq + 1 {
                return Err(broken(format!(
                    "entry {} follows entry {}",
                    entry.seq, state.seq
                )));
            }
            Ok(state.next(entry))
        })
    }

    /// The state after the first entry.
    #[must_use]
    pub fn begin(id: MigrationId, plan: Plan, who: String, why: String, at: Timestamp) -> Self {
        Self {
            id,
            plan,
            who,
            why,
            started_at: at,
            ended_at: None,
            seq: 1,
            phase: Phase::Prepare,
            paused: None,
            stage: None,
            waived: false,
            healthy: Duration::ZERO,
            lever: Lever::Rest,
            revision: None,
            stages: Vec::new(),
            analysis: None,
            last_command: 0,
            withdraw_failures: 0,
            rollback: None,
            problem: None,
        }
    }

    /// The state after one more entry.
    #[must_use]
    pub fn next(mut self, entry: &Entry) -> Self {
        self.seq = entry.seq;
        let at = entry.at;
        match &entry.event {
            Event::Started { .. } | Event::StepFailed { .. } => {}
            Event::StepDone { step, .. } => match (step, self.phase) {
                (Step::Preflight, Phase::Prepare) => self.phase = Phase::Deploy,
                (Step::Deploy, Phase::Deploy) => self.phase = Phase::Verify,
                (Step::Verify, Phase::Verify) => self.phase = Phase::Rollout,
                _ => {}
            },
            Event::StageEntered {
                stage,
                percent,
                waived,
            } => {
                self.enter(*stage, *percent, *waived, at);
            }
            Event::TrafficSet { percent, revision } => {
                if matches!(self.lever, Lever::Moving { to, .. } if to == *percent) {
                    self.lever = Lever::At { percent: *percent };
                    self.revision = Some(*revision);
                    self.problem = None;
                }
            }
            Event::TrafficDelayed { reason } | Event::WithdrawFailed { reason } => {
                self.problem = Some(reason.clone());
                if matches!(entry.event, Event::WithdrawFailed { .. }) {
                    self.withdraw_failures += 1;
                }
            }
            Event::Ticked {
                credit_ms,
                calls_stable,
                calls_candidate,
                analysis,
            } => {
                if self.phase == Phase::Rollout {
                    self.healthy += Duration::from_millis(*credit_ms);
                    self.count(*calls_stable, *calls_candidate);
                    self.analysis = Some(analysis.clone());
                }
            }
            Event::StageLeft {
                stage,
                cause,
                calls_stable,
                calls_candidate,
            } => {
                if self.stage == Some(*stage) {
                    self.count(*calls_stable, *calls_candidate);
                    self.leave(cause, at);
                }
            }
            Event::Commanded { command_id, .. } => {
                self.last_command = self.last_command.max(*command_id);
            }
            Event::Paused { cause } => {
                if self.may_pause() {
                    self.paused = Some(cause.clone());
                }
            }
            Event::Resumed { .. } => self.resume(),
            Event::RollbackBegan { cause } => {
                if self.may_roll_back() {
                    self.leave(cause, at);
                    self.phase = Phase::RollingBack;
                    self.paused = None;
                    self.lever = Lever::Falling;
                    self.ended_at = None;
                    self.withdraw_failures = 0;
                    self.rollback = Some(cause.clone());
                    self.problem = None;
                }
            }
            Event::TrafficZeroed { revision } => {
                if self.lever == Lever::Falling {
                    self.lever = Lever::Zero;
                    self.revision = Some(*revision);
                    self.problem = None;
                }
            }
            Event::Withdrawn { .. } => self.problem = None,
            Event::Stuck { todo } => {
                if self.phase == Phase::RollingBack {
                    self.phase = Phase::Stuck;
                    self.problem = Some(todo.clone());
                }
            }
            Event::Completed => {
                if self.phase == Phase::Rollout {
                    self.phase = Phase::Complete;
                    self.ended_at = Some(at);
                }
            }
            Event::RolledBack => {
                if self.phase == Phase::RollingBack {
                    self.phase = Phase::RolledBack;
                    self.ended_at = Some(at);
                }
            }
        }
        self
    }

    /// What is to be done now, if anything.
    #[must_use]
    pub fn wants(&self) -> Option<Act> {
        match self.phase {
            Phase::RollingBack if self.lever == Lever::Zero => Some(Act::Withdraw),
            Phase::RollingBack => Some(Act::Zero),
            Phase::Complete | Phase::RolledBack | Phase::Stuck => None,
            _ if self.paused.is_some() => None,
            Phase::Prepare => Some(Act::Step(Step::Preflight)),
            Phase::Deploy => Some(Act::Step(Step::Deploy)),
            Phase::Verify => Some(Act::Step(Step::Verify)),
            Phase::Rollout => match self.lever {
                Lever::Moving { to, from } => Some(Act::Raise { to, from }),
                _ => None,
            },
        }
    }

    /// The share of traffic that this migration has asked for.
    #[must_use]
    pub fn percent(&self) -> Percent {
        match self.lever {
            Lever::Moving { to: percent, .. } | Lever::At { percent } => percent,
            Lever::Rest | Lever::Falling | Lever::Zero => Percent::ZERO,
        }
    }

    /// How long this stage must be seen healthy.
    #[must_use]
    pub fn hold(&self) -> Option<Duration> {
        self.stage.map(|stage| self.plan.stage(stage).hold)
    }

    /// Whether the candidate must be up: past deploy, and not rolled back.
    #[must_use]
    pub fn wants_candidate(&self) -> bool {
        matches!(self.phase, Phase::Verify | Phase::Rollout | Phase::Complete)
    }

    /// Whether a rollback changes anything.
    #[must_use]
    pub fn may_roll_back(&self) -> bool {
        !matches!(self.phase, Phase::RollingBack | Phase::RolledBack)
    }

    /// Whether there is anything to pause.
    #[must_use]
    pub fn may_pause(&self) -> bool {
        self.paused.is_none()
            && matches!(
                self.phase,
                Phase::Prepare | Phase::Deploy | Phase::Verify | Phase::Rollout
            )
    }

    fn enter(&mut self, stage: usize, percent: Percent, waived: bool, at: Timestamp) {
        let from = self.percent();
        if self.phase != Phase::Rollout || percent <= from {
            return;
        }
        self.stage = Some(stage);
        self.waived = waived;
        self.healthy = Duration::ZERO;
        self.lever = Lever::Moving {
            to: percent,
            from: Some(from),
        };
        self.stages.push(StageRecord::enter(
            stage,
            percent,
            self.plan.stage(stage).hold,
            at,
        ));
    }

    fn leave(&mut self, cause: &Cause, at: Timestamp) {
        let healthy = self.healthy;
        if let Some(record) = self.stages.last_mut() {
            record.leave(healthy, cause, at);
        }
    }

    fn count(&mut self, stable: u64, candidate: u64) {
        let healthy = self.healthy;
        if let Some(record) = self.stages.last_mut() {
            record.count(healthy, stable, candidate);
        }
    }

    fn resume(&mut self) {
        if self.paused.take().is_none() {
            return;
        }
        if let Lever::Moving { to: percent, .. } | Lever::At { percent } = self.lever {
            // A person has seen where the lever is, and says that this is where it belongs.
            self.lever = Lever::Moving {
                to: percent,
                from: None,
            };
        }
        // The verdict that paused it was on traffic before it.
        self.analysis = None;
        self.problem = None;
    }
}
