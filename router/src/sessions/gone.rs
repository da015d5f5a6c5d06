//! Program versions that were deleted, for calls that still run.
//!
//! Invariants: a version is never used twice, so one that is gone stays gone; as many are remembered
//! as could be deleted while one call runs, and no more.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Beyond it the oldest is forgotten. What a call of that one leaves then expires like any other
/// state, and nobody reads it.
const MOST: usize = 10_000;

/// The versions that were deleted last.
#[derive(Debug, Default)]
pub(crate) struct Gone(Mutex<Versions>);

#[derive(Debug, Default)]
struct Versions {
    known: HashSet<u64>,
    in_order: VecDeque<u64>,
}

impl Gone {
    fn lock(&self) -> MutexGuard<'_, Versions> {
        // Half a change at worst forgets a version early.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, version: u64) {
        let mut versions = self.lock();
        if versions.known.insert(version) {
            versions.in_order.push_back(version);
        }
        if versions.in_order.len() > MOST
            && let Some(oldest) = versions.in_order.pop_front()
        {
            versions.known.remove(&oldest);
        }
    }

    pub(crate) fn contains(&self, version: u64) -> bool {
        self.lock().known.contains(&version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_deleted_last_are_remembered_and_no_more() {
        let gone = Gone::default();
        for version in 0..=MOST as u64 {
            gone.add(version);
            gone.add(version);
        }
        assert!(!gone.contains(0) && gone.contains(1) && gone.contains(MOST as u64));
        assert!(!gone.contains(u64::MAX));
        assert_eq!(gone.lock().known.len(), MOST);
    }
}
