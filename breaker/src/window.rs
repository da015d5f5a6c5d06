//! Calls and failures over the last stretch of time, as a ring of buckets.
//!
//! The span is cut into [`BUCKETS`] buckets aligned to the first call. What is counted is the
//! bucket of `now` and the `BUCKETS - 1` before it: never anything older than the span, and never
//! less than the span without its oldest bucket. Rejected: a decaying average, which is cheaper
//! but cannot say how many calls it rests on, and a list of instants, which grows with traffic.

use std::time::Duration;

use tokio::time::Instant;

/// Into how many buckets the span is cut.
const BUCKETS: u32 = 10;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) calls: u64,
    pub(crate) failures: u64,
}

#[derive(Debug)]
pub(crate) struct Window {
    width: Duration,
    epoch: Option<Instant>,
    /// The newest bucket's number since the epoch. Older `now`s are filed under it: time that
    /// runs backwards between threads must not bring expired buckets back.
    newest: u64,
    ring: [Counts; BUCKETS as usize],
    /// The ring's sum, kept so that a call in a quiet moment costs no walk over the ring.
    sum: Counts,
}

impl Window {
    /// A window over `span`, which must not be shorter than a few nanoseconds.
    pub(crate) fn new(span: Duration) -> Self {
        Self {
            width: (span / BUCKETS).max(Duration::from_nanos(1)),
            epoch: None,
            newest: 0,
            ring: [Counts::default(); BUCKETS as usize],
            sum: Counts::default(),
        }
    }

    pub(crate) fn record(&mut self, now: Instant, failed: bool) {
        self.advance(now);
        let bucket = &mut self.ring[place(self.newest)];
        for counts in [bucket, &mut self.sum] {
            counts.calls += 1;
            counts.failures += u64::from(failed);
        }
    }

    pub(crate) fn counts(&mut self, now: Instant) -> Counts {
        self.advance(now);
        self.sum
    }

    fn advance(&mut self, now: Instant) {
        let epoch = *self.epoch.get_or_insert(now);
        let number = bucket_number(now.saturating_duration_since(epoch), self.width);
        if number <= self.newest {
            return;
        }
        if number - self.newest >= u64::from(BUCKETS) {
            self.ring = [Counts::default(); BUCKETS as usize];
            self.sum = Counts::default();
        } else {
            for stale in self.newest + 1..=number {
                let bucket = std::mem::take(&mut self.ring[place(stale)]);
                self.sum.calls -= bucket.calls;
                self.sum.failures -= bucket.failures;
            }
        }
        self.newest = number;
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a remainder of a small number"
)]
fn place(number: u64) -> usize {
    (number % u64::from(BUCKETS)) as usize
}

fn bucket_number(since_epoch: Duration, width: Duration) -> u64 {
    u64::try_from(since_epoch.as_nanos() / width.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPAN: Duration = Duration::from_millis(1_000);
    const WIDTH: Duration = Duration::from_millis(100);

    /// The truth, from a list of everything: which calls fell after `from` and up to now.
    fn count(calls: &[(Instant, bool)], in_window: impl Fn(Instant) -> bool) -> Counts {
        calls
            .iter()
            .filter(|(at, _)| in_window(*at))
            .fold(Counts::default(), |counts, call| Counts {
                calls: counts.calls + 1,
                failures: counts.failures + u64::from(call.1),
            })
    }

    proptest! {
        #[test]
        fn it_counts_what_a_list_of_all_calls_counts(
            steps in proptest::collection::vec((0..400_u64, any::<bool>(), any::<bool>()), 1..200),
        ) {
            let mut window = Window::new(SPAN);
            let epoch = Instant::now();
            let mut now = epoch;
            let mut calls = Vec::new();
            prop_assert_eq!(window.counts(now), Counts::default());
            for (gap, is_call, failed) in steps {
                now += Duration::from_millis(gap);
                if is_call {
                    window.record(now, failed);
                    calls.push((now, failed));
                }
                let bucket = |at: Instant| (at - epoch).as_millis() / WIDTH.as_millis();
                let counted = window.counts(now);
                let in_buckets = |at| bucket(at) + u128::from(BUCKETS) > bucket(now);
                prop_assert_eq!(counted, count(&calls, in_buckets));
                // And, without speaking of buckets: nothing older than the span, all of the span
                // but its oldest bucket.
                let whole = count(&calls, |at| now - at < SPAN);
                let least = count(&calls, |at| now - at <= SPAN - WIDTH);
                prop_assert!(counted.calls <= whole.calls && counted.calls >= least.calls);
            }
        }
    }

    #[test]
    fn time_that_runs_backwards_loses_no_call() {
        let mut window = Window::new(SPAN);
        let now = Instant::now();
        window.record(now + SPAN, true);
        window.record(now, false);
        assert_eq!(
            window.counts(now + SPAN),
            Counts {
                calls: 2,
                failures: 1
            }
        );
        assert_eq!(window.counts(now + SPAN * 2), Counts::default());
    }
}
