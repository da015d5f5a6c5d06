//! The decision: pure, from the state and an observation to events and the act that follows.
//!
//! Invariants: a rollback that is asked for, or that the evidence asks for, comes before
//! everything else, in every phase from which there is a way back; paused, nothing moves traffic but a
//! rollback; a stage is left only by its hold seen healthy, healthy now, its gate open and no freeze,
//! or by a person's word; so is the validation, and only what is healthy now is complete; one look never
//! leaves more than one stage; in a freeze nothing goes up, and nothing is completed.

mod asked;
mod looks;
mod outcomes;
mod texts;

use std::time::Duration;

use jiff::Timestamp;

use crate::analysis::{Analysis, Verdict, analyse};
use crate::cause::Cause;
use crate::command::{Command, CommandRow};
use crate::event::{Entry, Event};
use crate::freeze::{self, Frozen};
use crate::ledger::LedgerChange;
use crate::lever::{Act, Lever};
use crate::observation::{FlagsSeen, Look, Observation};
use crate::phase::Phase;
use crate::scenario::Scenario;
use crate::state::State;
use crate::step::Step;
use crate::thresholds::Action;
use crate::validation_rule::Validate;
use crate::waiting::Waiting;
use texts::drifted;

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
    /// Whether it begins a rollback, on whose word, and for what.
    #[must_use]
    pub fn rollback(&self) -> Option<(&Cause, Option<Scenario>)> {
        self.events.iter().find_map(|event| match event {
            Event::RollbackBegan {
                cause, scenario, ..
            } => Some((cause, *scenario)),
            _ => None,
        })
    }
}

/// Decides what has happened and what is to be done. `now` labels what is written down, and says
/// whether there is a freeze: nothing else is computed from it.
#[must_use]
pub fn decide(state: &State, seen: &Observation, now: Timestamp) -> Decision {
    let analysis = seen
        .look
        .as_ref()
        .filter(|_| state.is_watched())
        .map(|look| analyse(&state.plan.thresholds, &look.evidence))
        .map(|analysis| match state.phase {
            Phase::Rollout => analysis,
            _ => analysis.with_all_traffic(),
        });
    let at = matches!(state.lever, Lever::At { .. });
    let uncounted = seen.look.as_ref().map_or((0, 0), |look| look.calls);
    let mut deciding = Deciding {
        state: state.clone(),
        events: Vec::new(),
        now,
        uncounted,
        unserved: seen
            .look
            .as_ref()
            .map_or(Duration::ZERO, |look| look.served),
        unproved: seen
            .look
            .as_ref()
            .map(|look| look.ledger.clone())
            .unwrap_or_default(),
        healthy: at && analysis.as_ref().map(|seen| seen.verdict) == Some(Verdict::Healthy),
        frozen: freeze::active(&state.plan.freezes, now),
        flags: seen.flags.clone(),
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
    deciding.go_on();
    let wants = deciding.state.wants();
    let served = seen.flags.effective();
    let raises = |act: &Act| matches!(act, Act::Raise { to, .. } if *to > served);
    if wants.as_ref().is_some_and(raises) {
        deciding.freezes();
    }
    // In a freeze nothing is raised, be it a share that a person wants back, and nobody is asked to let
    // anything go up; the way back stays as short as it is. Nor does a pool go to rest that may be the
    // only one that serves.
    let ready = seen.look.as_ref().is_some_and(Look::is_ready);
    let waits = |act: &Act| match act {
        Act::Raise { .. } => deciding.frozen.is_some() && raises(act),
        Act::Ask { .. } => deciding.frozen.is_some(),
        Act::Rest => deciding.frozen.is_some() || !ready,
        _ => false,
    };
    let actions = Vec::from_iter(wants.filter(|act| !waits(act)));
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
    /// Time in which the candidate was seen to serve all traffic and that no event counts yet.
    unserved: Duration,
    /// What was proved, and that no event has written down yet.
    unproved: LedgerChange,
    /// The look of this moment is Healthy, at the share that the state has.
    healthy: bool,
    /// The freeze that is active now.
    frozen: Option<Frozen>,
    /// The flags as they are served now.
    flags: FlagsSeen,
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

    fn roll_back(&mut self, cause: Cause, scenario: Scenario, analysis: Option<&Analysis>) {
        if !self.state.may_roll_back() {
            return;
        }
        if self.state.phase == Phase::Rollout {
            self.leave(cause.clone());
        }
        let snapshot = analysis.or(self.state.analysis.as_ref()).cloned();
        self.push(Event::RollbackBegan {
            cause,
            scenario: Some(scenario),
            snapshot,
        });
    }

    /// Rollbacks by a person, by an earlier decision, by the evidence: before everything else.
    fn rollbacks(&mut self, seen: &Observation, analysis: Option<&Analysis>) {
        if seen
            .commands
            .iter()
            .any(|row| row.command == Command::Rollback)
        {
            // What was asked for before it is moot: it is taken, in order, and not obeyed. A signature
            // stands in nobody's way.
            for row in &seen.commands {
                let refused = match row.command {
                    Command::Rollback | Command::Sign { .. } => self.refused(row.command, analysis),
                    _ => Some("a rollback was asked for too, and a rollback wins".to_owned()),
                };
                let obeyed = refused.is_none();
                self.take(row, refused);
                match row.command {
                    Command::Sign { line } => self.sign(row, line),
                    _ if obeyed => self.roll_back(person(row), Scenario::Manual, analysis),
                    _ => {}
                }
            }
        }
        if let Some(insisted) = &seen.insisted {
            self.roll_back(insisted.cause.clone(), insisted.scenario, analysis);
        }
        let Some(analysis) = analysis else { return };
        if self.state.evidence_rolls_back() && analysis.action() == Some(Action::Rollback) {
            let why = analysis.summary();
            let scenario = Scenario::of(analysis);
            self.roll_back(Cause::Controller { why }, scenario, Some(analysis));
        }
    }

    /// Somebody else has moved the lever: say so and wait for a person.
    fn drift(&mut self, flags: &FlagsSeen) {
        let state = &self.state;
        let expected = match (state.phase, state.lever) {
            (Phase::Prepare | Phase::Deploy | Phase::Verify | Phase::Rollout, Lever::Rest) => {
                state.percent()
            }
            (Phase::Rollout | Phase::Validate, Lever::At { percent }) => percent,
            (Phase::Decommission, Lever::At { percent }) if !state.is_promoted() => percent,
            _ => return,
        };
        if flags.effective() != expected && state.revision.is_none_or(|at| flags.revision >= at) {
            self.pause(drifted(flags, state));
        }
    }

    /// What needs nobody's word and no evidence any more: the first stage, the end.
    fn go_on(&mut self) {
        let state = &self.state;
        if state.paused.is_some() || state.step.is_some() {
            return;
        }
        let (before_the_first, at) = (
            state.stage.is_none(),
            matches!(state.lever, Lever::At { .. }),
        );
        let phase = state.phase;
        match phase {
            Phase::Rollout if before_the_first && !self.freezes() => self.enter(0, false),
            // A person's word completes it as it is given: see `obey`.
            Phase::Validate if at && self.healthy && !self.freezes() => self.push(Event::Completed),
            Phase::Decommission => self.push(Event::Decommissioned),
            _ => {}
        }
    }

    /// Whether a freeze keeps it from going on, which is told once.
    fn freezes(&mut self) -> bool {
        let Some(Frozen { why, until }) = self.frozen.clone() else {
            return false;
        };
        let told = Waiting::Freeze {
            why: why.clone(),
            until,
        };
        if self.state.waiting.as_ref() != Some(&told) {
            self.push(Event::Frozen { why, until });
        }
        true
    }

    fn enter(&mut self, stage: usize, waived: bool) {
        let percent = self.state.plan.stage(stage).percent;
        self.push(Event::StageEntered {
            stage,
            percent,
            waived,
        });
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

    /// Leaves the stage for `next`, or for the validation where there is none.
    fn advance(&mut self, cause: Cause, next: usize, waived: bool) {
        self.leave(cause);
        if next < self.state.plan.stages.len() {
            self.enter(next, waived);
        } else if self.state.plan.validation.run == Validate::None {
            let why = "the plan asks for none".to_owned();
            self.push(Event::ValidationSkipped {
                cause: Cause::Controller { why },
            });
        } else {
            self.push(Event::ValidationBegan);
        }
    }

    /// Whether a step is the one to be taken now.
    fn is_at(&self, step: Step) -> bool {
        self.state.step == Some(step)
    }
}

fn person(row: &CommandRow) -> Cause {
    Cause::Person {
        who: row.who.clone(),
        why: row.why.clone(),
    }
}
