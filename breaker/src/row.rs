//! How many calls have failed in a row, over all threads, without a lock.
//!
//! Invariants: the count is that of some order of the reports; a success of a healthy callee writes
//! nothing, so threads that all succeed do not contend for the word.

use crate::sync::{AtomicU64, Ordering};

const COUNT_BITS: u32 = 32;
const COUNT: u64 = (1 << COUNT_BITS) - 1;

/// The low half is the count, the high half the term that it is of.
#[derive(Debug)]
pub(crate) struct Row(AtomicU64);

impl Row {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// A success ends the row.
    #[inline]
    pub(crate) fn end(&self, term: u64) {
        let mut old = self.0.load(Ordering::Acquire);
        while old >> COUNT_BITS == term & COUNT && old & COUNT != 0 {
            let none = old & !COUNT;
            match self
                .0
                .compare_exchange(old, none, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return,
                Err(now) => old = now,
            }
        }
    }

    /// A failure makes it longer; answers how long it is. 0 where the term has passed, which `still`
    /// denies.
    pub(crate) fn grow(&self, term: u64, still: impl Fn() -> bool) -> u32 {
        let mut old = self.0.load(Ordering::Acquire);
        loop {
            let new = if old >> COUNT_BITS == term & COUNT {
                if old & COUNT == COUNT {
                    return u32::MAX;
                }
                old + 1
            } else {
                // A later term's row is never begun before this term has passed.
                if !still() {
                    return 0;
                }
                (term & COUNT) << COUNT_BITS | 1
            };
            match self
                .0
                .compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return low(new),
                Err(now) => old = now,
            }
        }
    }

    pub(crate) fn length(&self, term: u64) -> u32 {
        let row = self.0.load(Ordering::Acquire);
        if row >> COUNT_BITS == term & COUNT {
            low(row)
        } else {
            0
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
fn low(word: u64) -> u32 {
    word as u32
}
