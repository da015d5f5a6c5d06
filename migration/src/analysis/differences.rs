//! The rule on copied calls: whether the candidate answers as stable does.
//!
//! Invariants: a gate, and so stricter than a limit: where calls are copied at all, no stage ages
//! before the share of differences is known to lie below the limit (law 3). What stops or moves
//! traffic fires on the lower bound, program by program, so that one program that is wholly wrong
//! does not hide among the calls of the others. The bounds hold at every look at once. A copy of which
//! noise left nothing to compare passes no gate; it only tells how seldom a form is wrong.

use super::Reason;
use super::statistics::rate;
use crate::evidence::{Differences, Evidence};
use crate::sequential::share_bounds;
use crate::thresholds::{Action, Thresholds};
use crate::wording;

const RULE: &str = "difference_rate";

pub(super) fn judge(thresholds: &Thresholds, seen: &Evidence) -> Vec<Reason> {
    // Where the plan has no call copied, there is nothing to say.
    let Some(programs) = &seen.differences else {
        return Vec::new();
    };
    let rule = thresholds.difference_rate;
    let limit = wording::fraction(rule.limit);
    let said_limit = wording::share(rule.limit);
    let mut reasons: Vec<Reason> = programs
        .iter()
        .filter_map(|program| broken(thresholds, program))
        .collect();
    if !reasons.is_empty() {
        return reasons;
    }
    let sum = |of: fn(&Differences) -> u64| programs.iter().map(of).sum::<u64>();
    let compared = sum(|program| program.compared);
    let different = sum(|program| program.different);
    let minimum = thresholds.minimum_samples;
    if compared < minimum {
        let more = wording::count(minimum - compared, "more comparison");
        // Where all copies are hidden, waiting brings no comparison.
        let needs = match programs.iter().any(|program| program.hidden_by_noise > 0) {
            true if compared == 0 => "a comparer, or a person who promotes".to_owned(),
            _ => more,
        };
        let text = format!(
            "{} of copied calls so far and {minimum} are needed: waiting for {needs}{}{}",
            wording::count(compared, "comparison"),
            hidden(programs),
            trouble(programs)
        );
        return vec![Reason::unknown(RULE, text, needs)];
    }
    let alpha = wording::fraction(thresholds.significance);
    let (_, bound) = share_bounds(different, compared, alpha);
    if bound > limit {
        let needs = match lacking(different, compared, limit, alpha) {
            Some(more) => wording::count(more, "more comparison"),
            None => "fewer differences: at this rate it never passes".to_owned(),
        };
        let text = format!(
            "{}, so up to {} may at {} confidence, limit {said_limit}: waiting for {needs}{}{}",
            of(different, compared),
            wording::percent_of(bound),
            wording::percent_of(1.0 - alpha),
            hidden(programs),
            trouble(programs)
        );
        reasons.push(Reason::unknown(RULE, text, needs));
    }
    reasons
}

/// How many more comparisons it takes until the share is known to lie below the limit, should they
/// come out as those before. None where it takes more than a million.
fn lacking(different: u64, compared: u64, limit: f64, alpha: f64) -> Option<u64> {
    // Of so many times as many, so many times as many differ.
    let passes = |all: u64| share_bounds(different * all / compared, all, alpha).1 <= limit;
    let (mut low, mut high) = (compared, compared.max(1));
    while !passes(high) {
        (low, high) = (high, high * 2);
        if high > 1_000_000 {
            return None;
        }
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if passes(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    Some(high - compared)
}

/// A program that is answered differently too often.
fn broken(thresholds: &Thresholds, program: &Differences) -> Option<Reason> {
    let rule = thresholds.difference_rate;
    let (different, compared) = (
        program.different,
        program.compared + program.hidden_by_noise,
    );
    if compared < thresholds.early_samples {
        return None;
    }
    let limit = wording::fraction(rule.limit);
    let alpha = wording::fraction(thresholds.significance);
    let (bound, _) = share_bounds(different, compared, alpha);
    let judged = if rule.action >= Action::Pause {
        bound
    } else {
        rate(different, compared)
    };
    if judged <= limit {
        return None;
    }
    let text = format!(
        "{} for {}, at least {} at {} confidence, limit {}; see the cases of the shadow",
        of(different, compared),
        program.program,
        wording::percent_of(bound),
        wording::percent_of(1.0 - alpha),
        wording::share(rule.limit)
    );
    Some(Reason::breach(RULE, rule.action, text, judged, limit))
}

fn of(different: u64, compared: u64) -> String {
    format!(
        "the candidate answers {different} of {} differently",
        wording::count(compared, "copied call")
    )
}

/// The program whose copies noise hides most, and what is to be done about it.
fn hidden(programs: &[Differences]) -> String {
    let most = programs.iter().max_by_key(|one| one.hidden_by_noise);
    match most.filter(|one| one.hidden_by_noise > 0) {
        Some(Differences {
            program,
            hidden_by_noise,
            ..
        }) => format!(
            " ({} of {program} hidden by noise: stable does not answer it twice alike, so nothing of them was \
             compared; give a comparer (`router.shadow.programs.{program}.comparer`), or read its answers \
             and promote by hand)",
            wording::count(*hidden_by_noise, "copied call"),
        ),
        None => String::new(),
    }
}

/// Why copies come to nothing, where they do.
fn trouble(programs: &[Differences]) -> String {
    let troubled = programs
        .iter()
        .filter(|program| program.trouble.is_some())
        .max_by_key(|program| program.not_compared);
    match troubled.and_then(|program| Some((program, program.trouble.as_deref()?))) {
        Some((program, trouble)) => format!(
            " ({} of {} came to nothing: {trouble})",
            wording::count(program.not_compared, "copied call"),
            program.program
        ),
        None => String::new(),
    }
}
