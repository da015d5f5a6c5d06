//! What to do otherwise the next time: rules, each read off the journal.

use super::Finding;
use super::operations::{acts, waits};
use super::performance::{Performance, StageFigures};
use super::reading::Reading;
use crate::analysis::Verdict;
use crate::event::Event;
use crate::phase::Phase;
use crate::wording;

pub(super) fn of(reading: &Reading<'_>) -> Vec<Finding> {
    let mut advice = Vec::new();
    advice.extend(failed_checks(reading));
    advice.extend(rolled_back(reading));
    advice.extend(slow_stages(reading));
    advice.extend(warnings(reading));
    advice.extend(gaps(reading));
    advice.extend(delays(reading));
    advice.extend(drain(reading));
    advice.extend(gates(reading));
    advice.extend(what_is_left(reading));
    advice.extend(waived(reading));
    advice.extend(nothing_compared(reading));
    advice.extend(unsigned(reading));
    advice
}

/// What the checks themselves said to do.
fn failed_checks(reading: &Reading<'_>) -> Vec<Finding> {
    let mut advice: Vec<Finding> = Vec::new();
    for entry in reading.entries {
        let Event::StepFailed { step, checks, .. } = &entry.event else {
            continue;
        };
        for check in checks.iter().filter(|check| !check.ok) {
            let hint = match &check.hint {
                Some(hint) => hint.clone(),
                None => format!("it needs {}", check.limit),
            };
            let text = format!(
                "Before the next {step}: {} (found {}): {hint}.",
                check.name, check.value
            );
            match advice.iter_mut().find(|advice| advice.text == text) {
                Some(said) => said.evidence.push(entry.seq),
                None => advice.push(Finding::new(text, [entry.seq])),
            }
        }
    }
    advice
}

/// What the evidence was, for whoever mends the candidate.
fn rolled_back(reading: &Reading<'_>) -> Option<Finding> {
    if !matches!(
        reading.state.phase,
        Phase::RolledBack | Phase::RollingBack | Phase::Stuck
    ) {
        return None;
    }
    let look = reading.looks.iter().rev().find(|look| {
        let reasons = look.analysis.reasons.iter();
        reasons
            .into_iter()
            .any(|reason| reason.verdict == Verdict::Critical)
    })?;
    let reasons = look.analysis.reasons.iter();
    let rules: Vec<&str> = reasons
        .filter(|reason| reason.verdict == Verdict::Critical)
        .map(|reason| &*reason.rule)
        .collect();
    Some(Finding::new(
        format!(
            "Mend what broke {} before the candidate is tried again, and see it healed in a rehearsal \
             with a short plan; `dspex migrate backtest` says whether other limits would have judged \
             otherwise.",
            rules.join(", ")
        ),
        [look.seq],
    ))
}

/// Stages that took far longer than their hold.
fn slow_stages(reading: &Reading<'_>) -> Vec<Finding> {
    let stages = Performance::of(reading).stages;
    stages
        .iter()
        .filter_map(|stage| slow(reading, stage))
        .collect()
}

fn slow(reading: &Reading<'_>, stage: &StageFigures) -> Option<Finding> {
    let interval = reading.state.plan.interval;
    let (took, hold) = (stage.took(), stage.hold());
    if took < hold.mul_f64(1.5) + interval * 2 || stage.healthy() < hold {
        return None;
    }
    let looks: Vec<u64> = reading
        .looks_in(stage.number - 1)
        .filter(|look| look.analysis.verdict == Verdict::Inconclusive)
        .map(|look| look.seq)
        .collect();
    let (number, share) = (stage.number, stage.percent);
    let (took, hold) = (wording::span(took), wording::span(hold));
    // Half of its looks or more lacked calls: that is what held it.
    if stage.inconclusive_looks * 2 >= stage.looks && !looks.is_empty() {
        let minimum = reading.state.plan.thresholds.minimum_samples;
        return Some(Finding::new(
            format!(
                "Stage {number} ({share} %) took {took} for a hold of {hold}, for want of traffic: {} \
                 of {} looks lacked calls. Raise its share, lengthen migration.window_limit, or lower \
                 migration.thresholds.minimum_samples (now {minimum}).",
                stage.inconclusive_looks, stage.looks
            ),
            ends(looks),
        ));
    }
    let others: Vec<u64> = reading
        .looks_in(stage.number - 1)
        .filter(|look| look.analysis.verdict != Verdict::Healthy)
        .map(|look| look.seq)
        .collect();
    (!others.is_empty()).then(|| {
        Finding::new(
            format!(
                "Stage {number} ({share} %) took {took} for a hold of {hold}: {} of {} looks were not \
                 healthy. See which rules spoke, and whether their limits fit this traffic.",
                others.len(),
                stage.looks
            ),
            ends(others),
        )
    })
}

/// The first and the last of many.
fn ends(mut numbers: Vec<u64>) -> Vec<u64> {
    if numbers.len() > 2 {
        numbers.drain(1..numbers.len() - 1);
    }
    numbers
}

/// Rules that warned again and again and stopped nothing.
fn warnings(reading: &Reading<'_>) -> Vec<Finding> {
    let mut rules: Vec<(&str, Vec<u64>)> = Vec::new();
    for look in &reading.looks {
        let reasons = look.analysis.reasons.iter();
        for reason in reasons.filter(|reason| reason.verdict == Verdict::Warning) {
            match rules.iter_mut().find(|(rule, _)| *rule == reason.rule) {
                Some((_, looks)) => looks.push(look.seq),
                None => rules.push((&reason.rule, vec![look.seq])),
            }
        }
    }
    let often = |looks: &Vec<u64>| looks.len() >= 3 && looks.len() * 10 >= reading.looks.len();
    let told = rules.into_iter().filter(|(_, looks)| often(looks));
    told.map(|(rule, looks)| {
        let (times, all) = (looks.len(), reading.looks.len());
        Finding::new(
            format!(
                "The rule {rule} warned at {times} of {all} looks, each of which held the stage: \
                 mend its cause, or set migration.thresholds.{rule} to what is known to be well."
            ),
            ends(looks),
        )
    })
    .collect()
}

fn gaps(reading: &Reading<'_>) -> Option<Finding> {
    let evidence: Vec<u64> = reading.gaps.iter().map(|gap| gap.after).collect();
    (!evidence.is_empty()).then(|| {
        let text = "No stage ages without a controller: run the server under a supervisor that \
                    starts it again at once, and look in its log for why it was away.";
        Finding::new(text, evidence)
    })
}

fn delays(reading: &Reading<'_>) -> Option<Finding> {
    let evidence = reading.numbers(|event| matches!(event, Event::TrafficDelayed { .. }));
    (!evidence.is_empty()).then(|| {
        let text = format!(
            "A change of traffic was late or not written: look at the disk and the database's locks, \
             or raise migration.acknowledge_within (now {}).",
            wording::span(reading.state.plan.acknowledge_within)
        );
        Finding::new(text, evidence)
    })
}

fn drain(reading: &Reading<'_>) -> Option<Finding> {
    let evidence = reading
        .numbers(|event| matches!(event, Event::Withdrawn { abandoned, .. } if *abandoned > 0));
    (!evidence.is_empty()).then(|| {
        let text = format!(
            "Calls ran longer than the drain's limit: raise migration.drain_limit (now {}).",
            wording::span(reading.state.plan.drain_limit)
        );
        Finding::new(text, evidence)
    })
}

/// Gates that held a stage for longer than its hold did.
fn gates(reading: &Reading<'_>) -> Option<Finding> {
    let waits = waits(reading);
    let gates = waits.iter().filter(|wait| wait.what.contains("gate"));
    let longest = gates.max_by_key(|wait| wait.length())?;
    let length = longest.length()?;
    let holds = reading.state.plan.stages.iter().map(|stage| stage.hold);
    (length > holds.max().unwrap_or_default()).then(|| {
        let text = format!(
            "A gate held a stage for {}, longer than any hold: see that whoever opens it is told \
             ([[notifications]] with the event `gate_waiting`).",
            wording::span(length)
        );
        Finding::new(text, [longest.seq])
    })
}

/// The old pool is still there.
fn what_is_left(reading: &Reading<'_>) -> Option<Finding> {
    (reading.state.phase == Phase::Complete).then(|| {
        let text = format!(
            "{} is kept as the way back. When it is no longer wanted, `dspex decommission` takes it out \
             of service.",
            reading.state.plan.stable
        );
        Finding::new(text, reading.numbers(|event| matches!(event, Event::Completed)))
    })
}

fn waived(reading: &Reading<'_>) -> Option<Finding> {
    let evidence =
        reading.numbers(|event| matches!(event, Event::StageEntered { waived: true, .. }));
    (!evidence.is_empty()).then(|| {
        let text = "A hold was waived, so the candidate was not seen healthy under all traffic before \
                    the end: watch it now, and keep the way back open for longer.";
        Finding::new(text, evidence)
    })
}

fn nothing_compared(reading: &Reading<'_>) -> Option<Finding> {
    (reading.state.plan.shadow.basis_points() == 0 && !reading.looks.is_empty()).then(|| {
        let text = "No answers were compared: set migration.shadow, so that the next candidate is \
                    judged by what it answers too, and not by errors and latency alone.";
        Finding::new(text, [1])
    })
}

fn unsigned(reading: &Reading<'_>) -> Option<Finding> {
    let acts = acts(reading);
    let evidence: Vec<u64> = acts
        .iter()
        .filter(|act| act.why == "asked for on the command line")
        .map(|act| act.seq)
        .collect();
    (!evidence.is_empty()).then(|| {
        let text = "Give `--why` with every command: whoever reads this in a year was not there.";
        Finding::new(text, evidence)
    })
}
