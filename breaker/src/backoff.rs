//! How long to wait before another try.
//!
//! Pure: the randomness of jitter is an argument, so that a schedule can be tested and replayed.
//! Invariants: no delay is longer than the cap, and without jitter delays never shrink, but for a
//! list, which is what its author wrote.

#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::InvalidConfig;
use crate::chance::{scrambled, unit};

const DEFAULT_BASE: Duration = Duration::from_secs(1);
const DEFAULT_CAP: Duration = Duration::from_secs(30);

/// The most delays that a list may have.
const MOST_DELAYS: usize = 100;

/// By how much at most a decorrelated delay is longer than the one before it.
const DECORRELATED: u32 = 3;

/// A schedule of delays. What has been deserialized is valid; what is written in code is checked by
/// whoever takes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "snake_case",
    deny_unknown_fields,
    remote = "Self"
)]
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
    /// `base`, `base`, `2 × base`, `3 × base`, `5 × base`, … up to `cap`: between the two above.
    Fibonacci {
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
    /// By chance between `base` and three times the delay before, up to `cap`. Many callers that
    /// failed in one moment spread out further than by any jitter on equal delays.
    Decorrelated {
        /// The shortest delay.
        #[serde(with = "humantime_serde", default = "default_base")]
        base: Duration,
        /// The longest delay.
        #[serde(with = "humantime_serde", default = "default_cap")]
        cap: Duration,
    },
    /// These delays, one after the other, and then the last of them again and again.
    Custom {
        /// The delays, 1 to 100.
        #[serde(with = "list")]
        delays: Vec<Duration>,
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
    /// As it is written, for whoever checks it with more to say about where it stands.
    pub(crate) fn unchecked<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }

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

    /// A Fibonacci schedule without jitter.
    #[must_use]
    pub const fn fibonacci(base: Duration, cap: Duration) -> Self {
        Self::Fibonacci {
            base,
            cap,
            jitter: 0.0,
        }
    }

    /// A schedule by chance alone.
    #[must_use]
    pub const fn decorrelated(base: Duration, cap: Duration) -> Self {
        Self::Decorrelated { base, cap }
    }

    /// A list of delays, without jitter.
    #[must_use]
    pub fn custom(delays: impl Into<Vec<Duration>>) -> Self {
        Self::Custom {
            delays: delays.into(),
            jitter: 0.0,
        }
    }

    /// The same schedule with `jitter`: chance may take off this share (0 to 1) of each delay. A
    /// schedule that has no jitter, or is chance alone, stays as it is.
    #[must_use]
    pub fn with_jitter(mut self, share: f64) -> Self {
        match &mut self {
            Self::None | Self::Decorrelated { .. } => {}
            Self::Linear { jitter, .. }
            | Self::Exponential { jitter, .. }
            | Self::Fibonacci { jitter, .. }
            | Self::Custom { jitter, .. } => *jitter = share,
        }
        self
    }

    /// The schedule's name: `none`, `linear`, `exponential`, `fibonacci`, `decorrelated` or
    /// `custom`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Linear { .. } => "linear",
            Self::Exponential { .. } => "exponential",
            Self::Fibonacci { .. } => "fibonacci",
            Self::Decorrelated { .. } => "decorrelated",
            Self::Custom { .. } => "custom",
        }
    }

    /// How long to wait after `attempt` failures in a row, before jitter: nothing after 0, the base
    /// after 1. Of a decorrelated schedule, the longest that chance may choose.
    #[must_use]
    pub fn delay(&self, attempt: u32) -> Duration {
        if attempt == 0 {
            return Duration::ZERO;
        }
        match self {
            Self::None => Duration::ZERO,
            Self::Linear { base, cap, .. } => base.saturating_mul(attempt).min(*cap),
            Self::Exponential { base, cap, .. } => {
                // 2^31 of anything is beyond every sane cap, so a larger exponent changes nothing.
                let factor = 1_u32 << (attempt - 1).min(31);
                base.saturating_mul(factor).min(*cap)
            }
            Self::Fibonacci { base, cap, .. } => base.saturating_mul(fibonacci(attempt)).min(*cap),
            Self::Decorrelated { base, cap } => base
                .saturating_mul(DECORRELATED.saturating_pow(attempt))
                .min(*cap),
            Self::Custom { delays, .. } => {
                let index = usize::try_from(attempt - 1).unwrap_or(usize::MAX);
                let found = delays.get(index).or(delays.last());
                found.copied().unwrap_or_default()
            }
        }
    }

    /// [`delay`](Self::delay), less a part of its jitter. `random` is uniform over all of `u64`.
    ///
    /// Of a decorrelated schedule the whole way to this attempt is drawn anew; where one delay
    /// should follow from the one before it, use [`delays`](Self::delays).
    #[must_use]
    pub fn jittered(&self, attempt: u32, random: u64) -> Duration {
        match self {
            Self::None => Duration::ZERO,
            Self::Decorrelated { .. } => {
                // After so many the range has long been that of the cap.
                let steps = usize::try_from(attempt.min(64)).unwrap_or(64);
                self.delays(random).take(steps).last().unwrap_or_default()
            }
            Self::Linear { jitter, .. }
            | Self::Exponential { jitter, .. }
            | Self::Fibonacci { jitter, .. }
            | Self::Custom { jitter, .. } => less(self.delay(attempt), *jitter, random),
        }
    }

    /// The delays one after the other, without end, with their jitter. Equal seeds make equal
    /// delays.
    #[must_use]
    pub fn delays(&self, seed: u64) -> Delays<'_> {
        Delays {
            backoff: self,
            attempt: 0,
            before: None,
            seed,
        }
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// When the base is longer than the cap, the jitter is not between 0 and 1, a decorrelated base
    /// is zero, or a list is empty or too long.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let (base, cap, jitter) = match self {
            Self::None => return Ok(()),
            Self::Linear { base, cap, jitter }
            | Self::Exponential { base, cap, jitter }
            | Self::Fibonacci { base, cap, jitter } => (*base, *cap, *jitter),
            Self::Decorrelated { base, cap } => {
                if base.is_zero() {
                    return Err(InvalidConfig::new(
                        "backoff base",
                        &"0s",
                        "a decorrelated one must be longer than 0s, or it never grows",
                    ));
                }
                (*base, *cap, 0.0)
            }
            Self::Custom { delays, jitter } => {
                if delays.is_empty() || delays.len() > MOST_DELAYS {
                    return Err(InvalidConfig::new(
                        "backoff delays",
                        &format!("a list of {}", delays.len()),
                        "it must have 1 to 100 delays",
                    ));
                }
                (Duration::ZERO, Duration::ZERO, *jitter)
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

impl Serialize for Backoff {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Backoff {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let backoff = Self::unchecked(deserializer)?;
        backoff.validate().map_err(D::Error::custom)?;
        Ok(backoff)
    }
}

/// The delays of a schedule, one after the other. Made by [`Backoff::delays`].
#[derive(Debug, Clone)]
pub struct Delays<'a> {
    backoff: &'a Backoff,
    attempt: u32,
    before: Option<Duration>,
    seed: u64,
}

impl Iterator for Delays<'_> {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.attempt = self.attempt.saturating_add(1);
        self.seed = scrambled(self.seed);
        let delay = match *self.backoff {
            Backoff::Decorrelated { base, cap } => {
                let most = self.before.unwrap_or(base).saturating_mul(DECORRELATED);
                let range = most.min(cap).saturating_sub(base);
                (base + range.mul_f64(unit(self.seed))).min(cap)
            }
            ref other => other.jittered(self.attempt, self.seed),
        };
        self.before = Some(delay);
        Some(delay)
    }
}

fn less(delay: Duration, jitter: f64, random: u64) -> Duration {
    if jitter.is_nan() || jitter <= 0.0 {
        return delay;
    }
    delay.mul_f64(1.0 - jitter.min(1.0) * unit(random))
}

fn fibonacci(attempt: u32) -> u32 {
    // The 47th is the last that fits.
    let (mut one, mut next) = (1_u32, 1_u32);
    for _ in 1..attempt.min(47) {
        (one, next) = (next, one.saturating_add(next));
    }
    one
}

/// A list of durations as a list of texts.
mod list {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        delays: &[Duration],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(delays.iter().copied().map(humantime_serde::Serde::from))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Duration>, D::Error> {
        let delays = Vec::<humantime_serde::Serde<Duration>>::deserialize(deserializer)?;
        Ok(delays
            .into_iter()
            .map(humantime_serde::Serde::into_inner)
            .collect())
    }
}
