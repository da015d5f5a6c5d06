//! What the notes of one round say: the rate before the kill, and what the kill did.
//!
//! Invariants: a request belongs to the span in which it ended; a time that was not seen to end is
//! none, and never the length of the watch.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::load::{Failure, Note, Outcome};
use crate::bench::spread::percentile;

/// A failure this shortly before the end says that requests were not well again by then.
const SURE: Duration = Duration::from_secs(1);

/// When what happened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// The rate is measured from here,
    pub(super) began: Instant,
    /// to here, where one process was killed.
    pub(super) killed: Instant,
    /// No request was sent after this.
    pub(super) ended: Instant,
}

/// One round as JSON, as every contender's round is kept.
pub(super) fn summary(notes: &[Note], times: Times) -> Value {
    let measured = || {
        notes
            .iter()
            .filter(|note| times.began <= note.ended && note.ended < times.killed)
    };
    let after = || notes.iter().filter(|note| times.killed <= note.ended);
    let took: Vec<f64> = measured()
        .filter(|note| matches!(note.outcome, Outcome::Well(_)))
        .map(|note| note.took.as_secs_f64() * 1e6)
        .collect();
    let seconds = (times.killed - times.began).as_secs_f64();
    let before: BTreeSet<i32> = measured().filter_map(process).collect();
    let earlier = notes.iter().filter(|note| note.ended < times.killed);
    let known: BTreeSet<i32> = earlier.filter_map(process).collect();
    let failed: Vec<&Note> = after().filter(|note| failure(note).is_some()).collect();
    let kind = |wanted: fn(Failure) -> bool| {
        let failures = failed.iter().filter_map(|note| failure(note));
        failures.filter(|failure| wanted(*failure)).count()
    };
    let last = failed.iter().map(|note| note.ended).max();
    let well = match last {
        None => Some(Duration::ZERO),
        Some(last) if last + SURE > times.ended => None,
        Some(last) => Some(last - times.killed),
    };
    // Whoever did not answer before. Numbers are not given again within seconds.
    let back = after()
        .filter(|note| process(note).is_some_and(|pid| !known.contains(&pid)))
        .map(|note| note.ended - times.killed)
        .min();
    let longest = after().map(|note| note.took).max();
    let millis = |time: Option<Duration>| time.map(|time| time.as_secs_f64() * 1e3);
    json!({
        "rate": took.len() as f64 / seconds,
        "p50_us": percentile(&took, 0.5),
        "p99_us": percentile(&took, 0.99),
        "processes": before.len(),
        "failed_before": measured().filter(|note| failure(note).is_some()).count(),
        "failed": failed.len(),
        "cut": kind(|failure| failure == Failure::Connection),
        "refused": kind(|failure| matches!(failure, Failure::Status(_))),
        "wrong": kind(|failure| failure == Failure::Answer),
        "well_ms": millis(well),
        "back_ms": millis(back),
        "longest_ms": millis(longest),
    })
}

fn process(note: &Note) -> Option<i32> {
    match note.outcome {
        Outcome::Well(pid) => Some(pid),
        Outcome::Failed(_) => None,
    }
}

fn failure(note: &Note) -> Option<Failure> {
    match note.outcome {
        Outcome::Well(_) => None,
        Outcome::Failed(failure) => Some(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two processes, 1 and 2, answer every 10 ms for 2 s; then 1 is killed, and watched for 4 s.
    fn round(after: &[(u64, u64, Outcome)]) -> Value {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let note = |ended, took, outcome| Note {
            ended: at(ended),
            took: Duration::from_millis(took),
            outcome,
        };
        let mut notes: Vec<Note> = (0..200)
            .map(|count| {
                note(
                    count * 10,
                    1 + count % 2,
                    Outcome::Well(1 + i32::from(count % 2 == 0)),
                )
            })
            .collect();
        notes.extend(
            after
                .iter()
                .map(|(ended, took, outcome)| note(2000 + ended, *took, *outcome)),
        );
        let times = Times {
            began: at(1000),
            killed: at(2000),
            ended: at(6000),
        };
        summary(&notes, times)
    }

    #[test]
    fn only_the_span_before_the_kill_makes_the_rate() {
        let value = round(&[(1, 500, Outcome::Well(2))]);
        assert_eq!(value["rate"], 100.0);
        assert_eq!(
            (&value["p50_us"], &value["p99_us"]),
            (&json!(1e3), &json!(2e3))
        );
        assert_eq!(
            (&value["processes"], &value["failed_before"]),
            (&json!(2), &json!(0))
        );
        assert_eq!(
            (&value["failed"], &value["well_ms"]),
            (&json!(0), &json!(0.0))
        );
        assert_eq!(value["longest_ms"], 500.0);
        assert_eq!(value["back_ms"], Value::Null, "no other process answered");
    }

    #[test]
    fn failures_are_counted_by_kind_until_the_last_of_them() {
        let failed = Outcome::Failed;
        let value = round(&[
            (5, 1, failed(Failure::Connection)),
            (700, 1, failed(Failure::Status(503))),
            (800, 1, Outcome::Well(3)),
            (900, 1, failed(Failure::Answer)),
            (901, 1, Outcome::Well(2)),
        ]);
        assert_eq!(value["failed"], 3);
        assert_eq!(
            (&value["cut"], &value["refused"], &value["wrong"]),
            (&json!(1), &json!(1), &json!(1))
        );
        assert_eq!(
            (&value["well_ms"], &value["back_ms"]),
            (&json!(900.0), &json!(800.0))
        );
    }

    #[test]
    fn what_fails_to_the_end_was_never_well_again() {
        let value = round(&[(3500, 1, Outcome::Failed(Failure::Connection))]);
        assert_eq!(value["well_ms"], Value::Null);
    }
}
