//! Quantiles of Student's t: how far a mean of few values may be off by chance.
//!
//! Invariant: exact for whole degrees of freedom (Abramowitz and Stegun 26.7.3 and 26.7.4), so no
//! table is carried and none is guessed at.

use std::f64::consts::PI;

/// The value that is exceeded with probability `doubt` at `freedom` degrees of freedom.
/// `doubt` is above 0 and at most one half; `freedom` is at least 1.
pub(super) fn exceeded_with(doubt: f64, freedom: u32) -> f64 {
    let freedom = freedom.max(1);
    let (mut low, mut high) = (0.0, 1.0);
    while above(high, freedom) > doubt && high < 1e12 {
        high *= 2.0;
    }
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if above(middle, freedom) > doubt {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// The probability that t exceeds `value`, which is not negative.
fn above(value: f64, freedom: u32) -> f64 {
    let n = f64::from(freedom);
    let angle = (value / n.sqrt()).atan();
    let (sine, cosine) = angle.sin_cos();
    let square = cosine * cosine;
    let within = if freedom % 2 == 1 {
        let mut sum = 0.0;
        let mut term = cosine;
        let mut k = 3;
        while k <= freedom {
            sum += term;
            term *= square * f64::from(k - 1) / f64::from(k);
            k += 2;
        }
        2.0 / PI * (angle + sine * sum)
    } else {
        let mut sum = 1.0;
        let mut term = 1.0;
        let mut k = 2;
        while k < freedom {
            term *= square * f64::from(k - 1) / f64::from(k);
            sum += term;
            k += 2;
        }
        sine * sum
    };
    ((1.0 - within) / 2.0).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_agree_with_the_printed_table() {
        for (doubt, freedom, printed) in [
            (0.01, 1, 31.821),
            (0.01, 2, 6.965),
            (0.01, 5, 3.365),
            (0.01, 10, 2.764),
            (0.01, 12, 2.681),
            (0.005, 10, 3.169),
            (0.001, 20, 3.552),
            (0.05, 30, 1.697),
            (0.5, 7, 0.0),
        ] {
            let found = exceeded_with(doubt, freedom);
            assert!(
                (found - printed).abs() < 6e-4,
                "{doubt} at {freedom}: {found}, printed {printed}"
            );
        }
    }
}
