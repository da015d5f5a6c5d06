//! What a look at the candidate comes to: a stage that ages, waits or is left; after the last stage,
//! a word about how it goes.

use std::time::Duration;

use super::Deciding;
use crate::analysis::{Analysis, Verdict};
use crate::cause::Cause;
use crate::event::Event;
use crate::gate::{Gate, place};
use crate::lever::Lever;
use crate::observation::Look;
use crate::phase::Phase;
use crate::state::State;
use crate::thresholds::Action;
use crate::waiting::Waiting;
use crate::wording;

impl Deciding {
    /// A look: write down what was seen, and do what follows from it.
    pub(super) fn look(&mut self, before: &State, look: &Look, analysis: &Analysis) {
        // Whatever else was decided just now, the look was at the state before it.
        let resumed = before.paused.is_some() && self.state.paused.is_none();
        if self.state.phase != before.phase || self.state.stage != before.stage || resumed {
            return;
        }
        if self.state.phase == Phase::Rollout {
            self.stage(before, look, analysis);
        } else if self.state.is_watched() {
            self.watch(analysis);
        }
    }

    /// In a stage: let it age, pause it, or leave it.
    fn stage(&mut self, before: &State, look: &Look, analysis: &Analysis) {
        let at = matches!(before.lever, Lever::At { .. }) && self.state.lever == before.lever;
        let ages = at && self.state.paused.is_none() && analysis.verdict == Verdict::Healthy;
        let credit = if ages {
            look.elapsed.min(self.state.plan.interval * 2)
        } else {
            Duration::ZERO
        };
        let credit_ms = milliseconds(credit);
        let told = self.state.analysis.as_ref().map(|told| told.verdict);
        let proved = !look.ledger.is_empty();
        if credit_ms > 0 || look.calls != (0, 0) || proved || told != Some(analysis.verdict) {
            self.push(Event::Ticked {
                credit_ms,
                calls_stable: look.calls.0,
                calls_candidate: look.calls.1,
                analysis: analysis.clone(),
                ledger: look.ledger.clone(),
            });
            self.uncounted = (0, 0);
        }
        if analysis.action() == Some(Action::Pause) {
            self.pause(analysis.summary());
        }
        if ages && self.state.is_held() && self.state.paused.is_none() {
            self.leave_when_let();
        }
    }

    /// The hold was seen: leave the stage, unless a freeze or its gate keeps it.
    fn leave_when_let(&mut self) {
        if self.freezes() {
            return;
        }
        let stage = self.state.stage.unwrap_or_default();
        match self.state.closed_gate().cloned() {
            Some(gate) => self.wait_at(stage, &gate),
            None => {
                let why = format!("seen healthy for {}", wording::span(self.state.healthy));
                self.advance(Cause::Controller { why }, stage + 1, false);
            }
        }
    }

    fn wait_at(&mut self, stage: usize, gate: &Gate) {
        if matches!(self.state.waiting, Some(Waiting::Gate { .. })) {
            return;
        }
        let reason = match gate {
            Gate::Webhook { url } => format!("{} is asked", place(url)),
            Gate::Approval | Gate::Automatic => {
                "a person must approve it: `dspex migrate approve`".to_owned()
            }
        };
        self.push(Event::GateWaiting { stage, reason });
    }

    /// After the last stage: say what has changed, and count the time that the old pool is kept.
    fn watch(&mut self, analysis: &Analysis) {
        let told = self.state.analysis.as_ref();
        let changed = told.is_none_or(|told| {
            loudness(told.verdict) != loudness(analysis.verdict)
                || !telling(told).eq(telling(analysis))
        });
        let unserved = self.unserved;
        let grain = self.state.plan.retention.grain();
        let due = self.serving_counts() && unserved >= grain;
        // Each beginning has a part of the significance to itself: it is written down before it is
        // spent, so that the next does not spend the same.
        let begins = self.state.evidence_rolls_back() && self.unproved.begins(&self.state.ledger);
        if changed || due || begins {
            self.write_served(analysis);
        }
        // A person weighs what may not, or not any more, be done by itself.
        if self.state.comes_of(analysis.action()) == Some(Action::Pause) {
            self.pause(analysis.summary());
        }
    }
}

impl Deciding {
    /// Whether there is time to be written down, and somebody waits for it.
    fn serving_counts(&self) -> bool {
        !self.unserved.is_zero() && self.state.served < self.state.plan.retention.longest()
    }

    /// Counts what was seen for a decision that hangs on it, and need not wait for the next grain.
    pub(super) fn count_served(&mut self, analysis: &Analysis) {
        if self.state.phase == Phase::Complete && self.serving_counts() {
            self.write_served(analysis);
        }
    }

    fn write_served(&mut self, analysis: &Analysis) {
        let counts = self.serving_counts();
        let served = std::mem::take(&mut self.unserved);
        let ledger = std::mem::take(&mut self.unproved);
        self.push(Event::Watched {
            served_ms: if counts { milliseconds(served) } else { 0 },
            analysis: analysis.clone(),
            ledger,
        });
    }
}

/// Whether traffic comes and goes in the night is no news; whether a rule is broken is.
fn loudness(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Healthy | Verdict::Inconclusive => 0,
        Verdict::Warning => 1,
        Verdict::Critical => 2,
    }
}

/// The rules that a look warns of: one more beside one that stands is news too.
fn telling(analysis: &Analysis) -> impl Iterator<Item = (&str, Verdict)> {
    let reasons = analysis.reasons.iter();
    reasons
        .filter(|reason| loudness(reason.verdict) > 0)
        .map(|reason| (&*reason.rule, reason.verdict))
}

fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
