//! Migrations in words: a status, a list, a journal.

use std::time::Duration;

use dspex_migration::{Event, Step};
use serde::Deserialize;
use serde_json::Value;

use super::record::{Alert, Analysis, Entry, Stage, Status, Throughput, cause};
use crate::cli::style::{Paint, Tone, dim, plain};
use crate::cli::view::{moment, percent as share, setting, trimmed};

/// Alerts that are shown, the newest first; `--json` has more.
const ALERTS: usize = 10;

/// Said where there has never been a migration.
pub(super) const NONE: &str = "no migration was ever started";

/// What `start` answers.
pub(super) fn started(body: &Value) -> String {
    let id = body
        .get("id")
        .and_then(Value::as_str)
        .unwrap_or("the migration");
    format!("{id} has started; follow it with `dspex migrate watch`")
}

/// What a command made of the migration.
pub(super) fn commanded(verb: &str, status: Option<&Status>, paint: Paint) -> String {
    match status {
        Some(status) if !status.id.is_empty() => {
            format!("{verb} was accepted; {}", summary(status, paint))
        }
        _ => format!("{verb} was accepted"),
    }
}

/// A migration in one line.
pub(super) fn summary(status: &Status, paint: Paint) -> String {
    let phase = paint.text(phase_tone(&status.phase), &status.phase);
    let mut line = format!("{} is {phase}", paint.text(Tone::Plain, &status.id));
    if !status.percent.is_null() {
        let to = match status.candidate.as_str() {
            "" => "the candidate",
            candidate => candidate,
        };
        line.push_str(&format!(", {} of traffic on {to}", share(&status.percent)));
    }
    if !status.paused.is_null() {
        let paused = format!("paused: {}", cause(&status.paused));
        line.push_str(&format!(", {}", paint.text(Tone::Warn, &paused)));
    }
    line
}

/// A migration with everything that is known about it.
pub(super) fn status(status: Option<&Status>, paint: Paint) -> String {
    let Some(status) = status else {
        return NONE.to_owned();
    };
    let mut lines = vec![summary(status, paint)];
    let mut began = format!("started {}", moment(&status.started_at));
    if !status.who.is_empty() {
        began.push_str(&format!(" by {}: {}", status.who, status.why));
    }
    if let Some(ended) = &status.ended_at {
        began.push_str(&format!("; ended {}", moment(ended)));
    }
    lines.push(paint.text(Tone::Dim, &began));
    lines.extend(
        status
            .outcome
            .iter()
            .map(|outcome| paint.text(phase_tone(&status.phase), outcome)),
    );
    if let (Some(stage), "rollout") = (status.stage, status.phase.as_str()) {
        let hold = match span(&status.hold).as_str() {
            "-" => "; no hold is asked for".to_owned(),
            hold => format!(" of {hold}"),
        };
        let (place, healthy) = (stage + 1, span(&status.healthy_for));
        let all = status.stage_count;
        lines.push(format!(
            "stage {place} of {all}: seen healthy for {healthy}{hold}"
        ));
        if let Some(analysis) = &status.analysis {
            let verdict = paint.text(verdict_tone(analysis), &analysis.verdict);
            lines.push(format!("verdict {verdict}"));
        }
    }
    lines.extend(compared(status));
    lines.extend(kept(status));
    // The pause stands in the first line already.
    let reasons = status
        .reasons
        .iter()
        .filter(|reason| !reason.starts_with("paused: "));
    lines.extend(reasons.map(|reason| format!("  {}", paint.text(Tone::Plain, reason))));
    if !status.stages.is_empty() {
        lines.push(stages(&status.stages, paint));
    }
    if !status.alerts.is_empty() {
        lines.push(alerts(&status.alerts, paint));
    }
    lines.join("\n")
}

/// The pools beside each other; nothing where nothing was measured.
fn compared(status: &Status) -> Option<String> {
    let seen = status.comparison.as_ref()?;
    let lane = |name: &str, lane: &Throughput| {
        let calls = lane
            .calls_per_second
            .map(|calls| format!("{} calls/s", trimmed(calls)));
        let errors = lane
            .error_percent
            .map(|errors| format!("{}% errors", trimmed(errors)));
        let told: Vec<String> = [calls, errors].into_iter().flatten().collect();
        (!told.is_empty()).then(|| format!("{name} {}", told.join(", ")))
    };
    let ratio = |name: &str, ratio: Option<f64>| {
        ratio.map(|ratio| format!("{name} {}x stable's", trimmed(ratio)))
    };
    let told: Vec<String> = [
        lane("stable", &seen.stable),
        lane("candidate", &seen.candidate),
        ratio("p50", seen.p50_ratio),
        ratio("p99", seen.p99_ratio),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!told.is_empty()).then(|| format!("compared: {}", told.join("; ")))
}

/// What is left of the old pool, and what was put aside.
fn kept(status: &Status) -> Vec<String> {
    let mut lines = Vec::new();
    if status.phase == "complete" {
        let state = if status.rested {
            "cold: it wakes on its first call"
        } else {
            "warm: a rollback is instant"
        };
        lines.push(format!(
            "{} is kept {state}; the candidate has served everything for {}",
            status.stable,
            span(&status.served_for)
        ));
    }
    for (name, saved) in [("backup", &status.backup), ("archive", &status.archive)] {
        if let Some(saved) = saved {
            lines.push(format!("{name}: {}", saved.place));
        }
    }
    lines
}

fn alerts(alerts: &[Alert], paint: Paint) -> String {
    let rows = alerts.iter().rev().take(ALERTS).map(|alert| {
        let tone = match alert.verdict.as_str() {
            "critical" => Tone::Bad,
            _ => Tone::Warn,
        };
        [
            dim(moment(&alert.at)),
            (alert.verdict.clone(), tone),
            plain(&alert.text),
            dim(alert.ended_at.as_deref().map_or("still".to_owned(), moment)),
        ]
    });
    paint.table(["SINCE", "ALERT", "", "ENDED"], rows)
}

fn stages(stages: &[Stage], paint: Paint) -> String {
    let rows = stages.iter().enumerate().map(|(index, stage)| {
        let measured = stage
            .measured_percent
            .map(|percent| format!("{}%", trimmed(percent)));
        let state = if stage.left_at.is_some() {
            "left"
        } else {
            "here"
        };
        [
            dim((index + 1).to_string()),
            plain(share(&stage.percent)),
            plain(measured.unwrap_or_else(|| "-".to_owned())),
            plain(stage.calls_stable.to_string()),
            plain(stage.calls_candidate.to_string()),
            plain(format!("{} of {}", span(&stage.healthy), span(&stage.hold))),
            plain(state),
        ]
    });
    paint.table(
        [
            "STAGE",
            "TRAFFIC",
            "MEASURED",
            "STABLE CALLS",
            "CANDIDATE CALLS",
            "HEALTHY",
            "",
        ],
        rows,
    )
}

/// A verdict with its reasons, in one line.
pub(super) fn verdict(analysis: &Analysis, paint: Paint) -> String {
    let reasons: Vec<&str> = analysis
        .telling()
        .map(|reason| match reason.text.as_str() {
            "" => reason.rule.as_str(),
            text => text,
        })
        .collect();
    let verdict = paint.text(verdict_tone(analysis), &analysis.verdict);
    if reasons.is_empty() {
        format!("verdict {verdict}")
    } else {
        format!(
            "verdict {verdict}: {}",
            paint.text(Tone::Plain, &reasons.join("; "))
        )
    }
}

/// A span of time, whether the server writes it as text or as a number of seconds; beyond a second
/// without its milliseconds.
fn span(value: &Value) -> String {
    let span = match value {
        Value::Null => return "-".to_owned(),
        Value::Number(seconds) => seconds
            .as_f64()
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        other => humantime::parse_duration(&setting(other)).ok(),
    };
    match span {
        None => setting(value),
        Some(span) if span < Duration::from_secs(1) => humantime::format_duration(span).to_string(),
        Some(span) => humantime::format_duration(Duration::from_secs(span.as_secs())).to_string(),
    }
}

fn phase_tone(phase: &str) -> Tone {
    match phase {
        "complete" | "decommissioned" => Tone::Good,
        "rolling_back" | "rolled_back" | "stuck" => Tone::Bad,
        _ => Tone::Strong,
    }
}

/// Migrations, one a line.
pub(super) fn history(migrations: &[Status], paint: Paint) -> String {
    if migrations.is_empty() {
        return NONE.to_owned();
    }
    let rows = migrations.iter().map(|migration| {
        let outcome = migration.outcome.clone();
        [
            plain(&migration.id),
            plain(format!("{} to {}", migration.stable, migration.candidate)),
            (migration.phase.clone(), phase_tone(&migration.phase)),
            dim(moment(&migration.started_at)),
            dim(migration.ended_at.as_deref().map_or("-".to_owned(), moment)),
            plain(&migration.who),
            plain(&migration.why),
            dim(outcome.unwrap_or_else(|| "-".to_owned())),
        ]
    });
    let heading = [
        "ID", "POOLS", "PHASE", "STARTED", "ENDED", "WHO", "WHY", "OUTCOME",
    ];
    paint.table(heading, rows)
}

/// A journal, one entry a line.
pub(super) fn events(entries: &[Entry], paint: Paint) -> String {
    if entries.is_empty() {
        return "no events".to_owned();
    }
    let rows = entries.iter().map(|entry| {
        let (text, tone) = told(entry);
        [
            dim(entry.seq.to_string()),
            dim(moment(&entry.at)),
            (text, tone),
        ]
    });
    paint.table(["N", "AT", "EVENT"], rows)
}

/// What an entry of the journal says.
pub(super) fn told(entry: &Entry) -> (String, Tone) {
    if matches!(entry.kind(), "ticked" | "watched") {
        let analysis = entry.analysis();
        return (
            verdict(&analysis, Paint::new(false)),
            verdict_tone(&analysis),
        );
    }
    match Event::deserialize(&entry.event) {
        Ok(event) => (event.to_string(), event_tone(&event)),
        // An event of a newer server: shown as it is.
        Err(_) => (entry.event.to_string(), Tone::Plain),
    }
}

/// What a step looked at, where that is worth a line each: where it failed, and where a person is about
/// to lose the old pool by it.
pub(super) fn checks(entry: &Entry, paint: Paint) -> Vec<String> {
    let checks = match Event::deserialize(&entry.event) {
        Ok(Event::StepFailed { checks, .. }) => checks,
        Ok(Event::StepDone {
            step: Step::Confirm,
            checks,
            ..
        }) => checks,
        _ => return Vec::new(),
    };
    let told = checks.iter().map(|check| {
        let (mark, tone) = match check.ok {
            true => ("ok  ", Tone::Good),
            false => ("no  ", Tone::Bad),
        };
        let text = format!(
            "{}: {} (asked for: {})",
            check.name, check.value, check.limit
        );
        let hint = check.hint.iter().filter(|_| !check.ok);
        let hint: String = hint.map(|hint| format!("; {hint}")).collect();
        format!(
            "{}{}",
            paint.text(tone, mark),
            paint.text(Tone::Plain, &(text + &hint))
        )
    });
    told.collect()
}

fn event_tone(event: &Event) -> Tone {
    match event {
        Event::Completed | Event::Decommissioned | Event::GateOpened { .. } => Tone::Good,
        Event::Started { .. } | Event::StageEntered { .. } => Tone::Strong,
        Event::Commanded { refused: None, .. } | Event::Signed { .. } => Tone::Strong,
        Event::Commanded { .. }
        | Event::Paused { .. }
        | Event::GateWaiting { .. }
        | Event::Frozen { .. }
        | Event::RestDelayed { .. }
        | Event::DecommissionCalledOff { .. }
        | Event::TrafficDelayed { .. }
        | Event::WithdrawFailed { .. } => Tone::Warn,
        Event::StepFailed { .. }
        | Event::RollbackBegan { .. }
        | Event::RolledBack
        | Event::Stuck { .. } => Tone::Bad,
        _ => Tone::Plain,
    }
}

fn verdict_tone(analysis: &Analysis) -> Tone {
    match analysis.verdict.as_str() {
        "healthy" => Tone::Good,
        "critical" => Tone::Bad,
        _ => Tone::Warn,
    }
}

#[cfg(test)]
mod tests;
