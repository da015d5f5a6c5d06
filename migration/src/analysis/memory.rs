//! The rule on the memory of the candidate's workers: whether it grows, and faster than stable's.
//!
//! Invariants: what is not known does not hold a stage back. A growth takes half an hour of a warm
//! worker to be told from noise, so a shorter stage could otherwise never pass, and a kind of pool
//! that does not measure could never be a candidate; it is said to be unjudged instead. A growth that
//! both lanes have is the program's: it is reported, and speaks against no pool (law 7). So it is the
//! *difference* of the two slopes that must be beyond the limit for certain. Where it may be and may
//! not be, as where stable's growth was not measured, whose the leak is cannot be told, and a person
//! decides: nothing is rolled back for it.

use dspex_pool::Growth;

use super::Reason;
use crate::evidence::Evidence;
use crate::thresholds::{Action, RateRule};
use crate::wording;

const RULE: &str = "memory_growth";

pub(super) fn judge(rule: RateRule, seen: &Evidence) -> Option<Reason> {
    // A candidate that is not up is spoken of elsewhere.
    let pool = seen.candidate_pool.as_ref()?;
    let Some(growth) = measured(pool.growth.as_ref()) else {
        let text = "whether the memory of the candidate's workers grows is not judged yet: its pool \
                    has not measured for long enough, or does not measure";
        return Some(Reason::unjudged(RULE, text.to_owned(), None));
    };
    let judged = if rule.action >= Action::Pause {
        growth.at_least
    } else {
        growth.per_hour
    };
    let limit = wording::fraction(rule.limit);
    if judged <= limit {
        return None;
    }
    let candidates = described(growth);
    let said_limit = format!("limit {} an hour", wording::share(rule.limit));
    let (action, text) = match measured(seen.stable_growth.as_ref()) {
        None => {
            let text = format!(
                "{candidates}, {said_limit}; stable's was not measured, so the program may be the cause"
            );
            (rule.action.min(Action::Pause), text)
        }
        Some(other) => {
            let (least, most) = difference(growth, other);
            let of_stable = format!(
                "stable's by {} an hour ({}), so the candidate's by {} to {} more at 99 % confidence",
                wording::percent_of(other.per_hour),
                other.worker,
                wording::percent_of(least),
                wording::percent_of(most),
            );
            if least > limit {
                (
                    rule.action,
                    format!("{candidates}, {of_stable}, {said_limit}"),
                )
            } else if most <= limit {
                let text = format!(
                    "{candidates}, and {of_stable}: what grows in both lanes is the program's"
                );
                (Action::Note, text)
            } else {
                let text = format!(
                    "{candidates}, {of_stable}, {said_limit}; the program may be the cause"
                );
                (rule.action.min(Action::Pause), text)
            }
        }
    };
    Some(Reason::breach(RULE, action, text, judged, limit))
}

/// Between what the candidate's growth beyond stable's lies: each end at 99 % confidence. The two are
/// measured apart, so the squares of their margins add up. A stable lane that seems to shrink is no
/// reason to blame the candidate for more than its own growth.
fn difference(candidate: &Growth, stable: &Growth) -> (f64, f64) {
    let margin = |growth: &Growth| (growth.per_hour - growth.at_least).max(0.0);
    let margin = margin(candidate).hypot(margin(stable));
    let difference = candidate.per_hour - stable.per_hour.max(0.0);
    (difference - margin, difference + margin)
}

/// A growth that is a number.
fn measured(growth: Option<&Growth>) -> Option<&Growth> {
    growth.filter(|growth| growth.per_hour.is_finite() && growth.at_least.is_finite())
}

fn described(growth: &Growth) -> String {
    let program = growth
        .program
        .as_deref()
        .map(|program| format!(", with the calls of {program}"))
        .unwrap_or_default();
    format!(
        "the memory of the candidate's worker {} grows by {} an hour, at least {} at 99 % confidence \
         ({} over {}){program}",
        growth.worker,
        wording::percent_of(growth.per_hour),
        wording::percent_of(growth.at_least),
        wording::count(growth.samples, "sample"),
        wording::span(growth.span),
    )
}
