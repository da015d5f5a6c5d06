//! What calls took, and the figures of it.

use std::time::Duration;

use serde_json::{Value, json};

/// Times of calls that were answered within the measured window, and how many were answered at all.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    within: Vec<Duration>,
    answered: usize,
}

impl Latencies {
    /// An answer has come; `within` says whether inside the window.
    pub(crate) fn note(&mut self, took: Duration, within: bool) {
        self.answered += 1;
        if within {
            self.within.push(took);
        }
    }

    pub(crate) fn add(&mut self, others: Self) {
        self.within.extend(others.within);
        self.answered += others.answered;
    }

    /// Answers inside and outside the window.
    pub(crate) fn answered(&self) -> usize {
        self.answered
    }

    /// Calls, calls a second, and percentiles in microseconds.
    pub(crate) fn figures(mut self, window: Duration) -> Value {
        self.within.sort_unstable();
        let at = |share: usize| {
            let index = (self.within.len() * share / 100).min(self.within.len().saturating_sub(1));
            self.within.get(index).map(|took| took.as_secs_f64() * 1e6)
        };
        json!({
            "calls": self.within.len(),
            "rate": self.within.len() as f64 / window.as_secs_f64(),
            "p50_us": at(50),
            "p99_us": at(99),
        })
    }
}
