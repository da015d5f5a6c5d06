//! Counts in buckets whose edges grow by a constant factor: DDSketch, with buckets that can be read.
//!
//! Invariants: sorted by key, no bucket empty. A value is told apart from its bucket's by at most
//! [`ACCURACY`] of itself. Every distribution has the same edges, so merging and taking away are
//! exact, and so is comparing two of them rank by rank.
//!
//! Ours, because an analysis needs the buckets themselves (ranks, with ties; what came since the
//! last look; something to write down), which the crates of this kind keep to themselves. A sorted
//! list and not an array: most distributions here are one program in one lane in one second.

/// The relative error.
pub(super) const ACCURACY: f64 = 0.01;

/// What is shorter than a nanosecond is taken for one.
const SHORTEST: f64 = 1e-9;

/// The natural logarithm of the factor between two edges: (1 + a) / (1 - a).
fn width() -> f64 {
    ((1.0 + ACCURACY) / (1.0 - ACCURACY)).ln()
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Buckets(Vec<(i16, u64)>);

impl Buckets {
    pub(super) fn add(&mut self, seconds: f64) {
        self.add_to(key(seconds), 1);
    }

    pub(super) fn add_to(&mut self, key: i16, count: u64) {
        if count == 0 {
            return;
        }
        match self.0.binary_search_by_key(&key, |(key, _)| *key) {
            Ok(place) => self.0[place].1 += count,
            Err(place) => self.0.insert(place, (key, count)),
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (i16, u64)> {
        self.0.iter().copied()
    }

    /// The bucket of the value with so many values before it.
    pub(super) fn at_rank(&self, rank: u64) -> Option<i16> {
        let mut before = 0;
        self.0.iter().find_map(|(key, count)| {
            before += count;
            (before > rank).then_some(*key)
        })
    }

    pub(super) fn last(&self) -> Option<i16> {
        self.0.last().map(|(key, _)| *key)
    }

    pub(super) fn first(&self) -> Option<i16> {
        self.0.first().map(|(key, _)| *key)
    }

    pub(super) fn merge(&mut self, other: &Self) {
        if self.0.is_empty() {
            self.0.clone_from(&other.0);
            return;
        }
        // What is new here is small beside what is there, mostly: then it is put in bucket by bucket.
        if other.0.len() * 8 < self.0.len() {
            for (key, count) in &other.0 {
                self.add_to(*key, *count);
            }
            return;
        }
        let mut merged = Vec::with_capacity(self.0.len() + other.0.len());
        let (mut ours, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        while let (Some(&&(a, n)), Some(&&(b, m))) = (ours.peek(), theirs.peek()) {
            merged.push((
                a.min(b),
                if a <= b { n } else { 0 } + if b <= a { m } else { 0 },
            ));
            if a <= b {
                ours.next();
            }
            if b <= a {
                theirs.next();
            }
        }
        merged.extend(ours.chain(theirs));
        self.0 = merged;
    }

    /// Takes away what was there earlier.
    pub(super) fn take_away(&mut self, earlier: &Self) {
        for (key, count) in &earlier.0 {
            if let Ok(place) = self.0.binary_search_by_key(key, |(key, _)| *key) {
                self.0[place].1 = self.0[place].1.saturating_sub(*count);
            }
        }
        self.0.retain(|(_, count)| *count > 0);
    }
}

/// The bucket of a value: above `factor^(key - 1)`, up to `factor^key`.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the logarithms of 1e-9 and of the longest duration make -1,036 and 2,218"
)]
pub(super) fn key(seconds: f64) -> i16 {
    (seconds.max(SHORTEST).ln() / width()).ceil() as i16
}

/// The value in a bucket that is off by the same share of both edges.
pub(super) fn value(key: i16) -> f64 {
    (f64::from(key) * width()).exp() * (1.0 - ACCURACY)
}
