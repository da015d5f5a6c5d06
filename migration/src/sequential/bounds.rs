//! Bounds that hold at every moment at once, for a share and for a quantile.
//!
//! Both are the shares (or places) that a bet with a spread of alternatives (a beta distribution)
//! does not reject: with the chance `1 - α` the truth lies within them at every look, from the
//! first to the last.

use crate::analysis::{ln_gamma, number};

/// The spread of alternatives around a quantile: as if so many calls had been seen before.
const PRIOR: f64 = 200.0;

/// The shares between which the true one lies, having seen `hits` in `of`.
pub(crate) fn share_bounds(hits: u64, of: u64, alpha: f64) -> (f64, f64) {
    let hits = hits.min(of);
    if of == 0 {
        return (0.0, 1.0);
    }
    let seen = number(hits) / number(of);
    let rejected = |share: f64| log_wealth(hits, of, share, (0.5, 0.5)) >= -alpha.ln();
    let edge = |end: f64| {
        if !rejected(end.clamp(1e-12, 1.0 - 1e-12)) {
            return end;
        }
        // Between the end, which is rejected, and what was seen, which never is.
        let (mut out, mut within) = (end, seen);
        for _ in 0..60 {
            let middle = f64::midpoint(out, within);
            if rejected(middle) {
                out = middle;
            } else {
                within = middle;
            }
        }
        // The outer end, so that rounding does not make the bound narrower.
        out
    };
    let low = if hits == 0 { 0.0 } else { edge(0.0) };
    let high = if hits == of { 1.0 } else { edge(1.0) };
    (low, high)
}

/// The places in the order of `count` values (from 0) between which the true quantile `q` lies; no
/// upper one where it may lie beyond all of them, no lower one where it may lie below all.
pub(crate) fn quantile_ranks(count: u64, q: f64, alpha: f64) -> (Option<u64>, Option<u64>) {
    // Of values not above the true quantile there are `k` in `count`, a share of `q`.
    let rejected = |k: u64| log_wealth(k, count, q, prior(q)) >= -alpha.ln();
    let middle = whole(q * number(count)).min(count);
    // The fewest that are not rejected, and the most.
    let fewest = first(0, middle, |k| !rejected(k));
    let most = first(middle, count + 1, rejected) - 1;
    (fewest.checked_sub(1), (most < count).then_some(most))
}

/// How many values it takes at least until the true quantile `q` has an upper bound.
pub(crate) fn calls_for_quantile(q: f64, alpha: f64) -> u64 {
    let bounded = |count: u64| log_wealth(count, count, q, prior(q)) >= -alpha.ln();
    let mut most = 1;
    while !bounded(most) && most < 1 << 40 {
        most *= 2;
    }
    first(most / 2, most, bounded)
}

fn prior(q: f64) -> (f64, f64) {
    (PRIOR * q, PRIOR * (1.0 - q))
}

/// The logarithm of the wealth of a bet against `share`, having seen `hits` in `of`.
fn log_wealth(hits: u64, of: u64, share: f64, (a, b): (f64, f64)) -> f64 {
    let (hit, missed) = (number(hits), number(of - hits));
    let beta = |a: f64, b: f64| ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b);
    let likely = |count: f64, share: f64| {
        if count == 0.0 {
            0.0
        } else {
            count * share.ln()
        }
    };
    beta(a + hit, b + missed) - beta(a, b) - likely(hit, share) - likely(missed, 1.0 - share)
}

/// The first number from `low` on that is so, or `high` where none before it is. Once it is so, it
/// stays so.
fn first(mut low: u64, mut high: u64, so: impl Fn(u64) -> bool) -> u64 {
    while low < high {
        let middle = low + (high - low) / 2;
        if so(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a count"
)]
fn whole(part: f64) -> u64 {
    part as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_seen_bounds_nothing() {
        assert_eq!(share_bounds(0, 0, 0.01), (0.0, 1.0));
        assert_eq!(quantile_ranks(0, 0.99, 0.01), (None, None));
        let (low, high) = share_bounds(0, 150, 0.01);
        assert!(low == 0.0 && (0.045..0.05).contains(&high), "{high}");
        let (low, high) = share_bounds(150, 150, 0.01);
        assert!((0.95..0.955).contains(&low) && high == 1.0, "{low}");
    }

    #[test]
    fn a_quantile_has_an_upper_bound_from_so_many_calls_on() {
        for alpha in [0.01, 1e-4, 1e-8] {
            let enough = calls_for_quantile(0.99, alpha);
            assert!(quantile_ranks(enough, 0.99, alpha).1.is_some(), "{enough}");
            assert_eq!(quantile_ranks(enough - 1, 0.99, alpha).1, None, "{enough}");
        }
        assert!((900..1_100).contains(&calls_for_quantile(0.99, 1e-3)));
    }

    /// The share of 200 runs of 2,000 calls in which the truth was ever outside of the bounds, looked
    /// at after every 40th call.
    fn ever_outside(outside: impl Fn(u64, u64) -> bool, share: f64) -> f64 {
        let mut state = 7_u64;
        let mut dice = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            number(state >> 11) / number(1 << 53)
        };
        let mut outside_once = 0_u64;
        for _ in 0..200 {
            let mut hits = 0;
            let mut ever = false;
            for of in 1..=2_000 {
                hits += u64::from(dice() < share);
                ever |= of % 40 == 0 && outside(hits, of);
            }
            outside_once += u64::from(ever);
        }
        number(outside_once) / 200.0
    }

    #[test]
    fn the_truth_is_within_at_every_look_in_nearly_every_run() {
        let share = ever_outside(
            |hits, of| {
                let (low, high) = share_bounds(hits, of, 0.05);
                0.03 < low || 0.03 > high
            },
            0.03,
        );
        assert!(share <= 0.05, "{share}");
        // The values are uniform, so `hits` of them are below the true quantile.
        let quantile = ever_outside(
            |hits, of| {
                let (low, high) = quantile_ranks(of, 0.95, 0.05);
                low.is_some_and(|low| hits <= low) || high.is_some_and(|high| hits > high)
            },
            0.95,
        );
        assert!((0.0..=0.05).contains(&quantile), "{quantile}");
    }

    proptest! {
        #[test]
        fn what_was_seen_is_within((of, hits) in (1..5_000_u64).prop_flat_map(|of| (Just(of), 0..=of))) {
            let (low, high) = share_bounds(hits, of, 0.01);
            let seen = number(hits) / number(of);
            prop_assert!(0.0 <= low && low <= seen && seen <= high && high <= 1.0);
            let (low, high) = quantile_ranks(of, 0.99, 0.01);
            prop_assert!(low.is_none_or(|low| number(low) <= 0.99 * number(of)));
            prop_assert!(high.is_none_or(|high| high < of && number(high) >= 0.99 * number(of) - 1.0));
        }
    }
}
