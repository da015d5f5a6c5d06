//! Lines against evidence that was made up for them.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;

const COMMIT: &str = "0123456789ab";

fn found(value: Value) -> Found {
    Found {
        commit: value["commit"].as_str().map(str::to_owned),
        value,
        place: "somewhere".to_owned(),
        age: Some(Duration::from_secs(60)),
    }
}

fn evidence() -> Evidence {
    Evidence {
        commit: COMMIT.to_owned(),
        max_age: Duration::from_secs(3_600),
        ..Evidence::default()
    }
}

fn judged(evidence: &Evidence, id: &str) -> Finding {
    let line = ALL.iter().find(|line| line.id == id).expect("a known line");
    line.judge(evidence)
}

fn drill(passed: bool, commit: &str) -> Found {
    found(json!({ "passed": passed, "commit": commit }))
}

#[test]
fn without_evidence_nothing_is_ticked() {
    for line in ALL {
        let finding = line.judge(&evidence());
        assert_ne!(finding.verdict, Verdict::Passed, "{}: {finding:?}", line.id);
    }
}

#[test]
fn ids_are_those_of_one_line_each() {
    let ids: std::collections::BTreeSet<&str> = ALL.iter().map(|line| line.id).collect();
    assert_eq!(ids.len(), ALL.len());
}

#[test]
fn evidence_of_another_commit_or_too_old_is_none() {
    let tests = json!({
        "commit": "0123456", "steps": [{ "name": "tests", "result": "passed" }],
        "binaries": [{ "binary": "dspex::it", "tests": 5, "failed": 0 }],
    });
    let mut with = Evidence {
        tests: Some(found(tests.clone())),
        ..evidence()
    };
    assert_eq!(judged(&with, "integration-tests").verdict, Verdict::Passed);
    for (commit, age) in [("fedcba9", 60), ("0123456-dirty", 60), ("0123456", 7_200)] {
        let mut found = found(tests.clone());
        found.commit = Some(commit.to_owned());
        found.age = Some(Duration::from_secs(age));
        with.tests = Some(found);
        assert_eq!(
            judged(&with, "integration-tests").verdict,
            Verdict::Open,
            "{commit}"
        );
    }
}

#[test]
fn a_failed_test_and_a_missed_limit_are_failures() {
    let tests = json!({
        "commit": COMMIT, "steps": [{ "name": "tests", "result": "failed" }],
        "binaries": [{ "binary": "dspex::it", "tests": 5, "failed": 1 }],
    });
    let met = |met| found(json!({ "figures": [{ "id": "rate", "met": met }] }));
    let subjects = ["pool", "core", "migrate"];
    let mut with = Evidence {
        tests: Some(found(tests)),
        bench: subjects
            .map(|subject| (subject.to_owned(), met(true)))
            .into(),
        ..evidence()
    };
    let finding = judged(&with, "integration-tests");
    assert_eq!(finding.verdict, Verdict::Failed);
    assert!(finding.value.contains("5 ran, 1 failed"), "{finding:?}");
    assert_eq!(judged(&with, "performance").verdict, Verdict::Passed);
    with.bench.insert("core".to_owned(), met(false));
    let finding = judged(&with, "performance");
    assert_eq!(finding.verdict, Verdict::Failed);
    assert!(
        finding.value.contains("core: 0 of 1 met, not rate"),
        "{finding:?}"
    );
    with.bench.remove("core");
    assert_eq!(judged(&with, "performance").verdict, Verdict::Open);
}

#[test]
fn one_drill_that_failed_decides() {
    let names = [
        "error-spike",
        "worker-crashes",
        "hang",
        "server-restart",
        "bad-deploy",
        "database-locked",
        "rollback-everywhere",
    ];
    let mut with = Evidence {
        drills: names
            .map(|name| (name.to_owned(), drill(true, COMMIT)))
            .into(),
        ..evidence()
    };
    assert_eq!(judged(&with, "recovery").verdict, Verdict::Passed);
    with.drills
        .insert("hang".to_owned(), drill(true, "fedcba9"));
    assert_eq!(judged(&with, "recovery").verdict, Verdict::Open);
    with.drills.insert("hang".to_owned(), drill(false, COMMIT));
    let finding = judged(&with, "recovery");
    assert_eq!(finding.verdict, Verdict::Failed);
    assert!(finding.value.contains("hang"), "{finding:?}");
}

fn server(left_by: &str, verdict: &str, rule: &str) -> Server {
    let reasons = json!([{ "rule": rule, "verdict": verdict, "text": "too many" }]);
    let event = |event: Value| json!({ "seq": 1, "at": "2026-01-01T00:00:00Z", "event": event });
    Server {
        url: "http://x".to_owned(),
        migration: json!({ "id": "m", "phase": "complete", "stages": [{
            "stage": 0, "percent": 5.0, "calls_candidate": 70, "left_at": "2026-01-01T00:00:00Z",
            "left_by": { "by": left_by },
        }]}),
        events: vec![
            event(json!({ "type": "stage_entered", "stage": 0 })),
            event(
                json!({ "type": "ticked", "analysis": { "verdict": verdict, "reasons": reasons } }),
            ),
            event(json!({ "type": "ticked", "analysis": { "verdict": "healthy", "reasons": [] } })),
            event(json!({ "type": "stage_left", "stage": 0 })),
            event(json!({ "type": "signed", "line": "cost", "who": "ada", "why": "cheap enough" })),
        ],
        ..Server::default()
    }
}

#[test]
fn a_stage_counts_where_it_was_held_healthy_to_its_end() {
    let with = |server| Evidence {
        server: Some(server),
        ..evidence()
    };
    let healthy = with(server("controller", "healthy", "error_rate"));
    assert_eq!(judged(&healthy, "error-rate").verdict, Verdict::Passed);
    let promoted = with(server("person", "healthy", "error_rate"));
    assert_eq!(judged(&promoted, "error-rate").verdict, Verdict::Open);
    let broken = with(server("controller", "warning", "error_rate"));
    assert_eq!(judged(&broken, "error-rate").verdict, Verdict::Failed);
    let other = with(server("controller", "warning", "cpu"));
    assert_eq!(judged(&other, "error-rate").verdict, Verdict::Passed);
}

#[test]
fn a_signature_stands_where_a_machine_cannot_judge_and_nowhere_else() {
    let with = Evidence {
        server: Some(server("controller", "warning", "error_rate")),
        drills: BTreeMap::new(),
        ..evidence()
    };
    let finding = judged(&with, "cost");
    assert_eq!(finding.verdict, Verdict::Passed);
    assert!(finding.value.contains("ada: cheap enough"), "{finding:?}");
    assert_eq!(judged(&with, "optimizer").verdict, Verdict::Open);
}
