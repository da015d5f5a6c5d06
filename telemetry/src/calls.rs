//! The metrics of calls, with their handles made once: a call costs a few atomic additions, and
//! only a failure of a kind that was not seen before costs a look into the recorder's registry.
//!
//! Labels are lanes, blames and kinds, all from small fixed sets. Never a session or a request.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use metrics::{Counter, Histogram, Unit, counter, describe_counter, describe_histogram, histogram};

use crate::sink::Sink;
use crate::{Blame, Lane, Outcome};

const CALLS: &str = "dspex_calls_total";
const CALL_SECONDS: &str = "dspex_call_seconds";
const OVERHEAD_SECONDS: &str = "dspex_call_overhead_seconds";
const ERRORS: &str = "dspex_errors_total";

pub(crate) struct CallMetrics {
    sink: Sink,
    lanes: [LaneMetrics; 2],
    /// Made when the first failure of its kind comes; a handful at most.
    errors: Mutex<Vec<ErrorMetric>>,
}

struct LaneMetrics {
    ok: Counter,
    failed: Counter,
    total: Histogram,
    overhead: Histogram,
}

struct ErrorMetric {
    lane: Lane,
    blame: Blame,
    kind: &'static str,
    count: Counter,
}

impl CallMetrics {
    pub(crate) fn new(sink: Sink) -> Self {
        let lanes = sink.with(|| {
            describe_counter!(CALLS, "Calls that ended, by lane and outcome (ok, error).");
            describe_histogram!(
                CALL_SECONDS,
                Unit::Seconds,
                "How long calls took, from the router's first look to the answer."
            );
            describe_histogram!(
                OVERHEAD_SECONDS,
                Unit::Seconds,
                "How long calls took beside the program's own time."
            );
            describe_counter!(
                ERRORS,
                "Failed calls, by lane, by whose fault it was, and by kind."
            );
            Lane::ALL.map(LaneMetrics::new)
        });
        Self {
            sink,
            lanes,
            errors: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn record(&self, outcome: &Outcome) {
        let lane = &self.lanes[outcome.lane as usize];
        lane.total.record(outcome.total);
        lane.overhead.record(outcome.overhead());
        match outcome.blame {
            None => lane.ok.increment(1),
            Some(blame) => {
                lane.failed.increment(1);
                self.count_error(outcome.lane, blame, outcome.kind);
            }
        }
    }

    fn count_error(&self, lane: Lane, blame: Blame, kind: &'static str) {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        let known = errors
            .iter()
            .find(|e| e.lane == lane && e.blame == blame && e.kind == kind);
        if let Some(known) = known {
            known.count.increment(1);
            return;
        }
        let count = self.sink.with(
            || counter!(ERRORS, "lane" => lane.label(), "blame" => blame.label(), "kind" => kind),
        );
        count.increment(1);
        errors.push(ErrorMetric {
            lane,
            blame,
            kind,
            count,
        });
    }
}

impl LaneMetrics {
    fn new(lane: Lane) -> Self {
        let lane = lane.label();
        Self {
            ok: counter!(CALLS, "lane" => lane, "outcome" => "ok"),
            failed: counter!(CALLS, "lane" => lane, "outcome" => "error"),
            total: histogram!(CALL_SECONDS, "lane" => lane),
            overhead: histogram!(OVERHEAD_SECONDS, "lane" => lane),
        }
    }
}

impl fmt::Debug for CallMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallMetrics")
            .field("sink", &self.sink)
            .finish_non_exhaustive()
    }
}
