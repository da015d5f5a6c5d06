//! How many lines of a child the log takes: a bucket of tokens, and the count of what it did not
//! take.

use std::time::Duration;

use tokio::time::Instant;

/// Lines a second, once the burst is used up.
const RATE: f64 = 200.0;
/// Lines that may come at once.
const BURST: f64 = 2_000.0;
/// How often the number of dropped lines is told, while there are any.
const REPORT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Budget {
    tokens: f64,
    at: Instant,
    dropped: u64,
    report_at: Instant,
}

impl Budget {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            tokens: BURST,
            at: now,
            dropped: 0,
            report_at: now,
        }
    }

    /// Whether the log takes one more line.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let grown = now.saturating_duration_since(self.at).as_secs_f64() * RATE;
        self.tokens = (self.tokens + grown).min(BURST);
        self.at = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return true;
        }
        if self.dropped == 0 {
            self.report_at = now + REPORT;
        }
        self.dropped += 1;
        false
    }

    /// When there will be something to tell.
    pub(super) fn report_at(&self) -> Option<Instant> {
        (self.dropped > 0).then_some(self.report_at)
    }

    /// The dropped lines that are to be told now.
    pub(super) fn report(&mut self, now: Instant) -> Option<u64> {
        if now < self.report_at {
            return None;
        }
        self.report_all()
    }

    /// The dropped lines that were not told yet.
    pub(super) fn report_all(&mut self) -> Option<u64> {
        let dropped = std::mem::take(&mut self.dropped);
        (dropped > 0).then_some(dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_and_then_the_rate() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        let mut taken_at = |now| (0..10_000).filter(|_| budget.take(now)).count();
        assert_eq!(taken_at(start), 2_000);
        assert_eq!(taken_at(start + Duration::from_secs(1)), 200);
        assert_eq!(
            taken_at(start + Duration::from_secs(3600)),
            2_000,
            "no more than a burst"
        );
    }

    #[test]
    fn what_was_dropped_is_told_once_a_second_and_once_only() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        for _ in 0..2_005 {
            budget.take(start);
        }
        let due = budget.report_at().unwrap();
        assert_eq!(due, start + REPORT);
        assert_eq!(budget.report(start), None, "too early");
        assert_eq!(budget.report(due), Some(5));
        assert_eq!(budget.report_at(), None);
        assert_eq!(budget.report_all(), None);
    }
}
