//! The rules on how long calls take.
//!
//! Two opinions are asked for. Bounds of the median and of the p99 say how far the candidate certainly
//! is beyond stable; ranks (Mann-Whitney) say whether its calls in general are slower. Where both say
//! so, the ratio's rule is broken; the median's bounds are found much sooner. Where only the bounds of
//! the p99 do, the tail alone has grown, and a person decides: it pauses at most. Where only the ranks
//! do, the candidate is certainly slower, by how much is told by the medians and the 95th percentiles,
//! and that is degradation.
//!
//! A p99 of a few samples is noise: below `latency_samples` these rules are not judged, and say so.
//! They do not stand in the way then, because errors are judged on far fewer calls and a rare
//! program would hold a migration for ever.

use std::time::Duration;

use dspex_flags::Percent;
use dspex_telemetry::{Latency, OTHER, ProgramWindow};

use super::{Degraded, Reason};
use crate::evidence::Evidence;
use crate::ledger::Measure;
use crate::sequential::{calls_for_quantile, quantile_ranks};
use crate::thresholds::{Action, Thresholds};
use crate::wording;

/// One of the two latencies of a program's calls.
type Of = fn(&ProgramWindow) -> &Latency;

pub(super) fn judge(thresholds: &Thresholds, seen: &Evidence) -> Vec<Reason> {
    let mut reasons = Vec::from_iter(overhead(thresholds, seen));
    let mut judged = 0;
    let mut nearest: Option<(u64, String)> = None;
    // Programs filed together are a mix, and a different mix is not a slower lane.
    for (name, lanes) in seen.stage.iter().filter(|(name, _)| *name != OTHER) {
        let [stable, candidate] = lanes;
        if stable.calls == 0 || candidate.calls == 0 {
            continue;
        }
        let lacking = |calls: u64| thresholds.latency_samples.saturating_sub(calls);
        let (ours, theirs) = (lacking(candidate.calls), lacking(stable.calls));
        if ours == 0 && theirs == 0 {
            judged += 1;
            reasons.extend(program(name, lanes, thresholds, seen));
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
        // A rule that stops traffic goes by what the whole stage shows for certain.
        let mut stage = Latency::new();
        for [_, candidate] in seen.stage.values() {
            stage.merge(&candidate.overhead);
        }
        let alpha = wording::fraction(thresholds.significance);
        p99.min(bounds(&stage, 0.99, alpha).0?)
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
    lanes: &[ProgramWindow; 2],
    thresholds: &Thresholds,
    seen: &Evidence,
) -> Vec<Reason> {
    let recent = seen.recent.get(name);
    let measures: [(_, _, Of); 2] = [
        (Measure::Overhead, "overhead", |calls| &calls.overhead),
        (Measure::Total, "whole calls", |calls| &calls.total),
    ];
    let alpha = wording::fraction(thresholds.significance);
    measures
        .into_iter()
        .filter_map(|(measure, what, of)| {
            let slower = seen.ledger.slower(name, measure, alpha);
            let whole = lanes.each_ref().map(of);
            let level = seen.ledger.quantile_level(name, alpha);
            let far = level.and_then(|level| {
                let typical = typical(name, what, whole, level, thresholds).filter(|_| slower);
                typical.or_else(|| tail(name, what, whole, slower, level, thresholds))
            });
            far.or_else(|| {
                // What goes on now, or else the stage as a whole.
                let spans = recent.map(|lanes| lanes.each_ref().map(of)).into_iter();
                let degraded = |lanes| degraded(name, what, lanes, thresholds);
                spans.chain([whole]).find_map(degraded).filter(|_| slower)
            })
        })
        .collect()
}

/// Whether a typical call of the candidate certainly takes longer than the limit, and by more than the
/// floor.
fn typical(
    name: &str,
    what: &str,
    [stable, candidate]: [&Latency; 2],
    level: f64,
    thresholds: &Thresholds,
) -> Option<Reason> {
    let rule = thresholds.median_ratio;
    let (ours, theirs) = (candidate.p50()?, stable.p50()?);
    let (least, most) = (
        bounds(candidate, 0.5, level).0?,
        bounds(stable, 0.5, level).1?,
    );
    if !beyond(most, least, rule.limit, thresholds.latency_floor) {
        return None;
    }
    let text = format!(
        "median of {what} of {name} on the candidate: {} over {}, on stable {} over {}, limit {} times \
         stable's",
        wording::latency(ours),
        wording::count(candidate.count(), "call"),
        wording::latency(theirs),
        stable.count(),
        rule.limit,
    );
    let limit = ms(theirs) * rule.limit;
    Some(Reason::breach(
        "median_ratio",
        rule.action,
        text,
        ms(ours),
        limit,
    ))
}

/// Whether the candidate's p99 is certainly beyond the limit, and by more than the floor, where both
/// may lie anywhere within their bounds. A zero baseline is no trouble: the floor decides then.
fn tail(
    name: &str,
    what: &str,
    [stable, candidate]: [&Latency; 2],
    slower: bool,
    level: f64,
    thresholds: &Thresholds,
) -> Option<Reason> {
    let rule = thresholds.p99_ratio;
    let (ours, theirs) = (candidate.p99()?, stable.p99()?);
    if !beyond(theirs, ours, rule.limit, thresholds.latency_floor) {
        return None;
    }
    let text = format!(
        "p99 of {what} of {name} on the candidate: {} over {}, on stable {} over {}, limit {} times \
         stable's",
        wording::latency(ours),
        wording::count(candidate.count(), "call"),
        wording::latency(theirs),
        stable.count(),
        rule.limit,
    );
    let (Some(least), Some(most)) = (
        bounds(candidate, 0.99, level).0,
        bounds(stable, 0.99, level).1,
    ) else {
        // Slower already, and by how much is not known: say how long that takes.
        let (lane, calls) = [("the candidate", candidate), ("stable", stable)]
            .into_iter()
            .min_by_key(|(_, latency)| latency.count())?;
        let missing = calls_for_quantile(0.99, level)
            .saturating_sub(calls.count())
            .max(1);
        let needs = format!(
            "{} of {name} on {lane}",
            wording::count(missing, "more call")
        );
        let text = format!("{text}; not certain before {needs}");
        // Where the ranks agree there is degradation to report, which says more.
        return (!slower).then(|| Reason::unjudged("p99_ratio", text, Some(needs)));
    };
    if !beyond(most, least, rule.limit, thresholds.latency_floor) {
        return None;
    }
    let (action, text) = if slower {
        (rule.action, text)
    } else {
        let text = format!("{text}; its calls in general are not slower, only the slowest are");
        (rule.action.min(Action::Pause), text)
    };
    Some(Reason::breach(
        "p99_ratio",
        action,
        text,
        ms(ours),
        ms(theirs) * rule.limit,
    ))
}

/// By how much a candidate that is certainly slower is slower.
fn degraded(
    name: &str,
    what: &str,
    [stable, candidate]: [&Latency; 2],
    thresholds: &Thresholds,
) -> Option<Reason> {
    let rule = thresholds.degradation;
    let times = 1.0 + wording::fraction(rule.limit);
    let enough = thresholds.latency_samples;
    if stable.count() < enough || candidate.count() < enough {
        return None;
    }
    [("median", 0.5), ("p95", 0.95)].into_iter().find_map(|(quantile, q)| {
        let (ours, theirs) = (candidate.quantile(q)?, stable.quantile(q)?);
        if !beyond(theirs, ours, times, thresholds.latency_floor) {
            return None;
        }
        let text = format!(
            "{quantile} of {what} of {name} on the candidate: {} over {}, on stable {} over {}, limit \
             {times} times stable's; no chance, at {} for the whole migration",
            wording::latency(ours),
            wording::count(candidate.count(), "call"),
            wording::latency(theirs),
            stable.count(),
            wording::share(thresholds.significance),
        );
        let reason = Reason::breach("degradation", rule.action, text, ms(ours), ms(theirs) * times);
        Some(reason.of(Degraded::Latency))
    })
}

fn beyond(stable: Duration, candidate: Duration, times: f64, floor: Duration) -> bool {
    candidate.as_secs_f64() > stable.as_secs_f64() * times
        && candidate.saturating_sub(stable) > floor
}

/// Between what the true quantile `q` lies, at every look.
fn bounds(latency: &Latency, q: f64, level: f64) -> (Option<Duration>, Option<Duration>) {
    let count = latency.count();
    let (low, high) = quantile_ranks(count, q, level);
    let at = |rank: Option<u64>| latency.at_rank(rank?);
    (at(low), at(high))
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
