//! What the journal's looks say of one stage.
//!
//! Invariants: a rule counts as kept only where the last look of the stage judged it; what was not
//! judged is open, with what it lacks. A stage counts only where the controller held it to its end.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::super::ago;
use super::{Evidence, Finding, Server, server};

/// Where a migration says how its stages went.
pub(super) const STATUS: &str = "/admin/v1/migrations/current";

/// The newest stage of a share, by the journal of the newest migration.
pub(super) struct Stage<'a> {
    server: &'a Server,
    record: &'a Value,
    /// Entries of the journal, the oldest first, each with an analysis.
    looks: Vec<&'a Value>,
    needs: String,
    /// How long ago it was left; none where it was not, or does not say a time that has been.
    age: Option<Duration>,
    max_age: Duration,
}

impl<'a> Stage<'a> {
    pub(super) fn of(evidence: &'a Evidence, percent: f64) -> Result<Self, Finding> {
        let server = server(evidence)?;
        let needs = format!("the stage of {percent} % held to its end");
        let stages = server.migration["stages"].as_array().into_iter().flatten();
        let record = stages
            .rev()
            .find(|stage| stage["percent"].as_f64() == Some(percent));
        let Some(record) = record else {
            return Err(
                Finding::open("no stage of this share was entered", needs).live(server, STATUS)
            );
        };
        let index = record["stage"].as_u64();
        let (mut looks, mut within) = (Vec::new(), false);
        for entry in &server.events {
            let event = &entry["event"];
            match event["type"].as_str() {
                Some("stage_entered") => within = event["stage"].as_u64() == index,
                Some("stage_left" | "rollback_began") => within = false,
                Some("ticked") if within => looks.push(entry),
                _ => {}
            }
        }
        Ok(Self {
            server,
            record,
            looks,
            needs,
            age: since(&record["left_at"]),
            max_age: evidence.max_age,
        })
    }

    /// Whether the stage was held to its end, and none of these rules was broken in any of its looks.
    pub(super) fn kept(&self, rules: &[&str]) -> Finding {
        let mut broken: BTreeMap<&str, &str> = BTreeMap::new();
        for reason in self.reasons(rules) {
            if is_broken(reason) {
                broken.insert(text(reason, "rule"), text(reason, "text"));
            }
        }
        if let Some(text) = broken.values().next() {
            return self.place(Finding::measured(false, *text, self.needs.clone()));
        }
        if let Some(open) = self.not_held().or_else(|| self.not_judged(rules)) {
            return open;
        }
        let value = format!(
            "{} calls on the candidate, {} looks, none of {} broken",
            self.calls(),
            self.looks.len(),
            rules.join(", ")
        );
        self.place(Finding::measured(true, value, self.needs.clone()))
    }

    /// The host's processor and memory, in every look. A busy host says nothing of the candidate while
    /// both pools run on it, so what is beyond a limit is for a person to weigh.
    pub(super) fn host(&self) -> Finding {
        let rules = ["cpu", "memory"];
        if let Some(open) = self.not_held().or_else(|| self.not_judged(&rules)) {
            return open;
        }
        let limit = "the plan's limits of the host's CPU and memory in every look of the stage";
        let over = |look: &&&Value| {
            let reasons = reasons(look, &rules);
            reasons.into_iter().any(is_broken)
        };
        let beyond = self.looks.iter().filter(over).count();
        let all = self.looks.len();
        let worst = self
            .reasons(&rules)
            .into_iter()
            .filter(|reason| is_broken(reason))
            .max_by(|one, other| excess(one).total_cmp(&excess(other)));
        let Some(worst) = worst else {
            let value = format!("CPU and memory of the host within their limits in {all} looks");
            return self.place(Finding::measured(true, value, limit));
        };
        let value = format!(
            "beyond a limit in {beyond} of {all} looks; the worst: {}",
            text(worst, "text")
        );
        self.place(Finding::asks(value, "whether the machine is large enough"))
    }

    /// Calls and failures but for the caller's own, on both lanes, in windows of this stage that do not
    /// overlap: the last look's, the last before that one's beginning, and so on.
    pub(super) fn failures(&self) -> (u64, u64) {
        let (mut calls, mut failed) = (0, 0);
        let mut from: Option<Timestamp> = None;
        for look in self.looks.iter().rev() {
            let analysis = &look["event"]["analysis"];
            let at: Option<Timestamp> = look["at"].as_str().and_then(|at| at.parse().ok());
            let seconds = analysis["seconds"].as_f64();
            let seconds = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            let (Some(at), Some(seconds)) = (at, seconds) else {
                continue;
            };
            if from.is_some_and(|from| at > from) {
                continue;
            }
            for lane in ["stable", "candidate"] {
                calls += analysis[lane]["calls"].as_u64().unwrap_or(0);
                failed += analysis[lane]["failed"].as_u64().unwrap_or(0);
            }
            from = at.checked_sub(seconds).ok();
        }
        (calls, failed)
    }

    /// Calls on stable and on the candidate in the looks after those calls have ended that were under way
    /// when the share changed, and were dealt by the share before: twice their p99 after the first look.
    pub(super) fn dealt(&self) -> (f64, f64) {
        let at = |look: &Value| -> Option<Timestamp> { look["at"].as_str()?.parse().ok() };
        let Some((first, rest)) = self.looks.split_first() else {
            return (0.0, 0.0);
        };
        let analysis = |lane: &str| first["event"]["analysis"][lane]["p99_ms"].as_f64();
        let p99 = ["stable", "candidate"].into_iter().filter_map(analysis);
        let longest = Duration::try_from_secs_f64(p99.fold(0.0, f64::max) * 2.0 / 1e3);
        let from = at(first).zip(longest.ok());
        let Some(from) = from.and_then(|(at, longest)| at.checked_add(longest).ok()) else {
            return (0.0, 0.0);
        };
        let looks = rest
            .iter()
            .filter(|look| at(look).is_some_and(|at| at > from));
        let calls = looks.map(|look| {
            let of = |field: &str| look["event"][field].as_f64().unwrap_or(0.0);
            (of("calls_stable"), of("calls_candidate"))
        });
        calls.fold((0.0, 0.0), |sum, calls| (sum.0 + calls.0, sum.1 + calls.1))
    }

    /// What to say where the controller has not held it to its end, or its last look was not healthy.
    pub(super) fn not_held(&self) -> Option<Finding> {
        let by_controller = self.record["left_by"]["by"] == "controller";
        let healthy = self
            .looks
            .last()
            .is_some_and(|look| look["event"]["analysis"]["verdict"] == "healthy");
        match self.age {
            Some(age) if by_controller && healthy && age <= self.max_age => return None,
            Some(age) if age > self.max_age => {
                let value = format!("this stage was left {} ago", ago(age));
                return Some(self.place(Finding::open(value, self.needs.clone())));
            }
            _ => {}
        }
        let value = format!(
            "{} calls on the candidate so far, {} looks",
            self.calls(),
            self.looks.len()
        );
        Some(self.place(Finding::open(value, self.needs.clone())))
    }

    /// What to say where the last look did not judge one of these rules.
    fn not_judged(&self, rules: &[&str]) -> Option<Finding> {
        let reasons = reasons(self.looks.last()?, rules);
        let unjudged = reasons.into_iter().find(|reason| !is_broken(reason))?;
        let needs = match text(unjudged, "needs") {
            "" => format!(
                "{}, and {} judged in it",
                self.needs,
                text(unjudged, "rule")
            ),
            needs => needs.to_owned(),
        };
        Some(self.place(Finding::open(text(unjudged, "text"), needs)))
    }

    /// Where what is said of it stands, as old as its end, or as now where it is not at its end.
    pub(super) fn place(&self, finding: Finding) -> Finding {
        let index = &self.record["stage"];
        let place = format!("{}{STATUS}, stage {index}", self.server.url);
        let left = !self.record["left_at"].is_null();
        let age = if left { self.age } else { Some(Duration::ZERO) };
        finding.from(place, age).of_server(self.server)
    }

    fn calls(&self) -> u64 {
        self.record["calls_candidate"].as_u64().unwrap_or(0)
    }

    fn reasons(&self, rules: &[&str]) -> Vec<&'a Value> {
        let looks = self.looks.iter();
        looks.flat_map(|look| reasons(look, rules)).collect()
    }
}

/// How long ago that was; none where it says no time that has been.
pub(super) fn since(at: &Value) -> Option<Duration> {
    let at: Timestamp = at.as_str()?.parse().ok()?;
    Duration::try_from(Timestamp::now() - at).ok()
}

/// How the stage of this share went by these rules.
pub(super) fn stage(evidence: &Evidence, percent: f64, rules: &[&str]) -> Finding {
    match Stage::of(evidence, percent) {
        Ok(stage) => stage.kept(rules),
        Err(open) => open,
    }
}

/// What a look has to say by these rules. A rule that is kept says nothing.
fn reasons<'a>(look: &'a Value, rules: &[&str]) -> Vec<&'a Value> {
    let reasons = look["event"]["analysis"]["reasons"].as_array();
    let reasons = reasons.into_iter().flatten();
    reasons
        .filter(|reason| rules.contains(&text(reason, "rule")))
        .collect()
}

/// A reason with a value is a rule that was held against its limit and is beyond it, if only for a note;
/// one without says that the rule was not judged.
fn is_broken(reason: &Value) -> bool {
    let bad = matches!(reason["verdict"].as_str(), Some("critical" | "warning"));
    bad || reason["value"].is_number()
}

/// How far beyond its limit.
fn excess(reason: &Value) -> f64 {
    let of = |field: &str| reason[field].as_f64();
    match (of("value"), of("limit")) {
        (Some(value), Some(limit)) if limit > 0.0 => value / limit,
        _ => 0.0,
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}
