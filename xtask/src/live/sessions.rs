//! Whether every session was kept: answered each time, and on its side.
//!
//! A session may go from stable to candidate only while the percentage rises, and back only while
//! it falls (a rollback). A failed call, or any other change of side, loses the session.

use std::collections::BTreeMap;

use super::ledger::{Lane, Sample};
use super::timeline::Timeline;

/// A session that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) session: usize,
    pub(crate) why: String,
}

/// The sessions that were lost, each with the first reason: a failed call, or a change of side.
pub(crate) fn lost(samples: &[Sample], timeline: &Timeline) -> Vec<Lost> {
    each(samples, |calls| {
        let failed = calls.iter().find_map(|call| call.failure.as_ref());
        failed
            .map(|failure| failure.text.clone())
            .or_else(|| strayed(calls, timeline, |_| false))
    })
}

/// The sessions that changed their side while the percentage did not change, each with the first
/// such change. `excused` says of a call that its side says nothing.
pub(crate) fn astray(
    samples: &[Sample],
    timeline: &Timeline,
    excused: impl Fn(&Sample) -> bool,
) -> Vec<Lost> {
    each(samples, |calls| strayed(calls, timeline, &excused))
}

fn each(samples: &[Sample], reason: impl Fn(&[&Sample]) -> Option<String>) -> Vec<Lost> {
    let mut sessions: BTreeMap<usize, Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        sessions.entry(sample.session).or_default().push(sample);
    }
    sessions
        .into_iter()
        .filter_map(|(session, mut calls)| {
            calls.sort_by_key(|call| call.started);
            reason(&calls).map(|why| Lost { session, why })
        })
        .collect()
}

fn strayed(
    calls: &[&Sample],
    timeline: &Timeline,
    excused: impl Fn(&Sample) -> bool,
) -> Option<String> {
    let told: Vec<&Sample> = calls
        .iter()
        .copied()
        .filter(|call| call.side().is_some() && !excused(call))
        .collect();
    told.windows(2).find_map(|pair| {
        let (before, after) = (pair[0], pair[1]);
        let (from, to) = (before.side()?, after.side()?);
        if from == to {
            return None;
        }
        let rises = to == Lane::Candidate;
        let allowed = timeline
            .steps()
            .iter()
            .any(|step| (step.to > step.from) == rises && step.within(before.started, after.ended));
        (!allowed).then(|| {
            format!(
                "went from {from:?} to {to:?} at {:.1} s without a change of the percentage",
                after.started.as_secs_f64()
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::ledger::{Failure, Kind};
    use super::*;

    fn call(second: u64, lane: Lane) -> Sample {
        Sample {
            session: 7,
            program: "answer",
            started: Duration::from_secs(second),
            ended: Duration::from_millis(second * 1000 + 50),
            lane: Some(lane),
            failed_over: false,
            failure: None,
            worker: None,
            attempts: 1,
        }
    }

    /// 5 % from second 10 on, 0 % again from second 20 on.
    fn timeline() -> Timeline {
        let mut timeline = Timeline::default();
        for second in 0..30 {
            let at = Duration::from_secs(second);
            let percent = if (10..20).contains(&second) { 5.0 } else { 0.0 };
            timeline.observe(at, at, percent, true);
        }
        timeline
    }

    #[test]
    fn changes_that_follow_the_percentage_keep_the_session() {
        let calls = [
            call(8, Lane::Stable),
            call(10, Lane::Candidate),
            call(15, Lane::Candidate),
            call(20, Lane::Stable),
            call(25, Lane::Stable),
        ];
        assert_eq!(lost(&calls, &timeline()), []);
    }

    #[test]
    fn a_change_at_any_other_time_loses_it() {
        for calls in [
            [call(12, Lane::Stable), call(14, Lane::Candidate)],
            [call(12, Lane::Candidate), call(14, Lane::Stable)],
            // While it rises, nobody goes back; while it falls, nobody joins.
            [call(9, Lane::Candidate), call(10, Lane::Stable)],
            [call(19, Lane::Stable), call(20, Lane::Candidate)],
        ] {
            let lost = lost(&calls, &timeline());
            assert_eq!(lost.len(), 1, "{calls:?}");
            assert_eq!(lost[0].session, 7);
        }
    }

    #[test]
    fn a_call_taken_over_by_stable_is_no_change_of_side() {
        let mut taken = call(14, Lane::Stable);
        taken.failed_over = true;
        let calls = [call(12, Lane::Candidate), taken, call(16, Lane::Candidate)];
        assert_eq!(lost(&calls, &timeline()), []);
    }

    #[test]
    fn a_failed_call_loses_the_session_whatever_its_side() {
        let mut failed = call(14, Lane::Stable);
        failed.failure = Some(Failure::of(Kind::Error, "503"));
        let lost = lost(&[call(12, Lane::Stable), failed], &timeline());
        assert_eq!(lost[0].why, "503");
        assert_eq!(
            astray(&[call(12, Lane::Stable)], &timeline(), |_| false),
            []
        );
    }

    #[test]
    fn a_side_that_says_nothing_is_no_change() {
        let calls = [
            call(12, Lane::Candidate),
            call(14, Lane::Stable),
            call(16, Lane::Candidate),
        ];
        assert_eq!(astray(&calls, &timeline(), |_| false).len(), 1);
        let excused = |call: &Sample| call.started == Duration::from_secs(14);
        assert_eq!(astray(&calls, &timeline(), excused), []);
    }
}
