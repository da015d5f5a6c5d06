//! A distribution of durations that can be merged without losing accuracy.
//!
//! A DDSketch with 1 % relative error. Most distributions here are small (one program, one lane,
//! one second), and an empty sketch already takes over a kilobyte once it holds a value, so the
//! first values are kept as they are and become a sketch when there are too many of them.
//! Invariant: `count` and all quantiles are the same, within the sketch's error, whichever way
//! the values arrived.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};
use sketches_ddsketch::{Config, DDSketch};

/// How many values are kept as they are.
const FEW: usize = 32;

/// The sketch's relative error.
const ACCURACY: f64 = 0.01;

/// 2,048 bins at 1 % span 17 orders of magnitude: from a nanosecond to years.
const BINS: u32 = 2_048;

/// A mergeable distribution of durations.
#[derive(Clone, Default)]
pub struct Latency {
    values: Values,
}

/// Seconds throughout.
#[derive(Clone)]
enum Values {
    Few(Vec<f64>),
    Many(Box<DDSketch>),
}

impl Default for Values {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Latency {
    /// An empty distribution.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one duration.
    pub fn record(&mut self, duration: Duration) {
        self.add(duration.as_secs_f64());
    }

    /// How many durations were added.
    #[must_use]
    pub fn count(&self) -> u64 {
        match &self.values {
            Values::Few(values) => values.len() as u64,
            Values::Many(sketch) => sketch.count() as u64,
        }
    }

    /// Whether nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// The duration below which a share `q` (0 to 1) of all durations lie, within 1 %. `None`
    /// where nothing was added or `q` is not a share.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        if !(0.0..=1.0).contains(&q) {
            return None;
        }
        let seconds = match &self.values {
            Values::Few(values) => {
                let mut sorted = values.clone();
                sorted.sort_by(f64::total_cmp);
                *sorted.get(rank(q, sorted.len().checked_sub(1)?))?
            }
            Values::Many(sketch) => sketch.quantile(q).ok().flatten()?,
        };
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// The median.
    #[must_use]
    pub fn p50(&self) -> Option<Duration> {
        self.quantile(0.50)
    }

    /// The 95th percentile.
    #[must_use]
    pub fn p95(&self) -> Option<Duration> {
        self.quantile(0.95)
    }

    /// The 99th percentile.
    #[must_use]
    pub fn p99(&self) -> Option<Duration> {
        self.quantile(0.99)
    }

    /// The longest duration, exactly.
    #[must_use]
    pub fn max(&self) -> Option<Duration> {
        self.quantile(1.0)
    }

    /// Adds all of `other`'s durations.
    pub fn merge(&mut self, other: &Self) {
        match (&mut self.values, &other.values) {
            (_, Values::Few(values)) => values.iter().for_each(|value| self.add(*value)),
            (Values::Few(values), Values::Many(theirs)) => {
                let mut sketch = theirs.clone();
                values.iter().for_each(|value| sketch.add(*value));
                self.values = Values::Many(sketch);
            }
            (Values::Many(ours), Values::Many(theirs)) => {
                let merged = ours.merge(theirs);
                debug_assert!(
                    merged.is_ok(),
                    "every sketch here has the same configuration"
                );
            }
        }
    }

    /// The figures that people and analyses ask for.
    #[must_use]
    pub fn summary(&self) -> LatencySummary {
        let ms = |duration: Option<Duration>| duration.map(|d| d.as_secs_f64() * 1_000.0);
        LatencySummary {
            count: self.count(),
            p50_ms: ms(self.p50()),
            p95_ms: ms(self.p95()),
            p99_ms: ms(self.p99()),
        }
    }

    fn add(&mut self, seconds: f64) {
        match &mut self.values {
            Values::Few(values) if values.len() < FEW => values.push(seconds),
            Values::Few(values) => {
                let mut sketch = DDSketch::new(Config::new(
                    ACCURACY,
                    BINS,
                    Duration::from_nanos(1).as_secs_f64(),
                ));
                values.iter().for_each(|value| sketch.add(*value));
                sketch.add(seconds);
                self.values = Values::Many(Box::new(sketch));
            }
            Values::Many(sketch) => sketch.add(seconds),
        }
    }
}

/// The sketch's own rule, so that a distribution does not jump when it outgrows being few.
#[expect(
    clippy::cast_possible_truncation,
    reason = "not greater than `last`, which is a usize"
)]
fn rank(q: f64, last: usize) -> usize {
    (q * last as f64) as usize
}

impl fmt::Debug for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.summary().fmt(f)
    }
}

impl Serialize for Latency {
    /// As its [`LatencySummary`].
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.summary().serialize(serializer)
    }
}

impl Extend<Duration> for Latency {
    fn extend<I: IntoIterator<Item = Duration>>(&mut self, durations: I) {
        durations
            .into_iter()
            .for_each(|duration| self.record(duration));
    }
}

impl FromIterator<Duration> for Latency {
    fn from_iter<I: IntoIterator<Item = Duration>>(durations: I) -> Self {
        let mut latency = Self::new();
        latency.extend(durations);
        latency
    }
}

/// A distribution's figures, in milliseconds; `None` where there are no samples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, serde::Deserialize)]
pub struct LatencySummary {
    /// How many samples.
    pub count: u64,
    /// The median.
    pub p50_ms: Option<f64>,
    /// The 95th percentile.
    pub p95_ms: Option<f64>,
    /// The 99th percentile.
    pub p99_ms: Option<f64>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn micros(values: &[u64]) -> Latency {
        values
            .iter()
            .map(|micros| Duration::from_micros(*micros))
            .collect()
    }

    #[test]
    fn nothing_has_no_quantile() {
        let latency = Latency::new();
        assert!(latency.is_empty());
        assert_eq!(latency.p50(), None);
        assert_eq!(latency.max(), None);
        assert_eq!(latency.summary(), LatencySummary::default());
    }

    #[test]
    fn a_share_that_is_none_has_no_quantile() {
        let latency = micros(&[1, 2, 3]);
        for q in [-0.1, 1.1, f64::NAN] {
            assert_eq!(latency.quantile(q), None, "{q}");
        }
    }

    #[test]
    fn it_serializes_as_milliseconds() {
        let json = serde_json::to_value(micros(&[1_500; 3])).unwrap();
        let expected = serde_json::json!({
            "count": 3, "p50_ms": 1.5, "p95_ms": 1.5, "p99_ms": 1.5,
        });
        assert_eq!(json, expected);
        let summary: LatencySummary = serde_json::from_value(json).unwrap();
        assert_eq!(summary, micros(&[1_500; 3]).summary());
    }

    proptest! {
        #[test]
        fn parts_merged_equal_the_whole(
            parts in proptest::collection::vec(
                proptest::collection::vec(0..100_000_000_u64, 0..70), 0..6),
        ) {
            let whole = micros(&parts.concat());
            let mut merged = Latency::new();
            for part in &parts {
                merged.merge(&micros(part));
            }
            prop_assert_eq!(merged.count(), whole.count());
            for q in [0.0, 0.1, 0.5, 0.9, 0.99, 1.0] {
                let (merged, whole) = (merged.quantile(q), whole.quantile(q));
                prop_assert_eq!(merged.is_some(), whole.is_some());
                let (Some(merged), Some(whole)) = (merged, whole) else { continue };
                let off = (merged.as_secs_f64() - whole.as_secs_f64()).abs();
                prop_assert!(off <= whole.as_secs_f64() * 0.02 + 2e-9, "{q}: {merged:?} {whole:?}");
            }
        }
    }
}
