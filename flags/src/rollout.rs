//! A key's fixed place in the rollout of one flag.
//!
//! Invariants: the place depends on the flag and the key alone, so raising a share only adds keys and
//! lowering it removes the newest first; two flags place the same key independently. The hash and the
//! arithmetic are those of flagd's `fractional` operation, version 3, so that other languages that
//! evaluate the same flag agree. They never change: another hash would be another [`HASH_VERSION`].

use serde::Serialize;

use crate::murmur::Murmur3;
use crate::percent::Percent;

/// The version of the hash behind [`bucket`]. It is stored with every flag, so that a program with
/// another hash refuses it, where it would otherwise silently move sessions to the other side.
///
/// Version 1 hashed the two texts joined, which told `("ab", "c")` and `("a", "bc")` not apart, and
/// is what flagd did before its version 3.
pub const HASH_VERSION: u32 = 2;

/// A key's place in 0..10,000 for one flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Bucket(u16);

impl Bucket {
    /// How many places there are: one for each basis point.
    pub const COUNT: u16 = 10_000;

    /// The place of a hash: multiply and shift, which unlike a remainder has no bias and is exact in
    /// every language with 64-bit integers.
    pub const fn from_hash(hash: u32) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a 32-bit hash times 10,000, shifted by 32, is below 10,000"
        )]
        Self(((hash as u64 * Self::COUNT as u64) >> 32) as u16)
    }

    /// The number of this place, 0 to 9,999.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Whether a flag at this share is on for keys in this place.
    pub const fn is_within(self, share: Percent) -> bool {
        self.0 < share.basis_points()
    }
}

/// The place of a key for a flag: MurmurHash3 (x86, 32 bits, seed 0) over the canonical CBOR of the
/// array of both texts, as flagd hashes `[flagKey, targetingKey]`.
///
/// ```
/// use dspex_flags::{Percent, bucket};
///
/// let place = bucket("gradual_rollout_percentage", "session-1");
/// assert_eq!(place, bucket("gradual_rollout_percentage", "session-1"));
/// assert!(place.is_within(Percent::HUNDRED) && !place.is_within(Percent::ZERO));
/// ```
pub fn bucket(flag_key: &str, targeting_key: &str) -> Bucket {
    Bucket::from_hash(Placer::new(flag_key).hash(targeting_key))
}

/// Places keys for one flag; what depends on the flag alone is computed once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placer(Murmur3);

impl Placer {
    pub(crate) fn new(flag_key: &str) -> Self {
        let mut hash = Murmur3::new();
        // CBOR: an array of two.
        hash.update(&[0x82]);
        text(&mut hash, flag_key);
        Self(hash)
    }

    /// The hash of a key for this flag.
    pub(crate) fn hash(self, targeting_key: &str) -> u32 {
        let mut hash = self.0;
        text(&mut hash, targeting_key);
        hash.finish()
    }

    pub(crate) fn bucket(self, targeting_key: &str) -> Bucket {
        Bucket::from_hash(self.hash(targeting_key))
    }
}

/// A text in canonical CBOR: its length in the shortest form, then its bytes.
fn text(hash: &mut Murmur3, text: &str) {
    let length = (text.len() as u64).to_be_bytes();
    match text.len() {
        0..=23 => hash.update(&[0x60 | length[7]]),
        24..=0xff => hash.update(&[0x78, length[7]]),
        0x100..=0xffff => hash.update(&[0x79, length[6], length[7]]),
        0x1_0000..=0xffff_ffff => {
            hash.update(&[0x7a, length[4], length[5], length[6], length[7]]);
        }
        _ => {
            hash.update(&[0x7b]);
            hash.update(&length);
        }
    }
    hash.update(text.as_bytes());
}

#[cfg(test)]
pub(crate) mod edges;
#[cfg(test)]
mod independence;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn percent() -> impl Strategy<Value = Percent> {
        (0_u16..=10_000).prop_map(|points| Percent::from_basis_points(points).unwrap())
    }

    #[test]
    fn the_ends_and_the_middle_of_the_hash_fall_where_other_languages_put_them() {
        for (hash, place) in [
            (0, 0),
            (1, 0),
            ((1_u32 << 31) - 1, 4_999),
            (1_u32 << 31, 5_000),
            (u32::MAX, 9_999),
            // The last hash of place 0 and the first of place 1.
            (429_496, 0),
            (429_497, 1),
        ] {
            assert_eq!(Bucket::from_hash(hash).get(), place, "hash {hash}");
        }
    }

    #[test]
    fn a_share_takes_as_many_places_as_it_has_basis_points() {
        for points in [0, 1, 500, 5_000, 9_999, 10_000] {
            let share = Percent::from_basis_points(points).unwrap();
            let within = (0..Bucket::COUNT).filter(|place| Bucket(*place).is_within(share));
            assert_eq!(within.count(), usize::from(points), "{share}");
        }
    }

    /// The vectors were computed with Python's `cbor2` and `mmh3`, which is what flagd's own Python
    /// evaluator does; the lengths stand on both sides of each form that CBOR has for a length.
    #[test]
    fn the_hash_is_that_of_flagd_at_every_form_of_length() {
        for (length, hash) in LENGTHS {
            let key = "k".repeat(length);
            assert_eq!(Placer::new("flag").hash(&key), hash, "{length} bytes");
        }
    }

    const LENGTHS: [(usize, u32); 9] = [
        (0, 0x4e14_b814),
        (1, 0xcca4_50c8),
        (23, 0x75bf_7b2e),
        (24, 0xbc77_1b54),
        (255, 0xb35d_901b),
        (256, 0x764e_cd72),
        (65_535, 0x2935_c1ba),
        (65_536, 0xa483_20a0),
        (1_000_000, 0x6107_30b8),
    ];

    #[test]
    fn where_the_flag_ends_and_the_key_begins_makes_a_difference() {
        assert_ne!(bucket("ab", "c"), bucket("a", "bc"));
    }

    /// Places that must never move: sessions of running systems are in them. They were computed by
    /// another implementation, in another language.
    #[test]
    fn known_keys_stay_in_their_places() {
        let places: Vec<u16> = ["", "session-1", "session-2", "séance\u{0}é", "会话"]
            .map(|key| bucket("gradual_rollout_percentage", key).get())
            .to_vec();
        assert_eq!(places, [691, 4344, 6455, 7370, 102]);
    }

    /// A million keys, at every share that can be written.
    #[test]
    fn the_share_is_within_half_a_percent_at_every_percentage() {
        const KEYS: u32 = 1_000_000;
        for flag in ["gradual_rollout_percentage", "another_flag"] {
            let mut keys_in = vec![0_u32; usize::from(Bucket::COUNT)];
            for number in 0..KEYS {
                keys_in[usize::from(bucket(flag, &format!("session-{number}")).get())] += 1;
            }
            let mut on = 0;
            for points in 1..=Bucket::COUNT {
                on += keys_in[usize::from(points) - 1];
                let share = f64::from(on) * 100.0 / f64::from(KEYS);
                let wanted = f64::from(points) / 100.0;
                assert!(
                    (share - wanted).abs() < 0.5,
                    "{flag} at {wanted} %: {share} %"
                );
            }
            assert_eq!(on, KEYS);
        }
    }

    proptest! {
        #[test]
        fn every_hash_has_a_place(hash in any::<u32>()) {
            prop_assert!(Bucket::from_hash(hash).get() < Bucket::COUNT);
        }

        #[test]
        fn a_place_never_falls_as_the_hash_rises(a in any::<u32>(), b in any::<u32>()) {
            prop_assert!(Bucket::from_hash(a.min(b)) <= Bucket::from_hash(a.max(b)));
        }

        #[test]
        fn raising_only_adds_keys(key in ".*", a in percent(), b in percent()) {
            let place = bucket("flag", &key);
            if place.is_within(a.min(b)) {
                prop_assert!(place.is_within(a.max(b)));
            }
        }

        /// Raise from `low` to `high`, then lower to something between: whoever was in at `low`
        /// stays, and whoever leaves came in last.
        #[test]
        fn lowering_removes_the_newest(
            keys in prop::collection::vec(".{0,12}", 1..200),
            mut shares in [percent(), percent(), percent()],
        ) {
            shares.sort();
            let [low, between, high] = shares;
            let came_in_at = |key: &String| bucket("flag", key).get();
            let at_high: Vec<_> = keys.iter().filter(|key| bucket("flag", key).is_within(high)).collect();
            let (kept, removed): (Vec<_>, Vec<_>) =
                at_high.iter().partition(|key| bucket("flag", key).is_within(between));
            for key in &keys {
                if bucket("flag", key).is_within(low) {
                    prop_assert!(kept.contains(&&key));
                }
            }
            let newest_kept = kept.iter().map(|key| came_in_at(key)).max();
            let oldest_removed = removed.iter().map(|key| came_in_at(key)).min();
            if let (Some(kept), Some(removed)) = (newest_kept, oldest_removed) {
                prop_assert!(kept < removed);
            }
        }

        #[test]
        fn no_share_is_nobody_and_all_is_everybody(flag in ".*", key in ".*") {
            prop_assert!(!bucket(&flag, &key).is_within(Percent::ZERO));
            prop_assert!(bucket(&flag, &key).is_within(Percent::HUNDRED));
        }
    }
}
