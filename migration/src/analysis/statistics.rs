//! The plain bounds and functions that an analysis leans on.
//!
//! Invariants: all pure; shares are fractions of one; nothing here answers NaN.

/// One-sided 99 % of the normal distribution.
pub(super) const Z: f64 = 2.326_347_874_040_841;

/// The share that the true one lies above with 99 % confidence, having seen `hits` in `of`
/// (Wilson's score interval, which unlike the textbook one holds for small samples and rates near
/// zero). For one look: what is looked at again and again is judged by
/// [`sequential`](crate::sequential).
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

/// The share of `hits` in `of`; nothing of nothing.
pub(super) fn rate(hits: u64, of: u64) -> f64 {
    if of == 0 {
        0.0
    } else {
        number(hits) / number(of)
    }
}

/// The logarithm of the gamma function above 0: Stirling's series, which is exact to twelve digits
/// from 10 on, and the recurrence below that.
pub(crate) fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut below) = (x, 0.0);
    while x < 10.0 {
        below += x.ln();
        x += 1.0;
    }
    let series = 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3)) + 1.0 / (1260.0 * x.powi(5))
        - 1.0 / (1680.0 * x.powi(7));
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series - below
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of calls, far below 2^52"
)]
pub(crate) fn number(count: u64) -> f64 {
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
    }

    #[test]
    fn factorials_and_the_root_of_pi_are_found() {
        for n in 1..25_u64 {
            let exact: f64 = (2..n).map(|i| number(i).ln()).sum();
            assert!((ln_gamma(number(n)) - exact).abs() < 1e-9, "{n}");
        }
        near(ln_gamma(0.5), std::f64::consts::PI.sqrt().ln());
    }

    proptest! {
        #[test]
        fn a_bound_is_a_share_and_below_what_was_seen(
            (of, hits) in (0u64..2_000).prop_flat_map(|of| (Just(of), 0..=of)),
        ) {
            let bound = at_least(hits, of);
            prop_assert!(bound >= 0.0 && bound <= rate(hits, of) + 1e-12);
        }
    }
}
