//! How fast each trouble was noticed, and how fast traffic was off the candidate: by the journal, and by
//! what callers saw. The two differ where the journal could not be written.

use std::time::Duration;

use jiff::Timestamp;

use crate::drill::journal::Journal;
use crate::drill::rehearsal::{Rehearsal, Trigger};
use crate::drill::report::Reaction;
use crate::live::ledger::{Lane, Sample};
use crate::live::timeline::Timeline;

/// One for each thing that set a rollback off, the oldest first.
pub(super) fn all(
    rehearsal: &Rehearsal<'_>,
    samples: &[Sample],
    timeline: &Timeline,
) -> Vec<Reaction> {
    let triggers = &rehearsal.triggers;
    let next = |index: usize| triggers.get(index + 1);
    let of = |(index, trigger): (usize, &Trigger)| {
        let next = next(index);
        let mut reaction = by_journal(trigger, next.map(|next| next.at), &rehearsal.journals);
        let zero = reaction.to_zero_ms.and_then(|to| u64::try_from(to).ok());
        let until = match zero {
            Some(zero) => next_rise(timeline, trigger.seen + Duration::from_millis(zero)),
            None => next.map_or(Duration::MAX, |next| next.seen),
        };
        let last = last_call(samples, trigger.seen, until);
        reaction.to_last_call_ms = last.map(|last| last.as_millis());
        reaction
    };
    triggers.iter().enumerate().map(of).collect()
}

/// What the journals kept so far say of the newest trouble.
pub(in crate::drill) fn newest(rehearsal: &Rehearsal<'_>) -> Option<Reaction> {
    let trigger = rehearsal.triggers.last()?;
    Some(by_journal(trigger, None, &rehearsal.journals))
}

/// By the machine's clock, up to the next trouble.
fn by_journal(trigger: &Trigger, until: Option<Timestamp>, journals: &[Journal]) -> Reaction {
    let millis_to = |kind: &str| {
        let entries = journals.iter().flat_map(|journal| &journal.entries);
        let of_kind = entries.filter(|entry| entry.kind() == kind && entry.at >= trigger.at);
        let first = of_kind.map(|entry| entry.at).min()?;
        let within = until.is_none_or(|until| first < until);
        within.then(|| first.duration_since(trigger.at).as_millis())
    };
    Reaction {
        from: trigger.what,
        to_rollback_ms: millis_to("rollback_began"),
        to_zero_ms: millis_to("traffic_zeroed"),
        to_last_call_ms: None,
    }
}

/// When the share can have risen again after this moment.
fn next_rise(timeline: &Timeline, zero: Duration) -> Duration {
    let mut steps = timeline.steps().iter();
    let rise = steps.find(|step| step.to > step.from && step.by > zero);
    rise.map_or(Duration::MAX, |rise| rise.after.max(zero))
}

/// How long after this moment the last call began that was sent to the candidate; none where none was.
fn last_call(samples: &[Sample], from: Duration, until: Duration) -> Option<Duration> {
    samples
        .iter()
        .filter(|sample| sample.side() == Some(Lane::Candidate))
        .filter(|sample| sample.started >= from && sample.started < until)
        .map(|sample| sample.started.saturating_sub(from))
        .max()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::drill::journal::Entry;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a moment")
    }

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn trigger(second: u64) -> Trigger {
        Trigger {
            at: at(i64::try_from(second).expect("small")),
            seen: s(second),
            what: "the command",
        }
    }

    #[test]
    fn each_trouble_has_its_own_reaction() {
        let entry = |second, kind: &str| Entry {
            seq: 1,
            at: at(second),
            event: json!({ "type": kind }),
        };
        let journals = [
            vec![entry(12, "rollback_began"), entry(13, "traffic_zeroed")],
            vec![entry(25, "rollback_began"), entry(25, "traffic_zeroed")],
        ]
        .map(|entries| Journal {
            id: "m".to_owned(),
            entries,
        });
        let of = |from, until| {
            let reaction = by_journal(&trigger(from), until, &journals);
            (reaction.to_rollback_ms, reaction.to_zero_ms)
        };
        assert_eq!(of(10, Some(at(20))), (Some(2000), Some(3000)));
        assert_eq!(of(20, None), (Some(5000), Some(5000)));
        // What belongs to the next trouble is no reaction to this one.
        assert_eq!(of(15, Some(at(20))), (None, None));
    }

    #[test]
    fn the_last_call_is_that_before_the_share_rises_again() {
        let mut timeline = Timeline::default();
        for (second, percent) in [(0, 0.0), (5, 50.0), (14, 0.0), (20, 10.0)] {
            timeline.observe(s(second), s(second), percent, true);
        }
        let call = |second, lane| Sample {
            session: 1,
            program: "triage",
            started: s(second),
            ended: s(second),
            lane: Some(lane),
            failed_over: false,
            failure: None,
            worker: None,
            attempts: 1,
        };
        let samples = [
            call(9, Lane::Candidate),
            call(11, Lane::Candidate),
            call(13, Lane::Stable),
            call(21, Lane::Candidate),
        ];
        let until = next_rise(&timeline, s(18));
        assert_eq!(
            until,
            s(18),
            "it was asked for at 14, and not seen until 20"
        );
        assert_eq!(last_call(&samples, s(10), until), Some(s(1)));
        assert_eq!(last_call(&samples, s(12), until), None);
        assert_eq!(next_rise(&timeline, s(20)), Duration::MAX);
    }
}
