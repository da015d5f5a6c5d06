//! How long to wait before another try.
//!
//! Pure: the randomness of jitter is an argument, so that a schedule can be tested and replayed.
//! Invariants: no delay is longer than the cap, and without jitter delays never shrink.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::InvalidConfig;

const DEFAULT_BASE: Duration = Duration::from_secs(1);
const DEFAULT_CAP: Duration = Duration::from_secs(30);

/// A schedule of delays.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Backoff {
    /// No wait at all.
    None,
    /// `base`, `2 × base`, `3 × base`, … up to `cap`.
    Linear {
        /// The first delay, and by how much each further one is longer.
        #[serde(with = "humantime_serde", default = "default_base")]
        base: Duration,
        /// The longest delay.
        #[serde(with = "humantime_serde", default = "default_cap")]
        cap: Duration,
        /// The share of each delay, 0 to 1, that chance may take off.
        #[serde(default)]
        jitter: f64,
    },
    /// `base`, `2 × base`, `4 × base`, … up to `cap`.
    Exponential {
        /// The first delay.
        #[serde(with = "humantime_serde", default = "default_base")]
        base: Duration,
        /// The longest delay.
        #[serde(with = "humantime_serde", default = "default_cap")]
        cap: Duration,
        /// The share of each delay, 0 to 1, that chance may take off.
        #[serde(default)]
        jitter: f64,
    },
}

fn default_base() -> Duration {
    DEFAULT_BASE
}

fn default_cap() -> Duration {
    DEFAULT_CAP
}

impl Backoff {
    /// A linear schedule without jitter.
    #[must_use]
    pub const fn linear(base: Duration, cap: Duration) -> Self {
        Self::Linear {
            base,
            cap,
            jitter: 0.0,
        }
    }

    /// An exponential schedule without jitter.
    #[must_use]
    pub const fn exponential(base: Duration, cap: Duration) -> Self {
        Self::Exponential {
            base,
            cap,
            jitter: 0.0,
        }
    }

    /// The same schedule with `jitter`: chance may take off this share (0 to 1) of each delay.
    #[must_use]
    pub const fn with_jitter(self, jitter: f64) -> Self {
        match self {
            Self::None => Self::None,
            Self::Linear { base, cap, .. } => Self::Linear { base, cap, jitter },
            Self::Exponential { base, cap, .. } => Self::Exponential { base, cap, jitter },
        }
    }

    /// The schedule's name: `none`, `linear` or `exponential`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Linear { .. } => "linear",
            Self::Exponential { .. } => "exponential",
        }
    }

    /// How long to wait after `attempt` failures in a row: nothing after 0, the base after 1.
    #[must_use]
    pub fn delay(&self, attempt: u32) -> Duration {
        if attempt == 0 {
            return Duration::ZERO;
        }
        match *self {
            Self::None => Duration::ZERO,
            Self::Linear { base, cap, .. } => base.saturating_mul(attempt).min(cap),
            Self::Exponential { base, cap, .. } => {
                // 2^31 of anything is beyond every sane cap, so a larger exponent changes nothing.
                let factor = 1_u32 << (attempt - 1).min(31);
                base.saturating_mul(factor).min(cap)
            }
        }
    }

    /// [`delay`](Self::delay), less a part of its jitter. `random` is uniform over all of `u64`.
    #[must_use]
    pub fn jittered(&self, attempt: u32, random: u64) -> Duration {
        let delay = self.delay(attempt);
        let jitter = match *self {
            Self::None => 0.0,
            Self::Linear { jitter, .. } | Self::Exponential { jitter, .. } => jitter,
        };
        if jitter.is_nan() || jitter <= 0.0 {
            return delay;
        }
        // 53 bits are what an f64 holds exactly.
        let unit = (random >> 11) as f64 / (1_u64 << 53) as f64;
        delay.mul_f64(1.0 - jitter.min(1.0) * unit)
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// When the base is longer than the cap, or the jitter is not between 0 and 1.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let (base, cap, jitter) = match *self {
            Self::None => return Ok(()),
            Self::Linear { base, cap, jitter } | Self::Exponential { base, cap, jitter } => {
                (base, cap, jitter)
            }
        };
        if base > cap {
            return Err(InvalidConfig::new(
                "backoff base",
                &humantime::format_duration(base),
                "it must not be longer than the cap",
            ));
        }
        if !(0.0..=1.0).contains(&jitter) {
            return Err(InvalidConfig::new(
                "backoff jitter",
                &jitter,
                "it must be between 0 and 1",
            ));
        }
        Ok(())
    }
}

impl Default for Backoff {
    /// Exponential from 1 s, at most 30 s, without jitter.
    fn default() -> Self {
        Self::exponential(DEFAULT_BASE, DEFAULT_CAP)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn any_backoff() -> impl Strategy<Value = Backoff> {
        let parts = (1..10_000_u64, 0..100_000_u64, 0.0..=1.0_f64, any::<bool>());
        parts.prop_map(|(base, more, jitter, linear)| {
            let base = Duration::from_millis(base);
            let cap = base + Duration::from_millis(more);
            let backoff = if linear {
                Backoff::linear(base, cap)
            } else {
                Backoff::exponential(base, cap)
            };
            backoff.with_jitter(jitter)
        })
    }

    fn seconds(backoff: Backoff) -> Vec<u64> {
        (0..8)
            .map(|attempt| backoff.delay(attempt).as_secs())
            .collect()
    }

    #[test]
    fn the_schedules_are_what_their_names_say() {
        assert_eq!(seconds(Backoff::default()), [0, 1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(
            seconds(Backoff::linear(SECOND, SECOND * 5)),
            [0, 1, 2, 3, 4, 5, 5, 5]
        );
        assert_eq!(seconds(Backoff::None), [0; 8]);
        assert_eq!(Backoff::default().delay(u32::MAX), SECOND * 30);
    }

    #[test]
    fn settings_are_checked() {
        assert_eq!(Backoff::default().validate(), Ok(()));
        let upside_down = Backoff::linear(SECOND * 2, SECOND).validate().unwrap_err();
        assert_eq!(
            upside_down.to_string(),
            "backoff base is 2s: it must not be longer than the cap"
        );
        for jitter in [-0.1, 1.1, f64::NAN] {
            assert!(
                Backoff::default().with_jitter(jitter).validate().is_err(),
                "{jitter}"
            );
        }
    }

    #[test]
    fn it_reads_from_configuration() {
        let read = |json| serde_json::from_str::<Backoff>(json);
        let short = read(r#"{"kind":"exponential","base":"100ms","jitter":0.5}"#).unwrap();
        let expected = Backoff::exponential(Duration::from_millis(100), SECOND * 30);
        assert_eq!(short, expected.with_jitter(0.5));
        assert_eq!(read(r#"{"kind":"none"}"#).unwrap(), Backoff::None);
        assert!(read(r#"{"kind":"linear","bse":"1s"}"#).is_err());
        assert!(read(r#"{"kind":"linear","base":1}"#).is_err());
    }

    proptest! {
        #[test]
        fn delays_grow_up_to_the_cap(backoff in any_backoff(), attempt in 1..200_u32) {
            let (Backoff::Linear { base, cap, .. } | Backoff::Exponential { base, cap, .. }) =
                backoff else { unreachable!() };
            prop_assert_eq!(backoff.delay(1), base);
            prop_assert!(backoff.delay(attempt) <= backoff.delay(attempt + 1));
            prop_assert!(backoff.delay(attempt + 1) <= cap);
        }

        #[test]
        fn jitter_takes_off_its_share_at_most(
            backoff in any_backoff(), attempt in 0..200_u32, random in any::<u64>(),
        ) {
            let (Backoff::Linear { jitter, .. } | Backoff::Exponential { jitter, .. }) = backoff
                else { unreachable!() };
            let (full, taken) = (backoff.delay(attempt), backoff.jittered(attempt, random));
            prop_assert!(taken <= full);
            prop_assert!(taken.as_secs_f64() >= full.as_secs_f64() * (1.0 - jitter) - 1e-6);
            prop_assert_eq!(backoff.with_jitter(0.0).jittered(attempt, random), full);
        }
    }

    #[test]
    fn jitter_reaches_both_ends() {
        let backoff = Backoff::linear(SECOND, SECOND).with_jitter(1.0);
        assert_eq!(backoff.jittered(1, 0), SECOND);
        assert!(backoff.jittered(1, u64::MAX) < Duration::from_micros(1));
    }
}
