//! Whether it was a success: criteria that are ticked, not ticked, or left to a person.
//!
//! Invariant (law 11): a criterion is ticked only where the journal proves it. The journal knows lanes
//! and not callers; what it does not know stays open, with what is missing.

use super::operations::acts;
use super::performance::{Performance, share};
use super::reading::Reading;
use super::{Criterion, Finding, Met};
use crate::analysis::Verdict;
use crate::event::Event;
use crate::step::Step;
use crate::wording;

/// What an act is signed with where its signer gave nothing.
const UNSIGNED: [&str; 3] = ["admin", "cli", "asked for on the command line"];

/// Words of a check that broke something on purpose and saw it mended.
const BROKEN_ON_PURPOSE: [&str; 4] = ["recover", "fault", "crash", "killed"];

pub(super) fn of(reading: &Reading<'_>) -> Vec<Criterion> {
    let named = |name, (met, finding)| Criterion { name, met, finding };
    vec![
        named("Zero customer impact during the migration", impact(reading)),
        named("Performance is better, or not worse", performance(reading)),
        named("Error handling was exercised", errors(reading)),
        named("Monitoring was complete", monitoring(reading)),
        named("Every act is signed", signed(reading)),
        named(
            "The team is trained on operating the candidate",
            trained(reading),
        ),
    ]
}

fn impact(reading: &Reading<'_>) -> (Met, Finding) {
    let (Some(first), Some(last)) = (reading.looks.first(), reading.looks.last()) else {
        let text = "No look at the lanes is recorded, so what callers saw is not known.";
        return (Met::Open, Finding::new(text, []));
    };
    let mut broken = reading.looks.iter().filter(|look| {
        let reasons = look.analysis.reasons.iter();
        reasons
            .into_iter()
            .any(|reason| reason.verdict == Verdict::Critical && reason.rule.contains("error"))
    });
    if let Some(look) = broken.next() {
        let text = format!(
            "The candidate's errors were beyond a limit: {}.",
            look.analysis.summary()
        );
        return (Met::No, Finding::new(text, [look.seq]));
    }
    let cut_off = reading
        .numbers(|event| matches!(event, Event::Withdrawn { abandoned, .. } if *abandoned > 0));
    if !cut_off.is_empty() {
        let text = "Calls were cut off when the candidate was drained; whether their callers were \
                    answered by stable, the journal does not say.";
        return (Met::Open, Finding::new(text, cut_off));
    }
    // Windows overlap, so what the looks saw has no sum: what failed in one may be in the next as well.
    // The calls themselves are counted, once each.
    let shares = || {
        let seen = reading.looks.iter().map(|look| look.analysis.candidate);
        seen.filter_map(|lane| share(lane.failed, lane.calls))
    };
    let ends = [first.seq, last.seq];
    match shares().max_by(f64::total_cmp) {
        None => (
            Met::Open,
            Finding::new("No call on the candidate is recorded.", ends),
        ),
        Some(worst) if worst > 0.0 => {
            let (saw, looks) = (
                shares().filter(|share| *share > 0.0).count(),
                shares().count(),
            );
            let stages = reading.state.stages.iter();
            let calls: u64 = stages.map(|stage| stage.calls_candidate).sum();
            let text = format!(
                "{saw} of {} saw failed calls on the candidate, which had {} in all: {} of those in the \
                 worst look's window, at no look significantly more than on stable. Whether their callers \
                 noticed, or were answered by stable, the journal does not say: see the callers' own counts.",
                wording::count(looks as u64, "look"),
                wording::count(calls, "call"),
                wording::percent_of(worst / 100.0)
            );
            (Met::Open, Finding::new(text, ends))
        }
        Some(_) if !reading.gaps.is_empty() => {
            let gaps: Vec<u64> = reading.gaps.iter().map(|gap| gap.after).collect();
            let text = "No look saw a failed call on the candidate, but there was a time in which \
                        nobody looked.";
            (Met::Open, Finding::new(text, gaps))
        }
        Some(_) => {
            let text = format!(
                "None of the {} looks saw a failed call on the candidate, and none was cut off.",
                reading.looks.len()
            );
            (Met::Yes, Finding::new(text, ends))
        }
    }
}

fn performance(reading: &Reading<'_>) -> (Met, Finding) {
    let seen = Performance::of(reading);
    let (Some(p50), Some(p99)) = (seen.p50_ratio, seen.p99_ratio) else {
        let text = "At no look did both lanes have calls enough to be compared.";
        return (Met::Open, Finding::new(text, []));
    };
    let tolerance = 1.0 + wording::fraction(reading.state.plan.thresholds.degradation.limit);
    let text = format!(
        "Over {} the candidate's median latency was {} and its 99th percentile {}; up to {} \
         worse is taken for the same.",
        wording::count(seen.compared, "look"),
        against_stable(p50),
        against_stable(p99),
        wording::percent_of(tolerance - 1.0),
    );
    let met = if p50.max(p99) <= tolerance {
        Met::Yes
    } else {
        Met::No
    };
    (met, Finding::new(text, seen.evidence))
}

/// `12 % better than stable's`.
pub(super) fn against_stable(ratio: f64) -> String {
    let change = wording::percent_of((ratio - 1.0).abs());
    if (ratio - 1.0).abs() < 0.0005 {
        "the same as stable's".to_owned()
    } else if ratio < 1.0 {
        format!("{change} better than stable's")
    } else {
        format!("{change} worse than stable's")
    }
}

fn errors(reading: &Reading<'_>) -> (Met, Finding) {
    let on_purpose = |name: &str| {
        let name = name.to_lowercase();
        BROKEN_ON_PURPOSE.iter().any(|word| name.contains(word))
    };
    let (mut passed, mut failed) = (Vec::new(), Vec::new());
    for entry in reading.entries {
        let (Event::StepDone { step, checks, .. } | Event::StepFailed { step, checks, .. }) =
            &entry.event
        else {
            continue;
        };
        if !tests_errors(*step) {
            continue;
        }
        for check in checks.iter().filter(|check| on_purpose(&check.name)) {
            if check.ok {
                passed.push((entry.seq, &check.name));
            } else {
                failed.push((entry.seq, &check.name));
            }
        }
    }
    let told = |checks: &[(u64, &String)]| {
        let names: Vec<&str> = checks.iter().map(|(_, name)| name.as_str()).collect();
        let mut entries: Vec<u64> = checks.iter().map(|(seq, _)| *seq).collect();
        entries.dedup();
        (names.join(", "), entries)
    };
    if !failed.is_empty() {
        let (names, entries) = told(&failed);
        return (
            Met::No,
            Finding::new(format!("Did not pass: {names}."), entries),
        );
    }
    if passed.is_empty() {
        let text = "No step broke something on purpose and saw it mended.";
        return (Met::Open, Finding::new(text, []));
    }
    let (names, entries) = told(&passed);
    (Met::Yes, Finding::new(format!("Passed: {names}."), entries))
}

fn tests_errors(step: Step) -> bool {
    matches!(step, Step::Verify | Step::Validate)
}

fn monitoring(reading: &Reading<'_>) -> (Met, Finding) {
    let (Some(first), Some(last)) = (reading.looks.first(), reading.looks.last()) else {
        let text = "No look at the lanes is recorded.";
        return (Met::Open, Finding::new(text, []));
    };
    if reading.gaps.is_empty() {
        let text = format!(
            "{}, and no silence after one that was healthy.",
            wording::count(reading.looks.len() as u64, "look")
        );
        return (Met::Yes, Finding::new(text, [first.seq, last.seq]));
    }
    let longest = reading.gaps.iter().max_by_key(|gap| gap.length());
    let text = format!(
        "{} in which nobody looked, the longest {}.",
        match reading.gaps.len() {
            1 => "There was a time".to_owned(),
            more => format!("There were {more} times"),
        },
        wording::span(longest.map(super::Gap::length).unwrap_or_default())
    );
    let gaps: Vec<u64> = reading.gaps.iter().map(|gap| gap.after).collect();
    (Met::No, Finding::new(text, gaps))
}

fn signed(reading: &Reading<'_>) -> (Met, Finding) {
    let acts = acts(reading);
    let blank = |text: &str| text.trim().is_empty() || UNSIGNED.contains(&text.trim());
    let unsigned: Vec<u64> = acts
        .iter()
        .filter(|act| blank(&act.who) || blank(&act.why))
        .map(|act| act.seq)
        .collect();
    if unsigned.is_empty() {
        let all: Vec<u64> = acts.iter().map(|act| act.seq).collect();
        let text = format!(
            "Each of {} says who and why.",
            wording::count(acts.len() as u64, "act")
        );
        return (Met::Yes, Finding::new(text, all));
    }
    let text = format!(
        "{} of {} without a name or a reason of its own.",
        unsigned.len(),
        wording::count(acts.len() as u64, "act")
    );
    (Met::No, Finding::new(text, unsigned))
}

/// No journal says what people know: it says what they did.
fn trained(reading: &Reading<'_>) -> (Met, Finding) {
    let acts = acts(reading);
    let mut people: Vec<&str> = acts.iter().map(|act| act.who.as_str()).collect();
    people.sort_unstable();
    people.dedup();
    let text = format!(
        "{} by {} in this journal; whether the team could do without them, a person must say.",
        wording::count(acts.len() as u64, "act"),
        match people.len() {
            1 => "one person".to_owned(),
            more => format!("{more} people"),
        }
    );
    let entries: Vec<u64> = acts.iter().map(|act| act.seq).collect();
    (Met::Open, Finding::new(text, entries))
}
