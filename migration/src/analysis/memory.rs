//! The rule on the memory of the candidate's workers: whether it grows, and faster than stable's.
//!
//! Invariants: what is not known does not hold a stage back. A growth takes half an hour of a warm
//! worker to be told from noise, so a shorter stage could otherwise never pass, and a kind of pool
//! that does not measure could never be a candidate; it is said to be unjudged instead. A growth that
//! both lanes have is the program's: it is reported, and speaks against no pool (law 7). So where
//! stable's growth was not measured, whose the leak is cannot be told, and a person decides: nothing
//! is rolled back for it.

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
        // A slope of stable's that may be chance excuses nothing.
        Some(other) if other.at_least <= 0.0 => {
            (rule.action, format!("{candidates}, {said_limit}"))
        }
        Some(other) => {
            let of_stable = format!(
                "stable's by at least {} an hour ({})",
                wording::percent_of(other.at_least),
                other.worker
            );
            if judged - other.at_least > limit {
                let text = format!("{candidates}, {of_stable}, {said_limit} more than stable's");
                (rule.action, text)
            } else {
                let text = format!(
                    "{candidates}, and {of_stable}: what grows in both lanes is the program's"
                );
                (Action::Note, text)
            }
        }
    };
    Some(Reason::breach(RULE, action, text, judged, limit))
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
