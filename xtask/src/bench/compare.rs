//! A run against the result that is checked in.
//!
//! Only figures that mean the same on every machine are held against each other: ratios within one
//! run, shares, counts. They still vary; what is flagged is worse than the tolerance *and* worse
//! than the worst round that was checked in.

use std::fmt::Write as _;

use super::figures::{Figure, Limit};

/// How much worse is no noise.
const TOLERANCE: f64 = 0.15;

/// A figure that got worse.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Worse {
    what: String,
    before: f64,
    now: f64,
}

/// Prints what got worse from one run to the other. Answers whether nothing did.
pub(super) fn holds(before: &[Figure], now: &[Figure]) -> bool {
    let worse = among(before, now);
    println!("{}", text(&worse));
    worse.is_empty()
}

/// What got worse.
pub(super) fn among(before: &[Figure], now: &[Figure]) -> Vec<Worse> {
    now.iter()
        .filter(|figure| figure.portable)
        .filter_map(|figure| {
            let old = before.iter().find(|old| old.id == figure.id)?.measured?;
            let new = figure.measured?;
            let is_worse = match figure.limit {
                Limit::AtLeast(_) => {
                    new.median < old.median * (1.0 - TOLERANCE) && new.median < old.min
                }
                Limit::AtMost(_) => {
                    new.median > old.median * (1.0 + TOLERANCE) && new.median > old.max
                }
            };
            is_worse.then(|| Worse {
                what: figure.what.clone(),
                before: old.median,
                now: new.median,
            })
        })
        .collect()
}

pub(super) fn text(worse: &[Worse]) -> String {
    if worse.is_empty() {
        return "Nothing is worse than in the checked-in result.".to_owned();
    }
    let mut text = "Worse than in the checked-in result:\n".to_owned();
    for one in worse {
        let _ = writeln!(
            text,
            "- {}: {:.2}, was {:.2}",
            one.what, one.now, one.before
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::spread::Spread;

    fn figure(id: &str, limit: Limit, portable: bool, values: &[f64]) -> Figure {
        Figure {
            id: id.to_owned(),
            what: format!("figure {id}"),
            limit,
            unit: String::new(),
            portable,
            measured: Spread::of(values),
            lacks: None,
            met: None,
        }
    }

    #[test]
    fn only_what_is_clearly_worse_is_flagged() {
        let rate = |values: &[f64]| [figure("rate", Limit::AtLeast(5.0), true, values)];
        let before = rate(&[5.5, 6.0, 6.5]);
        assert_eq!(among(&before, &rate(&[9.0])), []);
        assert_eq!(among(&before, &rate(&[5.4])), [], "within the tolerance");
        let found = among(&before, &rate(&[5.0]));
        assert_eq!(found.len(), 1);
        assert!(text(&found).contains("figure rate: 5.00, was 6.00"));
        assert_eq!(
            among(&rate(&[1.0, 6.0, 9.0]), &rate(&[5.0])),
            [],
            "it was noisy"
        );
    }

    #[test]
    fn times_of_two_machines_are_not_compared() {
        let time = |portable, value| [figure("time", Limit::AtMost(1.0), portable, &[value])];
        assert_eq!(among(&time(false, 1.0), &time(false, 9.0)), []);
        assert_eq!(among(&time(true, 1.0), &time(true, 9.0)).len(), 1);
        assert_eq!(among(&[], &time(true, 9.0)), [], "there was none before");
    }

    #[test]
    fn a_first_failed_call_is_flagged() {
        let failed = |count| [figure("failed", Limit::AtMost(0.0), true, &[count])];
        assert_eq!(among(&failed(0.0), &failed(1.0)).len(), 1);
        assert_eq!(among(&failed(0.0), &failed(0.0)), []);
    }
}
