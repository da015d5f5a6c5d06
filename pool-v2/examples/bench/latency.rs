//! What calls took, and the figures of it.

use std::time::Duration;

use serde_json::{Value, json};

/// Times of calls that were answered within the measured window.
#[derive(Debug, Default)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn note(&mut self, took: Duration) {
        self.0.push(took);
    }

    pub(crate) fn add(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Calls, calls a second, and percentiles in microseconds.
    pub(crate) fn figures(mut self, window: Duration) -> Value {
        self.0.sort_unstable();
        let at = |share: usize| {
            let index = (self.0.len() * share / 100).min(self.0.len().saturating_sub(1));
            self.0.get(index).map(|took| took.as_secs_f64() * 1e6)
        };
        json!({
            "calls": self.len(),
            "rate": self.len() as f64 / window.as_secs_f64(),
            "p50_us": at(50),
            "p99_us": at(99),
        })
    }
}
