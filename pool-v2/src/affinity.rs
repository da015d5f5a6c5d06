//! Which worker a session prefers, and what that preference is worth.
//!
//! A session that is new goes where rendezvous hashing puts it, and is pinned there; the pin holds
//! while the pool grows and shrinks, until the session has not called for the configured time. A
//! pin names a slot and not a worker: who stands in for a lost worker serves its sessions.
//!
//! Invariants: a slot that goes moves only its own sessions; the pins are bounded in number.

mod pins;

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use self::pins::Pins;

/// What a session's preference is worth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AffinityMode {
    /// The session's worker where it has room, else any other.
    #[default]
    Hint,
    /// The session's worker, and the call waits for it.
    StrictQueue,
    /// The session's worker, and the call is refused at once where it has no room.
    StrictFailFast,
}

/// How sessions are kept near their workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AffinityConfig {
    /// What a session's preference is worth.
    pub mode: AffinityMode,
    /// How long a session that does not call is remembered.
    #[serde(with = "humantime_serde")]
    pub expire_after: Duration,
    /// How many sessions are remembered at most: of those that called last, at least half as many.
    pub max_sessions: usize,
}

impl Default for AffinityConfig {
    fn default() -> Self {
        Self {
            mode: AffinityMode::Hint,
            expire_after: Duration::from_secs(300),
            max_sessions: 1_000_000,
        }
    }
}

/// A session's key, hashed once. Two sessions that share it, one pair in 10^18 of them, merely
/// share a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SessionHash(u64);

impl SessionHash {
    pub(crate) fn bits(self) -> u64 {
        self.0
    }
}

/// Counts of calls that came with a session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Hits {
    /// Calls of a known session that went to its slot.
    pub(crate) hits: u64,
    /// Calls of a known session that went elsewhere.
    pub(crate) misses: u64,
}

/// Where sessions are.
#[derive(Debug)]
pub(crate) struct Affinity {
    /// Keyed anew in each process: a caller cannot choose sessions that all fall on one worker.
    keys: RandomState,
    mode: AffinityMode,
    pins: Pins,
    hits: Hits,
}

impl Affinity {
    pub(crate) fn new(config: &AffinityConfig, now: Instant) -> Self {
        Self {
            keys: RandomState::new(),
            mode: config.mode,
            pins: Pins::new(config.expire_after, config.max_sessions, now),
            hits: Hits::default(),
        }
    }

    pub(crate) fn mode(&self) -> AffinityMode {
        self.mode
    }

    pub(crate) fn hash(&self, session: &str) -> SessionHash {
        SessionHash(self.keys.hash_one(session))
    }

    /// The slot of the session among those that are there. A pin on a slot that is gone for good
    /// is forgotten.
    pub(crate) fn slot(
        &mut self,
        session: SessionHash,
        now: Instant,
        exists: impl Fn(usize) -> bool,
        slots: impl Iterator<Item = usize>,
    ) -> Option<usize> {
        if let Some(slot) = self.pins.get(session.bits(), now) {
            if exists(slot) {
                return Some(slot);
            }
            self.pins.remove(session.bits());
        }
        preferred(session, slots)
    }

    /// A call of the session was given to `slot`, where `wanted` was its own.
    pub(crate) fn granted(
        &mut self,
        session: SessionHash,
        wanted: usize,
        slot: usize,
        now: Instant,
    ) {
        let known = self.pins.insert(session.bits(), wanted, now);
        if known {
            if wanted == slot {
                self.hits.hits += 1;
            } else {
                self.hits.misses += 1;
            }
        }
    }

    pub(crate) fn hits(&self) -> Hits {
        self.hits
    }

    pub(crate) fn pinned(&self) -> usize {
        self.pins.len()
    }
}

/// The slot that scores highest for the session.
fn preferred(session: SessionHash, slots: impl Iterator<Item = usize>) -> Option<usize> {
    slots.max_by_key(|slot| score(session, *slot))
}

/// Mixes as SplitMix64 does: every bit of the session and of the slot bears on every bit of the
/// score.
fn score(session: SessionHash, slot: usize) -> u64 {
    let mut x = session.bits() ^ (slot as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn affinity() -> Affinity {
        Affinity::new(&AffinityConfig::default(), Instant::now())
    }

    #[test]
    fn a_lost_slot_moves_only_its_own_sessions() {
        let affinity = affinity();
        for n in 0..500 {
            let session = affinity.hash(&format!("session-{n}"));
            let before = preferred(session, 0..8).unwrap();
            let after = preferred(session, (0..8).filter(|slot| *slot != 3)).unwrap();
            assert!(
                before == 3 || after == before,
                "session {n} moved from {before} to {after}"
            );
        }
    }

    #[test]
    fn sessions_are_spread() {
        let affinity = affinity();
        let mut counts = BTreeMap::<usize, usize>::new();
        for n in 0..4000 {
            let session = affinity.hash(&format!("s{n}"));
            *counts.entry(preferred(session, 0..4).unwrap()).or_default() += 1;
        }
        // Six standard deviations of a fair spread.
        assert!(
            counts.values().all(|count| (835..1165).contains(count)),
            "{counts:?}"
        );
        let session = affinity.hash("s");
        assert_eq!(preferred(session, std::iter::empty()), None);
    }

    #[test]
    fn a_pin_holds_while_the_pool_grows_and_follows_when_its_slot_goes() {
        let (mut affinity, now) = (affinity(), Instant::now());
        for n in 0..200 {
            let session = affinity.hash(&format!("s{n}"));
            let first = affinity.slot(session, now, |_| true, 0..2).unwrap();
            affinity.granted(session, first, first, now);
            let grown = affinity.slot(session, now, |_| true, 0..16).unwrap();
            assert_eq!(grown, first, "a larger pool moves nobody");
            let shrunk = affinity
                .slot(session, now, |slot| slot != first, [5, 6].into_iter())
                .unwrap();
            assert_ne!(shrunk, first);
        }
    }

    #[test]
    fn hits_and_misses_are_of_known_sessions_only() {
        let (mut affinity, now) = (affinity(), Instant::now());
        let session = affinity.hash("ann");
        affinity.granted(session, 1, 1, now);
        assert_eq!(
            affinity.hits(),
            Hits::default(),
            "the first call hits nothing"
        );
        affinity.granted(session, 1, 1, now);
        affinity.granted(session, 1, 0, now);
        assert_eq!(affinity.hits(), Hits { hits: 1, misses: 1 });
        assert_eq!(affinity.pinned(), 1);
    }
}
