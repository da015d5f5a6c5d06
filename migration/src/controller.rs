//! The decision: pure, from the state and an observation to events and the act that follows.
//!
//! Invariants: a rollback that is asked for, or that the evidence asks for, comes before
//! everything else, in every phase; paused, nothing moves traffic but a rollback; a stage is left
//! only by its hold seen healthy, healthy now, or by a person's word; one look never leaves more
//! than one stage.

mod texts;

use std::time::Duration;

use jiff::Timestamp;

use crate::analysis::{Analysis, Verdict, analyse};
use crate::candidate::failed_checks;
use crate::command::{Command, CommandRow};
use crate::event::{Cause, Entry, Event, Step};
use crate::lever::{Act, Lever};
use crate::observation::{FlagsSeen, Look, NotRaised, Observation, Outcome};
use crate::phase::Phase;
use crate::state::State;
use crate::thresholds::Action;
use crate::wording;
use texts::{drifted, refused, stuck};

/// Withdrawals that may fail before a person is called.
const WITHDRAWALS: u32 = 5;

/// What was decided: events to write down, then the act that the state wants after them.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// To be written into the journal, in this order, all or none.
    pub events: Vec<Event>,
    /// What is to be done once they are written. Empty, or one act.
    pub actions: Vec<Act>,
    /// What was seen, whether or not it is worth an event.
    pub analysis: Option<Analysis>,
}

impl Decision {
    /// Whether it begins a rollback, and on whose word.
    #[must_use]
    pub fn rollback(&self) -> Option<&Cause> {
        self.events.iter().find_map(|event| match event {
            Event::RollbackBegan { cause } => Some(cause),
            _ => None,
        })
    }
}

/// Decides what has happened and what is to be done. `now` only labels the records of stages.
#[must_use]
pub fn decide(state: &State, seen: &Observation, now: Timestamp) -> Decision {
    let analysis = seen
        .look
        .as_ref()
        .filter(|_| state.phase == Phase::Rollout)
        .map(|look| analyse(&state.plan.thresholds, &look.evidence));
    let uncounted = seen.look.as_ref().map_or((0, 0), |look| look.calls);
    let mut deciding = Deciding {
        state: state.clone(),
        events: Vec::new(),
        now,
        uncounted,
    };
    deciding.rollbacks(seen, analysis.as_ref());
    if let Some(outcome) = &seen.outcome {
        deciding.outcome(outcome);
    }
    deciding.other_commands(seen, analysis.as_ref());
    deciding.drift(&seen.flags);
    if let (Some(look), Some(analysis)) = (&seen.look, &analysis) {
        deciding.look(state, look, analysis);
    }
    let actions = Vec::from_iter(deciding.state.wants());
    Decision {
        events: deciding.events,
        actions,
        analysis,
    }
}

/// The state as it will be after the events so far.
struct Deciding {
    state: State,
    events: Vec<Event>,
    now: Timestamp,
    /// Calls on stable and on the candidate that belong to the stage and that no event counts yet.
    uncounted: (u64, u64),
}

impl Deciding {
    fn push(&mut self, event: Event) {
        let entry = Entry {
            seq: self.state.seq + 1,
            at: self.now,
            event,
        };
        self.state = self.state.clone().next(&entry);
        self.events.push(entry.event);
    }

    fn pause(&mut self, why: String) {
        if self.state.may_pause() {
            self.push(Event::Paused {
                cause: Cause::Controller { why },
            });
        }
    }

    fn roll_back(&mut self, cause: Cause) {
        if self.state.may_roll_back() {
            if self.state.phase == Phase::Rollout {
                self.leave(cause.clone());
            }
            self.push(Event::RollbackBegan { cause });
        }
    }

    fn take(&mut self, row: &CommandRow, refused: Option<String>) {
        self.push(Event::Commanded {
            command_id: row.id,
            command: row.command,
            who: row.who.clone(),
            why: row.why.clone(),
            refused,
        });
    }

    /// Rollbacks by a person, by an earlier decision, by the evidence: before everything else.
    fn rollbacks(&mut self, seen: &Observation, analysis: Option<&Analysis>) {
        if seen
            .commands
            .iter()
            .any(|row| row.command == Command::Rollback)
        {
            // What was asked for before it is moot: it is taken, in order, and not obeyed.
            for row in &seen.commands {
                let refused = match row.command {
                    Command::Rollback => refused(&self.state, row.command, analysis),
                    _ => Some("a rollback was asked for too, and a rollback wins".to_owned()),
                };
                let obeyed = refused.is_none();
                self.take(row, refused);
                if obeyed {
                    self.roll_back(person(row));
                }
            }
        }
        if let Some(cause) = &seen.insisted {
            self.roll_back(cause.clone());
        }
        let Some(analysis) = analysis else { return };
        if self.state.phase == Phase::Rollout && analysis.action() == Some(Action::Rollback) {
            self.roll_back(Cause::Controller {
                why: analysis.summary(),
            });
        }
    }

    /// What came of the act that was under way. What no longer matters is dropped: the state that
    /// it belonged to is over.
    fn outcome(&mut self, outcome: &Outcome) {
        match (self.state.phase, outcome) {
            (Phase::Prepare, Outcome::Checked(step @ Step::Preflight, checks))
            | (Phase::Verify, Outcome::Checked(step @ Step::Verify, checks)) => {
                match failed_checks(checks) {
                    None => self.step_done(*step, checks.clone()),
                    Some(reason) => self.step_failed(*step, checks.clone(), reason),
                }
            }
            (Phase::Deploy, Outcome::Deployed(Ok(()))) => self.step_done(Step::Deploy, Vec::new()),
            (Phase::Deploy, Outcome::Deployed(Err(reason))) => {
                self.step_failed(Step::Deploy, Vec::new(), reason.clone());
            }
            (Phase::Rollout, Outcome::Raised(percent, result)) => match result {
                Ok(revision) => {
                    if matches!(self.state.lever, Lever::Moving { to, .. } if to == *percent) {
                        self.push(Event::TrafficSet {
                            percent: *percent,
                            revision: *revision,
                        });
                        self.complete_if_waived();
                    }
                }
                Err(NotRaised::Drift(flags)) => self.pause(drifted(flags, &self.state)),
                Err(NotRaised::Delayed(reason)) => self.delayed(reason),
            },
            (Phase::RollingBack, Outcome::Zeroed(Ok(revision))) => {
                self.push(Event::TrafficZeroed {
                    revision: *revision,
                });
            }
            (Phase::RollingBack, Outcome::Zeroed(Err(not))) => self.delayed(&not.reason),
            (Phase::RollingBack, Outcome::Withdrawn(Ok((finished, abandoned))))
                if self.state.lever == Lever::Zero =>
            {
                self.push(Event::Withdrawn {
                    finished: *finished,
                    abandoned: *abandoned,
                });
                self.push(Event::RolledBack);
            }
            (Phase::RollingBack, Outcome::Withdrawn(Err(reason))) => {
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

    fn step_done(&mut self, step: Step, checks: Vec<crate::candidate::Check>) {
        self.push(Event::StepDone { step, checks });
        if step == Step::Verify {
            self.enter(0, false);
        }
    }

    fn step_failed(&mut self, step: Step, checks: Vec<crate::candidate::Check>, reason: String) {
        let why = format!("{step} failed: {reason}");
        self.push(Event::StepFailed {
            step,
            checks,
            reason,
        });
        self.roll_back(Cause::Controller { why });
    }

    /// The same trouble is written down once, not at every try.
    fn delayed(&mut self, reason: &str) {
        if self.state.problem.as_deref() != Some(reason) {
            self.push(Event::TrafficDelayed {
                reason: reason.to_owned(),
            });
        }
    }

    fn enter(&mut self, stage: usize, waived: bool) {
        let percent = self.state.plan.stage(stage).percent;
        self.push(Event::StageEntered {
            stage,
            percent,
            waived,
        });
    }

    fn complete_if_waived(&mut self) {
        if self.state.waived && self.state.paused.is_none() {
            let why = "promoted to the end: its hold was waived".to_owned();
            self.leave(Cause::Controller { why });
            self.push(Event::Completed);
        }
    }

    fn leave(&mut self, cause: Cause) {
        if let Some(stage) = self.state.stage {
            let (calls_stable, calls_candidate) = std::mem::take(&mut self.uncounted);
            self.push(Event::StageLeft {
                stage,
                cause,
                calls_stable,
                calls_candidate,
            });
        }
    }

    /// Leaves the stage for `next`, or completes where there is none.
    fn advance(&mut self, cause: Cause, next: usize, waived: bool) {
        self.leave(cause);
        if next < self.state.plan.stages.len() {
            self.enter(next, waived);
        } else {
            self.push(Event::Completed);
        }
    }

    fn other_commands(&mut self, seen: &Observation, analysis: Option<&Analysis>) {
        for row in &seen.commands {
            if row.id <= self.state.last_command {
                continue;
            }
            let refused = refused(&self.state, row.command, analysis);
            let obeyed = refused.is_none();
            self.take(row, refused);
            if !obeyed {
                continue;
            }
            match row.command {
                Command::Pause => self.push(Event::Paused { cause: person(row) }),
                Command::Resume => self.push(Event::Resumed { cause: person(row) }),
                Command::Promote { to_end } => {
                    let last = self.state.plan.stages.len() - 1;
                    let stage = self.state.stage.unwrap_or_default();
                    let next = if to_end && stage < last {
                        last
                    } else {
                        stage + 1
                    };
                    self.advance(person(row), next, to_end);
                }
                Command::Rollback => {}
            }
        }
    }

    /// Somebody else has moved the lever: say so and wait for a person.
    fn drift(&mut self, flags: &FlagsSeen) {
        let state = &self.state;
        let expected = match (state.phase, state.lever) {
            (Phase::Prepare | Phase::Deploy | Phase::Verify, Lever::Rest) => state.percent(),
            (Phase::Rollout, Lever::At { percent }) => percent,
            _ => return,
        };
        if flags.effective() != expected && state.revision.is_none_or(|at| flags.revision >= at) {
            self.pause(drifted(flags, state));
        }
    }

    /// A look: write down what was seen, and let the stage age, pause it, or leave it.
    fn look(&mut self, before: &State, look: &Look, analysis: &Analysis) {
        // Whatever else was decided just now, the look was at the state before it.
        let resumed = before.paused.is_some() && self.state.paused.is_none();
        if self.state.phase != Phase::Rollout || self.state.stage != before.stage || resumed {
            return;
        }
        let at = matches!(before.lever, Lever::At { .. }) && self.state.lever == before.lever;
        let ages = at && self.state.paused.is_none() && analysis.verdict == Verdict::Healthy;
        let credit = if ages {
            look.elapsed.min(self.state.plan.interval * 2)
        } else {
            Duration::ZERO
        };
        let credit_ms = u64::try_from(credit.as_millis()).unwrap_or(u64::MAX);
        let told = self.state.analysis.as_ref().map(|told| told.verdict);
        if credit_ms > 0 || look.calls != (0, 0) || told != Some(analysis.verdict) {
            self.push(Event::Ticked {
                credit_ms,
                calls_stable: look.calls.0,
                calls_candidate: look.calls.1,
                analysis: analysis.clone(),
            });
            self.uncounted = (0, 0);
        }
        if analysis.action() == Some(Action::Pause) {
            self.pause(analysis.summary());
        }
        let held = self
            .state
            .hold()
            .is_some_and(|hold| self.state.healthy >= hold);
        if ages && held && self.state.paused.is_none() {
            let stage = self.state.stage.unwrap_or_default();
            let why = format!("seen healthy for {}", wording::span(self.state.healthy));
            self.advance(Cause::Controller { why }, stage + 1, false);
        }
    }
}

fn person(row: &CommandRow) -> Cause {
    Cause::Person {
        who: row.who.clone(),
        why: row.why.clone(),
    }
}
