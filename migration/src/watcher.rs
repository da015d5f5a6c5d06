//! Looking at the candidate: taking what came since the look before, and adding it up.
//!
//! Invariants: nothing from before the stage began for this controller is looked at. No call is
//! counted twice for a stage, and none is left out. What was proved and could not be written down is
//! kept until it is.

use std::time::Duration;

use dspex_flags::Percent;
use dspex_telemetry::{Cursor, HostSampler, Lane, Telemetry};
use tokio::time::Instant;

use crate::candidate::Candidate;
use crate::ledger::{Ledger, LedgerChange};
use crate::lever::Lever;
use crate::observation::Look;
use crate::sample::Sample;
use crate::state::State;
use crate::windows::Windows;

pub(crate) struct Watcher {
    /// The last look whose credit was written down.
    looked: Instant,
    /// Calls on stable and on the candidate, by telemetry's own count, up to which all are counted.
    counted: (u64, u64),
    /// The same at the last look, which becomes `counted` once the look is written down.
    read: (u64, u64),
    /// Up to where calls were taken, once there was a beginning.
    cursor: Option<Cursor>,
    windows: Windows,
    /// The how many-th beginning this is, once it is known.
    epoch: Option<u32>,
    /// What all looks have proved, those that were not written down too.
    proved: Option<Ledger>,
    /// What looks have changed in it since the last one that was written down.
    unwritten: LedgerChange,
    /// When it was last seen whether the candidate serves all traffic.
    seen: Instant,
    /// Time in which it was seen to, and that is not written down.
    served: Duration,
    host: HostSampler,
}

impl Watcher {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            looked: now,
            counted: (0, 0),
            read: (0, 0),
            cursor: None,
            windows: Windows::default(),
            epoch: None,
            proved: None,
            unwritten: LedgerChange::default(),
            seen: now,
            served: Duration::ZERO,
            host: HostSampler::new(),
        }
    }

    /// From now on, only what comes counts.
    pub(crate) fn begin_anew(&mut self, telemetry: &Telemetry, now: Instant) {
        self.windows = Windows::default();
        (self.epoch, self.proved) = (None, None);
        self.unwritten = LedgerChange::default();
        (self.seen, self.served) = (now, Duration::ZERO);
        self.traffic_set(telemetry, now);
    }

    /// Traffic is at the stage's share from now on.
    pub(crate) fn traffic_set(&mut self, telemetry: &Telemetry, now: Instant) {
        self.looked = now;
        self.read = recorded(telemetry);
        self.counted = self.read;
        self.cursor = Some(telemetry.cursor(now));
    }

    /// The look of `now` was written down, or there was nothing to write.
    pub(crate) fn looked(&mut self, now: Instant) {
        self.looked = self.looked.max(now);
        self.counted = self.read;
    }

    /// What was proved is written down.
    pub(crate) fn proved_is_told(&mut self) {
        self.unwritten = LedgerChange::default();
    }

    /// Whether the candidate was seen to serve all traffic, as of now. Answers the time that no event
    /// has counted. Counted once the migration is complete, and never for longer than two looks are
    /// apart: not for time in which nobody looked.
    pub(crate) fn serves(&mut self, state: &State, all: bool, now: Instant) -> Duration {
        let elapsed = now.saturating_duration_since(self.seen);
        self.seen = now;
        if state.completed_at.is_some() && all {
            self.served += elapsed.min(state.plan.interval * 2);
        }
        self.served
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
        // Until every router serves the share, calls and time belong to no stage.
        let at = matches!(state.lever, Lever::At { .. });
        let sample = self.sample(state, telemetry, candidate, now, at);
        let proved = self.proved.get_or_insert_with(|| state.ledger.clone());
        let epoch = *self.epoch.get_or_insert(proved.epoch + 1);
        let judged = self.windows.add(&state.plan, proved, epoch, &sample);
        *proved = judged.evidence.ledger.clone();
        self.unwritten.merge(judged.change);
        self.read = recorded(telemetry);
        let since_counted = (
            self.read.0.saturating_sub(self.counted.0),
            self.read.1.saturating_sub(self.counted.1),
        );
        let elapsed = now.saturating_duration_since(self.looked);
        Look {
            evidence: judged.evidence,
            ledger: self.unwritten.clone(),
            epoch,
            sample,
            elapsed: if at { elapsed } else { Duration::ZERO },
            calls: if at { since_counted } else { (0, 0) },
            served: self.served,
        }
    }

    fn sample(
        &mut self,
        state: &State,
        telemetry: &Telemetry,
        candidate: &dyn Candidate,
        now: Instant,
        counts: bool,
    ) -> Sample {
        let cursor = self.cursor.get_or_insert_with(|| telemetry.cursor(now));
        let (stable_pool, candidate_pool) = candidate.statuses();
        Sample {
            lanes: telemetry.take(cursor, now),
            candidate_pool,
            stable_growth: stable_pool.growth,
            differences: (state.plan.shadow > Percent::ZERO).then(|| candidate.differences()),
            host: self.host.sample(),
            recorded: telemetry.is_enabled(),
            percent: state.percent(),
            counts,
        }
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
            removed: None,
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
    async fn what_was_proved_and_not_written_down_is_not_lost() {
        let telemetry = Telemetry::new(Config::default());
        let (mut state, mut watcher) = (in_a_stage(), Watcher::new(Instant::now()));
        watcher.begin_anew(&telemetry, Instant::now());
        let mut last = None;
        for _ in 0..8 {
            tokio::time::advance(Duration::from_secs(1)).await;
            call(&telemetry, Lane::Candidate, 3, Some(Blame::Pool));
            last = Some(watcher.look(&state, &telemetry, &Absent, Instant::now()));
        }
        let look = last.expect("eight looks");
        assert!(
            look.evidence.ledger.pool_faults(0.01),
            "although none of them was written"
        );
        state.ledger.change(&look.ledger);
        assert_eq!(state.ledger, look.evidence.ledger);
        watcher.looked(Instant::now());
        watcher.proved_is_told();
        let nothing_new = watcher.look(&state, &telemetry, &Absent, Instant::now());
        assert!(nothing_new.ledger.is_empty());
        watcher.begin_anew(&telemetry, Instant::now());
        let anew = watcher.look(&state, &telemetry, &Absent, Instant::now());
        assert_eq!((anew.epoch, look.epoch), (2, 1));
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
            watcher.proved_is_told();
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
