//! What came of it: the summary, what went well, what went wrong.

use super::Finding;
use super::operations::alerts;
use super::reading::{Reading, between, person};
use crate::analysis::Verdict;
use crate::cause::Cause;
use crate::event::Event;
use crate::phase::Phase;
use crate::{status, wording};

/// What came of it, in a few sentences.
pub(super) fn summary(reading: &Reading<'_>) -> Vec<Finding> {
    let state = reading.state;
    let end = state.seq;
    let outcome = status::outcome(state);
    let mut told = vec![match outcome {
        Some(outcome) => Finding::new(sentence(&outcome), [end]),
        None => Finding::new(
            format!(
                "It is under way, in phase {}: this report ends where its journal does.",
                state.phase
            ),
            [end],
        ),
    }];
    let entered: u64 = state.stages.len() as u64;
    let stages = state.plan.stages.len() as u64;
    told.push(Finding::new(
        format!(
            "{entered} of {} {} entered, and the lanes were looked at {}.",
            wording::count(stages, "stage"),
            if entered == 1 { "was" } else { "were" },
            wording::times(reading.looks.len() as u64)
        ),
        reading.numbers(|event| matches!(event, Event::StageEntered { .. })),
    ));
    told.extend(rollback_took(reading));
    told
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let Some(first) = letters.next() else {
        return String::new();
    };
    let text: String = first.to_uppercase().chain(letters).collect();
    if text.ends_with('.') {
        text
    } else {
        text + "."
    }
}

/// What went well.
pub(super) fn went_well(reading: &Reading<'_>) -> Vec<Finding> {
    let mut well = Vec::new();
    for entry in reading.entries {
        match &entry.event {
            Event::StepDone {
                step,
                saved: Some(saved),
                ..
            } => well.push(Finding::new(
                format!(
                    "The {step} is kept: {} in {}.",
                    wording::bytes(saved.bytes),
                    saved.place
                ),
                [entry.seq],
            )),
            Event::StepDone { step, checks, .. } if !checks.is_empty() => well.push(Finding::new(
                format!(
                    "{} passed {}.",
                    sentence(&step.to_string()).trim_end_matches('.'),
                    wording::count(checks.len() as u64, "check")
                ),
                [entry.seq],
            )),
            Event::StageLeft {
                stage,
                cause: Cause::Controller { .. },
                ..
            } => well.extend(seen_healthy(reading, *stage, entry.seq)),
            Event::Withdrawn {
                finished,
                abandoned: 0,
            } => well.push(Finding::new(
                format!(
                    "The candidate was drained and no call was cut off: {} finished.",
                    wording::count(*finished, "call")
                ),
                [entry.seq],
            )),
            Event::Decommissioned => well.push(Finding::new(
                format!(
                    "{} was taken out of service, and {} is stable.",
                    reading.state.plan.stable_name(),
                    reading.state.plan.candidate_name()
                ),
                [entry.seq],
            )),
            Event::Completed => well.push(Finding::new(
                format!(
                    "{} took over all traffic.",
                    reading.state.plan.candidate_name()
                ),
                [entry.seq],
            )),
            _ => {}
        }
    }
    well.extend(fell_quickly(reading));
    well.extend(moved_everywhere(reading));
    well.extend(no_pool_fault(reading));
    well
}

fn seen_healthy(reading: &Reading<'_>, stage: usize, seq: u64) -> Option<Finding> {
    let records = reading.state.stages.iter();
    let record = records.rev().find(|record| record.stage == stage)?;
    // Left by the controller for a rollback, or with its hold waived.
    if record.healthy < record.hold || record.hold.is_zero() {
        return None;
    }
    let (share, healthy, hold) = (
        wording::share(record.percent),
        wording::span(record.healthy),
        wording::span(record.hold),
    );
    let text = format!(
        "Stage {} ({share}) was seen healthy for {healthy} of the {hold} asked for.",
        stage + 1
    );
    Some(Finding::new(text, [seq]))
}

/// From the decision to roll back until no router sends traffic to the candidate.
fn fell_quickly(reading: &Reading<'_>) -> Option<Finding> {
    let limit = reading.state.plan.acknowledge_within;
    let fallen = reading.shares.iter().rev();
    let share = fallen
        .filter(|share| share.percent.basis_points() == 0)
        .find(|share| share.took <= limit)?;
    let took = wording::span(share.took);
    Some(Finding::new(
        format!("The rollback took traffic to 0 %, acknowledged by every router, within {took}."),
        [share.seq],
    ))
}

fn moved_everywhere(reading: &Reading<'_>) -> Option<Finding> {
    let slowest = reading.shares.iter().max_by_key(|share| share.took)?;
    let delayed = reading.numbers(|event| matches!(event, Event::TrafficDelayed { .. }));
    if !delayed.is_empty() {
        return None;
    }
    let evidence: Vec<u64> = reading.shares.iter().map(|share| share.seq).collect();
    let text = format!(
        "Every change of traffic was acknowledged by every router, the slowest within {}.",
        wording::span(slowest.took)
    );
    Some(Finding::new(text, evidence))
}

fn no_pool_fault(reading: &Reading<'_>) -> Option<Finding> {
    let mut looks = reading.looks.iter();
    let calls = looks.clone().any(|look| look.analysis.candidate.calls > 0);
    let faults = looks.any(|look| look.analysis.candidate.pool_faults > 0);
    let (first, last) = (reading.looks.first()?, reading.looks.last()?);
    (calls && !faults).then(|| {
        Finding::new(
            format!(
                "No look of {} saw a fault of the candidate's pool.",
                reading.looks.len()
            ),
            [first.seq, last.seq],
        )
    })
}

/// What went wrong.
pub(super) fn went_wrong(reading: &Reading<'_>) -> Vec<Finding> {
    let mut wrong: Vec<Finding> = alerts(reading);
    for alert in &mut wrong {
        alert.text = sentence(&alert.text);
    }
    wrong.extend(refusals(reading));
    wrong.extend(criticals(reading));
    wrong.extend(cut_off(reading));
    for gap in &reading.gaps {
        let text = format!(
            "Nobody looked for {}, though a stage was healthy: no controller ran, or it was held up.",
            wording::span(gap.length())
        );
        wrong.push(Finding::new(text, [gap.after, gap.after + 1]));
    }
    if !reading.clock_went_back.is_empty() {
        let text = "The wall clock went back: times and spans in this report are not exact.";
        wrong.push(Finding::new(text, reading.clock_went_back.clone()));
    }
    wrong.extend(without_a_hold(reading));
    if reading.state.phase == Phase::Stuck {
        let todo = reading.state.problem.clone().unwrap_or_default();
        wrong.push(Finding::new(
            format!("A person must still act: {todo}"),
            [reading.state.seq],
        ));
    }
    wrong
}

fn refusals(reading: &Reading<'_>) -> impl Iterator<Item = Finding> {
    reading
        .entries
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::Commanded {
                refused: Some(_), ..
            } => Some(Finding::new(
                sentence(&entry.event.to_string()),
                [entry.seq],
            )),
            _ => None,
        })
}

/// Looks that were critical, rule by rule.
fn criticals(reading: &Reading<'_>) -> Vec<Finding> {
    let mut rules: Vec<(&str, Vec<u64>, &str)> = Vec::new();
    for look in &reading.looks {
        let reasons = look.analysis.reasons.iter();
        for reason in reasons.filter(|reason| reason.verdict == Verdict::Critical) {
            match rules.iter_mut().find(|(rule, ..)| *rule == reason.rule) {
                Some((_, looks, _)) => looks.push(look.seq),
                None => rules.push((&reason.rule, vec![look.seq], &reason.text)),
            }
        }
    }
    let told = rules.into_iter().map(|(rule, looks, first)| {
        let times = wording::count(looks.len() as u64, "look");
        Finding::new(
            format!("The rule {rule} was broken at {times}: {first}."),
            looks,
        )
    });
    told.collect()
}

fn cut_off(reading: &Reading<'_>) -> impl Iterator<Item = Finding> {
    reading
        .entries
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::Withdrawn { abandoned, .. } if *abandoned > 0 => Some(Finding::new(
                format!(
                    "{} cut off when the candidate was drained.",
                    match abandoned {
                        1 => "1 call was".to_owned(),
                        more => format!("{more} calls were"),
                    }
                ),
                [entry.seq],
            )),
            _ => None,
        })
}

/// Stages that a person left before they had been seen healthy for long enough.
fn without_a_hold(reading: &Reading<'_>) -> impl Iterator<Item = Finding> {
    reading.entries.iter().filter_map(|entry| {
        let Event::StageLeft { stage, cause, .. } = &entry.event else {
            return None;
        };
        let who = person(cause)?;
        // A rollback leaves the stage too, and is told as one.
        let rolled_back = matches!(reading.state.rollback.as_ref(), Some(why) if why == cause);
        let records = reading.state.stages.iter();
        let record = records.rev().find(|record| record.stage == *stage)?;
        (!rolled_back && record.healthy < record.hold).then(|| {
            Finding::new(
                format!(
                    "Stage {} was left on the word of {who} after {} of {} seen healthy.",
                    stage + 1,
                    wording::span(record.healthy),
                    wording::span(record.hold)
                ),
                [entry.seq],
            )
        })
    })
}

/// How long a rollback took until the candidate was gone, where there was one.
fn rollback_took(reading: &Reading<'_>) -> Option<Finding> {
    let find = |what: fn(&Event) -> bool| {
        let mut entries = reading.entries.iter().rev();
        entries.find(|entry| what(&entry.event))
    };
    let began = find(|event| matches!(event, Event::RollbackBegan { .. }))?;
    let ended = find(|event| matches!(event, Event::RolledBack))?;
    let took = wording::span(between(began.at, ended.at));
    Some(Finding::new(
        format!("From the decision to roll back until the candidate was gone it took {took}."),
        [began.seq, ended.seq],
    ))
}
