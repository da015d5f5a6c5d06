//! What must hold of two flags: neither decides for the other, however alike their names are.

use super::*;

const KEYS: usize = 1_000_000;

/// How far from 0 a correlation may be: the standard deviation of that of two independent flags is one
/// over the root of the number of keys, 0.001, and this is six of them. There are 4,750 pairs of flags
/// and shares.
const SMALL: f64 = 0.006;

const SHARES: [f64; 5] = [1.0, 5.0, 25.0, 50.0, 90.0];

const FLAGS: [&str; 20] = [
    "a",
    "a_",
    "a__",
    "aa",
    "ab",
    "ba",
    "flag",
    "flag_",
    "flag_1",
    "flag_2",
    "flag_11",
    "flag_12",
    "1_flag",
    "gradual_rollout_percentage",
    "gradual_rollout_percentages",
    "pool_v1_enabled",
    "pool_v2_enabled",
    "shadow_percentage",
    "session",
    "session_1",
];

/// For which keys a flag is on at a share.
struct On {
    keys: Vec<u64>,
    number: u32,
}

impl On {
    fn of(buckets: &[Bucket], share: f64) -> Self {
        let share = Percent::from_percent(share).unwrap();
        let bits = buckets.chunks(64).map(|buckets| {
            let on = buckets.iter().enumerate();
            on.fold(0, |bits, (place, bucket)| {
                bits | (u64::from(bucket.is_within(share)) << place)
            })
        });
        let keys: Vec<u64> = bits.collect();
        let number = keys.iter().map(|bits| bits.count_ones()).sum();
        Self { keys, number }
    }

    /// The correlation of two yes-or-no answers: 0 where they are independent, 1 where they are the same.
    fn phi(&self, other: &Self) -> f64 {
        let pairs = self.keys.iter().zip(&other.keys);
        let both: u32 = pairs.map(|(one, other)| (one & other).count_ones()).sum();
        let [all, both, one, other] = [
            u32::try_from(KEYS).unwrap(),
            both,
            self.number,
            other.number,
        ]
        .map(f64::from);
        (all * both - one * other) / (one * (all - one) * other * (all - other)).sqrt()
    }
}

#[test]
fn flags_place_a_key_independently_at_every_pair_of_shares() {
    let keys: Vec<String> = (0..KEYS)
        .map(|number| format!("session-{number}"))
        .collect();
    let flags = FLAGS.map(|flag| {
        let placer = Placer::new(flag);
        let buckets: Vec<Bucket> = keys.iter().map(|key| placer.bucket(key)).collect();
        SHARES.map(|share| On::of(&buckets, share))
    });
    for (number, one) in flags.iter().enumerate() {
        for (one, share) in one.iter().zip(SHARES) {
            let itself = one.phi(one);
            assert!((itself - 1.0).abs() < 1e-9, "this can tell: {itself}");
            for (other_number, other) in flags.iter().enumerate().skip(number + 1) {
                for (other, other_share) in other.iter().zip(SHARES) {
                    let phi = one.phi(other);
                    assert!(
                        phi.abs() < SMALL,
                        "`{}` at {share} % and `{}` at {other_share} %: {phi}",
                        FLAGS[number],
                        FLAGS[other_number]
                    );
                }
            }
        }
    }
}
