//! What a look and a whole tick cost with a million calls in the window.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dspex_flags::{Percent, Revision};
use dspex_migration::simulation::Random;
use dspex_migration::{
    Event, FlagsSeen, Ledger, Look, MigrationId, Observation, Phase, Plan, Sample, SqliteJournal,
    State, Step, Windows, analyse, decide,
};
use dspex_pool::PoolStatus;
use dspex_telemetry::{Blame, Config, Cursor, Lane, Outcome, Telemetry};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::at;
use crate::journals::{opened, written};

/// Calls in the window that is looked at.
const CALLS: u64 = 1_000_000;

/// What rounds of looks or ticks took, in milliseconds.
#[derive(Default)]
pub(crate) struct Times {
    /// The median of each round.
    medians: Vec<f64>,
    slowest: f64,
    /// Calls in the last window.
    calls: u64,
}

impl Times {
    /// Adds a round. The half of it in which the window was not full yet does not count.
    fn round(&mut self, mut took: Vec<f64>, calls: u64) {
        let mut last = took.split_off(took.len() / 2);
        last.sort_by(f64::total_cmp);
        self.medians.extend(at(&last, 50));
        self.slowest = last
            .last()
            .map_or(self.slowest, |most| most.max(self.slowest));
        self.calls = calls;
    }

    pub(crate) fn told(&self, name: &str) -> Value {
        json!({"name": name, "calls": self.calls, "ms": self.medians, "ms_max": self.slowest})
    }
}

/// Telemetry that is told of a million calls in each window.
struct Busy {
    telemetry: Arc<Telemetry>,
    cursor: Cursor,
    random: Random,
    programs: Vec<Arc<str>>,
    now: tokio::time::Instant,
}

impl Busy {
    fn new(round: u64) -> Self {
        let now = tokio::time::Instant::now();
        let telemetry = Telemetry::new(Config::default());
        Self {
            cursor: telemetry.cursor(now),
            telemetry,
            random: Random::new(round + 1),
            programs: ["classify", "answer", "summarize", "essay", "judge"]
                .map(Into::into)
                .to_vec(),
            now,
        }
    }

    /// The calls until the next look, half of them on each lane, both alike.
    fn call(&mut self, plan: &Plan) {
        self.now += plan.interval;
        for _ in 0..CALLS / looks_in_a_window(plan) {
            let total = Duration::from_secs_f64((self.random.normal() * 0.6).exp());
            let fails = self.random.share() < 0.01;
            let lane = if self.random.share() < 0.5 {
                Lane::Candidate
            } else {
                Lane::Stable
            };
            let program = usize::try_from(self.random.number(2.0).min(4)).expect("few");
            let outcome = Outcome {
                lane,
                program: self.programs[program].clone(),
                blame: fails.then_some(Blame::Program),
                kind: if fails { "program-failed" } else { "ok" },
                total,
                program_time: Some(total.mul_f64(0.98)),
            };
            let back = plan.interval.mul_f64(self.random.share());
            self.telemetry.record(&outcome, self.now - back);
        }
    }

    fn sample(&mut self) -> Sample {
        Sample {
            lanes: self.telemetry.take(&mut self.cursor, self.now),
            candidate_pool: Some(PoolStatus {
                size: 4,
                ready: 4,
                ..PoolStatus::default()
            }),
            recorded: true,
            percent: half(),
            counts: true,
            ..Sample::default()
        }
    }
}

fn half() -> Percent {
    Percent::from_basis_points(5_000).expect("a share")
}

/// How many looks are in a window.
fn looks_in_a_window(plan: &Plan) -> u64 {
    plan.window.as_secs() / plan.interval.as_secs()
}

/// A look with a million calls in the window: what is taken from telemetry, added up and judged.
pub(crate) fn look(plan: &Plan, round: u64, times: &mut Times) {
    let mut busy = Busy::new(round);
    let (mut windows, mut ledger) = (Windows::default(), Ledger::default());
    let (mut took, mut seen) = (Vec::new(), 0);
    // Twice the window, so that the last looks are at one that is full and has older ones behind it.
    for _ in 0..2 * looks_in_a_window(plan) {
        busy.call(plan);
        let began = Instant::now();
        let sample = busy.sample();
        let judged = windows.add(plan, &ledger, 1, &sample);
        let analysis = analyse(&plan.thresholds, &judged.evidence);
        took.push(began.elapsed().as_secs_f64() * 1000.0);
        seen = analysis.stable.calls + analysis.candidate.calls;
        ledger = judged.evidence.ledger;
    }
    times.round(took, seen);
}

/// A whole tick with as many: the look, the decision, and its way into the journal on disk.
pub(crate) async fn tick(plan: &Plan, round: u64, times: &mut Times) {
    let (_folder, journal, id) = opened(plan).await;
    let mut state = in_a_stage(plan, &journal, &id).await;
    let mut busy = Busy::new(round);
    let mut windows = Windows::default();
    let flags = FlagsSeen {
        revision: Revision::new(1),
        enabled: true,
        percent: half(),
        changed_by: None,
    };
    // The first beginning of the windows.
    let epoch = 1;
    let (mut took, mut seen) = (Vec::new(), 0);
    for _ in 0..2 * looks_in_a_window(plan) {
        busy.call(plan);
        let began = Instant::now();
        let sample = busy.sample();
        let judged = windows.add(&state.plan, &state.ledger, epoch, &sample);
        let observation = Observation {
            flags: flags.clone(),
            look: Some(Look {
                evidence: judged.evidence,
                ledger: judged.change,
                epoch,
                calls: (sample.lanes[0].calls, sample.lanes[1].calls),
                sample,
                elapsed: plan.interval,
                ..Look::default()
            }),
            ..Observation::default()
        };
        let decision = decide(&state, &observation, Timestamp::UNIX_EPOCH);
        state = written(state, &decision.events, &journal).await;
        took.push(began.elapsed().as_secs_f64() * 1000.0);
        let looked = |event: &Event| matches!(event, Event::Ticked { .. });
        assert!(
            matches!(&decision.events[..], [one] if looked(one)),
            "no tick of a stage that goes well: {:?}",
            decision.events
        );
        let analysis = decision.analysis.expect("it was looked at");
        seen = analysis.stable.calls + analysis.candidate.calls;
    }
    times.round(took, seen);
}

/// The migration in its stage of 50 %.
async fn in_a_stage(plan: &Plan, journal: &SqliteJournal, id: &MigrationId) -> State {
    let state = State::load(journal, id).await.expect("loaded");
    let mut stages = plan.stages.iter();
    let stage = stages.position(|stage| stage.percent == half());
    let done = |step| Event::StepDone {
        step,
        checks: Vec::new(),
        saved: None,
        removed: None,
    };
    let events = [
        done(Step::Preflight),
        done(Step::Backup),
        done(Step::Deploy),
        done(Step::Verify),
        Event::StageEntered {
            stage: stage.expect("a stage of 50 %"),
            percent: half(),
            waived: false,
        },
        Event::TrafficSet {
            percent: half(),
            revision: Revision::new(1),
        },
    ];
    let state = written(state, &events, journal).await;
    assert_eq!(state.phase, Phase::Rollout);
    state
}
