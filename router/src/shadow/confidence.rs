//! How sure a share is that was counted.

/// One-sided 99 % of the normal distribution: each bound by itself holds with that confidence.
const Z: f64 = 2.326_347_874_040_841;

/// The share of hits; none where nothing was counted.
pub(super) fn share(hits: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| hits as f64 / of as f64)
}

/// Between which bounds the true share lies (Wilson's score interval, which holds for small samples
/// and for shares near zero); everywhere, where nothing was counted.
pub(super) fn interval(hits: u64, of: u64) -> (f64, f64) {
    let Some(p) = share(hits.min(of), of) else {
        return (0.0, 1.0);
    };
    let (n, z2) = (of as f64, Z * Z);
    let centre = p + z2 / (2.0 * n);
    let margin = Z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z2 / n;
    (
        ((centre - margin) / scale).max(0.0),
        ((centre + margin) / scale).min(1.0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_solve_their_equation_and_hold_the_share() {
        // The roots of (p - p0)² = z²·p0·(1 - p0)/n, found by bisection and not by the closed form.
        let (low, high) = interval(4, 10);
        assert!((low - 0.142_696).abs() < 1e-6, "{low}");
        assert!((high - 0.727_535).abs() < 1e-6, "{high}");
        assert_eq!(interval(0, 0), (0.0, 1.0));
        assert_eq!(interval(0, 100).0, 0.0);
        assert_eq!(interval(100, 100).1, 1.0);
        for (hits, of) in [(0, 1), (1, 3), (50, 1_000), (999, 1_000)] {
            let (low, high) = interval(hits, of);
            let share = share(hits, of).unwrap();
            assert!(
                low <= share && share <= high,
                "{hits} of {of}: {low} {high}"
            );
        }
    }
}
