//! The rules on what is not a call: the candidate's workers, the machine, telemetry itself.

use super::Reason;
use super::statistics::number;
use crate::evidence::Evidence;
use crate::thresholds::{Action, RateRule, Thresholds};
use crate::wording;

/// The rule that the candidate's pool is up and has a worker.
pub(super) const CANDIDATE: &str = "candidate";

pub(super) fn judge(thresholds: &Thresholds, seen: &Evidence) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if !seen.recorded {
        let text = "no calls are recorded: the flag telemetry_v2 is off".to_owned();
        reasons.push(Reason::unknown("telemetry", text, "telemetry_v2 on".into()));
    }
    reasons.extend(workers(thresholds, seen));
    let host = &seen.host;
    reasons.extend(host_share(
        "cpu",
        "CPU of the host",
        host.cpu_percent,
        thresholds.cpu,
    ));
    reasons.extend(host_share(
        "memory",
        "memory of the host",
        host.memory_percent,
        thresholds.memory,
    ));
    reasons
}

fn workers(thresholds: &Thresholds, seen: &Evidence) -> Vec<Reason> {
    let rule = thresholds.worker_failure_rate;
    let Some(pool) = &seen.candidate_pool else {
        let text = "the candidate's pool is not up".to_owned();
        return vec![Reason::unknown(
            CANDIDATE,
            text,
            "the candidate's pool up".into(),
        )];
    };
    let mut reasons = Vec::new();
    if pool.ready == 0 {
        let text = format!(
            "the candidate has no worker ready (0 of {}){}",
            pool.size,
            last_words(pool)
                .map(|words| format!(": {words}"))
                .unwrap_or_default()
        );
        reasons.push(Reason::unknown(CANDIDATE, text, "a ready worker".into()));
    }
    let failures = seen.worker_failures;
    // Each one that failed was one more that ran. Workers that are replaced after a caller's call ran
    // out of time are not among them: the pool does not count those as failures.
    let ran = u64::try_from(pool.size)
        .unwrap_or(u64::MAX)
        .saturating_add(failures);
    let rate = if ran == 0 {
        0.0
    } else {
        number(failures) / number(ran)
    };
    // What stops or moves traffic is proved by all looks together, and still so in this window.
    let alpha = wording::fraction(thresholds.significance);
    let proved = rule.action < Action::Pause || seen.ledger.workers(alpha);
    let limit = wording::fraction(rule.limit);
    if proved && rate > limit {
        let text = format!(
            "workers of the candidate that ended unasked, broke the protocol or failed their health \
             checks: {} ({failures} of {ran} that ran in this window), limit {}{}",
            wording::percent_of(rate),
            wording::share(rule.limit),
            last_words(pool)
                .map(|words| format!("; the last: {words}"))
                .unwrap_or_default(),
        );
        reasons.push(Reason::breach(
            "worker_failure_rate",
            rule.action,
            text,
            rate,
            limit,
        ));
    }
    reasons
}

/// Why a worker is in the state it is in, where one has anything to say.
fn last_words(pool: &dspex_pool::PoolStatus) -> Option<&str> {
    pool.workers
        .iter()
        .find_map(|worker| worker.detail.as_deref())
}

fn host_share(
    name: &'static str,
    what: &str,
    percent: Option<f64>,
    rule: RateRule,
) -> Option<Reason> {
    let Some(percent) = percent.filter(|percent| percent.is_finite()) else {
        let text = format!("{what} could not be measured");
        // What is only worth a word is only worth a word when it is missing.
        return Some(if rule.action == Action::Note {
            Reason::unjudged(name, text, None)
        } else {
            Reason::unknown(name, text, format!("a measurement of the {what}"))
        });
    };
    let (value, limit) = (percent / 100.0, wording::fraction(rule.limit));
    if value <= limit {
        return None;
    }
    let text = format!(
        "{what}: {}, limit {}",
        wording::percent_of(value),
        wording::share(rule.limit)
    );
    Some(Reason::breach(name, rule.action, text, value, limit))
}
