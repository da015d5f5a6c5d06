//! Bets on slow calls: the sequential form of the Mann-Whitney test.
//!
//! All calls of one program at one time are put in order, the two lanes together. Where the lanes are
//! equal, the candidate's places in that order are a draw without replacement, and the distribution
//! of their sum is known exactly, whatever that of the latencies is. A place counts the same whether
//! its call took two seconds or two hundred, so a handful of slow calls decides nothing.

use dspex_telemetry::Latency;

use super::BETS;
use crate::analysis::number;

/// The alternatives: twelve times by how much likelier than one half it is that a call on the
/// candidate is slower than one on stable (by 2, 5, 10, 20 and 40 percentage points), which is where
/// each of the bets grows fastest.
const SHIFTS: [f64; BETS] = [0.24, 0.6, 1.2, 2.4, 4.8];

/// More terms than this are not added one by one.
const TERMS: u64 = 128;

/// The calls of two lanes, in order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ranked {
    stable: u64,
    candidate: u64,
    /// The sum of the candidate's places, counted from the middle, as shares of all calls.
    sum: f64,
}

/// Puts the calls of two lanes in order. Calls that took equally long share their places.
/// None where one lane has none.
pub(crate) fn slower(stable: &Latency, candidate: &Latency) -> Option<Ranked> {
    let (n_stable, n_candidate) = (stable.count(), candidate.count());
    if n_stable == 0 || n_candidate == 0 {
        return None;
    }
    let all = number(n_stable + n_candidate);
    let (mut ours, mut theirs) = (candidate.buckets().peekable(), stable.buckets().peekable());
    let (mut before, mut sum) = (0.0, 0.0);
    while let Some(&(key, count)) = ours.peek() {
        let count = number(count);
        match theirs.peek().copied() {
            Some((other, tied)) if other <= key => {
                theirs.next();
                let tied = number(tied);
                if other == key {
                    ours.next();
                    sum += count * (before + f64::midpoint(count, tied) - all / 2.0);
                    before += count;
                }
                before += tied;
            }
            _ => {
                ours.next();
                sum += count * (before + count / 2.0 - all / 2.0);
                before += count;
            }
        }
    }
    Some(Ranked {
        stable: n_stable,
        candidate: n_candidate,
        sum: sum / all,
    })
}

impl Ranked {
    /// What the bets pay: for each, the exponential of the sum over what that is expected to be
    /// where the lanes are equal. Ties only make the sum less variable than that, so it is at most
    /// fair with them, and exactly fair without.
    pub(crate) fn pays(&self) -> [f64; BETS] {
        SHIFTS.map(|shift| (shift * self.sum - self.log_expected(shift)).exp())
    }

    /// How much likelier than one half it is that a call on the candidate is slower.
    #[cfg(test)]
    fn shift(&self) -> f64 {
        self.sum / number(self.candidate) * number(self.stable + self.candidate)
            / number(self.stable)
    }

    /// The logarithm of the expectation of `exp(shift · sum)`: the Gaussian binomial coefficient
    /// over the plain one, counted from the middle.
    fn log_expected(&self, shift: f64) -> f64 {
        let (few, many) = (
            self.stable.min(self.candidate),
            self.stable.max(self.candidate),
        );
        let step = shift / number(self.stable + self.candidate);
        let term = |place: f64| log_sinhc((number(many) + place) * step) - log_sinhc(place * step);
        if few <= TERMS {
            return (1..=few).map(|place| term(number(place))).sum();
        }
        // The terms are a smooth curve: Simpson's rule over it, each term standing for the stretch
        // half a place to either side of it.
        let (width, last) = (number(few) / number(TERMS), TERMS);
        let weighted = (0..=last).map(|node| {
            let weight = match node {
                0 => 1.0,
                node if node == last => 1.0,
                node if node % 2 == 1 => 4.0,
                _ => 2.0,
            };
            weight * term(0.5 + number(node) * width)
        });
        weighted.sum::<f64>() * width / 3.0
    }
}

/// ln(sinh(x / 2) / (x / 2)), for x not negative.
fn log_sinhc(x: f64) -> f64 {
    if x < 1e-3 {
        x * x / 24.0
    } else {
        x / 2.0 + (-(-x).exp_m1() / x).ln()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn millis(values: &[u64]) -> Latency {
        values.iter().map(|ms| Duration::from_millis(*ms)).collect()
    }

    #[test]
    fn places_are_counted_with_ties_shared() {
        // In order: s1 s2 c3 s4 c5. The candidate's are 2 and 4 of 0..=4, the middle is 2.
        let ranked = slower(&millis(&[10, 20, 40]), &millis(&[30, 50])).unwrap();
        assert!((ranked.sum - 2.0 / 5.0).abs() < 1e-12, "{ranked:?}");
        // Mann and Whitney's U is 5 of 6: one half and a third.
        assert!(
            (ranked.shift() - (5.0 / 6.0 - 0.5)).abs() < 1e-12,
            "{ranked:?}"
        );
        let tied = slower(&millis(&[10; 7]), &millis(&[10; 3])).unwrap();
        assert_eq!(tied.sum, 0.0);
        let faster = slower(&millis(&[10, 20, 40]), &millis(&[1, 2])).unwrap();
        assert!((faster.shift() + 0.5).abs() < 1e-12, "{faster:?}");
        assert_eq!(slower(&millis(&[]), &millis(&[1])), None);
    }

    /// All ways to deal `few` of the places 0..all.
    fn deals(all: u64, few: usize) -> Vec<Vec<u64>> {
        if few == 0 {
            return vec![Vec::new()];
        }
        (0..all)
            .flat_map(|last| {
                deals(last, few - 1).into_iter().map(move |mut deal| {
                    deal.push(last);
                    deal
                })
            })
            .collect()
    }

    #[test]
    fn among_equal_lanes_a_bet_is_fair_and_with_ties_no_better() {
        for (all, few, tie) in [(9, 3, 1), (10, 5, 1), (10, 7, 1), (9, 4, 3), (8, 2, 5)] {
            let mut expected = [0.0; BETS];
            let deals = deals(all, few);
            for deal in &deals {
                // Far enough apart for buckets of their own, but for those that are made equal.
                let took = |place: &u64| 100 * (place / tie) + 100;
                let ours: Vec<u64> = deal.iter().map(took).collect();
                let rest = (0..all).filter(|place| !deal.contains(place));
                let theirs: Vec<u64> = rest.map(|place| took(&place)).collect();
                let pays = slower(&millis(&theirs), &millis(&ours)).unwrap().pays();
                for (sum, pays) in expected.iter_mut().zip(pays) {
                    *sum += pays / number(deals.len() as u64);
                }
            }
            for mean in expected {
                let fair = if tie == 1 {
                    (mean - 1.0).abs() < 1e-9
                } else {
                    mean < 1.0
                };
                assert!(fair, "{few} of {all}, tied by {tie}: {mean}");
            }
        }
    }

    #[test]
    fn a_handful_of_very_slow_calls_pays_nothing_and_a_small_shift_of_all_pays() {
        let normal: Vec<u64> = (0..300).map(|i| 500 + 3 * i).collect();
        let mut outliers = normal.clone();
        outliers.truncate(290);
        outliers.extend([600_000; 5]);
        let pays = slower(&millis(&normal), &millis(&outliers)).unwrap().pays();
        assert!(pays.iter().all(|pays| *pays < 2.0), "{pays:?}");
        let slowly: Vec<u64> = normal.iter().map(|ms| ms * 6 / 5).collect();
        let pays = slower(&millis(&normal), &millis(&slowly)).unwrap().pays();
        assert!(pays.iter().any(|pays| *pays > 1e6), "{pays:?}");
    }

    proptest! {
        #[test]
        fn many_terms_are_summed_as_exactly_as_few(few in 129..3_000_u64, many in 3_000..90_000_u64) {
            let ranked = Ranked { stable: many, candidate: few, sum: 0.0 };
            for shift in SHIFTS {
                let step = shift / number(few + many);
                let exact: f64 = (1..=few)
                    .map(|i| log_sinhc(number(many + i) * step) - log_sinhc(number(i) * step))
                    .sum();
                let found = ranked.log_expected(shift);
                prop_assert!((found - exact).abs() < 1e-4, "{found} {exact}");
            }
        }
    }
}
