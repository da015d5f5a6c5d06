//! The same numbers every time.

/// SplitMix64, and what is made of it.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
    /// Normal numbers come in pairs.
    spare: Option<f64>,
}

impl Random {
    /// The numbers of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // Seeds that are near one another shall not begin alike.
        let mut random = Self {
            state: seed ^ 0x5851_f42d_4c95_7f2d,
            spare: None,
        };
        random.state = random.bits();
        random
    }

    fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to 1, without 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    pub fn share(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Normally distributed around 0, with a deviation of 1.
    pub fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (-2.0 * (1.0 - self.share()).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * self.share()).sin_cos();
        self.spare = Some(radius * sin);
        radius * cos
    }

    /// How many of something come where `mean` are to be expected (Poisson).
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "never below zero, and near the mean"
    )]
    pub fn number(&mut self, mean: f64) -> u64 {
        if mean > 60.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0) as u64;
        }
        let (limit, mut product, mut number) = ((-mean).exp(), self.share(), 0);
        while product > limit {
            product *= self.share();
            number += 1;
        }
        number
    }
}
