//! The bounds and the test that an analysis leans on.
//!
//! Invariants: all pure; shares are fractions of one; nothing here answers NaN.

/// One-sided 99 % of the normal distribution.
pub(super) const Z: f64 = 2.326_347_874_040_841;

/// The share that the true one lies above with 99 % confidence, having seen `hits` in `of`
/// (Wilson's score interval, which unlike the textbook one holds for small samples and rates near
/// zero).
pub(super) fn at_least(hits: u64, of: u64) -> f64 {
    if of == 0 {
        return 0.0;
    }
    let (n, z2) = (number(of), Z * Z);
    let p = number(hits.min(of)) / n;
    let centre = p + z2 / (2.0 * n);
    let margin = Z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    ((centre - margin) / (1.0 + z2 / n)).max(0.0)
}

/// The share that the true one lies below with 99 % confidence: the other end of [`at_least`].
pub(super) fn at_most(hits: u64, of: u64) -> f64 {
    1.0 - at_least(of.saturating_sub(hits), of)
}

/// How likely it is to see at least `hits` of the hits among the first `of`, had both samples the
/// same rate: Fisher's exact test of two proportions, one-sided. Exact, because the failures of a
/// good pool are few and the usual approximation is wrong just there.
pub(super) fn as_likely_by_chance(hits: u64, of: u64, other_hits: u64, other_of: u64) -> f64 {
    let (hits, other_hits) = (hits.min(of), other_hits.min(other_of));
    let all_hits = hits + other_hits;
    let all = of + other_of;
    // Of `all` calls `all_hits` failed. P(k of them among the first `of`), from `hits` upwards.
    let first =
        ln_choose(all_hits, hits) + ln_choose(all - all_hits, of - hits) - ln_choose(all, of);
    let mut term = first.exp();
    let mut sum = term;
    for k in hits..all_hits.min(of) {
        let more = number(all_hits - k) / number(k + 1);
        // Calls of the other sample that did not fail must be left to exchange.
        let fewer = number(of - k) / number(other_of + k + 1 - all_hits);
        term *= more * fewer;
        sum += term;
        if term < sum * 1e-12 {
            break;
        }
    }
    sum.clamp(0.0, 1.0)
}

/// The quantiles between which the true 99th percentile lies, each with 99 % confidence, having
/// seen `count` values: where in the order of the values it can be, by chance.
pub(super) fn around_p99(count: u64) -> (f64, f64) {
    if count == 0 {
        return (0.0, 1.0);
    }
    let margin = Z * (0.99 * 0.01 / number(count)).sqrt();
    ((0.99 - margin).max(0.0), (0.99 + margin).min(1.0))
}

fn ln_choose(n: u64, k: u64) -> f64 {
    ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)
}

/// Stirling's series, which is exact to twelve digits from 10 on; below that the product itself.
fn ln_factorial(n: u64) -> f64 {
    if n < 10 {
        return (2..=n).map(|i| number(i).ln()).sum();
    }
    let x = number(n) + 1.0;
    let series = 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3)) + 1.0 / (1260.0 * x.powi(5))
        - 1.0 / (1680.0 * x.powi(7));
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of calls, far below 2^52"
)]
pub(super) fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn near(found: f64, expected: f64) {
        assert!(
            (found - expected).abs() < 1e-6,
            "found {found}, expected {expected}"
        );
    }

    #[test]
    fn bounds_solve_their_equation() {
        // The roots of (p - p0)² = z²·p0·(1 - p0)/n, found by bisection and not by the closed form.
        near(at_least(4, 10), 0.142_696);
        near(at_least(0, 10), 0.0);
        assert!(at_least(3, 10) < 0.10 && at_least(4, 10) > 0.10);
        near(at_least(10, 10), 0.648_850);
        assert_eq!(at_least(0, 0), 0.0);
        near(at_most(4, 10), 0.727_535);
        assert_eq!((at_most(0, 0), at_most(10, 10)), (1.0, 1.0));
    }

    #[test]
    fn fishers_test_agrees_with_hand_counts() {
        // Fisher's own tea: 3 of 4 right against 1 of 4: (16 + 1) / 70.
        near(as_likely_by_chance(3, 4, 1, 4), 17.0 / 70.0);
        // Both of two failures in the smaller sample: 50·49 / (1050·1049).
        near(as_likely_by_chance(2, 50, 0, 1000), 2450.0 / 1_101_450.0);
        near(as_likely_by_chance(0, 10, 5, 10), 1.0);
        near(as_likely_by_chance(0, 0, 0, 0), 1.0);
        near(as_likely_by_chance(5, 5, 5, 5), 1.0);
    }

    #[test]
    fn factorials_agree_on_both_sides_of_the_seam() {
        for n in 9..13_u64 {
            let exact: f64 = (2..=n).map(|i| number(i).ln()).sum();
            assert!((ln_factorial(n) - exact).abs() < 1e-9, "{n}");
        }
    }

    #[test]
    fn a_million_calls_are_tested_too() {
        let p = as_likely_by_chance(31_000, 1_000_000, 10_000, 1_000_000);
        assert!((0.0..1e-9).contains(&p), "{p}");
    }

    proptest! {
        #[test]
        fn everything_is_a_probability(
            (of, hits) in (0u64..2_000).prop_flat_map(|of| (Just(of), 0..=of)),
            (other_of, other_hits) in (0u64..2_000).prop_flat_map(|of| (Just(of), 0..=of)),
        ) {
            let p = as_likely_by_chance(hits, of, other_hits, other_of);
            prop_assert!((0.0..=1.0).contains(&p), "{p}");
            let bound = at_least(hits, of);
            prop_assert!(bound >= 0.0);
            prop_assert!(of == 0 || bound <= number(hits) / number(of) + 1e-12);
        }

        #[test]
        fn more_failures_are_never_likelier_by_chance(
            of in 1u64..500, other_of in 1u64..500, other_hits in 0u64..50, hits in 0u64..499,
        ) {
            let hits = hits.min(of - 1);
            let less = as_likely_by_chance(hits, of, other_hits, other_of);
            let more = as_likely_by_chance(hits + 1, of, other_hits, other_of);
            prop_assert!(more <= less + 1e-9, "{more} > {less}");
        }
    }
}
