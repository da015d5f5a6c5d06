//! Looking at the candidate: which window, which calls are counted, which workers failed in it.
//!
//! Invariants: a window never reaches back before the stage began for this controller: telemetry
//! cuts time into slots, and a window begins with the first one that lies wholly after its start.
//! No call is counted twice for a stage, and none is left out.

use std::collections::VecDeque;
use std::time::Duration;

use dspex_flags::Percent;
use dspex_telemetry::{HostSampler, Lane, LaneWindow, Telemetry};
use tokio::time::Instant;

use crate::candidate::Candidate;
use crate::evidence::{Evidence, windows};
use crate::lever::Lever;
use crate::observation::Look;
use crate::state::State;

pub(crate) struct Watcher {
    /// When the stage began, or when this controller did, or when it was resumed.
    began: Instant,
    /// The last look whose credit was written down.
    looked: Instant,
    /// Calls on stable and on the candidate, by telemetry's own count, up to which all are counted.
    counted: (u64, u64),
    /// The same at the last look, which becomes `counted` once the look is written down.
    read: (u64, u64),
    /// When it was last seen whether the candidate serves all traffic.
    seen: Instant,
    /// Time in which it was seen to, and that is not written down.
    served: Duration,
    /// How many workers of the candidate had failed, and when.
    failures: VecDeque<(Instant, u64)>,
    host: HostSampler,
}

impl Watcher {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            began: now,
            looked: now,
            counted: (0, 0),
            read: (0, 0),
            seen: now,
            served: Duration::ZERO,
            failures: VecDeque::new(),
            host: HostSampler::new(),
        }
    }

    /// From now on, only what comes counts.
    pub(crate) fn begin_anew(&mut self, telemetry: &Telemetry, now: Instant) {
        self.began = now;
        (self.seen, self.served) = (now, Duration::ZERO);
        self.failures.clear();
        self.traffic_set(telemetry, now);
    }

    /// Traffic is at the stage's share from now on.
    pub(crate) fn traffic_set(&mut self, telemetry: &Telemetry, now: Instant) {
        self.looked = now;
        self.read = recorded(telemetry);
        self.counted = self.read;
    }

    /// The look of `now` was written down, or there was nothing to write.
    pub(crate) fn looked(&mut self, now: Instant) {
        self.looked = self.looked.max(now);
        self.counted = self.read;
    }

    /// Whether the candidate serves all traffic, as of now. Counted once the migration is complete,
    /// and never for longer than two looks are apart: not for time in which nobody looked.
    pub(crate) fn serves(&mut self, state: &State, all: bool, now: Instant) {
        let elapsed = now.saturating_duration_since(self.seen);
        self.seen = now;
        if state.completed_at.is_some() && all {
            self.served += elapsed.min(state.plan.interval * 2);
        }
    }

    /// The time in which the candidate served all traffic is written down, or begins to count.
    pub(crate) fn served_is_told(&mut self) {
        self.served = Duration::ZERO;
    }

    pub(crate) fn look(
        &mut self,
        state: &State,
        telemetry: &Telemetry,
        candidate: &dyn Candidate,
        now: Instant,
    ) -> Look {
        let (stable, calls, since) = self.window(state, telemetry, now);
        let (stable_pool, candidate_pool) = candidate.statuses();
        let failures = candidate_pool.as_ref().map_or(0, |pool| pool.failures);
        let evidence = Evidence {
            stable,
            candidate: calls,
            worker_failures: self.failed_since(since, failures, state.plan.window_limit, now),
            candidate_pool,
            stable_growth: stable_pool.growth,
            differences: (state.plan.shadow > Percent::ZERO).then(|| candidate.differences()),
            host: self.host.sample(),
            recorded: telemetry.is_enabled(),
            percent: state.percent(),
            windows: windows(&state.plan, state.hold().unwrap_or_default()),
        };
        self.read = recorded(telemetry);
        let since_counted = (
            self.read.0.saturating_sub(self.counted.0),
            self.read.1.saturating_sub(self.counted.1),
        );
        // Until every router serves the share, calls and time belong to no stage.
        let at = matches!(state.lever, Lever::At { .. });
        let elapsed = now.saturating_duration_since(self.looked);
        Look {
            evidence,
            elapsed: if at { elapsed } else { Duration::ZERO },
            calls: if at { since_counted } else { (0, 0) },
            served: self.served,
        }
    }

    /// The shortest window that holds samples enough, up to the limit.
    fn window(
        &self,
        state: &State,
        telemetry: &Telemetry,
        now: Instant,
    ) -> (LaneWindow, LaneWindow, Instant) {
        let plan = &state.plan;
        let floor = self.began + telemetry.slot();
        let enough = plan.thresholds.minimum_samples;
        let needs_stable = state.percent() < Percent::HUNDRED;
        let mut reach = plan.window;
        loop {
            let since = now
                .checked_sub(reach)
                .map_or(floor, |since| since.max(floor));
            let stable = telemetry.window(Lane::Stable, since, now);
            let candidate = telemetry.window(Lane::Candidate, since, now);
            let full = candidate.calls >= enough && (stable.calls >= enough || !needs_stable);
            if full || since == floor || reach >= plan.window_limit {
                return (stable, candidate, since);
            }
            reach = (reach * 2).min(plan.window_limit);
        }
    }

    fn failed_since(&mut self, since: Instant, total: u64, limit: Duration, now: Instant) -> u64 {
        // A pool that was brought up anew counts from zero again.
        if self
            .failures
            .back()
            .is_some_and(|(_, before)| *before > total)
        {
            self.failures.clear();
            self.failures.push_back((now, 0));
        }
        self.failures.push_back((now, total));
        while self
            .failures
            .get(1)
            .is_some_and(|(at, _)| *at + limit < now)
        {
            self.failures.pop_front();
        }
        let before = self.failures.iter().rev().find(|(at, _)| *at <= since);
        let base = before
            .or(self.failures.front())
            .map_or(total, |(_, failures)| *failures);
        total.saturating_sub(base)
    }
}

/// All calls that telemetry has ever recorded, on stable and on the candidate.
fn recorded(telemetry: &Telemetry) -> (u64, u64) {
    (
        telemetry.recorded(Lane::Stable),
        telemetry.recorded(Lane::Candidate),
    )
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use dspex_flags::Revision;
    use dspex_pool::{Drained, PoolStatus};
    use dspex_telemetry::{Blame, Config, Outcome};
    use jiff::Timestamp;

    use super::*;
    use crate::candidate::Check;
    use crate::event::{Entry, Event};
    use crate::id::MigrationId;
    use crate::plan::Plan;
    use crate::settings::Settings;
    use crate::step::Step;

    /// A candidate that is not there: these tests are about calls.
    struct Absent;

    #[async_trait]
    impl Candidate for Absent {
        async fn preflight(&self, _: &Plan) -> Vec<Check> {
            Vec::new()
        }
        async fn deploy(&self, _: &Plan) -> Result<(), String> {
            Ok(())
        }
        async fn verify(&self, _: &Plan) -> Vec<Check> {
            Vec::new()
        }
        async fn withdraw(&self, _: Duration) -> Result<Drained, String> {
            Ok(Drained {
                finished: 0,
                abandoned: 0,
            })
        }
        fn statuses(&self) -> (PoolStatus, Option<PoolStatus>) {
            let stable = PoolStatus {
                name: "v1".into(),
                kind: "simulated",
                size: 1,
                ready: 1,
                in_flight: 0,
                capacity: 1,
                queued: 0,
                starts: 1,
                failures: 0,
                draining: false,
                ..PoolStatus::default()
            };
            (stable, None)
        }
    }

    /// In its first stage, acknowledged.
    fn in_a_stage() -> State {
        let plan = Settings::default().plan("v1", "v2", None).expect("valid");
        let percent = plan.stages[0].percent;
        let (id, at) = (MigrationId::from_text("m-1"), Timestamp::UNIX_EPOCH);
        let mut state = State::begin(id, plan, "ada".into(), "newer".into(), at);
        let done = |step| Event::StepDone {
            step,
            checks: Vec::new(),
            saved: None,
        };
        for event in [
            done(Step::Preflight),
            done(Step::Deploy),
            done(Step::Verify),
            Event::StageEntered {
                stage: 0,
                percent,
                waived: false,
            },
            Event::TrafficSet {
                percent,
                revision: Revision::new(1),
            },
        ] {
            state = state.clone().next(&Entry {
                seq: state.seq + 1,
                at,
                event,
            });
        }
        assert!(matches!(state.lever, Lever::At { .. }));
        state
    }

    fn call(telemetry: &Telemetry, lane: Lane, calls: u64, blame: Option<Blame>) {
        for _ in 0..calls {
            let (program, kind, total) = ("qa".into(), "any", Duration::from_millis(5));
            let outcome = Outcome {
                lane,
                program,
                blame,
                kind,
                total,
                program_time: None,
            };
            telemetry.record(&outcome, Instant::now());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_never_reaches_back_before_the_stage_began() {
        let telemetry = Telemetry::new(Config::default());
        let (state, mut watcher) = (in_a_stage(), Watcher::new(Instant::now()));
        call(&telemetry, Lane::Candidate, 500, Some(Blame::Pool));
        tokio::time::advance(Duration::from_millis(300)).await;
        watcher.begin_anew(&telemetry, Instant::now());
        // Within the slot in which the stage began nobody can tell: it is left out.
        call(&telemetry, Lane::Candidate, 7, Some(Blame::Pool));
        tokio::time::advance(Duration::from_secs(5)).await;
        call(&telemetry, Lane::Candidate, 60, None);
        call(&telemetry, Lane::Stable, 60, None);
        let look = watcher.look(&state, &telemetry, &Absent, Instant::now());
        let seen = (
            look.evidence.candidate.calls,
            look.evidence.candidate.failed(),
        );
        assert_eq!(
            seen,
            (60, 0),
            "also where the limit would reach back for more samples"
        );
        assert_eq!(look.evidence.stable.calls, 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_reaches_as_far_back_as_it_needs_samples() {
        let telemetry = Telemetry::new(Config::default());
        let (state, mut watcher) = (in_a_stage(), Watcher::new(Instant::now()));
        // One call every ten seconds in each lane: 6 in the shortest window, 60 in the longest.
        for _ in 0..70 {
            tokio::time::advance(Duration::from_secs(10)).await;
            call(&telemetry, Lane::Candidate, 1, None);
            call(&telemetry, Lane::Stable, 1, None);
        }
        let look = watcher.look(&state, &telemetry, &Absent, Instant::now());
        assert!(
            look.evidence.candidate.calls >= 50,
            "{}",
            look.evidence.candidate.calls
        );
        call(&telemetry, Lane::Candidate, 80, None);
        call(&telemetry, Lane::Stable, 80, None);
        let look = watcher.look(&state, &telemetry, &Absent, Instant::now());
        assert!(
            look.evidence.candidate.seconds <= 61.0,
            "{}",
            look.evidence.candidate.seconds
        );
    }

    #[tokio::test(start_paused = true)]
    async fn every_call_of_a_stage_is_counted_once() {
        let telemetry = Telemetry::new(Config::default());
        let (state, mut watcher) = (in_a_stage(), Watcher::new(Instant::now()));
        tokio::time::advance(Duration::from_secs(1)).await;
        let (mut counted, mut made) = (0, 0);
        // Looks that fall anywhere in the slots, several within one and some far apart.
        for pause in [
            170, 430, 90, 2_300, 640, 10, 10, 5_000, 777, 999, 1_000, 1_001,
        ] {
            call(&telemetry, Lane::Candidate, 3, None);
            made += 3;
            tokio::time::advance(Duration::from_millis(pause)).await;
            let now = Instant::now();
            let look = watcher.look(&state, &telemetry, &Absent, now);
            watcher.looked(now);
            counted += look.calls.1;
            assert_eq!(counted, made, "after {pause} ms");
        }
        // A look that was not written down is counted by the next one.
        call(&telemetry, Lane::Candidate, 4, None);
        let lost = watcher.look(&state, &telemetry, &Absent, Instant::now());
        let next = watcher.look(&state, &telemetry, &Absent, Instant::now());
        assert_eq!((lost.calls.1, next.calls.1), (4, 4));
    }
}
