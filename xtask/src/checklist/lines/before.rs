//! Lines that are judged without a server: by what tests, benchmarks and drills left behind.

use serde_json::Value;

use super::drills::drills;
use super::fresh::{fresh, young};
use super::{Evidence, Finding, Verdict};
use crate::drill;
use crate::test::PYTESTS;

const TEST: &str = "cargo xtask test, on this commit";

/// Drills in which there is nothing to recover from. Each of the others must have passed.
pub(super) const NO_RECOVERY: [&str; 6] = [
    NO_FAULT,
    "no-traffic",
    "pause-resume",
    "session-affinity",
    "decommission",
    "again",
];

/// Subjects of benchmarks with limits.
const BENCHES: [&str; 4] = ["pool", "core", "http", "migrate"];

/// The drill in which nothing goes wrong, so that there is nothing to look up.
const NO_FAULT: &str = "happy";

pub(super) fn unit_tests(evidence: &Evidence) -> Finding {
    let mut steps = vec!["tests", "doc tests", "page tests"];
    steps.extend(PYTESTS.map(|(step, _)| step));
    tests(evidence, |binary| !binary.contains("::it"), &steps)
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
    let with = |result: fn(Option<&str>) -> bool| -> Vec<&str> {
        let steps = steps.iter().copied();
        steps
            .filter(|step| result(ended(&found.value, step)))
            .collect()
    };
    let mut value = format!("{ran} ran, {failed} failed");
    let not_passed = with(|result| result.is_some_and(|result| result != "passed"));
    if !not_passed.is_empty() {
        value.push_str(&format!("; not passed: {}", not_passed.join(", ")));
    }
    let not_run = with(|result| result.is_none());
    if failed > 0 || !not_passed.is_empty() {
        return Finding::measured(false, value, "0 failed").in_found(found);
    }
    if !not_run.is_empty() {
        let value = format!("{value}; not run: {}", not_run.join(", "));
        return Finding::open(value, TEST).in_found(found);
    }
    if ran == 0 {
        return Finding::open("none was counted", TEST).in_found(found);
    }
    Finding::measured(true, value, "0 failed").in_found(found)
}

/// How a step ended: none where it did not run.
fn ended<'a>(tests: &'a Value, step: &str) -> Option<&'a str> {
    let mut steps = tests["steps"].as_array().into_iter().flatten();
    steps.find(|found| found["name"] == step)?["result"].as_str()
}

pub(super) fn performance(evidence: &Evidence) -> Finding {
    BENCHES
        .iter()
        .map(|subject| bench(evidence, subject, |_| true))
        .reduce(Finding::and)
        .unwrap_or_else(|| Finding::open("no benchmark", "cargo xtask bench"))
}

/// The limits of one subject's figures with such an id. A result is of the commit that it was measured
/// on, which is never the one that holds it: it is to be one that led here, and is told.
pub(super) fn bench(evidence: &Evidence, subject: &str, of: impl Fn(&str) -> bool) -> Finding {
    let rivals = if subject == "migrate" {
        ""
    } else {
        " --rivals"
    };
    let how = format!("cargo xtask bench {subject}{rivals}");
    let named = |open: Finding| Finding {
        value: format!("{subject}: {}", open.value),
        ..open
    };
    let found = match young(evidence, evidence.bench.get(subject), &how) {
        Ok(found) => found,
        Err(open) => return named(open),
    };
    let strange = |commit: &&str| !evidence.history.contains(*commit);
    let wrong = match found.commits().find(strange) {
        Some(commit) if commit.ends_with("-dirty") => {
            Some(format!("measured on a changed tree ({commit})"))
        }
        Some(commit) => Some(format!(
            "measured on commit {commit}, which is not known to have led here"
        )),
        None if found.commit.is_none() => Some("it does not say of which commit it is".to_owned()),
        None => None,
    };
    if let Some(wrong) = wrong {
        return named(Finding::open(wrong, how).in_found(found));
    }
    let (mut met, mut missed, mut unknown) = (0, Vec::new(), Vec::new());
    let figures = found.value["figures"].as_array().into_iter().flatten();
    for figure in figures {
        let id = figure["id"].as_str().unwrap_or("?");
        match figure["met"].as_bool() {
            _ if !of(id) => {}
            Some(true) => met += 1,
            Some(false) => missed.push(id),
            None => unknown.push(id),
        }
    }
    let mut value = format!("{met} of {} met", met + missed.len() + unknown.len());
    for (what, ids) in [("not", &missed), ("not measured", &unknown)] {
        if !ids.is_empty() {
            value.push_str(&format!(", {what} {}", ids.join(", ")));
        }
    }
    let commits: Vec<&str> = found.commits().collect();
    value.push_str(&format!(", on commit {}", commits.join(" and ")));
    let finding = if !missed.is_empty() {
        Finding::measured(false, value, "every limit met")
    } else if !unknown.is_empty() {
        Finding::open(value, how)
    } else if met == 0 {
        Finding::open("there is no figure in the result", how)
    } else {
        Finding::measured(true, value, "every limit met")
    };
    named(finding.in_found(found))
}

pub(super) fn recovery(evidence: &Evidence) -> Finding {
    let recoveries: Vec<&str> = drill::names()
        .filter(|name| !NO_RECOVERY.contains(name))
        .collect();
    drills(evidence, &recoveries)
}

/// Each drill has a runbook, and what stands in runbooks was run by the tests.
pub(super) fn runbooks(evidence: &Evidence) -> Finding {
    let there = &evidence.runbooks;
    let faults = drill::names().filter(|name| *name != NO_FAULT);
    let missing: Vec<&str> = faults
        .filter(|drill| !there.iter().any(|name| name == drill))
        .collect();
    let value = match missing.as_slice() {
        [] => format!("{} runbooks", there.len()),
        missing => format!("no runbook for {}", missing.join(", ")),
    };
    let there = Finding::measured(missing.is_empty(), value, "one for each drill")
        .from("docs/runbooks", None);
    there.and(docs_were_run(evidence))
}

/// That its commands work is seen; that it says all that there is to say is not.
pub(super) fn documentation(evidence: &Evidence) -> Finding {
    docs_were_run(evidence).and(Finding::asks(
        "no machine knows what a reader misses",
        "whether it is complete",
    ))
}

fn docs_were_run(evidence: &Evidence) -> Finding {
    let ran = tests(evidence, |binary| binary == "dspex::it", &["tests"]);
    match ran.verdict {
        Verdict::Passed => Finding {
            value: "their commands were run by the tests".to_owned(),
            limit: "every command succeeds".to_owned(),
            ..ran
        },
        _ => ran,
    }
}
