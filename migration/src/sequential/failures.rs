//! Bets on failures: the candidate's odds of failing a call are some times stable's, or lie some way
//! above a limit; its workers fail some times as often as they may.

use super::BETS;
use crate::analysis::number;

/// The alternatives: by how much the odds of failing are multiplied.
const ODDS: [f64; BETS] = [1.5, 2.0, 3.0, 5.0, 10.0];

/// The alternatives for workers: by how much oftener than they may they fail. Far apart, because a pool
/// of four in a crash loop fails a hundred times as often, and has few workers to show it by.
const TIMES: [f64; BETS] = [2.0, 5.0, 10.0, 30.0, 100.0];

/// What the bets pay on calls of one program at one time: `(calls, failures)` of each lane.
///
/// Given how many failed in all, how many of those are the candidate's is hypergeometric where the
/// lanes are equal, and Fisher's noncentral hypergeometric where the odds differ by a factor. A bet
/// pays the ratio of the two. The rate itself has dropped out of both, so this is exact for
/// every rate and every sample, however small; and where the candidate is better, it pays less still.
/// None where nothing can be learnt.
pub(crate) fn compared(stable: (u64, u64), candidate: (u64, u64)) -> Option<[f64; BETS]> {
    let (of, hits) = candidate;
    let all_hits = hits + stable.1;
    let least = all_hits.saturating_sub(stable.0);
    let most = all_hits.min(of);
    if least >= most || hits < least || hits > most {
        return None;
    }
    // The logarithms of how likely each number is, but for a common factor.
    let mut weights = vec![0.0];
    let mut weight = 0.0;
    for k in least..most {
        let more = number(of - k) * number(all_hits - k);
        let fewer = number(k + 1) * number(stable.0 + k + 1 - all_hits);
        weight += (more / fewer).ln();
        weights.push(weight);
    }
    let equal = log_sum(&weights, 0.0);
    Some(ODDS.map(|odds| {
        let step = odds.ln();
        (number(hits - least) * step - (log_sum(&weights, step) - equal)).exp()
    }))
}

/// What the bets pay on `calls` of which `faults` are the pool's, against "no more than `limit`".
pub(crate) fn above(limit: f64, calls: u64, faults: u64) -> Option<[f64; BETS]> {
    if calls == 0 || faults > calls || limit >= 1.0 {
        return None;
    }
    // At a limit of nothing one fault is proof, and proof is not for sale: one in a million then.
    let limit = limit.max(1e-6);
    Some(ODDS.map(|odds| {
        let higher = odds * limit / (1.0 - limit + odds * limit);
        let failed = number(faults) * (higher / limit).ln();
        let went_well = number(calls - faults) * ((1.0 - higher) / (1.0 - limit)).ln();
        (failed + went_well).exp()
    }))
}

/// What the bets pay on `failures` of workers, against "within a window, no more than `limit` of those
/// that ran", where workers ran for `windows`, all together: ten of them for half a window are five.
///
/// Where a share of `limit` of those that ran fails, there is `limit / (1 - limit)` of a failure for each
/// one that goes on. Failures that come at any time alike, at that rate or at a lower one, make each bet
/// fair or worse over any stretch of time, so it may be looked at within a window too.
pub(crate) fn oftener(limit: f64, windows: f64, failures: u64) -> Option<[f64; BETS]> {
    if limit >= 1.0 || windows.is_nan() || windows <= 0.0 {
        return None;
    }
    // As above: nothing is never allowed.
    let limit = limit.max(1e-6);
    let expected = limit / (1.0 - limit) * windows;
    Some(TIMES.map(|times| (number(failures) * times.ln() - (times - 1.0) * expected).exp()))
}

/// The logarithm of the sum of the weights, each raised by `step` for each place.
fn log_sum(weights: &[f64], step: f64) -> f64 {
    let raised = || {
        (0_u32..)
            .zip(weights)
            .map(|(place, weight)| weight + f64::from(place) * step)
    };
    let greatest = raised().fold(f64::NEG_INFINITY, f64::max);
    greatest
        + raised()
            .map(|weight| (weight - greatest).exp())
            .sum::<f64>()
            .ln()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The number of ways to choose, by the definition.
    fn ways(n: u64, k: u64) -> f64 {
        (0..k).map(|i| number(n - i) / number(i + 1)).product()
    }

    #[test]
    fn a_bet_pays_the_ratio_of_the_two_hypergeometrics() {
        // Two of three failures are among the candidate's 4 of 10 calls.
        let pays = compared((6, 1), (4, 2)).unwrap();
        let chance = |odds: f64, k: u64| {
            let weight =
                |k: u64| ways(4, k) * ways(6, 3 - k) * odds.powi(i32::try_from(k).unwrap());
            weight(k) / (0..=3).map(weight).sum::<f64>()
        };
        for (pays, odds) in pays.iter().zip(ODDS) {
            let expected = chance(odds, 2) / chance(1.0, 2);
            assert!((pays - expected).abs() < 1e-12, "{pays} {expected}");
        }
        assert_eq!(compared((6, 0), (4, 0)), None, "no failure says nothing");
        assert_eq!(
            compared((6, 6), (4, 4)),
            None,
            "and neither does nothing else"
        );
        assert_eq!(compared((0, 0), (4, 2)), None, "nor one lane alone");
    }

    #[test]
    fn an_outage_of_a_hundred_thousand_calls_is_judged_too() {
        let pays = compared((95_000, 40_000), (5_000, 3_500)).unwrap();
        assert!(
            pays[4] > 1e30 && pays.iter().all(|pays| !pays.is_nan()),
            "{pays:?}"
        );
        let alike = compared((95_000, 40_000), (5_000, 2_100)).unwrap();
        assert!(alike.iter().all(|pays| *pays < 1.0), "{alike:?}");
    }

    proptest! {
        #[test]
        fn among_equal_lanes_a_bet_is_fair(stable in 1..40_u64, candidate in 1..12_u64, hits in 1..20_u64) {
            let hits = hits.min(stable + candidate);
            let mut expected = [0.0; BETS];
            let mut all = 0.0;
            for k in hits.saturating_sub(stable)..=hits.min(candidate) {
                let likely = ways(candidate, k) * ways(stable, hits - k);
                all += likely;
                let pays = compared((stable, hits - k), (candidate, k)).unwrap_or([1.0; BETS]);
                for (sum, pays) in expected.iter_mut().zip(pays) {
                    *sum += likely * pays;
                }
            }
            for sum in expected {
                prop_assert!((sum / all - 1.0).abs() < 1e-9, "{sum} {all}");
            }
        }

        #[test]
        fn at_the_limit_a_bet_is_fair_and_below_it_worse(calls in 1..30_u64, limit in 0.01..0.9_f64, below in 0.0..1.0_f64) {
            let expected = |rate: f64| -> Vec<f64> {
                let mut sums = vec![0.0; BETS];
                for k in 0..=calls {
                    let (well, failed) = (i32::try_from(calls - k).unwrap(), i32::try_from(k).unwrap());
                    let likely = ways(calls, k) * rate.powi(failed) * (1.0 - rate).powi(well);
                    for (sum, pays) in sums.iter_mut().zip(above(limit, calls, k).unwrap()) {
                        *sum += likely * pays;
                    }
                }
                sums
            };
            for sum in expected(limit) {
                prop_assert!((sum - 1.0).abs() < 1e-8, "{sum}");
            }
            for sum in expected(limit * below) {
                prop_assert!(sum <= 1.0 + 1e-8, "{sum}");
            }
        }
    }
}
