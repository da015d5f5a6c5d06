//! Which looks are handed to the recorder: each one until the migration is complete, one a minute after it.
//!
//! A candidate that serves is looked at for as long as the server runs. Were each of those looks kept,
//! a week of them would push out the rollout that they follow, which is what a backtest judges again.
//!
//! Invariant: no call is left out. What is not handed on at once is added to the look that is, and a
//! verdict that has changed is handed on at once.

use crate::analysis::{Analysis, Verdict};
use crate::observation::Look;
use crate::recording::Recorded;
use crate::sample::Sample;
use crate::state::State;
use crate::thresholds::Action;

/// What one row covers at most once the migration is complete, in seconds.
const GRAIN: f64 = 60.0;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    /// What came since the last look that was handed on.
    waiting: Option<Sample>,
    /// What was made of that one.
    told: Option<(Verdict, Option<Action>)>,
}

impl Keeping {
    /// What is to be recorded of this look, if anything is yet; `action` is what comes of it.
    pub(super) fn seen(
        &mut self,
        state: &State,
        look: &Look,
        (analysis, action): (&Analysis, Option<Action>),
        at: jiff::Timestamp,
    ) -> Option<Recorded> {
        let sample = match self.waiting.take() {
            Some(earlier) => added(earlier, &look.sample),
            None => look.sample.clone(),
        };
        let watched = state.completed_at.is_some();
        let told = Some((analysis.verdict, action));
        if watched && self.told == told && sample.lanes[1].seconds < GRAIN {
            self.waiting = Some(sample);
            return None;
        }
        self.told = told;
        Some(Recorded {
            migration: state.id.clone(),
            seq: state.seq,
            at,
            stage: state.stage,
            watched,
            epoch: look.epoch,
            missing: 0,
            pools: [state.plan.stable.clone(), state.plan.candidate.clone()],
            sample,
            verdict: analysis.verdict,
            action,
            summary: analysis.summary(),
        })
    }

    /// The windows begin anew: what waits belongs to those before.
    pub(super) fn begin_anew(&mut self) {
        *self = Self::default();
    }
}

/// The calls of both, and the rest as it was seen last.
fn added(earlier: Sample, newest: &Sample) -> Sample {
    let mut lanes = earlier.lanes;
    for (sum, lane) in lanes.iter_mut().zip(&newest.lanes) {
        sum.merge(lane);
    }
    Sample {
        lanes,
        counts: earlier.counts && newest.counts,
        ..newest.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::analysis::analyse;
    use crate::evidence::Evidence;
    use crate::id::MigrationId;
    use crate::settings::Settings;
    use crate::simulation::{Difference, Load, Traffic};
    use crate::thresholds::percent;

    fn state(complete: bool) -> State {
        let plan = Settings::default().plan("v1", "v2", None).expect("valid");
        let (id, at) = (MigrationId::from_text("m-1"), Timestamp::UNIX_EPOCH);
        let mut state = State::begin(id, plan, "ada".into(), "newer".into(), at);
        state.completed_at = complete.then_some(at);
        state
    }

    /// Looks five seconds apart, of which those in `unseen` lack their telemetry.
    fn kept(state: &State, looks: u64, unseen: std::ops::Range<u64>) -> (u64, Vec<Recorded>) {
        let mut traffic = Traffic::new(Load::typical(40.0), Difference::default(), 1);
        let (mut keeping, mut calls) = (Keeping::default(), 0);
        let recorded = (0..looks).filter_map(|place| {
            let sample = traffic.sample(percent(10_000), Duration::from_secs(5));
            let sample = Sample {
                recorded: !unseen.contains(&place),
                ..sample
            };
            calls += sample.lanes[1].calls;
            let evidence = Evidence::at_once(&state.plan, &sample);
            let analysis = analyse(&state.plan.thresholds, &evidence);
            let look = Look {
                sample,
                ..Look::default()
            };
            let judged = (&analysis, analysis.action());
            keeping.seen(state, &look, judged, Timestamp::UNIX_EPOCH)
        });
        let recorded = recorded.collect();
        (calls, recorded)
    }

    #[test]
    fn each_look_of_a_rollout_is_kept() {
        let (_, recorded) = kept(&state(false), 60, 0..0);
        assert_eq!(recorded.len(), 60);
        assert!(recorded.iter().all(|look| !look.watched));
    }

    #[test]
    fn after_it_one_a_minute_with_all_calls_of_it() {
        // The first, then twelve times five seconds each.
        let (calls, recorded) = kept(&state(true), 1 + 12 * 10, 0..0);
        assert_eq!(recorded.len(), 11);
        let of = |look: &Recorded| look.sample.lanes[1].calls;
        assert_eq!(recorded.iter().map(of).sum::<u64>(), calls);
        assert!(recorded.iter().all(|look| look.watched));
    }

    #[test]
    fn a_verdict_that_changes_is_kept_at_once() {
        let (_, recorded) = kept(&state(true), 12, 4..6);
        let verdicts: Vec<Verdict> = recorded.iter().map(|look| look.verdict).collect();
        let (well, unseen) = (verdicts[0], verdicts[1]);
        assert_ne!(well, unseen);
        assert_eq!(verdicts, [well, unseen, well]);
    }
}
