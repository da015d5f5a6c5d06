//! The lines, in the owner's words, and what each is judged by.

mod before;
mod live;
mod metrics;

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::evidence::{Evidence, Found, Server};
use super::{Phase, ago};

/// One line of the checklist.
pub(super) struct Line {
    /// By which a person signs it.
    pub(super) id: &'static str,
    pub(super) phase: Phase,
    pub(super) text: &'static str,
    check: fn(&Evidence) -> Finding,
}

/// Whether a line may be ticked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Passed,
    Failed,
    /// There is no evidence, or none that counts.
    Open,
}

/// What was found for a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) verdict: Verdict,
    pub(super) value: String,
    pub(super) limit: String,
    /// How old the evidence is, for people.
    pub(super) age: Option<String>,
    /// Where it lies.
    pub(super) place: Option<String>,
}

impl Finding {
    /// Measured: it holds or it does not.
    fn measured(holds: bool, value: impl Into<String>, limit: impl Into<String>) -> Self {
        Self {
            verdict: if holds {
                Verdict::Passed
            } else {
                Verdict::Failed
            },
            value: value.into(),
            limit: limit.into(),
            age: None,
            place: None,
        }
    }

    /// Not known, with what would make it known.
    fn open(value: impl Into<String>, needs: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Open,
            value: value.into(),
            limit: needs.into(),
            age: None,
            place: None,
        }
    }

    fn from(mut self, place: impl Into<String>, age: Option<Duration>) -> Self {
        self.place = Some(place.into());
        self.age = age.map(ago);
        self
    }

    fn in_found(self, found: &Found) -> Self {
        self.from(found.place.clone(), found.age)
    }

    /// Of a running server, now.
    fn live(self, server: &Server, path: &str) -> Self {
        self.from(format!("{}{path}", server.url), Some(Duration::ZERO))
    }

    /// Both must hold; the worse one is what is told, with both values.
    fn and(self, other: Self) -> Self {
        let worse = |verdict| match verdict {
            Verdict::Passed => 0,
            Verdict::Open => 1,
            Verdict::Failed => 2,
        };
        let (value, limit) = (
            format!("{}; {}", self.value, other.value),
            format!("{}; {}", self.limit, other.limit),
        );
        let leads = if worse(other.verdict) > worse(self.verdict) {
            other
        } else {
            self
        };
        Self {
            value,
            limit,
            ..leads
        }
    }
}

impl Line {
    /// The evidence's word; where a machine cannot judge, a signature in the journal stands for it.
    pub(super) fn judge(&self, evidence: &Evidence) -> Finding {
        let found = (self.check)(evidence);
        if found.verdict != Verdict::Open {
            return found;
        }
        match signature(evidence, self.id) {
            Some(signed) => signed,
            None => found,
        }
    }
}

/// A person's word for a line, in the journal of the newest migration.
fn signature(evidence: &Evidence, line: &str) -> Option<Finding> {
    let server = evidence.server.as_ref()?;
    let entry = server
        .events
        .iter()
        .rev()
        .find(|entry| entry["event"]["type"] == "signed" && entry["event"]["line"] == line)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let event = &entry["event"];
    let value = format!("signed by {}: {}", text(&event["who"]), text(&event["why"]));
    let found = Finding::measured(true, value, "a named person's word");
    let at: Option<jiff::Timestamp> = entry["at"].as_str().and_then(|at| at.parse().ok());
    let age = at.and_then(|at| Duration::try_from(jiff::Timestamp::now() - at).ok());
    let place = format!(
        "journal of {}, entry {}",
        text(&server.migration["id"]),
        entry["seq"]
    );
    Some(found.from(place, age))
}

/// Evidence of this commit that is young enough, or what to say of it.
fn fresh<'a>(
    evidence: &Evidence,
    found: Option<&'a Found>,
    how: &str,
) -> Result<&'a Found, Finding> {
    let Some(found) = found else {
        return Err(Finding::open("no evidence", how));
    };
    if let Some(age) = found.age.filter(|age| *age > evidence.max_age) {
        let stale = format!("evidence of {} ago", ago(age));
        return Err(Finding::open(stale, how).in_found(found));
    }
    match &found.commit {
        Some(commit) if !same(commit, &evidence.commit) => {
            let other = format!("evidence of commit {commit}, this is {}", evidence.commit);
            Err(Finding::open(other, how).in_found(found))
        }
        _ => Ok(found),
    }
}

/// Whether two names of a commit, of different lengths, are of one.
fn same(one: &str, other: &str) -> bool {
    let length = one.len().min(other.len());
    length >= 7
        && !one.ends_with("-dirty")
        && !other.ends_with("-dirty")
        && one.as_bytes()[..length] == other.as_bytes()[..length]
}

macro_rules! lines {
    ($($phase:ident $id:literal $text:literal $check:path),+ $(,)?) => {
        &[$(Line { id: $id, phase: Phase::$phase, text: $text, check: $check }),+]
    };
}

/// All of them, in the owner's order.
pub(super) const ALL: &[Line] = lines![
    Pre "unit-tests" "All unit tests passing" before::unit_tests,
    Pre "integration-tests" "All integration tests passing" before::integration_tests,
    Pre "performance" "Performance benchmarks meet targets" before::performance,
    Pre "recovery" "Error recovery scenarios tested" before::recovery,
    Pre "dashboards" "Monitoring dashboards configured" before::dashboards,
    Pre "alerts" "Alerts configured" before::alerts,
    Pre "runbooks" "Runbooks updated" before::runbooks,
    Five "error-rate" "Error rate within tolerance" live::error_rate,
    Five "latency" "Latency metrics acceptable" live::latency,
    Five "leaks" "No memory leaks detected" live::leaks,
    Five "workers" "Worker lifecycle stable" live::workers,
    Five "breaker" "Circuit breaker functioning" live::breaker,
    TwentyFive "scaling" "Scaling behavior verified" live::scaling,
    TwentyFive "peak-load" "Peak load handling tested" live::peak_load,
    TwentyFive "affinity" "Session affinity working" live::affinity,
    TwentyFive "telemetry" "Telemetry data accurate" live::telemetry,
    TwentyFive "unexpected-errors" "No unexpected errors" live::unexpected_errors,
    Fifty "comparison" "Compare V1 vs V2 metrics" live::comparison,
    Fifty "cost" "Verify cost efficiency" live::cost,
    Fifty "resources" "Check resource utilization" live::resources,
    Fifty "optimizer" "Validate optimizer decisions" live::optimizer,
    Fifty "error-patterns" "Review error patterns" live::error_patterns,
    Hundred "full-load" "Full production load stable" live::full_load,
    Hundred "features" "All features functioning" live::features,
    Hundred "targets" "Performance targets met" live::targets,
    Hundred "decommission" "V1 ready for decommission" live::decommission,
    Hundred "documentation" "Documentation complete" before::documentation,
];

#[cfg(test)]
mod tests;
