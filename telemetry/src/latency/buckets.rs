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
        self.merge_from_the_back(&other.0);
    }

    /// In place, the largest key first: a look merges some hundred distributions, and a list made anew
    /// for each cost it most of its time.
    fn merge_from_the_back(&mut self, other: &[(i16, u64)]) {
        let mut ours = self.0.len();
        let mut room = ours + self.lacks(other);
        self.0.resize(room, (0, 0));
        let mut theirs = other.iter().rev().copied().peekable();
        while let Some(&(key, count)) = theirs.peek() {
            room -= 1;
            let own = ours.checked_sub(1).map(|last| self.0[last]);
            self.0[room] = match own {
                Some((larger, own)) if larger > key => (larger, own),
                Some((same, own)) if same == key => (key, own + count),
                _ => (key, count),
            };
            if own.is_some_and(|(own, _)| own >= key) {
                ours -= 1;
            }
            if own.is_none_or(|(own, _)| own <= key) {
                theirs.next();
            }
        }
    }

    /// How many buckets of another are not here.
    fn lacks(&self, other: &[(i16, u64)]) -> usize {
        let mut ours = self.0.iter().map(|(key, _)| *key).peekable();
        let lacks = |(key, _): &&(i16, u64)| {
            while ours.next_if(|own| own < key).is_some() {}
            ours.peek() != Some(key)
        };
        other.iter().filter(lacks).count()
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
