//! A distribution of durations that can be merged without losing accuracy.
//!
//! A DDSketch with 1 % relative error: counts in buckets, and the shortest and the longest duration
//! as they are. Invariant: `count` and all quantiles are the same, within the sketch's error,
//! whichever way the values arrived.

mod buckets;

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use buckets::Buckets;

/// A mergeable distribution of durations.
#[derive(Clone, PartialEq)]
pub struct Latency {
    buckets: Buckets,
    /// In seconds, the shortest and the longest; the wrong way round where there is none.
    range: (f64, f64),
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            buckets: Buckets::default(),
            range: (f64::INFINITY, f64::NEG_INFINITY),
        }
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
        let seconds = duration.as_secs_f64();
        self.buckets.add(seconds);
        self.widen((seconds, seconds));
    }

    /// How many durations were added.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.count()
    }

    /// Whether nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buckets.first().is_none()
    }

    /// The duration below which a share `q` (0 to 1) of all durations lie, within 1 %. `None`
    /// where nothing was added or `q` is not a share.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        if !(0.0..=1.0).contains(&q) {
            return None;
        }
        self.at_rank(rank(q, self.count().checked_sub(1)?))
    }

    /// The duration with so many shorter ones before it, within 1 %.
    #[must_use]
    pub fn at_rank(&self, rank: u64) -> Option<Duration> {
        let last = self.count().checked_sub(1)?;
        let seconds = match rank {
            0 => self.range.0,
            _ if rank == last => self.range.1,
            _ => buckets::value(self.buckets.at_rank(rank)?),
        };
        Duration::try_from_secs_f64(seconds.clamp(self.range.0, self.range.1)).ok()
    }

    /// The buckets that hold anything, from the shortest durations to the longest: a number, the
    /// same for the same durations in every distribution, and how many are in it. Durations of one
    /// bucket are equal as far as anybody can tell.
    pub fn buckets(&self) -> impl Iterator<Item = (i16, u64)> {
        self.buckets.iter()
    }

    /// A distribution of what [`buckets`](Self::buckets) told of another one. The shortest and the
    /// longest duration are those of their buckets.
    #[must_use]
    pub fn from_buckets(counts: impl IntoIterator<Item = (i16, u64)>) -> Self {
        let mut latency = Self::new();
        for (key, count) in counts {
            latency.buckets.add_to(key, count);
        }
        latency.range_of_buckets();
        latency
    }

    /// Takes away what was in it at an earlier time, and leaves what was added since.
    pub fn take_away(&mut self, earlier: &Self) {
        let (shortest, longest) = (self.buckets.first(), self.buckets.last());
        let range = self.range;
        self.buckets.take_away(&earlier.buckets);
        self.range_of_buckets();
        // Where the bucket at the end is still there, its end is as near as anybody knows.
        if !self.is_empty() && self.buckets.first() == shortest {
            self.range.0 = range.0;
        }
        if !self.is_empty() && self.buckets.last() == longest {
            self.range.1 = range.1;
        }
        // Where one bucket is left, one end may be known and the other be the bucket's own value, on the
        // wrong side of it: a range the wrong way round has no quantile.
        if self.range.0 > self.range.1 && !self.is_empty() {
            let known = if self.buckets.first() == shortest {
                self.range.0
            } else {
                self.range.1
            };
            self.range = (known, known);
        }
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
        self.buckets.merge(&other.buckets);
        self.widen(other.range);
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

    fn widen(&mut self, (shortest, longest): (f64, f64)) {
        self.range = (self.range.0.min(shortest), self.range.1.max(longest));
    }

    fn range_of_buckets(&mut self) {
        let ends = self.buckets.first().zip(self.buckets.last());
        self.range = ends.map_or(Self::default().range, |(first, last)| {
            (buckets::value(first), buckets::value(last))
        });
    }
}

/// How many values lie below a share `q` of all, the last of which has `last` before it.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "counts far below 2^52, and not greater than `last`"
)]
fn rank(q: f64, last: u64) -> u64 {
    (q * last as f64) as u64
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

    #[test]
    fn what_came_since_is_what_is_left() {
        let earlier = micros(&[50, 900, 1_000]);
        let mut all = earlier.clone();
        all.merge(&micros(&[1_000, 2_000_000]));
        all.take_away(&earlier);
        assert_eq!(all.count(), 2);
        assert_eq!(all.max(), Some(Duration::from_secs(2)));
        let shortest = all.quantile(0.0).unwrap().as_secs_f64();
        assert!((shortest - 1e-3).abs() < 1.1e-5, "{shortest}");
        all.take_away(&all.clone());
        assert_eq!((all.is_empty(), all.p99()), (true, None));
    }

    #[test]
    fn durations_of_every_length_have_a_bucket() {
        for seconds in [0.0, 1e-9, 3e-7, 1.0, 86_400.0, 1e18] {
            let latency: Latency = [Duration::from_secs_f64(seconds)].into_iter().collect();
            let again = Latency::from_buckets(latency.buckets());
            let near = again.p50().unwrap().as_secs_f64();
            assert!(
                (near - seconds).abs() <= seconds * 0.0101 + 2e-9,
                "{near} {seconds}"
            );
        }
    }

    #[test]
    fn one_bucket_that_is_left_of_several_has_quantiles() {
        for near in 990_u32..=1_010 {
            // The shortest stays and the longest goes; then the other way round.
            for gone in [10, 1_000_000] {
                let mut all = micros(&[u64::from(near), u64::from(near), gone]);
                all.take_away(&micros(&[gone]));
                for q in [0.0, 0.5, 1.0] {
                    let left = all.quantile(q).unwrap().as_secs_f64() * 1e6;
                    assert!(
                        (left / f64::from(near) - 1.0).abs() < 0.021,
                        "{left} {near}"
                    );
                }
            }
        }
    }

    proptest! {
        #[test]
        fn taking_away_undoes_merging(
            parts in proptest::collection::vec(
                proptest::collection::vec(1..100_000_000_u64, 0..70), 2),
        ) {
            let mut merged = micros(&parts[0]);
            merged.merge(&micros(&parts[1]));
            merged.take_away(&micros(&parts[0]));
            prop_assert!(merged.buckets().eq(micros(&parts[1]).buckets()));
            for q in [0.0, 0.5, 1.0] {
                prop_assert_eq!(merged.quantile(q).is_some(), !parts[1].is_empty());
            }
        }

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
