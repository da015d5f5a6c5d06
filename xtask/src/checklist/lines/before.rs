//! Lines that are judged without a server: by what tests, benchmarks and drills left behind.

use serde_json::Value;

use super::{Evidence, Finding, Verdict, fresh};

const TEST: &str = "cargo xtask test, on this commit";

/// Drills that recover from a fault, each of which must have passed.
const RECOVERIES: [&str; 7] = [
    "error-spike",
    "worker-crashes",
    "hang",
    "server-restart",
    "bad-deploy",
    "database-locked",
    "rollback-everywhere",
];

/// Subjects of benchmarks with limits.
const BENCHES: [&str; 3] = ["pool", "core", "migrate"];

pub(super) fn unit_tests(evidence: &Evidence) -> Finding {
    tests(
        evidence,
        |binary| !binary.contains("::it"),
        &["doc tests", "page tests"],
    )
}

pub(super) fn integration_tests(evidence: &Evidence) -> Finding {
    tests(evidence, |binary| binary.contains("::it"), &["tests"])
}

/// Tests of these binaries, and these steps.
fn tests(evidence: &Evidence, of: impl Fn(&str) -> bool, steps: &[&str]) -> Finding {
    let found = match fresh(evidence, evidence.tests.as_ref(), TEST) {
        Ok(found) => found,
        Err(open) => return open,
    };
    let binaries = found.value["binaries"].as_array().into_iter().flatten();
    let (mut ran, mut failed) = (0, 0);
    for binary in binaries.filter(|binary| binary["binary"].as_str().is_some_and(&of)) {
        ran += binary["tests"].as_u64().unwrap_or(0);
        failed += binary["failed"].as_u64().unwrap_or(0);
    }
    let not_passed: Vec<&str> = steps
        .iter()
        .filter(|step| !passed(&found.value, step))
        .copied()
        .collect();
    let mut value = format!("{ran} ran, {failed} failed");
    if !not_passed.is_empty() {
        value.push_str(&format!("; not passed: {}", not_passed.join(", ")));
    }
    if ran == 0 {
        return Finding::open("none was counted", TEST).in_found(found);
    }
    let holds = failed == 0 && not_passed.is_empty();
    Finding::measured(holds, value, "0 failed").in_found(found)
}

fn passed(tests: &Value, step: &str) -> bool {
    let mut steps = tests["steps"].as_array().into_iter().flatten();
    steps.any(|found| found["name"] == step && found["result"] == "passed")
}

pub(super) fn performance(evidence: &Evidence) -> Finding {
    let mut all = Vec::new();
    for subject in BENCHES {
        let Some(found) = evidence.bench.get(subject) else {
            let how = format!("cargo xtask bench {subject} --rivals");
            all.push(Finding::open(format!("{subject}: no result"), how));
            continue;
        };
        // A result is of the commit that it was measured on, which is never the one that holds it: its
        // age alone counts.
        if let Some(age) = found.age.filter(|age| *age > evidence.max_age) {
            let stale = format!("{subject}: of {} ago", super::ago(age));
            all.push(Finding::open(stale, "a newer run").in_found(found));
            continue;
        }
        let figures = found.value["figures"].as_array().into_iter().flatten();
        let (mut count, mut missed) = (0, Vec::new());
        for figure in figures {
            count += 1;
            if figure["met"] != true {
                missed.push(figure["id"].as_str().unwrap_or("?").to_owned());
            }
        }
        let value = match missed.as_slice() {
            [] => format!("{subject}: {count} of {count} met"),
            missed => format!(
                "{subject}: {} of {count} met, not {}",
                count - missed.len(),
                missed.join(", ")
            ),
        };
        let holds = missed.is_empty() && count > 0;
        all.push(Finding::measured(holds, value, "every limit met").in_found(found));
    }
    all.into_iter()
        .reduce(Finding::and)
        .unwrap_or_else(|| Finding::open("no benchmark", "cargo xtask bench"))
}

pub(super) fn recovery(evidence: &Evidence) -> Finding {
    drills(evidence, &RECOVERIES)
}

/// These drills have passed on this commit.
pub(super) fn drills(evidence: &Evidence, names: &[&str]) -> Finding {
    let (mut passed, mut failed, mut missing) = (0, Vec::new(), Vec::new());
    let mut last = None;
    for name in names {
        let how = format!("cargo xtask drill {name}");
        match fresh(evidence, evidence.drills.get(*name), &how) {
            Ok(found) if found.value["passed"] == true => {
                passed += 1;
                last = Some(found);
            }
            Ok(found) => {
                failed.push(*name);
                last = Some(found);
            }
            Err(_) => missing.push(*name),
        }
    }
    let value = |what: &str, names: &[&str]| format!("drills {what}: {}", names.join(", "));
    let found = if !failed.is_empty() {
        Finding::measured(false, value("failed", &failed), "all pass")
    } else if !missing.is_empty() {
        let how = format!("cargo xtask drill {}", missing.join(" "));
        Finding::open(value("not run on this commit", &missing), how)
    } else {
        Finding::measured(true, format!("{passed} drills passed"), "all pass")
    };
    match last {
        Some(last) => found.in_found(last),
        None => found,
    }
}

pub(super) fn dashboards(evidence: &Evidence) -> Finding {
    let how = "--grafana URL, or a signature";
    let Some(found) = &evidence.dashboard else {
        return Finding::open("no Grafana was asked", how);
    };
    let panels = found.value["dashboard"]["panels"]
        .as_array()
        .map_or(0, Vec::len);
    Finding::measured(
        panels > 0,
        format!("{panels} panels"),
        "the dashboard of the release",
    )
    .in_found(found)
}

pub(super) fn alerts(evidence: &Evidence) -> Finding {
    let how = "--prometheus URL, or a signature";
    let (Some(rules), Some(targets)) = (&evidence.rules, &evidence.targets) else {
        return Finding::open("no Prometheus was asked", how);
    };
    let groups = rules.value["data"]["groups"]
        .as_array()
        .into_iter()
        .flatten();
    let alerts = groups
        .filter(|group| group["name"] == "dspex")
        .flat_map(|group| group["rules"].as_array().into_iter().flatten())
        .filter(|rule| rule["type"] == "alerting" && rule["health"] == "ok")
        .count();
    let up = targets.value["data"]["result"]
        .as_array()
        .into_iter()
        .flatten();
    let up = up.filter(|series| series["value"][1] == "1").count();
    let value = format!("{alerts} alerts in order, {up} servers scraped");
    Finding::measured(
        alerts > 0 && up > 0,
        value,
        "alerts of the release, a server scraped",
    )
    .in_found(rules)
}

/// Each drill has a runbook, and what stands in runbooks was run by the tests.
pub(super) fn runbooks(evidence: &Evidence) -> Finding {
    let there = &evidence.runbooks;
    let missing: Vec<&str> = evidence
        .drills
        .keys()
        .map(String::as_str)
        .filter(|drill| *drill != "summary" && *drill != "happy")
        .filter(|drill| !there.iter().any(|name| name == drill))
        .collect();
    let value = match missing.as_slice() {
        [] => format!("{} runbooks", there.len()),
        missing => format!("no runbook for {}", missing.join(", ")),
    };
    let there = Finding::measured(
        missing.is_empty() && !there.is_empty(),
        value,
        "one for each drill",
    )
    .from("docs/runbooks", None);
    there.and(docs_were_run(evidence))
}

pub(super) fn documentation(evidence: &Evidence) -> Finding {
    docs_were_run(evidence).and(Finding::open(
        "whether it is complete is a person's word",
        "a signature",
    ))
}

fn docs_were_run(evidence: &Evidence) -> Finding {
    let ran = integration_tests(evidence);
    match ran.verdict {
        Verdict::Passed => Finding {
            value: "their commands were run by the tests".to_owned(),
            limit: "every command succeeds".to_owned(),
            ..ran
        },
        _ => ran,
    }
}
