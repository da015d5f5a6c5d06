//! What each event does to a state.

use std::time::Duration;

use dspex_flags::Percent;
use jiff::Timestamp;

use super::State;
use crate::analysis::Analysis;
use crate::cause::Cause;
use crate::event::{Entry, Event};
use crate::lever::Lever;
use crate::phase::Phase;
use crate::scenario::Scenario;
use crate::stage_record::StageRecord;
use crate::step::Step;
use crate::vault::Saved;
use crate::waiting::Waiting;

impl State {
    /// The state after one more entry.
    #[must_use]
    pub fn next(mut self, entry: &Entry) -> Self {
        self.seq = entry.seq;
        let at = entry.at;
        match &entry.event {
            // Who has signed what is read in the journal: nothing is decided by it.
            Event::Started { .. } | Event::Signed { .. } => {}
            Event::StepDone { step, saved, .. } => self.step_done(*step, saved.as_ref()),
            Event::StepFailed { step, reason, .. } => {
                if self.step == Some(*step) {
                    self.step_failures += 1;
                    self.problem = Some(format!("{step} failed: {reason}"));
                }
            }
            Event::StageEntered {
                stage,
                percent,
                waived,
            } => self.enter(*stage, *percent, *waived, at),
            Event::TrafficSet { percent, revision } => {
                if matches!(self.lever, Lever::Moving { to, .. } if to == *percent) {
                    self.lever = Lever::At { percent: *percent };
                    self.revision = Some(*revision);
                    self.problem = None;
                    // What kept it from being raised is over.
                    self.waiting
                        .take_if(|waiting| matches!(waiting, Waiting::Freeze { .. }));
                }
            }
            Event::TrafficDelayed { reason } => {
                self.problem = Some(reason.clone());
                if self.lever == Lever::Falling {
                    self.zero_failures += 1;
                }
            }
            Event::RestDelayed { reason } => self.problem = Some(reason.clone()),
            Event::WithdrawFailed { reason } => {
                self.problem = Some(reason.clone());
                self.withdraw_failures += 1;
            }
            Event::Ticked {
                credit_ms,
                calls_stable,
                calls_candidate,
                analysis,
                ledger,
            } => {
                if self.phase == Phase::Rollout {
                    self.ledger.change(ledger);
                    self.healthy += Duration::from_millis(*credit_ms);
                    self.count(*calls_stable, *calls_candidate);
                    self.looked(analysis, at);
                }
            }
            Event::Watched {
                served_ms,
                analysis,
                ledger,
            } => {
                if self.is_watched() {
                    self.ledger.change(ledger);
                    self.served += Duration::from_millis(*served_ms);
                    self.looked(analysis, at);
                }
            }
            Event::GateWaiting { stage, reason } => {
                if self.stage == Some(*stage) && self.phase == Phase::Rollout {
                    let reason = reason.clone();
                    self.waiting = Some(Waiting::Gate { reason });
                }
            }
            Event::GateOpened { stage, cause } => {
                if self.stage == Some(*stage) && self.phase == Phase::Rollout {
                    self.gate = Some(cause.clone());
                    self.waiting = None;
                }
            }
            Event::Frozen { why, until } => {
                let (why, until) = (why.clone(), *until);
                self.waiting = Some(Waiting::Freeze { why, until });
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
            Event::RollbackBegan {
                cause,
                scenario,
                snapshot,
            } => {
                // The look that asks for a rollback is told by nothing else.
                if let Some(seen) = snapshot.as_ref().filter(|_| self.may_roll_back()) {
                    self.looked(seen, at);
                }
                self.begin_rollback(cause, *scenario, at);
            }
            Event::TrafficZeroed { revision } => {
                if self.lever == Lever::Falling {
                    self.lever = Lever::Zero;
                    self.revision = Some(*revision);
                    self.problem = None;
                }
            }
            Event::Demoted => {
                self.demotes = false;
                self.problem = None;
            }
            Event::Withdrawn { .. } => self.problem = None,
            Event::Stuck { todo } => {
                if self.phase == Phase::RollingBack {
                    self.phase = Phase::Stuck;
                    self.problem = Some(todo.clone());
                }
            }
            Event::RolledBack => {
                if self.phase == Phase::RollingBack {
                    self.phase = Phase::RolledBack;
                    self.ended_at = Some(at);
                }
            }
            Event::ValidationBegan
            | Event::ValidationSkipped { .. }
            | Event::Completed
            | Event::Rested { .. }
            | Event::DecommissionBegan { .. }
            | Event::DecommissionCalledOff { .. }
            | Event::Decommissioned => self.after_the_last_stage(&entry.event, at),
        }
        self
    }

    fn after_the_last_stage(&mut self, event: &Event, at: Timestamp) {
        match (event, self.phase) {
            (Event::ValidationBegan, Phase::Rollout) => {
                self.go_to(Phase::Validate);
            }
            (Event::ValidationSkipped { .. }, Phase::Rollout | Phase::Validate) => {
                self.go_to(Phase::Validate);
                self.step = None;
            }
            // Before there was a validation, the last stage led here.
            (Event::Completed, Phase::Rollout | Phase::Validate) => {
                self.go_to(Phase::Complete);
                self.completed_at = Some(at);
                self.ended_at = Some(at);
                self.served = Duration::ZERO;
            }
            (Event::Rested { .. }, Phase::Complete) => {
                self.rested = true;
                self.problem = None;
            }
            (Event::DecommissionBegan { .. }, Phase::Complete) => {
                self.go_to(Phase::Decommission);
                self.ended_at = None;
            }
            (Event::DecommissionCalledOff { reason }, Phase::Decommission)
                if self.step == Some(Step::Confirm) =>
            {
                self.go_to(Phase::Complete);
                self.paused = None;
                self.ended_at = Some(at);
                self.problem = Some(format!("the old pool was not decommissioned: {reason}"));
            }
            (Event::Decommissioned, Phase::Decommission) if self.step.is_none() => {
                self.go_to(Phase::Decommissioned);
                self.paused = None;
                self.ended_at = Some(at);
            }
            _ => {}
        }
    }

    fn go_to(&mut self, phase: Phase) {
        self.phase = phase;
        self.step = Step::first_of(phase);
        self.step_failures = 0;
        self.waiting = None;
        self.problem = None;
    }

    fn step_done(&mut self, step: Step, saved: Option<&Saved>) {
        let Some(expected) = self.step else { return };
        // Journals of versions that did not know a step on the way in do not have it.
        let unknown_then = expected < step && step.is_on_the_way_in();
        if step != expected && !unknown_then {
            return;
        }
        match step {
            Step::Backup => self.backup = saved.cloned(),
            Step::Archive => self.archive = saved.cloned(),
            Step::Settle => self.lever = Lever::Rest,
            _ => {}
        }
        if step == Step::Promote {
            // What comes after it is not about the candidate beside stable.
            self.waiting = None;
        }
        (self.phase, self.step) = step.leads_to();
        self.step_failures = 0;
        self.problem = None;
    }

    fn enter(&mut self, stage: usize, percent: Percent, waived: bool, at: Timestamp) {
        let from = self.percent();
        if self.phase != Phase::Rollout || percent <= from {
            return;
        }
        self.stage = Some(stage);
        self.waived = waived;
        self.healthy = Duration::ZERO;
        self.gate = None;
        self.waiting = None;
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

    fn looked(&mut self, analysis: &Analysis, at: Timestamp) {
        self.alerts.take(analysis, at);
        self.analysis = Some(analysis.clone());
    }

    fn begin_rollback(&mut self, cause: &Cause, scenario: Option<Scenario>, at: Timestamp) {
        if !self.may_roll_back() {
            return;
        }
        self.leave(cause, at);
        if self.phase != Phase::Stuck {
            // Stuck, it is still the same rollback.
            self.demotes = self.phase == Phase::Decommission && self.step == Some(Step::Promote);
        }
        self.go_to(Phase::RollingBack);
        self.paused = None;
        self.gate = None;
        self.lever = Lever::Falling;
        self.ended_at = None;
        (self.zero_failures, self.withdraw_failures) = (0, 0);
        self.rollback = Some(cause.clone());
        self.scenario = scenario;
        self.alerts.end(at);
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
        self.ledger.begin_anew();
        self.step_failures = 0;
        self.problem = None;
    }
}
