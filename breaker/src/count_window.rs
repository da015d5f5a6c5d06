//! The last so many calls, as a ring with a place for each.
//!
//! A place holds the term of its call, so a new term begins empty without anything being cleared.
//! A reader walks the ring: only a failure or a slow call asks, and a walk of a hundred places costs
//! less than totals that every call would have to keep.

use crate::sync::{AtomicU64, Ordering};
use crate::window::{Counts, Seen};

const TAKEN: u64 = 1;
const FAILED: u64 = 2;
const SLOW: u64 = 4;
const TERM_SHIFT: u32 = 3;

#[derive(Debug)]
pub(crate) struct CountWindow {
    places: Box<[AtomicU64]>,
    next: AtomicU64,
}

impl CountWindow {
    pub(crate) fn new(calls: u32) -> Self {
        Self {
            places: (0..calls.max(1)).map(|_| AtomicU64::new(0)).collect(),
            next: AtomicU64::new(0),
        }
    }

    #[inline(always)]
    pub(crate) fn record(&self, term: u64, seen: Seen) {
        let place = self.turn();
        let failed = if seen.failed { FAILED } else { 0 };
        let slow = if seen.slow { SLOW } else { 0 };
        self.places[place].store(
            term << TERM_SHIFT | failed | slow | TAKEN,
            Ordering::Release,
        );
    }

    /// The place of the next call. Kept below the number of places: a remainder of a growing number
    /// would cost a division.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a place in memory")]
    fn turn(&self) -> usize {
        let mut place = self.next.load(Ordering::Relaxed);
        loop {
            let after = place + 1;
            let after = if after == self.places.len() as u64 {
                0
            } else {
                after
            };
            match self.next.compare_exchange_weak(
                place,
                after,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return place as usize,
                Err(now) => place = now,
            }
        }
    }

    pub(crate) fn counts(&self, term: u64) -> Counts {
        let mut sum = Counts::default();
        let wanted = term << TERM_SHIFT | TAKEN;
        for place in &self.places {
            let found = place.load(Ordering::Acquire);
            if found & !(FAILED | SLOW) == wanted {
                sum.calls += 1;
                sum.failures += u64::from(found & FAILED != 0);
                sum.slow += u64::from(found & SLOW != 0);
            }
        }
        sum
    }
}
