//! Chance that comes out the same for the same seed.

use std::time::Duration;

/// SplitMix64: a few lines, and good enough to choose moments.
#[derive(Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A duration from `shortest` up to `longest`.
    pub(super) fn between(&mut self, shortest: Duration, longest: Duration) -> Duration {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a share needs no more than 53 bits"
        )]
        let share = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        shortest + (longest - shortest).mul_f64(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_chooses_the_same_moments_within_the_bounds() {
        let (low, high) = (Duration::from_millis(100), Duration::from_secs(2));
        let moments = |seed| -> Vec<Duration> {
            let mut chance = Chance::new(seed);
            (0..100).map(|_| chance.between(low, high)).collect()
        };
        assert_eq!(moments(1), moments(1));
        assert_ne!(moments(1), moments(2));
        assert!(
            moments(3)
                .iter()
                .all(|moment| (low..=high).contains(moment))
        );
        let late = moments(4)
            .iter()
            .filter(|moment| **moment > high / 2)
            .count();
        assert!((25..75).contains(&late), "{late} of 100 in the second half");
    }
}
