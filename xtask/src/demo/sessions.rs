//! Whether every session was kept: answered each time, and on its side.
//!
//! A session may go from stable to candidate only while the percentage rises, and back only while
//! it falls (a rollback). A failed call, or any other change of side, loses the session.

use std::collections::BTreeMap;

use super::ledger::{Lane, Sample};
use super::timeline::Timeline;

/// A session that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) session: usize,
    pub(super) why: String,
}

/// The sessions that were lost, each with the first reason.
pub(super) fn lost(samples: &[Sample], timeline: &Timeline) -> Vec<Lost> {
    let mut sessions: BTreeMap<usize, Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        sessions.entry(sample.session).or_default().push(sample);
    }
    sessions
        .into_iter()
        .filter_map(|(session, mut calls)| {
            calls.sort_by_key(|call| call.started);
            reason(&calls, timeline).map(|why| Lost { session, why })
        })
        .collect()
}

fn reason(calls: &[&Sample], timeline: &Timeline) -> Option<String> {
    if let Some(failure) = calls.iter().find_map(|call| call.failure.as_ref()) {
        return Some(failure.clone());
    }
    calls.windows(2).find_map(|pair| {
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

    use super::*;

    fn call(second: u64, lane: Lane) -> Sample {
        Sample {
            session: 7,
            started: Duration::from_secs(second),
            ended: Duration::from_millis(second * 1000 + 50),
            lane: Some(lane),
            failed_over: false,
            failure: None,
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
        failed.failure = Some("503".to_owned());
        let lost = lost(&[call(12, Lane::Stable), failed], &timeline());
        assert_eq!(lost[0].why, "503");
    }
}
