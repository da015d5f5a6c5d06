//! What was seen of late: calls, failures and slow calls, over a stretch of time or over a number
//! of calls. Written by many threads at once, without a lock.
//!
//! Invariants: what is recorded in one term (see `machine`) is never counted in another; no call
//! that was recorded before a reader began is missed, and none is counted twice.

use std::time::Duration;

use crate::count_window::CountWindow;
use crate::time_window::TimeWindow;

/// What a window holds at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that said something about the callee.
    pub calls: u64,
    /// Those that failed.
    pub failures: u64,
    /// Those that took longer than a call may.
    pub slow: u64,
}

/// One call that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) failed: bool,
    pub(crate) slow: bool,
}

#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "there is one to a circuit, and every call goes to it: no box in between"
)]
pub(crate) enum Window {
    Time(TimeWindow),
    Count(CountWindow),
}

impl Window {
    /// The last `calls` calls where there is such a number, else the calls of the last `span`.
    pub(crate) fn new(span: Duration, calls: Option<u32>) -> Self {
        match calls {
            Some(calls) => Self::Count(CountWindow::new(calls)),
            None => Self::Time(TimeWindow::new(span)),
        }
    }

    /// Whether it matters when a call ended.
    #[inline]
    pub(crate) fn is_timed(&self) -> bool {
        matches!(self, Self::Time(_))
    }

    /// Counts a call of `term` that ended `at` nanoseconds after the beginning. `still` says whether
    /// the term is the present one; a call of a term that has passed may be left out.
    #[inline(always)]
    pub(crate) fn record(&self, term: u64, at: u64, seen: Seen, still: impl Fn() -> bool) {
        match self {
            Self::Time(window) => window.record(term, at, seen, still),
            Self::Count(window) => window.record(term, seen),
        }
    }

    pub(crate) fn counts(&self, term: u64, at: u64) -> Counts {
        match self {
            Self::Time(window) => window.counts(term, at),
            Self::Count(window) => window.counts(term),
        }
    }
}
