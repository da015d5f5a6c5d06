//! A bounded map from sessions to slots whose entries expire.
//!
//! Two generations: what is used goes into the young one; when that is old or full, it becomes the
//! old one, and what was the old one is forgotten at once. So nothing is swept, nothing is linked,
//! and a session costs its hash, its slot and the time of its last call: 16 bytes, about 40 with
//! the room that a hash table keeps free. A list by last use, as a usual cache has, costs four
//! times that.
//!
//! Sixteen such pairs, so that a table that grows moves a sixteenth of the sessions at a time.
//!
//! Invariants: never more than the bound; an entry is answered until its time has passed and not
//! longer, and is out of memory within twice its time of the shard's next call.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Duration;

use tokio::time::Instant;

const SHARDS: usize = 16;

/// Keys are hashes already.
#[derive(Debug, Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

type Table = HashMap<u64, Pin, BuildHasherDefault<Identity>>;

#[derive(Debug, Clone, Copy)]
struct Pin {
    slot: u16,
    /// Tenths of a second since the pins began: six years fit into it.
    used: u32,
}

#[derive(Debug, Default)]
struct Shard {
    young: Table,
    old: Table,
    /// When the young generation began, as in [`Pin::used`].
    began: u32,
}

#[derive(Debug)]
pub(super) struct Pins {
    shards: Vec<Shard>,
    epoch: Instant,
    /// In tenths of a second.
    expire_after: u32,
    /// Entries of one generation of one shard.
    room: usize,
}

impl Pins {
    pub(super) fn new(expire_after: Duration, max: usize, now: Instant) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            epoch: now,
            expire_after: tenths(expire_after).max(1),
            room: (max / (2 * SHARDS)).max(1),
        }
    }

    /// The slot of a session that has called within its time.
    pub(super) fn get(&mut self, session: u64, now: Instant) -> Option<usize> {
        let now = self.tenths_since_epoch(now);
        let shard = &self.shards[shard_of(session)];
        let pin = shard
            .young
            .get(&session)
            .or_else(|| shard.old.get(&session))?;
        (now.saturating_sub(pin.used) <= self.expire_after).then_some(usize::from(pin.slot))
    }

    /// Notes a call of the session. `true` where the session was known.
    pub(super) fn insert(&mut self, session: u64, slot: usize, now: Instant) -> bool {
        let now = self.tenths_since_epoch(now);
        let expire_after = self.expire_after;
        let room = self.room;
        let shard = &mut self.shards[shard_of(session)];
        if shard.young.len() >= room || now.saturating_sub(shard.began) >= expire_after {
            shard.old = std::mem::take(&mut shard.young);
            shard.began = now;
        }
        let fresh = |pin: &Pin| now.saturating_sub(pin.used) <= expire_after;
        let slot = u16::try_from(slot).unwrap_or(u16::MAX);
        let known = shard.old.remove(&session).is_some_and(|pin| fresh(&pin));
        let before = shard.young.insert(session, Pin { slot, used: now });
        known || before.is_some_and(|pin| fresh(&pin))
    }

    pub(super) fn remove(&mut self, session: u64) {
        let shard = &mut self.shards[shard_of(session)];
        shard.young.remove(&session);
        shard.old.remove(&session);
    }

    pub(super) fn len(&self) -> usize {
        let of = |shard: &Shard| shard.young.len() + shard.old.len();
        self.shards.iter().map(of).sum()
    }

    fn tenths_since_epoch(&self, now: Instant) -> u32 {
        tenths(now.saturating_duration_since(self.epoch))
    }
}

fn shard_of(session: u64) -> usize {
    // The low bits choose the place in the table, the high ones the table.
    (session >> 60) as usize % SHARDS
}

fn tenths(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis() / 100).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Spread over the shards as hashes are.
    fn key(n: u64) -> u64 {
        n.wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    #[test]
    fn a_session_is_known_for_its_time_and_no_longer() {
        let now = Instant::now();
        let mut pins = Pins::new(MINUTE, 1000, now);
        assert!(!pins.insert(key(1), 3, now));
        assert_eq!(pins.get(key(1), now + MINUTE), Some(3));
        assert_eq!(
            pins.get(key(1), now + MINUTE + Duration::from_secs(1)),
            None
        );
        // Each call is a new beginning, across any number of generations.
        for step in 1..20 {
            assert!(
                pins.insert(key(1), 3, now + step * MINUTE * 9 / 10),
                "{step}"
            );
        }
        assert!(!pins.insert(key(1), 3, now + 30 * MINUTE));
    }

    #[test]
    fn the_bound_holds_and_the_longest_silent_go_first() {
        let now = Instant::now();
        let mut pins = Pins::new(MINUTE, 3200, now);
        for n in 0..100_000 {
            pins.insert(key(n), 1, now);
            assert!(pins.len() <= 3200);
        }
        assert!(pins.get(key(0), now).is_none());
        // At least the younger half of the bound is there.
        let there = (98_900..100_000).filter(|n| pins.get(key(*n), now).is_some());
        assert_eq!(there.count(), 1_100);
    }

    #[test]
    fn the_silent_leave_memory() {
        let now = Instant::now();
        let mut pins = Pins::new(MINUTE, 100_000, now);
        for n in 0..10_000 {
            pins.insert(key(n), 1, now);
        }
        // One caller on each shard later, twice.
        for later in [now + 2 * MINUTE, now + 4 * MINUTE] {
            for shard in 0..16_u64 {
                pins.insert(shard << 60, 1, later);
            }
        }
        assert_eq!(pins.len(), 16);
    }

    #[test]
    fn a_removed_session_is_not_known() {
        let now = Instant::now();
        let mut pins = Pins::new(MINUTE, 1000, now);
        pins.insert(key(1), 3, now);
        pins.remove(key(1));
        assert_eq!(pins.get(key(1), now), None);
    }
}
