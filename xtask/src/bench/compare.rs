//! A run against the result that is checked in.
//!
//! Only figures that mean the same on every machine are held against each other: ratios within one
//! run, shares, counts, memory. They still vary; what is flagged is worse than the tolerance *and* worse
//! than the worst round that was checked in. What was measured then, was to be measured now and could not
//! be, is worse than anything measured.

use std::fmt::Write as _;

use super::figures::{Figure, Limit};
use super::spread::Spread;

/// How much worse is no noise.
const TOLERANCE: f64 = 0.15;

/// A figure that got worse.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Worse {
    what: String,
    before: f64,
    now: Now,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq)]
enum Now {
    Measured(f64),
    /// It was to be measured, and could not be.
    Lost(String),
}

/// Prints what got worse from one run to the other. Answers whether nothing did.
pub(super) fn holds(before: &[Figure], now: &[Figure]) -> bool {
    let worse = among(before, now);
    println!("{}", text(&worse));
    let left_out = left_out(before, now);
    if !left_out.is_empty() {
        println!("Not measured in this run: {}.", left_out.join("; "));
    }
    worse.is_empty()
}

/// What got worse, or was measured and now failed to be. A figure that is gone is one that failed.
pub(super) fn among(before: &[Figure], now: &[Figure]) -> Vec<Worse> {
    before
        .iter()
        .filter_map(|old| {
            let was = old.measured?;
            let worse = |now| Worse {
                what: old.what.clone(),
                before: was.median,
                now,
            };
            let Some(new) = now.iter().find(|figure| figure.id == old.id) else {
                let gone = "there is no such figure any more".to_owned();
                return Some(worse(Now::Lost(gone)));
            };
            let Some(is) = new.measured else {
                let why = new.lacks.clone().unwrap_or_default();
                return new.failed.then(|| worse(Now::Lost(why)));
            };
            (new.portable && is_worse(new.limit, was, is)).then(|| worse(Now::Measured(is.median)))
        })
        .collect()
}

fn is_worse(limit: Limit, was: Spread, is: Spread) -> bool {
    match limit {
        Limit::AtLeast(_) => is.median < was.median * (1.0 - TOLERANCE) && is.median < was.min,
        Limit::AtMost(_) => is.median > was.median * (1.0 + TOLERANCE) && is.median > was.max,
    }
}

/// What was measured then, and was not asked for now or is not to be had here.
fn left_out<'a>(before: &'a [Figure], now: &[Figure]) -> Vec<&'a str> {
    let without = |old: &&Figure| {
        let new = now.iter().find(|figure| figure.id == old.id);
        old.measured.is_some() && new.is_some_and(|new| new.measured.is_none() && !new.failed)
    };
    before
        .iter()
        .filter(without)
        .map(|figure| figure.what.as_str())
        .collect()
}

pub(super) fn text(worse: &[Worse]) -> String {
    if worse.is_empty() {
        return "Nothing is worse than in the checked-in result.".to_owned();
    }
    let mut text = "Worse than in the checked-in result:\n".to_owned();
    for Worse { what, before, now } in worse {
        let now = match now {
            Now::Measured(value) => format!("{value:.2}"),
            Now::Lost(why) => format!("not measured ({why})"),
        };
        let _ = writeln!(text, "- {what}: {now}, was {before:.2}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(id: &str, limit: Limit, portable: bool, values: &[f64]) -> Figure {
        Figure {
            id: id.to_owned(),
            what: format!("figure {id}"),
            limit,
            unit: String::new(),
            portable,
            measured: Spread::of(values),
            lacks: None,
            failed: false,
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
    fn what_could_not_be_measured_is_worse_and_what_was_left_out_is_told() {
        let measured = |id| figure(id, Limit::AtMost(1.0), false, &[1.0]);
        let lost = |id, failed| Figure {
            lacks: Some("it crashed".to_owned()),
            failed,
            ..figure(id, Limit::AtMost(1.0), false, &[])
        };
        let before = [measured("a"), measured("b"), measured("c"), lost("d", true)];
        let now = [lost("a", true), lost("b", false), lost("d", true)];
        let told = text(&among(&before, &now));
        assert!(told.contains("figure a: not measured (it crashed), was 1.00"));
        assert!(told.contains("figure c: not measured (there is no such figure"));
        assert!(
            !told.contains("figure b") && !told.contains("figure d"),
            "{told}"
        );
        assert_eq!(left_out(&before, &now), ["figure b"]);
        assert!(!holds(&before, &now));
        assert!(holds(&before[1..2], &now));
    }

    #[test]
    fn a_first_failed_call_is_flagged() {
        let failed = |count| [figure("failed", Limit::AtMost(0.0), true, &[count])];
        assert_eq!(among(&failed(0.0), &failed(1.0)).len(), 1);
        assert_eq!(among(&failed(0.0), &failed(0.0)), []);
    }
}
