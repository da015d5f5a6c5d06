//! Lines that are judged by a running server: its journal, metrics and status.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::ago;
use super::before::{bench, performance};
use super::drills::drills;
use super::fresh::fresh;
use super::metrics::{by, label, series, sum};
use super::stage::{STATUS, Stage, since, stage};
use super::{Evidence, Finding, Server, server};

/// Affinity hits of the design's targets.
const AFFINITY: f64 = 0.95;
/// Errors of the design's targets, as a share of calls.
const ERRORS: f64 = 0.001;

pub(super) fn error_rate(evidence: &Evidence) -> Finding {
    let rules = ["error_rate", "critical_error_rate", "error_ratio"];
    stage(evidence, 5.0, &rules)
}

pub(super) fn latency(evidence: &Evidence) -> Finding {
    stage(
        evidence,
        5.0,
        &["overhead_p99", "p99_ratio", "median_ratio", "degradation"],
    )
}

pub(super) fn leaks(evidence: &Evidence) -> Finding {
    stage(evidence, 5.0, &["memory_growth"]).and(drills(evidence, &["memory-leak"]))
}

pub(super) fn workers(evidence: &Evidence) -> Finding {
    stage(evidence, 5.0, &["worker_failure_rate"]).and(drills(evidence, &["worker-crashes"]))
}

/// Closed now, and seen to open: a circuit that never opened is not known to work, and no machine can
/// tell whether it would.
pub(super) fn breaker(evidence: &Evidence) -> Finding {
    let server = match server(evidence) {
        Ok(server) => server,
        Err(open) => return open,
    };
    let circuits = server.status["circuits"].as_array();
    let circuits: Vec<&Value> = circuits.into_iter().flatten().collect();
    let told: Vec<String> = circuits
        .iter()
        .map(|circuit| {
            let text = |field: &str| circuit[field].as_str().unwrap_or("?");
            let off = circuit["enabled"] != true;
            let off = if off { ", switched off" } else { "" };
            format!("{} {}{off}", text("lane"), text("state"))
        })
        .collect();
    let told = told.join(", ");
    let closed = circuits
        .iter()
        .all(|circuit| circuit["enabled"] == true && circuit["state"] == "closed");
    let changes: u64 = circuits
        .iter()
        .filter_map(|circuit| circuit["transitions"].as_u64())
        .sum();
    let opened = [("kind", "circuit-open")];
    let refused = sum(&server.metrics, "dspex_errors_total", &opened);
    let limit = "closed, and seen to open and to close again since the server began";
    let finding = if circuits.is_empty() {
        Finding::open("the server tells of no circuit", limit)
    } else if !closed {
        Finding::measured(false, told, limit)
    } else if changes == 0 && refused == 0.0 {
        let value = format!("{told}; none has opened since the server began");
        Finding::asks(value, "whether it was seen to open and to close elsewhere")
    } else {
        let value = format!("{told}; {changes} changes of state, {refused} calls refused");
        Finding::measured(true, value, limit)
    };
    finding.live(server, "/v1/status")
}

/// What is seen of it: a pool under twice its capacity, a dispatcher with 64 workers against one with
/// two, and the candidate's overhead at a quarter of the traffic.
pub(super) fn scaling(evidence: &Evidence) -> Finding {
    let said = |finding: Finding, what: &str| Finding {
        value: format!("{what}: {}", finding.value),
        ..finding
    };
    let overload = drills(evidence, &["overload"]);
    let workers = bench(evidence, "pool", |id| id == "dispatch");
    let overhead = stage(evidence, 25.0, &["overhead_p99"]);
    said(overload, "twice the capacity is refused in order")
        .and(said(workers, "64 workers against 2"))
        .and(said(overhead, "overhead at 25 %"))
}

pub(super) fn peak_load(evidence: &Evidence) -> Finding {
    drills(evidence, &["overload"])
}

pub(super) fn affinity(evidence: &Evidence) -> Finding {
    let server = match server(evidence) {
        Ok(server) => server,
        Err(open) => return open,
    };
    let hits = sum(&server.metrics, "dspex_affinity_hits_total", &[]);
    let misses = sum(&server.metrics, "dspex_affinity_misses_total", &[]);
    let all = hits + misses;
    let limit = format!(
        "at least {} % of sessions' calls since the server began",
        AFFINITY * 100.0
    );
    if all < 100.0 {
        let value = format!("{all} calls of sessions that were called before");
        return Finding::open(value, "100 of them").live(server, "/metrics");
    }
    let rate = hits / all;
    Finding::measured(rate >= AFFINITY, format!("{:.2} %", rate * 100.0), limit)
        .live(server, "/metrics")
        .and(drills(evidence, &["session-affinity"]))
}

/// Failures that are nobody's expected business, by blame.
fn errors(server: &Server) -> (f64, BTreeMap<String, f64>) {
    let mut kinds = BTreeMap::new();
    for (labels, value) in series(&server.metrics, "dspex_errors_total") {
        if label(labels, "blame") == Some("caller") {
            continue;
        }
        let name = format!(
            "{} {} {}",
            label(labels, "lane").unwrap_or("?"),
            label(labels, "blame").unwrap_or("?"),
            label(labels, "kind").unwrap_or("?")
        );
        *kinds.entry(name).or_insert(0.0) += value;
    }
    (sum(&server.metrics, "dspex_calls_total", &[]), kinds)
}

/// Of the stage of 25 %, by its looks: the metrics would count all of the server's life.
pub(super) fn unexpected_errors(evidence: &Evidence) -> Finding {
    let stage = match Stage::of(evidence, 25.0) {
        Ok(stage) => stage,
        Err(open) => return open,
    };
    if let Some(open) = stage.not_held() {
        return open;
    }
    let (calls, failed) = stage.failures();
    let value = format!(
        "{failed} failed of {calls} calls that looks at this stage saw, but for callers' own"
    );
    if calls < 1_000 {
        return stage.place(Finding::open(value, "1,000 calls"));
    }
    let limit = format!("at most {} % of calls", ERRORS * 100.0);
    let holds = failed as f64 <= ERRORS * calls as f64;
    stage.place(Finding::measured(holds, value, limit))
}

/// Of the server's life: looks do not say of what kind a failure was.
pub(super) fn error_patterns(evidence: &Evidence) -> Finding {
    let server = match server(evidence) {
        Ok(server) => server,
        Err(open) => return open,
    };
    let (calls, kinds) = errors(server);
    let began = server.status["started_at"].as_str().unwrap_or("?");
    let since = format!("of {calls} calls since the server began ({began})");
    if kinds.is_empty() && calls >= 1_000.0 {
        let value = format!("no failure {since}");
        return Finding::measured(true, value, "each pattern reviewed").live(server, "/metrics");
    }
    if calls == 0.0 {
        let value = "no call since the server began";
        return Finding::open(value, "calls").live(server, "/metrics");
    }
    let listed: Vec<String> = kinds
        .iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    let value = format!("{} {since}", listed.join(", "));
    Finding::asks(value, "whether each pattern is understood").live(server, "/metrics")
}

/// Failures, latencies and answers. Answers are compared only where the plan has calls copied.
pub(super) fn comparison(evidence: &Evidence) -> Finding {
    let rules = [
        "error_ratio",
        "p99_ratio",
        "median_ratio",
        "degradation",
        "difference_rate",
    ];
    let finding = stage(evidence, 50.0, &rules);
    let Some(server) = &evidence.server else {
        return finding;
    };
    let started = server.events.iter().map(|entry| &entry["event"]);
    let mut started = started.filter(|event| event["type"] == "started");
    let shadow = started
        .next()
        .and_then(|event| event["plan"]["shadow"].as_f64());
    if shadow.is_some_and(|shadow| shadow > 0.0) {
        return finding;
    }
    let needs = "a migration whose plan has calls copied: migration.shadow";
    finding.and(Finding::open(
        "answers were not compared: no call was copied",
        needs,
    ))
}

/// The memory of workers is told; what it is worth is a person's word.
pub(super) fn cost(evidence: &Evidence) -> Finding {
    let server = match server(evidence) {
        Ok(server) => server,
        Err(open) => return open,
    };
    let memory: Vec<String> = by(&server.metrics, "dspex_worker_memory_bytes", "pool")
        .into_iter()
        .map(|(pool, bytes)| format!("{pool} {:.0} MB", bytes / 1e6))
        .collect();
    if memory.is_empty() {
        return Finding::open("no pool's memory is measured", "a measurement")
            .live(server, "/metrics");
    }
    let value = format!("memory of workers now: {}", memory.join(", "));
    Finding::asks(value, "whether that is worth it").live(server, "/metrics")
}

/// Of the stage of 50 %, in which both pools carry the same load.
pub(super) fn resources(evidence: &Evidence) -> Finding {
    match Stage::of(evidence, 50.0) {
        Ok(stage) => stage.host(),
        Err(open) => open,
    }
}

/// A pool whose optimizer is on says what it decided last, and why.
pub(super) fn optimizer(evidence: &Evidence) -> Finding {
    let server = match server(evidence) {
        Ok(server) => server,
        Err(open) => return open,
    };
    let decisions: Vec<String> = server
        .pools
        .iter()
        .filter_map(|pool| {
            let optimizer = find(pool, "optimizer")?;
            Some(format!(
                "{}: {optimizer}",
                pool["name"].as_str().unwrap_or("?")
            ))
        })
        .collect();
    let value = if decisions.is_empty() {
        "no pool has an optimizer that is on".to_owned()
    } else {
        decisions.join("; ")
    };
    Finding::asks(value, "whether they are right").live(server, "/admin/v1/pools")
}

pub(super) fn full_load(evidence: &Evidence) -> Finding {
    let rules = [
        "error_rate",
        "critical_error_rate",
        "overhead_p99",
        "worker_failure_rate",
        "memory_growth",
    ];
    stage(evidence, 100.0, &rules)
}

/// The validation suite, as the migration ran it.
pub(super) fn features(evidence: &Evidence) -> Finding {
    let server = match server(evidence) {
        Ok(server) => server,
        Err(open) => return open,
    };
    let done = server.events.iter().rev().find(|entry| {
        let event = &entry["event"];
        event["step"] == "validate"
            && matches!(event["type"].as_str(), Some("step_done" | "step_failed"))
    });
    let Some(done) = done else {
        return Finding::open(
            "the validation suite has not run",
            "the migration's own run of it: migration.validation.run",
        )
        .live(server, "/admin/v1/migrations/current");
    };
    let place = format!("{}{STATUS}, entry {}", server.url, done["seq"]);
    let age = since(&done["at"]);
    if age.is_none_or(|age| age > evidence.max_age) {
        let value = match age {
            Some(age) => format!("the validation suite ran {} ago", ago(age)),
            None => "the validation suite says no time that has been".to_owned(),
        };
        let needs = "the migration's own run of it: migration.validation.run";
        return Finding::open(value, needs)
            .from(place, age)
            .of_server(server);
    }
    let checks = done["event"]["checks"].as_array();
    let (all, well) = checks.map_or((0, 0), |checks| {
        (
            checks.len(),
            checks.iter().filter(|check| check["ok"] == true).count(),
        )
    });
    let holds = done["event"]["type"] == "step_done" && all > 0 && well == all;
    Finding::measured(holds, format!("{well} of {all} checks"), "all of them")
        .from(place, age)
        .of_server(server)
}

pub(super) fn targets(evidence: &Evidence) -> Finding {
    performance(evidence).and(stage(evidence, 100.0, &["overhead_p99", "error_rate"]))
}

pub(super) fn decommission(evidence: &Evidence) -> Finding {
    let server = match server(evidence) {
        Ok(server) => server,
        Err(open) => return open,
    };
    let phase = server.migration["phase"].as_str().unwrap_or("none");
    let busy = server.status["lanes"]["stable"]["in_flight"].as_u64();
    let holds = phase == "complete" && busy == Some(0);
    let value = format!(
        "phase {phase}, {} calls on the old pool",
        busy.map_or("unknown".to_owned(), |busy| busy.to_string())
    );
    Finding::measured(holds, value, "complete, and no call on the old pool")
        .live(server, "/v1/status")
        .and(deletable(evidence))
        .and(drills(evidence, &["decommission", "again"]))
}

/// That everything builds and passes without pool V1, by a check of this commit.
fn deletable(evidence: &Evidence) -> Finding {
    let how = "cargo xtask decommission --check, on this commit";
    let found = match fresh(evidence, evidence.decommission.as_ref(), how) {
        Ok(found) => found,
        Err(open) => {
            return Finding {
                value: format!("a tree without pool V1: {}", open.value),
                ..open
            };
        }
    };
    let value = &found.value;
    let finding = if value["passed"] == true {
        Finding::measured(true, "all tests pass without pool V1", "all of them")
    } else if value["steps"]
        .as_array()
        .is_some_and(|steps| steps.iter().any(|step| step["result"] == "failed"))
    {
        Finding::measured(false, "a tree without pool V1 does not pass", "it passes")
    } else {
        Finding::open("no test was run without pool V1", how)
    };
    finding.in_found(found)
}

/// A member of this name, however deep.
fn find<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Object(members) => members
            .get(name)
            .filter(|found| !found.is_null())
            .or_else(|| members.values().find_map(|member| find(member, name))),
        Value::Array(items) => items.iter().find_map(|item| find(item, name)),
        _ => None,
    }
}
