//! The rules on failed calls.

use dspex_telemetry::{Blame, LaneWindow};

use super::statistics::{as_likely_by_chance, at_least, number};
use super::{Reason, comparable_failures};
use crate::evidence::Evidence;
use crate::thresholds::{Action, RateRule, Thresholds};
use crate::wording;

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
    let ratio = thresholds.error_ratio;
    let degraded = 1.0 + wording::fraction(thresholds.degradation.limit);
    reasons.extend(
        compared("error_ratio", ratio.limit, ratio.action, thresholds, seen).or_else(|| {
            compared(
                "degradation",
                degraded,
                thresholds.degradation.action,
                thresholds,
                seen,
            )
        }),
    );
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
    let (judged, enough) = if rule.action >= Action::Pause {
        // Evident on the bound is evident, even before the minimum sample is there.
        (at_least(faults, calls), thresholds.early_samples)
    } else {
        (rate, thresholds.minimum_samples)
    };
    if calls < enough || judged <= limit {
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

/// Every other fault speaks against the candidate only by a significant difference: an outage
/// upstream hits both lanes.
fn compared(
    name: &'static str,
    times: f64,
    action: Action,
    thresholds: &Thresholds,
    seen: &Evidence,
) -> Option<Reason> {
    let (stable, candidate) = (&seen.stable, &seen.candidate);
    let enough = thresholds.minimum_samples;
    if stable.calls < enough || candidate.calls < enough {
        return None;
    }
    let (failed, stable_failed) = (comparable_failures(candidate), comparable_failures(stable));
    let (ours, theirs) = (
        rate(failed, candidate.calls),
        rate(stable_failed, stable.calls),
    );
    if ours <= wording::fraction(thresholds.error_floor) || ours <= theirs * times {
        return None;
    }
    let chance = as_likely_by_chance(failed, candidate.calls, stable_failed, stable.calls);
    if chance > wording::fraction(thresholds.significance) / seen.windows.max(1.0) {
        return None;
    }
    let text = format!(
        "failed calls on the candidate: {} ({failed} of {}{}), on stable {} ({stable_failed} of {}), \
         limit {times} times stable's; by chance in 1 of {:.0} windows",
        wording::percent_of(ours),
        candidate.calls,
        leading_kinds(candidate),
        wording::percent_of(theirs),
        stable.calls,
        (1.0 / chance.max(1e-9)).min(1e9),
    );
    Some(Reason::breach(name, action, text, ours, theirs * times))
}

fn rate(hits: u64, of: u64) -> f64 {
    if of == 0 {
        0.0
    } else {
        number(hits) / number(of)
    }
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
