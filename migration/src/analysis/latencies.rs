//! The rules on how long calls take.
//!
//! A p99 of a few samples is noise: below `latency_samples` these rules are not judged, and say so.
//! They do not stand in the way then, because errors are judged on far fewer calls and a rare
//! program would hold a migration for ever.

use std::time::Duration;

use dspex_flags::Percent;
use dspex_telemetry::{Latency, OTHER, ProgramWindow};

use super::Reason;
use super::statistics::around_p99;
use crate::evidence::Evidence;
use crate::thresholds::{Action, Thresholds};
use crate::wording;

pub(super) fn judge(thresholds: &Thresholds, seen: &Evidence) -> Vec<Reason> {
    let mut reasons = Vec::from_iter(overhead(thresholds, seen));
    let mut judged = 0;
    let mut nearest: Option<(u64, String)> = None;
    for (name, candidate) in &seen.candidate.programs {
        // Programs filed together are a mix, and a different mix is not a slower lane.
        let Some(stable) = seen.stable.programs.get(name).filter(|_| name != OTHER) else {
            continue;
        };
        let lacking = |calls: u64| thresholds.latency_samples.saturating_sub(calls);
        let (ours, theirs) = (lacking(candidate.calls), lacking(stable.calls));
        if ours == 0 && theirs == 0 {
            judged += 1;
            reasons.extend(program(name, stable, candidate, thresholds));
        } else if nearest
            .as_ref()
            .is_none_or(|(lacks, _)| ours + theirs < *lacks)
        {
            let (lane, calls) = if ours >= theirs {
                ("the candidate", ours)
            } else {
                ("stable", theirs)
            };
            let needs = format!("{} of {name} on {lane}", wording::count(calls, "more call"));
            nearest = Some((ours + theirs, needs));
        }
    }
    if judged == 0 {
        let needs = nearest.map(|(_, needs)| needs);
        let text = match &needs {
            Some(needs) => format!("p99 against stable is not judged yet: it needs {needs}"),
            None if seen.percent == Percent::HUNDRED => {
                "p99 against stable is not judged: stable serves nothing to compare with".into()
            }
            None => "p99 against stable is not judged: no program was called in both lanes".into(),
        };
        reasons.push(Reason::unjudged("p99_ratio", text, needs));
    }
    reasons
}

/// The overhead by itself: a program takes what it takes, the rest is the pool's.
fn overhead(thresholds: &Thresholds, seen: &Evidence) -> Option<Reason> {
    let (rule, overhead) = (thresholds.overhead_p99, &seen.candidate.overhead);
    let count = overhead.count();
    if count < thresholds.latency_samples {
        let missing = thresholds.latency_samples - count;
        let needs = format!("{} on the candidate", wording::count(missing, "more call"));
        let text = format!("overhead p99 is not judged yet: it needs {needs}");
        return Some(Reason::unjudged("overhead_p99", text, Some(needs)));
    }
    let p99 = overhead.p99()?;
    let judged = if rule.action >= Action::Pause {
        overhead.quantile(around_p99(count).0)?
    } else {
        p99
    };
    if judged <= rule.limit {
        return None;
    }
    let stable = seen
        .stable
        .overhead
        .p99()
        .map_or_else(|| "unknown".into(), wording::latency);
    let text = format!(
        "overhead p99 on the candidate: {} over {}, limit {} (stable {stable})",
        wording::latency(p99),
        wording::count(count, "call"),
        wording::latency(rule.limit),
    );
    Some(Reason::breach(
        "overhead_p99",
        rule.action,
        text,
        ms(p99),
        ms(rule.limit),
    ))
}

/// One program in both lanes: overhead, and the whole call. At most one reason for each.
fn program(
    name: &str,
    stable: &ProgramWindow,
    candidate: &ProgramWindow,
    thresholds: &Thresholds,
) -> Vec<Reason> {
    let ratio = (
        "p99_ratio",
        thresholds.p99_ratio.limit,
        thresholds.p99_ratio.action,
    );
    let degraded = 1.0 + wording::fraction(thresholds.degradation.limit);
    let degradation = ("degradation", degraded, thresholds.degradation.action);
    let measures = [
        ("overhead", &stable.overhead, &candidate.overhead),
        ("whole calls", &stable.total, &candidate.total),
    ];
    measures
        .into_iter()
        .filter_map(|(measure, stable, candidate)| {
            [ratio, degradation].into_iter().find_map(|(rule, times, action)| {
                slower(stable, candidate, times, thresholds.latency_floor)?;
                let (ours, theirs) = (candidate.p99()?, stable.p99()?);
                let text = format!(
                    "p99 of {measure} of {name} on the candidate: {} over {}, on stable {} over {}, \
                     limit {times} times stable's",
                    wording::latency(ours),
                    wording::count(candidate.count(), "call"),
                    wording::latency(theirs),
                    stable.count(),
                );
                Some(Reason::breach(rule, action, text, ms(ours), ms(theirs) * times))
            })
        })
        .collect()
}

/// Whether the candidate's p99 is beyond `times` stable's, and by more than `floor`, where both
/// may lie anywhere that chance allows. A zero baseline is no trouble: the floor decides then.
fn slower(stable: &Latency, candidate: &Latency, times: f64, floor: Duration) -> Option<()> {
    let ours = candidate.quantile(around_p99(candidate.count()).0)?;
    let theirs = stable.quantile(around_p99(stable.count()).1)?;
    let beyond = ours.as_secs_f64() > theirs.as_secs_f64() * times;
    (beyond && ours.saturating_sub(theirs) > floor).then_some(())
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
