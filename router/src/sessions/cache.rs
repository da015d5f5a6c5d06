//! The states used last, in memory.
//!
//! Invariants: what stands here is what the store holds, because it is filed under the session's
//! turn, after the store has it; the states together stay under the limit.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Saved, SessionKey};

/// What an entry costs beside its state and its session's name: both maps' places, roughly.
const ENTRY: usize = 192;

/// A bounded map that drops what was used longest ago.
#[derive(Debug)]
pub(crate) struct StateCache {
    limit: usize,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    by_key: HashMap<SessionKey, (Saved, u64)>,
    by_use: BTreeMap<u64, SessionKey>,
    uses: u64,
    bytes: usize,
}

fn cost(key: &SessionKey, saved: &Saved) -> usize {
    ENTRY + key.session.len() + saved.state.as_json().get().len()
}

impl Entries {
    fn remove(&mut self, key: &SessionKey) {
        if let Some((saved, used)) = self.by_key.remove(key) {
            self.bytes -= cost(key, &saved);
            self.by_use.remove(&used);
        }
    }
}

impl StateCache {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            entries: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        // A cache that was left half-changed would at worst hold less than it could.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, key: &SessionKey) -> Option<Saved> {
        let mut entries = self.lock();
        let entries = &mut *entries;
        entries.uses += 1;
        let (saved, used) = entries.by_key.get_mut(key)?;
        if let Some(key) = entries.by_use.remove(used) {
            *used = entries.uses;
            entries.by_use.insert(*used, key);
        }
        Some(saved.clone())
    }

    pub(crate) fn put(&self, key: &SessionKey, saved: Saved) {
        let mut entries = self.lock();
        entries.remove(key);
        let cost = cost(key, &saved);
        if cost > self.limit {
            return;
        }
        entries.bytes += cost;
        entries.uses += 1;
        let used = entries.uses;
        entries.by_use.insert(used, key.clone());
        entries.by_key.insert(key.clone(), (saved, used));
        while entries.bytes > self.limit {
            let Some((_, oldest)) = entries.by_use.first_key_value() else {
                break;
            };
            let oldest = oldest.clone();
            entries.remove(&oldest);
        }
    }

    pub(crate) fn remove(&self, key: &SessionKey) {
        self.lock().remove(key);
    }

    /// Drops every session of a program version.
    pub(crate) fn forget(&self, version: u64) {
        let mut entries = self.lock();
        let gone: Vec<_> = entries
            .by_key
            .keys()
            .filter(|key| key.version == version)
            .cloned()
            .collect();
        for key in gone {
            entries.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::value::RawValue;

    use super::*;

    fn key(number: u64) -> SessionKey {
        SessionKey {
            version: number / 1_000,
            session: number.to_string().into(),
        }
    }

    fn saved(text: &str) -> Saved {
        Saved {
            state: RawValue::from_string(format!("{text:?}")).unwrap().into(),
            used_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn what_was_used_longest_ago_makes_room() {
        let one = cost(&key(1), &saved("x"));
        let cache = StateCache::new(3 * one);
        for number in 1..=3 {
            cache.put(&key(number), saved("x"));
        }
        assert!(cache.get(&key(1)).is_some());
        cache.put(&key(4), saved("x"));
        assert!(cache.get(&key(2)).is_none(), "it was used longest ago");
        for number in [1, 3, 4] {
            assert_eq!(cache.get(&key(number)), Some(saved("x")), "{number}");
        }
        cache.put(&key(3), saved("y"));
        assert_eq!(cache.get(&key(3)), Some(saved("y")));
        assert!(cache.lock().bytes <= 3 * one);
    }

    #[test]
    fn a_state_larger_than_everything_is_not_kept_and_drops_nothing() {
        let cache = StateCache::new(1_000);
        cache.put(&key(1), saved("x"));
        cache.put(&key(2), saved(&"x".repeat(2_000)));
        assert!(cache.get(&key(1)).is_some() && cache.get(&key(2)).is_none());
        cache.put(&key(1), saved(&"x".repeat(2_000)));
        assert!(
            cache.get(&key(1)).is_none(),
            "the older state must not stay for the newer"
        );
    }

    #[test]
    fn a_forgotten_program_leaves_nothing_behind() {
        let cache = StateCache::new(1 << 20);
        for number in [1, 2, 1_001] {
            cache.put(&key(number), saved("x"));
        }
        cache.forget(0);
        assert!(cache.get(&key(1)).is_none() && cache.get(&key(1_001)).is_some());
        cache.remove(&key(1_001));
        let entries = cache.lock();
        assert_eq!((entries.bytes, entries.by_use.len()), (0, 0));
    }
}
