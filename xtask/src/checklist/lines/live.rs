//! Lines that are judged by a running server: its journal, metrics and status.

use std::collections::BTreeMap;

use serde_json::Value;

use super::before::{drills, performance};
use super::metrics::{by, label, series, sum};
use super::{Evidence, Finding, Server};

const SERVER: &str = "a server that answers at --url, with its token";

/// Affinity hits of the design's targets.
const AFFINITY: f64 = 0.95;
/// Errors of the design's targets, as a share of calls.
const ERRORS: f64 = 0.001;

/// The server, or that there is none.
fn server(evidence: &Evidence) -> Result<&Server, Finding> {
    let none = || Finding::open("no server was asked", SERVER);
    evidence.server.as_ref().ok_or_else(none)
}

/// How the stage of this share ended, by the journal, and which of these rules spoke in it.
fn stage(evidence: &Evidence, percent: f64, rules: &[&str]) -> Finding {
    let server = match server(evidence) {
        Ok(server) => server,
        Err(open) => return open,
    };
    let needs = format!("the stage of {percent} % held to its end");
    let stages = server.migration["stages"].as_array().into_iter().flatten();
    let record = stages
        .rev()
        .find(|stage| stage["percent"].as_f64() == Some(percent));
    let Some(record) = record else {
        return Finding::open("no stage of this share was entered", needs)
            .live(server, "/admin/v1/migrations/current");
    };
    let index = record["stage"].as_u64();
    let place = "/admin/v1/migrations/current";
    let mut broken: BTreeMap<String, String> = BTreeMap::new();
    let (mut looks, mut last) = (0, &Value::Null);
    let mut within = false;
    for entry in &server.events {
        let event = &entry["event"];
        match event["type"].as_str() {
            Some("stage_entered") => within = event["stage"].as_u64() == index,
            Some("stage_left" | "rollback_began") => within = false,
            Some("ticked") if within => {
                looks += 1;
                last = &event["analysis"];
                for reason in last["reasons"].as_array().into_iter().flatten() {
                    let rule = reason["rule"].as_str().unwrap_or_default();
                    let bad = matches!(reason["verdict"].as_str(), Some("critical" | "warning"));
                    if bad && rules.contains(&rule) {
                        let text = reason["text"].as_str().unwrap_or_default();
                        broken.insert(rule.to_owned(), text.to_owned());
                    }
                }
            }
            _ => {}
        }
    }
    let calls = record["calls_candidate"].as_u64().unwrap_or(0);
    if let Some(text) = broken.values().next() {
        return Finding::measured(false, text.clone(), needs).live(server, place);
    }
    let by_controller = record["left_by"]["by"] == "controller";
    if record["left_at"].is_null() || !by_controller || looks == 0 || last["verdict"] != "healthy" {
        let value = format!("{calls} calls on the candidate so far, {looks} looks");
        return Finding::open(value, needs).live(server, place);
    }
    let value = format!(
        "{calls} calls on the candidate, {looks} looks, none of {} broken",
        rules.join(", ")
    );
    Finding::measured(true, value, needs).live(server, place)
}

pub(super) fn error_rate(evidence: &Evidence) -> Finding {
    let rules = ["error_rate", "critical_error_rate", "error_ratio"];
    stage(evidence, 5.0, &rules)
}

pub(super) fn latency(evidence: &Evidence) -> Finding {
    stage(evidence, 5.0, &["overhead_p99", "p99_ratio", "degradation"])
}

pub(super) fn leaks(evidence: &Evidence) -> Finding {
    stage(evidence, 5.0, &["memory_growth"]).and(drills(evidence, &["memory-leak"]))
}

pub(super) fn workers(evidence: &Evidence) -> Finding {
    stage(evidence, 5.0, &["worker_failure_rate"]).and(drills(evidence, &["worker-crashes"]))
}

/// Closed now, and seen to open by a drill: a breaker that never opened is not known to work.
pub(super) fn breaker(evidence: &Evidence) -> Finding {
    let server = match server(evidence) {
        Ok(server) => server,
        Err(open) => return open,
    };
    let circuits: Vec<String> = server.status["circuits"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|circuit| {
            let text = |field: &str| circuit[field].as_str().unwrap_or("?").to_owned();
            format!("{} {}", text("lane"), text("state"))
        })
        .collect();
    let closed = circuits.iter().all(|circuit| circuit.ends_with(" closed"));
    let there = !circuits.is_empty();
    Finding::measured(there && closed, circuits.join(", "), "closed")
        .live(server, "/v1/status")
        .and(drills(evidence, &["worker-crashes", "error-spike"]))
}

pub(super) fn scaling(evidence: &Evidence) -> Finding {
    drills(evidence, &["overload"]).and(stage(evidence, 25.0, &["overhead_p99"]))
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
    let limit = format!("at least {} % of sessions' calls", AFFINITY * 100.0);
    if all < 100.0 {
        let value = format!("{all} calls of sessions that were called before");
        return Finding::open(value, "100 of them").live(server, "/metrics");
    }
    let rate = hits / all;
    Finding::measured(rate >= AFFINITY, format!("{:.2} %", rate * 100.0), limit)
        .live(server, "/metrics")
        .and(drills(evidence, &["session-affinity"]))
}

/// The journal counts each call of a stage, Prometheus all calls of the server: the first can never be
/// more than the second, and the share that callers got is the one that was set.
pub(super) fn telemetry(evidence: &Evidence) -> Finding {
    let server = match server(evidence) {
        Ok(server) => server,
        Err(open) => return open,
    };
    let stages = || server.migration["stages"].as_array().into_iter().flatten();
    let counted: u64 = stages()
        .filter_map(|stage| stage["calls_candidate"].as_u64())
        .sum();
    let told = sum(
        &server.metrics,
        "dspex_calls_total",
        &[("lane", "candidate")],
    );
    let widest = stages()
        .filter_map(|stage| {
            let all = stage["calls_stable"].as_u64()? + stage["calls_candidate"].as_u64()?;
            let (set, got) = (
                stage["percent"].as_f64()?,
                stage["measured_percent"].as_f64()?,
            );
            (all >= 1_000).then(|| (set - got).abs())
        })
        .fold(None, |widest: Option<f64>, off| {
            Some(widest.map_or(off, |widest| widest.max(off)))
        });
    let Some(widest) = widest else {
        return Finding::open("no stage with 1,000 calls", "one")
            .live(server, "/admin/v1/migrations/current");
    };
    let holds = told >= counted as f64 && widest <= 5.0;
    let value = format!(
        "{counted} calls in the journal, {told} in the metrics; shares off by at most {widest:.1} points"
    );
    Finding::measured(
        holds,
        value,
        "metrics ≥ journal since the server began; 5 points",
    )
    .live(server, "/metrics")
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

pub(super) fn unexpected_errors(evidence: &Evidence) -> Finding {
    let server = match server(evidence) {
        Ok(server) => server,
        Err(open) => return open,
    };
    let (calls, kinds) = errors(server);
    if calls < 1_000.0 {
        return Finding::open(format!("{calls} calls"), "1,000 calls").live(server, "/metrics");
    }
    let failed: f64 = kinds.values().sum();
    let rate = failed / calls;
    let limit = format!("at most {} % of calls", ERRORS * 100.0);
    Finding::measured(rate <= ERRORS, format!("{failed} of {calls} calls"), limit)
        .live(server, "/metrics")
}

pub(super) fn error_patterns(evidence: &Evidence) -> Finding {
    let server = match server(evidence) {
        Ok(server) => server,
        Err(open) => return open,
    };
    let (calls, kinds) = errors(server);
    let listed: Vec<String> = kinds
        .iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    if listed.is_empty() && calls >= 1_000.0 {
        return Finding::measured(true, format!("no failure in {calls} calls"), "reviewed")
            .live(server, "/metrics");
    }
    Finding::open(listed.join(", "), "a person who has read them: a signature")
        .live(server, "/metrics")
}

pub(super) fn comparison(evidence: &Evidence) -> Finding {
    let rules = ["error_ratio", "p99_ratio", "degradation", "difference_rate"];
    stage(evidence, 50.0, &rules)
}

/// Processor time and memory are told; what they are worth is a person's word.
pub(super) fn cost(evidence: &Evidence) -> Finding {
    let server = match server(evidence) {
        Ok(server) => server,
        Err(open) => return open,
    };
    let memory: Vec<String> = by(&server.metrics, "dspex_worker_memory_bytes", "pool")
        .into_iter()
        .map(|(pool, bytes)| format!("{pool} {:.0} MB", bytes / 1e6))
        .collect();
    Finding::open(
        format!("memory of workers: {}", memory.join(", ")),
        "whether that is worth it: a signature",
    )
    .live(server, "/metrics")
}

pub(super) fn resources(evidence: &Evidence) -> Finding {
    let server = match server(evidence) {
        Ok(server) => server,
        Err(open) => return open,
    };
    let host = &server.status["host"];
    let (Some(cpu), Some(memory)) = (
        host["cpu_percent"].as_f64(),
        host["memory_percent"].as_f64(),
    ) else {
        return Finding::open("the host is not measured", "a measurement")
            .live(server, "/v1/status");
    };
    let value = format!("CPU {cpu:.0} %, memory {memory:.0} %");
    Finding::measured(
        cpu <= 80.0 && memory <= 90.0,
        value,
        "CPU 80 %, memory 90 %",
    )
    .live(server, "/v1/status")
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
    Finding::open(value, "a person who has read them: a signature").live(server, "/admin/v1/pools")
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
            "dspex validate, or the migration's own",
        )
        .live(server, "/admin/v1/migrations/current");
    };
    let checks = done["event"]["checks"].as_array();
    let (all, well) = checks.map_or((0, 0), |checks| {
        (
            checks.len(),
            checks.iter().filter(|check| check["ok"] == true).count(),
        )
    });
    let holds = done["event"]["type"] == "step_done" && all > 0 && well == all;
    Finding::measured(holds, format!("{well} of {all} checks"), "all of them").live(
        server,
        &format!("/admin/v1/migrations/current, entry {}", done["seq"]),
    )
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
        .and(drills(evidence, &["decommission", "again"]))
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
