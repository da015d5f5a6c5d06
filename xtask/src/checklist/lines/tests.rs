//! Lines against evidence that was made up for them.

mod counting;
mod running;

use std::time::Duration;

use serde_json::{Value, json};

use super::super::evidence::Found;
use super::*;
use crate::bench::samples;
use crate::drill;
use crate::test::PYTESTS;

const COMMIT: &str = "0123456789ab";
/// One that led to it, which made-up results of benchmarks are of.
const EARLIER: &str = "c";

pub(super) fn found(value: Value) -> Found {
    Found {
        commit: value["commit"]
            .as_str()
            .or_else(|| value["surroundings"]["commit"].as_str())
            .map(str::to_owned),
        value,
        place: "somewhere".to_owned(),
        age: Some(Duration::from_secs(60)),
    }
}

fn evidence() -> Evidence {
    Evidence {
        commit: COMMIT.to_owned(),
        max_age: Duration::from_secs(3_600),
        history: [COMMIT, EARLIER].map(str::to_owned).into(),
        ..Evidence::default()
    }
}

fn judged(evidence: &Evidence, id: &str) -> Finding {
    let line = ALL.iter().find(|line| line.id == id).expect("a known line");
    line.judge(evidence)
}

fn drill_report(passed: bool, commit: &str) -> Found {
    found(json!({ "passed": passed, "quick": false, "commit": commit }))
}

/// All steps and all binaries in order.
fn tests_report() -> Value {
    let step = |name| json!({ "name": name, "result": "passed" });
    let mut steps = ["tests", "doc tests", "page tests"].map(step).to_vec();
    steps.extend(PYTESTS.map(|(name, _)| step(name)));
    json!({
        "commit": COMMIT,
        "steps": steps,
        "binaries": [
            { "binary": "dspex::it", "tests": 5, "failed": 0 },
            { "binary": "dspex-flags", "tests": 7, "failed": 0 },
        ],
    })
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
fn evidence_of_another_commit_or_of_no_known_age_is_none() {
    let minute = Some(Duration::from_secs(60));
    let cases = [
        (Some("0123456"), minute, Verdict::Passed),
        (Some("fedcba9"), minute, Verdict::Open),
        (Some("0123456-dirty"), minute, Verdict::Open),
        (None, minute, Verdict::Open),
        (
            Some("0123456"),
            Some(Duration::from_secs(7_200)),
            Verdict::Open,
        ),
        (Some("0123456"), None, Verdict::Open),
    ];
    for (commit, age, verdict) in cases {
        let mut tests = found(tests_report());
        (tests.commit, tests.age) = (commit.map(str::to_owned), age);
        let with = Evidence {
            tests: Some(tests),
            ..evidence()
        };
        for line in ["unit-tests", "integration-tests"] {
            assert_eq!(judged(&with, line).verdict, verdict, "{commit:?}, {age:?}");
        }
    }
}

#[test]
fn without_git_no_evidence_is_of_this_commit() {
    let mut report = tests_report();
    report["commit"] = json!("unknown");
    let with = Evidence {
        commit: "unknown".to_owned(),
        tests: Some(found(report)),
        ..evidence()
    };
    assert_eq!(judged(&with, "unit-tests").verdict, Verdict::Open);
}

#[test]
fn tests_pass_where_their_steps_ran_and_passed() {
    let judge = |change: &dyn Fn(&mut Value)| {
        let mut report = tests_report();
        change(&mut report);
        let with = Evidence {
            tests: Some(found(report)),
            ..evidence()
        };
        let of = |line| judged(&with, line).verdict;
        (of("unit-tests"), of("integration-tests"))
    };
    use Verdict::{Failed, Open, Passed};
    assert_eq!(judge(&|_| {}), (Passed, Passed));
    // The runner's report may be there although the step has failed, and the other way round.
    let step_failed = judge(&|report| report["steps"][0]["result"] = json!("failed"));
    assert_eq!(step_failed, (Failed, Failed));
    assert_eq!(
        judge(&|report| report["binaries"] = json!([])),
        (Open, Open)
    );
    // A quick run leaves the doc tests out, which is no failure of theirs.
    let quick = judge(&|report| report["steps"][1]["name"] = json!("another"));
    assert_eq!(quick, (Open, Passed));
    let python = judge(&|report| {
        let steps = report["steps"].as_array_mut().expect("steps");
        steps.last_mut().expect("a step")["result"] = json!("failed");
    });
    assert_eq!(python, (Failed, Passed));
    let no_python = judge(&|report| {
        report["steps"].as_array_mut().expect("steps").pop();
    });
    assert_eq!(no_python, (Open, Passed));
    let one = judge(&|report| report["binaries"][0]["failed"] = json!(1));
    assert_eq!(one, (Passed, Failed));
}

#[test]
fn benchmarks_are_judged_by_what_they_write() {
    let met = |met: Value| {
        let figures = json!([{ "id": "rate", "met": met }]);
        found(json!({ "commit": EARLIER, "figures": figures }))
    };
    let mut with = Evidence {
        bench: ["pool", "core", "http"]
            .map(|subject| (subject.to_owned(), met(json!(true))))
            .into(),
        ..evidence()
    };
    assert_eq!(
        judged(&with, "performance").verdict,
        Verdict::Open,
        "no migrate"
    );
    with.bench
        .insert("migrate".to_owned(), found(samples::migrate("today")));
    let finding = judged(&with, "performance");
    assert_eq!(finding.verdict, Verdict::Passed, "{finding:?}");
    let says = "migrate: 8 of 8 met, on commit c";
    assert!(finding.value.contains(says), "{finding:?}");
    // As a record was written once: nothing that could be met.
    let mut older = samples::migrate("today");
    older["figures"].take();
    for (found, verdict, says) in [
        (found(older), Verdict::Open, "migrate: there is no figure"),
        (
            met(json!(null)),
            Verdict::Open,
            "0 of 1 met, not measured rate",
        ),
        (met(json!(false)), Verdict::Failed, "0 of 1 met, not rate"),
    ] {
        with.bench.insert("migrate".to_owned(), found);
        let finding = judged(&with, "performance");
        assert_eq!(finding.verdict, verdict, "{finding:?}");
        assert!(finding.value.contains(says), "{finding:?}");
    }
}

#[test]
fn benchmarks_are_of_a_commit_that_led_here() {
    let judge = |commit: Option<&str>, later: Option<&str>| {
        let mut result = samples::migrate("today");
        result["cost_surroundings"]["commit"] = json!(later);
        let mut result = found(result);
        result.commit = commit.map(str::to_owned);
        let with = Evidence {
            bench: [("migrate".to_owned(), result)].into(),
            ..evidence()
        };
        before::bench(&with, "migrate", |_| true)
    };
    let passed = judge(Some(EARLIER), Some(COMMIT));
    assert_eq!(passed.verdict, Verdict::Passed, "{passed:?}");
    for (commit, later, says) in [
        (Some("c-dirty"), None, "a changed tree (c-dirty)"),
        (
            Some(EARLIER),
            Some("0123456789ab-dirty"),
            "a changed tree (0123456789ab-dirty)",
        ),
        (
            Some("fedcba9"),
            None,
            "commit fedcba9, which is not known to have led here",
        ),
        (None, None, "does not say of which commit"),
    ] {
        let finding = judge(commit, later);
        assert_eq!(finding.verdict, Verdict::Open, "{finding:?}");
        assert!(finding.value.contains(says), "{finding:?}");
    }
}

#[test]
fn the_results_that_are_checked_in_have_figures() {
    let results = [
        ("pool", include_str!("../../../../bench/results/pool.json")),
        ("core", include_str!("../../../../bench/results/core.json")),
    ];
    for (subject, text) in results {
        let value: Value = serde_json::from_str(text).expect("JSON");
        let figures = value["figures"].as_array().map_or(0, Vec::len);
        assert!(figures > 0, "{subject}");
        let mut found = found(value);
        found.commit = Some(EARLIER.to_owned());
        let with = Evidence {
            bench: [(subject.to_owned(), found)].into(),
            ..evidence()
        };
        let finding = before::bench(&with, subject, |_| true);
        let says = format!("of {figures} met");
        assert!(finding.value.contains(&says), "{finding:?}");
    }
}

#[test]
fn one_drill_that_failed_decides_and_a_short_or_foreign_one_is_none() {
    let mut with = Evidence {
        drills: drill::names()
            .map(|name| (name.to_owned(), drill_report(true, COMMIT)))
            .collect(),
        ..evidence()
    };
    let all = judged(&with, "recovery");
    assert_eq!(all.verdict, Verdict::Passed, "{all:?}");
    for name in before::NO_RECOVERY {
        assert!(drill::names().any(|drill| drill == name), "{name}");
    }
    for (name, counts) in [
        ("controller-kill", true),
        ("disk-full", true),
        ("clock-jump", true),
        ("emergency", true),
        ("provider-outage", true),
        ("memory-leak", true),
        ("happy", false),
        ("session-affinity", false),
    ] {
        let mut without = Evidence {
            drills: with.drills.clone(),
            ..evidence()
        };
        without.drills.remove(name);
        let passed = judged(&without, "recovery").verdict == Verdict::Passed;
        assert_eq!(passed, !counts, "{name}");
    }
    let short = json!({ "passed": true, "quick": true, "commit": COMMIT });
    let unsaid = json!({ "passed": true, "commit": COMMIT });
    for (report, verdict) in [
        (drill_report(true, "fedcba9"), Verdict::Open),
        (drill_report(true, "unknown (--binary)"), Verdict::Open),
        (found(short), Verdict::Open),
        (found(unsaid), Verdict::Open),
        (drill_report(false, COMMIT), Verdict::Failed),
    ] {
        with.drills.insert("hang".to_owned(), report);
        let finding = judged(&with, "recovery");
        assert_eq!(finding.verdict, verdict, "{finding:?}");
        assert!(finding.value.contains("hang"), "{finding:?}");
    }
}

#[test]
fn each_drill_of_the_catalog_has_a_runbook_whether_or_not_it_was_played() {
    let with = |runbooks: Vec<String>| Evidence {
        tests: Some(found(tests_report())),
        runbooks,
        ..evidence()
    };
    let all = || drill::names().map(str::to_owned);
    assert_eq!(
        judged(&with(Vec::new()), "runbooks").verdict,
        Verdict::Failed
    );
    let all_of_them = with(all().collect());
    assert_eq!(judged(&all_of_them, "runbooks").verdict, Verdict::Passed);
    let but_one = with(all().filter(|name| name != "hang").collect());
    let finding = judged(&but_one, "runbooks");
    assert_eq!(finding.verdict, Verdict::Failed);
    assert!(finding.value.contains("no runbook for hang"), "{finding:?}");
}
