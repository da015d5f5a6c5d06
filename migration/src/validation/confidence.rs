//! What is known of a median after some rounds.
//!
//! The bounds are order statistics (the sign test turned round): they hold whatever the distribution
//! is. A t-interval was rejected, because one round beside a busy neighbour would widen it without end.
//! Pure.

/// The chance that the median lies beyond the bounds, on both sides together. Comparisons are looked at
/// after each round from the first that suffices on, so the chance of one wrong word in a whole validation is
/// a few times this; it is set that low for that reason.
const ERROR: f64 = 0.02;

/// A median and the bounds between which it lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Median {
    pub(super) low: f64,
    pub(super) middle: f64,
    pub(super) high: f64,
}

/// The median of these values with its bounds; [`None`] where there are too few of them, or one is
/// no number.
pub(super) fn bounds(values: &[f64]) -> Option<Median> {
    if values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let cut = (0..sorted.len() / 2)
        .take_while(|cut| 2.0 * at_most(*cut, sorted.len()) <= ERROR)
        .last()?;
    Some(Median {
        low: sorted[cut],
        middle: middle(&sorted),
        high: sorted[sorted.len() - 1 - cut],
    })
}

/// The middle of sorted values; NaN where there are none.
pub(super) fn middle(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    match (sorted.len(), sorted.len() % 2) {
        (0, _) => f64::NAN,
        (_, 1) => sorted[half],
        _ => f64::midpoint(sorted[half - 1], sorted[half]),
    }
}

/// The chance of at most `heads` heads in so many throws of a fair coin.
fn at_most(heads: usize, throws: usize) -> f64 {
    let mut ways = 1.0;
    let mut sum = 0.0;
    for k in 0..=heads {
        sum += ways;
        #[expect(clippy::cast_precision_loss, reason = "rounds are at most a thousand")]
        {
            ways *= (throws - k) as f64 / (k + 1) as f64;
        }
    }
    // A thousand rounds would be beyond what a double can count; the logarithm is not.
    #[expect(clippy::cast_precision_loss, reason = "rounds are at most a thousand")]
    let all = throws as f64 * std::f64::consts::LN_2;
    (sum.ln() - all).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_are_those_of_the_tables() {
        let values = |n: u32| (1..=n).map(f64::from).collect::<Vec<_>>();
        assert_eq!(bounds(&values(6)), None, "too few");
        // 2 · 2⁻⁷ = 1.6 %.
        let seven = bounds(&values(7)).expect("enough");
        assert_eq!((seven.low, seven.middle, seven.high), (1.0, 4.0, 7.0));
        // Conover's table for n = 16 and 99 %: the 3rd and the 14th.
        let sixteen = bounds(&values(16)).expect("enough");
        assert_eq!(
            (sixteen.low, sixteen.middle, sixteen.high),
            (3.0, 8.5, 14.0)
        );
    }

    #[test]
    fn one_wild_round_moves_nothing_of_many() {
        let mut values: Vec<f64> = (1..=16).map(f64::from).collect();
        let before = bounds(&values);
        values[15] = 1e9;
        assert_eq!(bounds(&values), before);
        values[0] = f64::NAN;
        assert_eq!(bounds(&values), None);
    }

    #[test]
    fn many_rounds_are_counted_without_overflow() {
        let many = bounds(&vec![2.0; 1_000]).expect("enough");
        assert_eq!((many.low, many.high), (2.0, 2.0));
    }
}
