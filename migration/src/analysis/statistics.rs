//! The plain functions that an analysis leans on.
//!
//! Invariants: all pure; shares are fractions of one; nothing here answers NaN.

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
    use super::*;

    fn near(found: f64, expected: f64) {
        assert!(
            (found - expected).abs() < 1e-6,
            "found {found}, expected {expected}"
        );
    }

    #[test]
    fn factorials_and_the_root_of_pi_are_found() {
        for n in 1..25_u64 {
            let exact: f64 = (2..n).map(|i| number(i).ln()).sum();
            assert!((ln_gamma(number(n)) - exact).abs() < 1e-9, "{n}");
        }
        near(ln_gamma(0.5), std::f64::consts::PI.sqrt().ln());
    }
}
