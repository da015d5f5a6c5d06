//! What came of the act that was under way.

use super::Deciding;
use super::texts::{drifted, not_at_zero, stuck};
use crate::candidate::{Check, failed_checks};
use crate::cause::Cause;
use crate::event::Event;
use crate::gate::Answer;
use crate::lever::Lever;
use crate::observation::{NotRaised, Outcome};
use crate::phase::Phase;
use crate::scenario::Scenario;
use crate::step::Step;
use crate::thresholds::Action;
use crate::vault::Saved;
use crate::waiting::Waiting;
use crate::wording;

/// Tries to take traffic to 0 % that may fail before a person is told what to do. They never end.
const ZEROS: u32 = 5;

/// Withdrawals that may fail before a person is called.
const WITHDRAWALS: u32 = 5;

/// How often a step of the decommission may fail before a person is called.
const TRIES: u32 = 5;

impl Deciding {
    /// What no longer matters is dropped: the state that it belonged to is over.
    pub(super) fn outcome(&mut self, outcome: &Outcome) {
        match (self.state.phase, outcome) {
            (_, Outcome::Checked(step, checks)) if self.is_at(*step) => {
                match failed_checks(checks) {
                    None => self.step_done(*step, checks.clone(), None),
                    Some(reason) => self.step_failed(*step, checks.clone(), reason),
                }
            }
            (_, Outcome::Done(step, done)) if self.is_at(*step) => match done {
                Ok(()) => self.step_done(*step, Vec::new(), None),
                Err(reason) => self.step_failed(*step, Vec::new(), reason.clone()),
            },
            (_, Outcome::Saved(step, saved)) if self.is_at(*step) => match saved {
                Ok(saved) => self.step_done(*step, Vec::new(), Some(saved.clone())),
                Err(reason) => self.step_failed(*step, Vec::new(), reason.clone()),
            },
            (_, Outcome::Retired(done)) if self.is_at(Step::Retire) => match done {
                Ok(removed) => self.push(Event::StepDone {
                    step: Step::Retire,
                    checks: Vec::new(),
                    saved: None,
                    removed: Some(*removed),
                }),
                Err(reason) => self.step_failed(Step::Retire, Vec::new(), reason.clone()),
            },
            (_, Outcome::Raised(percent, result)) => match result {
                Ok(revision) => {
                    if matches!(self.state.lever, Lever::Moving { to, .. } if to == *percent) {
                        self.push(Event::TrafficSet {
                            percent: *percent,
                            revision: *revision,
                        });
                        self.leave_if_waived();
                    }
                }
                Err(NotRaised::Drift(flags)) => self.pause(drifted(flags, &self.state)),
                Err(NotRaised::Delayed(reason)) => self.delayed(reason),
            },
            (Phase::Rollout, Outcome::Asked(stage, answer)) => self.answered(*stage, answer),
            (Phase::Complete, Outcome::Rested(Ok((finished, abandoned)))) => {
                self.push(Event::Rested {
                    finished: *finished,
                    abandoned: *abandoned,
                });
            }
            (Phase::Complete, Outcome::Rested(Err(reason)))
                if self.state.problem.as_deref() != Some(reason) =>
            {
                self.push(Event::RestDelayed {
                    reason: reason.clone(),
                });
            }
            (Phase::RollingBack, outcome) => self.rolls_back(outcome),
            _ => {}
        }
    }

    fn rolls_back(&mut self, outcome: &Outcome) {
        let zero = self.state.lever == Lever::Zero;
        match outcome {
            Outcome::Zeroed(Ok(revision)) if !zero => self.push(Event::TrafficZeroed {
                revision: *revision,
            }),
            Outcome::Zeroed(Err(not)) if !zero => self.not_zeroed(&not.reason),
            Outcome::Demoted(Ok(())) if zero && self.state.demotes => self.push(Event::Demoted),
            Outcome::Withdrawn(Ok((finished, abandoned))) if zero && !self.state.demotes => {
                self.push(Event::Withdrawn {
                    finished: *finished,
                    abandoned: *abandoned,
                });
                self.push(Event::RolledBack);
            }
            Outcome::Demoted(Err(reason)) | Outcome::Withdrawn(Err(reason)) => {
                self.push(Event::WithdrawFailed {
                    reason: reason.clone(),
                });
                if self.state.withdraw_failures >= WITHDRAWALS {
                    self.push(Event::Stuck {
                        todo: stuck(&self.state, reason),
                    });
                }
            }
            _ => {}
        }
    }

    fn step_done(&mut self, step: Step, checks: Vec<Check>, saved: Option<Saved>) {
        self.push(Event::StepDone {
            step,
            checks,
            saved,
            removed: None,
        });
    }

    fn step_failed(&mut self, step: Step, checks: Vec<Check>, reason: String) {
        let why = format!("{step} failed: {reason}");
        self.push(Event::StepFailed {
            step,
            checks,
            reason: reason.clone(),
        });
        match step {
            Step::Confirm => self.push(Event::DecommissionCalledOff { reason }),
            Step::Validate if self.state.plan.validation.on_failure == Action::Rollback => {
                self.roll_back(Cause::Controller { why }, Scenario::Validation, None);
            }
            Step::Validate => self.pause(why),
            step if step.is_of_the_decommission() => {
                if self.state.step_failures >= TRIES {
                    let times = wording::count(u64::from(self.state.step_failures), "time");
                    self.pause(format!(
                        "{why} ({times}): put that right, then resume to have it tried again"
                    ));
                }
            }
            _ => self.roll_back(Cause::Controller { why }, Scenario::StepFailed, None),
        }
    }

    /// The same trouble is written down once, not at every try.
    fn delayed(&mut self, reason: &str) {
        if self.state.problem.as_deref() != Some(reason) {
            self.push(Event::TrafficDelayed {
                reason: reason.to_owned(),
            });
        }
    }

    /// Each of the first tries is written down, and with the last of them what a person can do;
    /// afterwards only what is new. It is tried until it works, whatever is written.
    fn not_zeroed(&mut self, reason: &str) {
        let tries = self.state.zero_failures + 1;
        if tries < ZEROS {
            self.push(Event::TrafficDelayed {
                reason: reason.to_owned(),
            });
            return;
        }
        let told = self.state.problem.as_deref().unwrap_or_default();
        if tries == ZEROS || !told.starts_with(reason) {
            self.push(Event::TrafficDelayed {
                reason: not_at_zero(&self.state, reason, tries),
            });
        }
    }

    fn leave_if_waived(&mut self) {
        let state = &self.state;
        if state.phase == Phase::Rollout && state.waived && state.paused.is_none() {
            let why = "promoted to the end: its hold was waived".to_owned();
            let next = state.stage.map_or(0, |stage| stage + 1);
            self.advance(Cause::Controller { why }, next, false);
        }
    }

    /// What a webhook said about leaving a stage.
    fn answered(&mut self, stage: usize, answer: &Result<Answer, String>) {
        if self.state.stage != Some(stage) || self.state.closed_gate().is_none() {
            return;
        }
        let said = |text: &Option<String>| {
            let text = text.as_ref().filter(|text| !text.trim().is_empty());
            text.map(|text| format!(": {text}")).unwrap_or_default()
        };
        let reason = match answer {
            Ok(Answer { yes: true, text }) => {
                let why = format!("its webhook says yes{}", said(text));
                self.push(Event::GateOpened {
                    stage,
                    cause: Cause::Controller { why },
                });
                return;
            }
            Ok(Answer { yes: false, text }) => format!("its webhook says no{}", said(text)),
            Err(reason) => format!("its webhook does not answer: {reason}"),
        };
        let waiting = Waiting::Gate {
            reason: reason.clone(),
        };
        if self.state.waiting.as_ref() != Some(&waiting) {
            self.push(Event::GateWaiting { stage, reason });
        }
    }
}
