//! Migrations in simulated time: calls that never were, judged by the very functions that judge real
//! ones. A plan of sixteen hours takes a second or so.
//!
//! Invariants: the same seed is the same run; nothing of the house's judgement is written anew here
//! ([`decide`], [`analyse`] and the windows are the real ones); a simulated candidate differs from
//! stable by what [`Difference`] says, and by nothing else.

mod power;
mod random;
mod traffic;

use std::time::Duration;

use dspex_flags::{Percent, Revision};
use jiff::Timestamp;
use serde::Serialize;

use crate::analysis::{Analysis, Verdict, analyse};
use crate::candidate::Check;
use crate::controller::decide;
use crate::event::{Entry, Event};
use crate::id::MigrationId;
use crate::ledger::Ledger;
use crate::lever::Act;
use crate::lever::Lever;
use crate::observation::{FlagsSeen, Look, Observation, Outcome};
use crate::phase::Phase;
use crate::plan::Plan;
use crate::sample::Sample;
use crate::state::State;
use crate::step::Step;
use crate::thresholds::Action;
use crate::vault::Saved;
use crate::windows::{Judged, Windows};

pub use power::{Needed, Power, power};
pub use random::Random;
pub use traffic::{Difference, Load, Program, Spread, Traffic};

/// The rules that a difference of failures or of latencies breaks.
const RULES: [&str; 6] = [
    "critical_error_rate",
    "error_rate",
    "error_ratio",
    "p99_ratio",
    "median_ratio",
    "degradation",
];

/// The first time that a rule on failures or latencies spoke against the candidate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Told {
    /// Which rule.
    pub rule: String,
    /// What it made of the verdict.
    pub verdict: Verdict,
    /// What was to be done.
    pub action: Action,
    /// In which stage, from 0.
    pub stage: usize,
    /// How long that stage had lasted.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub after: Duration,
    /// Calls on stable and on the candidate in that stage until then.
    pub calls: (u64, u64),
}

/// How a simulated migration went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ended {
    /// What was told first, a warning at least, if anything was.
    pub told: Option<Told>,
    /// What stopped it or took it back, if anything did.
    pub stopped: Option<Told>,
    /// Whether it came to the end of its last stage.
    pub passed: bool,
    /// How long it took, in simulated time.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub lasted: Duration,
    /// How often it was looked at.
    pub looks: u64,
}

/// When a run is over before its plan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// At the first warning.
    Told,
    /// When traffic is stopped or taken back.
    Stopped,
}

/// Runs a whole plan. It ends by itself where it has lasted four times as long as its holds.
#[must_use]
pub fn migrate(
    plan: &Plan,
    load: &Load,
    difference: &Difference,
    seed: u64,
    until: Until,
) -> Ended {
    let mut life = Life::new(plan, load, difference, seed);
    let holds: Duration = plan.stages.iter().map(|stage| stage.hold).sum();
    let longest = holds * 4;
    let (mut told, mut stopped) = (None, None);
    while life.is_under_way() && life.age < longest {
        let Some(analysis) = life.turn() else {
            continue;
        };
        let is_told = first(&analysis, |reason| reason.verdict >= Verdict::Warning);
        told = told.or_else(|| is_told.map(|reason| life.told(reason)));
        let stops = first(&analysis, |reason| {
            reason.verdict == Verdict::Critical && reason.action >= Action::Pause
        });
        stopped = stops.map(|reason| life.told(reason));
        if stopped.is_some() || told.is_some() && until == Until::Told {
            break;
        }
    }
    Ended {
        told,
        stopped,
        passed: matches!(life.state.phase, Phase::Validate | Phase::Complete),
        lasted: life.age,
        looks: life.looks,
    }
}

/// Looks at one stage alone, from its beginning on, until a difference is told, for `limit` at the
/// most and no more than `most_calls`.
#[must_use]
pub fn stage(
    plan: &Plan,
    stage: usize,
    load: &Load,
    difference: &Difference,
    seed: u64,
    (limit, most_calls): (Duration, u64),
) -> Option<Told> {
    let percent = plan.stage(stage).percent;
    let mut traffic = Traffic::new(load.clone(), *difference, seed);
    let (mut windows, mut ledger) = (Windows::default(), Ledger::default());
    let (mut age, mut calls) = (Duration::ZERO, (0, 0));
    while age < limit && calls.0 + calls.1 < most_calls {
        age += plan.interval;
        let sample = traffic.sample(percent, plan.interval);
        calls.0 += sample.lanes[0].calls;
        calls.1 += sample.lanes[1].calls;
        let Judged { evidence, .. } = windows.add(plan, &ledger, 1, &sample);
        let analysis = analyse(&plan.thresholds, &evidence);
        ledger = evidence.ledger;
        if let Some(reason) = first(&analysis, |reason| reason.verdict >= Verdict::Warning) {
            return Some(Told {
                rule: reason.rule.to_string(),
                verdict: reason.verdict,
                action: reason.action,
                stage,
                after: age,
                calls,
            });
        }
    }
    None
}

fn first(
    analysis: &Analysis,
    so: impl Fn(&crate::analysis::Reason) -> bool,
) -> Option<&crate::analysis::Reason> {
    let reasons = analysis.reasons.iter();
    reasons
        .filter(|reason| RULES.contains(&&*reason.rule))
        .find(|reason| so(reason))
}

/// One life of a controller, with all that is not calls going well.
struct Life {
    state: State,
    flags: FlagsSeen,
    traffic: Traffic,
    windows: Windows,
    epoch: u32,
    age: Duration,
    looks: u64,
    /// The age at which the stage was entered, and the calls in it.
    stage: (Duration, (u64, u64)),
}

impl Life {
    fn new(plan: &Plan, load: &Load, difference: &Difference, seed: u64) -> Self {
        let (who, why) = ("simulation".to_owned(), "simulated".to_owned());
        let id = MigrationId::from_text(format!("simulated-{seed}"));
        Self {
            state: State::begin(id, plan.clone(), who, why, Timestamp::UNIX_EPOCH),
            flags: FlagsSeen::default(),
            traffic: Traffic::new(load.clone(), *difference, seed),
            windows: Windows::default(),
            epoch: 0,
            age: Duration::ZERO,
            looks: 0,
            stage: (Duration::ZERO, (0, 0)),
        }
    }

    fn is_under_way(&self) -> bool {
        self.state.paused.is_none()
            && matches!(
                self.state.phase,
                Phase::Prepare | Phase::Deploy | Phase::Verify | Phase::Rollout
            )
    }

    /// One turn of the controller: an act that succeeds at once, or a look.
    fn turn(&mut self) -> Option<Analysis> {
        let mut seen = Observation {
            outcome: self.state.wants().map(|act| self.perform(act)),
            flags: self.flags.clone(),
            ..Observation::default()
        };
        if seen.outcome.is_none() {
            seen.look = Some(self.look());
        }
        let seconds = i64::try_from(self.age.as_secs()).unwrap_or(i64::MAX);
        let now = Timestamp::from_second(seconds).unwrap_or_default();
        let decision = decide(&self.state, &seen, now);
        for event in decision.events {
            if matches!(event, Event::StageEntered { .. }) {
                self.windows = Windows::default();
                self.epoch = self.state.ledger.epoch + 1;
                self.stage = (self.age, (0, 0));
            }
            let seq = self.state.seq + 1;
            self.state = self.state.clone().next(&Entry {
                seq,
                at: now,
                event,
            });
        }
        decision.analysis
    }

    fn look(&mut self) -> Look {
        let elapsed = self.state.plan.interval;
        self.age += elapsed;
        self.looks += 1;
        let sample = Sample {
            counts: matches!(self.state.lever, Lever::At { .. }),
            ..self.traffic.sample(self.state.percent(), elapsed)
        };
        let calls = (sample.lanes[0].calls, sample.lanes[1].calls);
        self.stage.1.0 += calls.0;
        self.stage.1.1 += calls.1;
        let judged = self
            .windows
            .add(&self.state.plan, &self.state.ledger, self.epoch, &sample);
        Look {
            evidence: judged.evidence,
            ledger: judged.change,
            epoch: self.epoch,
            elapsed,
            calls,
            ..Look::default()
        }
    }

    fn perform(&mut self, act: Act) -> Outcome {
        let well = || {
            let (name, value, limit) = ("simulated".to_owned(), "well".to_owned(), String::new());
            vec![Check {
                name,
                ok: true,
                value,
                limit,
                hint: None,
            }]
        };
        match act {
            Act::Step(step @ (Step::Backup | Step::Archive)) => Outcome::Saved(
                step,
                Ok(Saved {
                    place: String::new(),
                    bytes: 0,
                    sha256: String::new(),
                }),
            ),
            Act::Step(step @ (Step::Deploy | Step::Promote | Step::Settle | Step::Retire)) => {
                Outcome::Done(step, Ok(()))
            }
            Act::Step(step) => Outcome::Checked(step, well()),
            Act::Raise { to, .. } => Outcome::Raised(to, Ok(self.set(to))),
            Act::Zero => Outcome::Zeroed(Ok(self.set(Percent::ZERO))),
            Act::Demote => Outcome::Demoted(Ok(())),
            Act::Withdraw => Outcome::Withdrawn(Ok((0, 0))),
            Act::Ask { stage } => Outcome::Asked(
                stage,
                Ok(crate::gate::Answer {
                    yes: true,
                    text: None,
                }),
            ),
            Act::Rest => Outcome::Rested(Ok((0, 0))),
        }
    }

    fn set(&mut self, percent: Percent) -> Revision {
        self.flags.revision = self.flags.revision.next();
        self.flags.percent = percent;
        self.flags.enabled = percent > Percent::ZERO;
        self.flags.revision
    }

    fn told(&self, reason: &crate::analysis::Reason) -> Told {
        Told {
            rule: reason.rule.to_string(),
            verdict: reason.verdict,
            action: reason.action,
            stage: self.state.stage.unwrap_or_default(),
            after: self.age.saturating_sub(self.stage.0),
            calls: self.stage.1,
        }
    }
}

#[cfg(test)]
mod tests;
