//! Calls over the last stretch of time, as a ring of buckets.
//!
//! The span is cut into [`sync::BUCKETS`] buckets. What is counted is the bucket of `now` and those before
//! it that are in the ring: never anything older than the span, and never less than the span without
//! its oldest bucket. Rejected: a decaying average, which is cheaper but cannot say how many calls
//! it rests on, and a list of instants, which grows with traffic.
//!
//! A bucket is three words, each a tag and a count: the tag names the term and the lap of the ring
//! that the count is of. So a bucket is never cleared, and nobody ever waits for a thread that is
//! about to clear it: whoever finds a stale tag puts his own and a count of one in its place, in one
//! step. The tag's 24 bits of lap come round after 16 million laps, its 8 bits of term after 256
//! terms.

use std::time::Duration;

use crate::sync::{self, AtomicU64, Ordering};
use crate::window::{Counts, Seen};

const BUCKETS: u64 = sync::BUCKETS as u64;
const COUNT_BITS: u32 = 32;
const LAP_BITS: u32 = 24;
const FULL: u64 = (1 << COUNT_BITS) - 1;

#[derive(Debug)]
pub(crate) struct TimeWindow {
    /// Nanoseconds to a bucket.
    width: u64,
    /// The newest bucket's number. An older `at` is filed under it: time that runs backwards between
    /// threads must not bring expired buckets back.
    newest: AtomicU64,
    ring: [Bucket; sync::BUCKETS],
}

#[derive(Debug)]
struct Bucket {
    calls: AtomicU64,
    failures: AtomicU64,
    slow: AtomicU64,
}

impl TimeWindow {
    /// A window over `span`, which must not be shorter than a few nanoseconds.
    pub(crate) fn new(span: Duration) -> Self {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self {
            width: (nanos / BUCKETS).max(1),
            newest: AtomicU64::new(0),
            ring: std::array::from_fn(|_| Bucket {
                calls: AtomicU64::new(0),
                failures: AtomicU64::new(0),
                slow: AtomicU64::new(0),
            }),
        }
    }

    #[inline(always)]
    pub(crate) fn record(&self, term: u64, at: u64, seen: Seen, still: impl Fn() -> bool) {
        let number = self.advance(at);
        // The call before its failure: a reader takes them the other way round, so he never finds a
        // failure without its call.
        let Some(number) = self.add(|bucket| &bucket.calls, term, number, &still) else {
            return;
        };
        if seen.failed {
            self.add(|bucket| &bucket.failures, term, number, &still);
        }
        if seen.slow {
            self.add(|bucket| &bucket.slow, term, number, &still);
        }
    }

    pub(crate) fn counts(&self, term: u64, at: u64) -> Counts {
        let newest = self.newest.load(Ordering::Acquire).max(at / self.width);
        let mut sum = Counts::default();
        for number in newest.saturating_sub(BUCKETS - 1)..=newest {
            let bucket = &self.ring[place(number)];
            let tag = tag(term, number);
            let count = |word: &AtomicU64| {
                let word = word.load(Ordering::Acquire);
                if word >> COUNT_BITS == tag {
                    word & FULL
                } else {
                    0
                }
            };
            let (failures, slow) = (count(&bucket.failures), count(&bucket.slow));
            let calls = count(&bucket.calls);
            // A bucket that is taken over while it is read may show more failures than calls.
            sum.calls += calls;
            sum.failures += failures.min(calls);
            sum.slow += slow.min(calls);
        }
        sum
    }

    /// The bucket that a call of this time is filed under. Nearly always it is the newest, and that
    /// is seen without a division.
    #[inline]
    fn advance(&self, at: u64) -> u64 {
        let newest = self.newest.load(Ordering::Acquire);
        if at < newest.saturating_add(1).saturating_mul(self.width) {
            return newest;
        }
        let number = at / self.width;
        self.newest.fetch_max(number, Ordering::AcqRel).max(number)
    }

    /// Adds one, and says under which bucket; none where the term has passed.
    #[inline]
    fn add(
        &self,
        word: impl Fn(&Bucket) -> &AtomicU64,
        term: u64,
        mut number: u64,
        still: &impl Fn() -> bool,
    ) -> Option<u64> {
        loop {
            let word = word(&self.ring[place(number)]);
            let tag = tag(term, number);
            let old = word.load(Ordering::Acquire);
            let new = if old >> COUNT_BITS == tag {
                // A bucket that is full stays full rather than spill into its tag.
                if old & FULL == FULL {
                    return Some(number);
                }
                old + 1
            } else {
                // The tag is another's. A later bucket's is never put before `newest` has moved, a
                // later term's never before the term has passed; so what is neither is stale.
                let newest = self.newest.load(Ordering::Acquire);
                if newest > number {
                    number = newest;
                    continue;
                }
                if !still() {
                    return None;
                }
                tag << COUNT_BITS | 1
            };
            if word
                .compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
            {
                return Some(number);
            }
        }
    }
}

fn place(number: u64) -> usize {
    (number % BUCKETS) as usize
}

fn tag(term: u64, number: u64) -> u64 {
    let lap = (number / BUCKETS) & ((1 << LAP_BITS) - 1);
    (term & 0xff) << LAP_BITS | lap
}
