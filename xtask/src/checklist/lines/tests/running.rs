//! Lines that are judged by a running server.

use jiff::{SignedDuration, Timestamp};

use super::*;

/// So many seconds ago.
pub(super) fn ago(seconds: i64) -> String {
    (Timestamp::now() - SignedDuration::from_secs(seconds)).to_string()
}

fn entry(seconds: i64, event: &Value) -> Value {
    json!({ "seq": 1, "at": ago(seconds), "event": event })
}

/// A look at 600 calls of a minute.
fn look(seconds: i64, verdict: &str, reasons: &Value) -> Value {
    let lane = |calls, failed| json!({ "calls": calls, "failed": failed });
    let analysis = json!({
        "verdict": verdict, "reasons": reasons, "seconds": 60.0,
        "stable": lane(400, 0), "candidate": lane(200, 1),
    });
    entry(seconds, &json!({ "type": "ticked", "analysis": analysis }))
}

fn broken(rule: &str, verdict: &str) -> Value {
    json!({ "rule": rule, "verdict": verdict, "text": "too many", "value": 2.0, "limit": 1.0 })
}

fn unjudged(rule: &str) -> Value {
    json!({
        "rule": rule, "verdict": "healthy", "text": "not judged yet", "value": null,
        "needs": "38 more calls",
    })
}

/// A stage that the controller held to its end, with these reasons in its looks, the oldest first.
pub(super) fn server(percent: f64, reasons: &[Value]) -> Server {
    let mut events = vec![
        entry(
            900,
            &json!({ "type": "started", "plan": { "shadow": 5.0 } }),
        ),
        entry(800, &json!({ "type": "stage_entered", "stage": 0 })),
    ];
    let looks = reasons.iter().enumerate().map(|(place, reasons)| {
        let listed = reasons.as_array().into_iter().flatten();
        let mut verdicts = listed.filter_map(|reason| reason["verdict"].as_str());
        let verdict = verdicts.find(|verdict| *verdict != "healthy");
        let seconds = 700 - 30 * i64::try_from(place).expect("few");
        look(seconds, verdict.unwrap_or("healthy"), reasons)
    });
    events.extend(looks);
    events.push(entry(100, &json!({ "type": "stage_left", "stage": 0 })));
    Server {
        url: "http://x".to_owned(),
        status: json!({ "started_at": ago(1_000) }),
        migration: json!({ "id": "m", "phase": "complete", "stages": [{
            "stage": 0, "percent": percent, "calls_stable": 19_000, "calls_candidate": 1_000,
            "entered_at": ago(800), "left_at": ago(100), "left_by": { "by": "controller" },
        }]}),
        events,
        ..Server::default()
    }
}

pub(super) fn with(server: Server) -> Evidence {
    Evidence {
        server: Some(server),
        drills: drill::names()
            .map(|name| (name.to_owned(), drill_report(true, COMMIT)))
            .collect(),
        decommission: Some(found(json!({ "passed": true, "commit": COMMIT }))),
        ..evidence()
    }
}

pub(super) fn verdict(server: Server, line: &str) -> Verdict {
    judged(&with(server), line).verdict
}

#[test]
fn a_stage_counts_where_it_was_held_healthy_to_its_end() {
    let healthy = || server(5.0, &[json!([]), json!([])]);
    assert_eq!(verdict(healthy(), "error-rate"), Verdict::Passed);
    let mut promoted = healthy();
    promoted.migration["stages"][0]["left_by"]["by"] = json!("person");
    assert_eq!(verdict(promoted, "error-rate"), Verdict::Open);
    let warned = |rule| server(5.0, &[json!([broken(rule, "warning")]), json!([])]);
    assert_eq!(verdict(warned("error_rate"), "error-rate"), Verdict::Failed);
    assert_eq!(verdict(warned("cpu"), "error-rate"), Verdict::Passed);
    let another = server(10.0, &[json!([])]);
    assert_eq!(verdict(another, "error-rate"), Verdict::Open);
}

#[test]
fn a_stage_is_as_old_as_its_end() {
    let finding = judged(&with(server(5.0, &[json!([])])), "error-rate");
    let told = &finding.evidence[0];
    assert!(told.place.ends_with("/current, stage 0"), "{finding:?}");
    assert_eq!(told.age.as_deref(), Some("1 min"), "{finding:?}");
    let mut long_ago = server(5.0, &[json!([])]);
    long_ago.migration["stages"][0]["left_at"] = json!(ago(7_200));
    let finding = judged(&with(long_ago), "error-rate");
    assert_eq!(finding.verdict, Verdict::Open, "{finding:?}");
    assert!(finding.value.contains("left 2 h ago"), "{finding:?}");
    let mut to_come = server(5.0, &[json!([])]);
    to_come.migration["stages"][0]["left_at"] = json!(ago(-600));
    assert_eq!(verdict(to_come, "error-rate"), Verdict::Open);
}

#[test]
fn a_server_of_another_commit_ticks_nothing_and_one_that_refuses_is_told() {
    let mut foreign = server(5.0, &[json!([])]);
    foreign.foreign = Some("the server is of commit fedcba9".to_owned());
    let finding = judged(&with(foreign), "error-rate");
    assert_eq!(finding.verdict, Verdict::Open, "{finding:?}");
    assert!(finding.value.contains("of commit fedcba9"), "{finding:?}");
    let mut refusing = server(10.0, &[json!([])]);
    refusing.refused = vec!["http://x/admin: http status: 401".to_owned()];
    let finding = judged(&with(refusing), "error-rate");
    assert!(finding.value.contains("status: 401"), "{finding:?}");
    let nobody = Evidence {
        no_server: Some("http://x/v1/status: connection refused".to_owned()),
        ..evidence()
    };
    let finding = judged(&nobody, "error-rate");
    assert!(finding.value.contains("connection refused"), "{finding:?}");
}

#[test]
fn the_validation_suite_is_as_old_as_its_entry() {
    let judge = |seconds: i64| {
        let mut server = server(100.0, &[json!([])]);
        let event = json!({
            "type": "step_done", "step": "validate", "checks": [{ "name": "a", "ok": true }],
        });
        server.events.push(entry(seconds, &event));
        judged(&with(server), "features")
    };
    let young = judge(120);
    assert_eq!(young.verdict, Verdict::Passed, "{young:?}");
    assert_eq!(young.evidence[0].age.as_deref(), Some("2 min"));
    let old = judge(7_200);
    assert_eq!(old.verdict, Verdict::Open, "{old:?}");
    assert!(old.value.contains("2 h ago"), "{old:?}");
    assert_eq!(judge(-600).verdict, Verdict::Open);
}

#[test]
fn a_rule_that_the_last_look_did_not_judge_is_open_and_says_what_it_lacks() {
    for (line, rule, percent) in [
        ("leaks", "memory_growth", 5.0),
        ("latency", "p99_ratio", 5.0),
        ("latency", "overhead_p99", 5.0),
        ("error-rate", "error_ratio", 5.0),
        ("comparison", "p99_ratio", 50.0),
        ("full-load", "memory_growth", 100.0),
    ] {
        let never = server(percent, &[json!([unjudged(rule)]), json!([unjudged(rule)])]);
        let finding = judged(&with(never), line);
        assert_eq!(finding.verdict, Verdict::Open, "{line}, {rule}");
        assert!(!finding.signable, "{line}: a machine will judge it");
        let told = finding.value.contains("not judged yet");
        assert!(
            told && finding.limit.contains("38 more calls"),
            "{finding:?}"
        );
        let at_last = server(percent, &[json!([unjudged(rule)]), json!([])]);
        assert_eq!(verdict(at_last, line), Verdict::Passed, "{line}, {rule}");
    }
    // A growth that both lanes have is a note, and a leak all the same.
    let noted = server(
        5.0,
        &[json!([broken("memory_growth", "healthy")]), json!([])],
    );
    assert_eq!(verdict(noted, "leaks"), Verdict::Failed);
}

#[test]
fn answers_are_compared_where_calls_were_copied() {
    let copied = server(50.0, &[json!([])]);
    assert_eq!(verdict(copied, "comparison"), Verdict::Passed);
    let mut without = server(50.0, &[json!([])]);
    without.events[0]["event"]["plan"]["shadow"] = json!(0.0);
    let finding = judged(&with(without), "comparison");
    assert_eq!(finding.verdict, Verdict::Open);
    assert!(finding.limit.contains("migration.shadow"), "{finding:?}");
}

/// A signature for a line, by somebody, so many seconds ago.
fn signed(server: &mut Server, line: &str, who: &str, seconds: i64) {
    let event = json!({ "type": "signed", "line": line, "who": who, "why": "I looked" });
    server.events.push(entry(seconds, &event));
}

#[test]
fn a_signature_stands_where_a_machine_cannot_judge_and_nowhere_else() {
    // Every line is signed, and nothing else is there but what a person is to look at.
    let mut server = server(10.0, &[json!([])]);
    server.metrics = "dspex_worker_memory_bytes{pool=\"v2\"} 5e6\n\
        dspex_calls_total{lane=\"stable\",outcome=\"ok\"} 9\n\
        dspex_errors_total{lane=\"stable\",blame=\"pool\",kind=\"crash\"} 1\n"
        .to_owned();
    let closed = json!({ "lane": "stable", "enabled": true, "state": "closed", "transitions": 0 });
    server.status["circuits"] = json!([closed]);
    for line in ALL {
        signed(&mut server, line.id, "Ada", 60);
    }
    let with = Evidence {
        server: Some(server),
        ..evidence()
    };
    let ticked: Vec<&str> = ALL
        .iter()
        .filter(|line| line.judge(&with).verdict == Verdict::Passed)
        .map(|line| line.id)
        .collect();
    // A breaker that never opened is nothing that a machine could judge; documentation wants its commands
    // run first.
    assert_eq!(ticked, ["breaker", "cost", "optimizer", "error-patterns"]);
    let finding = judged(&with, "cost");
    assert!(
        finding.value.contains("signed by Ada: I looked"),
        "{finding:?}"
    );
    assert!(finding.value.contains("v2 5 MB"), "{finding:?}");
    let with = Evidence {
        tests: Some(found(tests_report())),
        ..with
    };
    assert_eq!(judged(&with, "documentation").verdict, Verdict::Passed);
}

#[test]
fn a_signature_counts_where_it_names_a_person_and_is_young() {
    let judge = |signatures: &[(&str, i64)]| {
        let mut server = server(5.0, &[json!([])]);
        server.metrics = "dspex_worker_memory_bytes{pool=\"v2\"} 5e6\n".to_owned();
        for (who, seconds) in signatures {
            signed(&mut server, "cost", who, *seconds);
        }
        judged(&with(server), "cost")
    };
    assert_eq!(judge(&[("ada", 60)]).verdict, Verdict::Passed);
    for who in ["cli", "admin", "Root", " ", ""] {
        let finding = judge(&[(who, 60)]);
        assert_eq!(finding.verdict, Verdict::Open, "{who:?}");
        assert!(finding.value.contains("names no person"), "{finding:?}");
    }
    for seconds in [7_200, -600] {
        assert_eq!(
            judge(&[("ada", seconds)]).verdict,
            Verdict::Open,
            "{seconds} s ago"
        );
    }
    // One that does not count takes nothing from one that does.
    assert_eq!(judge(&[("ada", 120), ("cli", 60)]).verdict, Verdict::Passed);
}

#[test]
fn the_host_is_judged_over_its_stage_and_a_person_weighs_what_was_beyond() {
    let quiet = server(50.0, &[json!([]), json!([])]);
    assert_eq!(verdict(quiet, "resources"), Verdict::Passed);
    let busy = json!([broken("cpu", "healthy")]);
    let finding = judged(&with(server(50.0, &[busy, json!([])])), "resources");
    assert_eq!(finding.verdict, Verdict::Open);
    assert!(finding.signable);
    assert!(
        finding.value.contains("beyond a limit in 1 of 2 looks"),
        "{finding:?}"
    );
    let unknown = server(50.0, &[json!([unjudged("memory")])]);
    let finding = judged(&with(unknown), "resources");
    assert_eq!(finding.verdict, Verdict::Open);
    assert!(!finding.signable, "{finding:?}");
}

#[test]
fn errors_are_those_of_windows_of_the_stage_that_do_not_overlap() {
    // Looks 30 s apart, each over a minute: every second one is counted, from the last.
    let looks = vec![json!([]); 5];
    let finding = judged(&with(server(25.0, &looks)), "unexpected-errors");
    assert!(
        finding.value.starts_with("3 failed of 1800 calls"),
        "{finding:?}"
    );
    assert_eq!(finding.verdict, Verdict::Failed);
    let mut well = server(25.0, &looks);
    for entry in &mut well.events {
        if entry["event"]["type"] == "ticked" {
            entry["event"]["analysis"]["candidate"]["failed"] = json!(0);
        }
    }
    assert_eq!(verdict(well, "unexpected-errors"), Verdict::Passed);
    let few = server(25.0, &[json!([])]);
    assert_eq!(verdict(few, "unexpected-errors"), Verdict::Open);
}

#[test]
fn a_breaker_is_judged_by_the_servers_circuits() {
    let judge = |state: &str, enabled: bool, transitions: u64| {
        let mut server = server(5.0, &[json!([])]);
        server.status["circuits"] = json!([
            { "lane": "stable", "enabled": enabled, "state": state, "transitions": transitions },
        ]);
        judged(&with(server), "breaker").verdict
    };
    assert_eq!(judge("closed", true, 3), Verdict::Passed);
    assert_eq!(judge("closed", true, 0), Verdict::Open);
    assert_eq!(judge("open", true, 1), Verdict::Failed);
    assert_eq!(judge("closed", false, 3), Verdict::Failed);
}

#[test]
fn the_old_pool_may_go_where_everything_passed_without_it_on_this_commit() {
    let judge = |decommission: Option<Value>| {
        let mut server = server(100.0, &[json!([])]);
        server.status["lanes"] = json!({ "stable": { "in_flight": 0 } });
        let with = Evidence {
            decommission: decommission.map(found),
            ..with(server)
        };
        judged(&with, "decommission").verdict
    };
    let step = |result: &str| json!([{ "name": "tests", "result": result }]);
    for (found, verdict) in [
        (json!({ "passed": true, "commit": COMMIT }), Verdict::Passed),
        (
            json!({ "passed": true, "commit": "fedcba9" }),
            Verdict::Open,
        ),
        // Without its tests it has not passed, and nothing has failed.
        (
            json!({ "passed": false, "commit": COMMIT, "steps": step("passed") }),
            Verdict::Open,
        ),
        (
            json!({ "passed": false, "commit": COMMIT, "steps": step("failed") }),
            Verdict::Failed,
        ),
    ] {
        assert_eq!(judge(Some(found.clone())), verdict, "{found}");
    }
    assert_eq!(judge(None), Verdict::Open);
}
