//! The rules on failed calls.

use dspex_telemetry::{Blame, LaneWindow};

use super::statistics::rate;
use super::{Degraded, Reason, comparable_failures};
use crate::evidence::Evidence;
use crate::thresholds::{Action, RateRule, Thresholds};
use crate::wording;

const DEGRADATION: &str = "degradation";

pub(super) fn judge(thresholds: &Thresholds, seen: &Evidence) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let critical = pool_faults(
        "critical_error_rate",
        thresholds.critical_error_rate,
        thresholds,
        seen,
    );
    let warning = || pool_faults("error_rate", thresholds.error_rate, thresholds, seen);
    reasons.extend(critical.or_else(warning));
    reasons.extend(compared(thresholds, seen));
    if seen.stable.calls < thresholds.minimum_samples {
        let text = format!(
            "stable had {} in this window, too few to compare with: the absolute rules decide alone",
            wording::count(seen.stable.calls, "call")
        );
        reasons.push(Reason::unjudged("error_ratio", text, None));
    }
    reasons
}

/// Pool faults speak against the candidate whatever stable does.
fn pool_faults(
    name: &'static str,
    rule: RateRule,
    thresholds: &Thresholds,
    seen: &Evidence,
) -> Option<Reason> {
    let (faults, calls) = (seen.candidate.errors_of(Blame::Pool), seen.candidate.calls);
    let limit = wording::fraction(rule.limit);
    let rate = rate(faults, calls);
    let (proved, enough) = if rule.action >= Action::Pause {
        // Evident is evident, even before the minimum sample is there. What is proved is that the
        // critical rate is exceeded: a rule with a lower limit that stops traffic waits for that.
        let alpha = wording::fraction(thresholds.significance);
        (seen.ledger.pool_faults(alpha), thresholds.early_samples)
    } else {
        (true, thresholds.minimum_samples)
    };
    if calls < enough || rate <= limit || !proved {
        return None;
    }
    let kinds = leading_kinds(&seen.candidate);
    let text = format!(
        "pool faults on the candidate: {} ({faults} of {}{kinds}), limit {}",
        wording::percent_of(rate),
        wording::count(calls, "call"),
        wording::share(rule.limit),
    );
    Some(Reason::breach(name, rule.action, text, rate, limit))
}

/// Every other fault speaks against the candidate only by a difference that is proved: an outage
/// upstream hits both lanes.
fn compared(thresholds: &Thresholds, seen: &Evidence) -> Option<Reason> {
    let alpha = wording::fraction(thresholds.significance);
    let proved = seen.ledger.failures(alpha)?;
    let ratio = (
        "error_ratio",
        thresholds.error_ratio.limit,
        thresholds.error_ratio.action,
    );
    let degraded = 1.0 + wording::fraction(thresholds.degradation.limit);
    let degradation = (DEGRADATION, degraded, thresholds.degradation.action);
    // All programs together, and that in which it was proved: it may be one of many.
    let (stable, candidate) = (&seen.stable, &seen.candidate);
    let mut compared = vec![(
        String::new(),
        (comparable_failures(stable), stable.calls),
        (comparable_failures(candidate), candidate.calls),
    )];
    if let Some((name, [stable, candidate])) =
        proved.and_then(|name| Some((name, seen.recent.get(name)?)))
    {
        compared.push((
            format!(" of {name}"),
            (stable.faults, stable.calls),
            (candidate.faults, candidate.calls),
        ));
    }
    [ratio, degradation].into_iter().find_map(|rule| {
        compared.iter().find_map(|(of, stable, candidate)| {
            beyond(rule, of, *stable, *candidate, thresholds, seen)
        })
    })
}

/// Whether what is seen now is beyond the limit, in `(failures, calls)` of each lane.
fn beyond(
    (rule, times, action): (&'static str, f64, Action),
    of: &str,
    stable: (u64, u64),
    candidate: (u64, u64),
    thresholds: &Thresholds,
    seen: &Evidence,
) -> Option<Reason> {
    let enough = thresholds.minimum_samples;
    if stable.1 < enough || candidate.1 < enough {
        return None;
    }
    let (ours, theirs) = (rate(candidate.0, candidate.1), rate(stable.0, stable.1));
    if ours <= wording::fraction(thresholds.error_floor) || ours <= theirs * times {
        return None;
    }
    let kinds = if of.is_empty() {
        leading_kinds(&seen.candidate)
    } else {
        String::new()
    };
    let text = format!(
        "failed calls{of} on the candidate: {} ({} of {}{kinds}), on stable {} ({} of {}), limit {times} \
         times stable's; no chance, at {} for the whole migration",
        wording::percent_of(ours),
        candidate.0,
        candidate.1,
        wording::percent_of(theirs),
        stable.0,
        stable.1,
        wording::share(thresholds.significance),
    );
    let reason = Reason::breach(rule, action, text, ours, theirs * times);
    Some(match rule {
        DEGRADATION => reason.of(Degraded::Errors),
        _ => reason,
    })
}

/// The two commonest kinds of failure, so that an operator knows where to look.
fn leading_kinds(window: &LaneWindow) -> String {
    let mut kinds: Vec<(&str, u64)> = window
        .kinds
        .iter()
        .filter(|(kind, _)| *kind != "ok")
        .map(|(kind, count)| (kind.as_str(), *count))
        .collect();
    kinds.sort_by_key(|(kind, count)| (std::cmp::Reverse(*count), *kind));
    let texts: Vec<String> = kinds
        .iter()
        .take(2)
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    if texts.is_empty() {
        String::new()
    } else {
        format!(": {}", texts.join(", "))
    }
}
