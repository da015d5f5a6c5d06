//! `cargo xtask decommission --check`: proves that pool V1 can be deleted.
//!
//! A copy of the tree, as git sees the working copy, loses what the law names: the folder `pool-v1`, the
//! app's `pools/v1.rs` and the lines of the manifests. What is left must build, lint without a warning and
//! pass the whole suite, that of the documentation too. The working copy itself is not touched.
//!
//! Invariants: one rule, told with the names that it hits, says which tests are left out. What was found is
//! kept as the evidence `decommission`, which has passed only where the tests were run.

mod surgery;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use self::surgery::Removed;
use crate::evidence;
use crate::interrupt::Interrupt;
use crate::places::Places;
use crate::process::run_shown;
use crate::test::nextest::{EVERYTHING, Runner};
use crate::test::{equip, nextest};

/// Beyond this a step hangs: a first build of everything takes a third of it.
const STEP_LIMIT: Duration = Duration::from_secs(45 * 60);

/// What a test has in its name that is about V1 itself and cannot pass without it. All others find another
/// pool in its place (`app/tests/it/house.rs`), or never asked for it.
const ABOUT_V1: &str = "pool_v1";

/// What to do.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Check on a copy of the tree that everything builds and passes without pool V1
    #[arg(long, required = true)]
    check: bool,
    /// Build and lint, and run no tests; the checklist does not count it
    #[arg(long)]
    no_tests: bool,
}

struct Row {
    step: &'static str,
    passed: bool,
    took: Duration,
}

/// Checks. Answers whether every step passed.
pub(crate) fn run(options: &Options, places: &Places, interrupt: &Interrupt) -> Result<bool> {
    // The same place each time: what other crates come to is built once.
    let folder = places.target.join("decommission");
    let copy = folder.join("tree");
    let files = surgery::copy(&places.root, &copy)?;
    let removed = surgery::remove(&copy)?;
    eprintln!("{files} files copied to {}", copy.display());
    let cargo = |arguments: &[&str]| {
        let mut cargo = Command::new(Places::cargo());
        cargo
            .args(arguments)
            .current_dir(&copy)
            // Nothing is shared with the working copy: cargo knows a crate of a workspace by its place in
            // it, so it would take what was built of the copy for the working copy's own.
            .env("CARGO_BUILD_BUILD_DIR", &folder)
            .env("CARGO_TARGET_DIR", &folder);
        cargo
    };
    let everything = |arguments: &[&str]| {
        let mut cargo = cargo(arguments);
        cargo.args(EVERYTHING);
        cargo
    };
    let mut rows = Vec::new();
    let mut step = |step: &'static str, mut command: Command| -> Result<bool> {
        interrupt.check()?;
        eprintln!("\n── {step}");
        let began = Instant::now();
        let passed = run_shown(&mut command, false, STEP_LIMIT, interrupt)?;
        let took = began.elapsed();
        rows.push(Row { step, passed, took });
        Ok(passed)
    };
    let mut lint = everything(&["clippy", "--all-targets"]);
    lint.args(["--", "--deny=warnings"]);
    // What does not build need not be tested.
    let sound = step("build", everything(&["build"]))? && step("clippy", lint)?;
    let tested = sound && !options.no_tests;
    let (mut left_out, mut counts) = (Vec::new(), Vec::new());
    if tested {
        let runner = nextest::ensure(places, interrupt)?;
        let mut tests = cargo(&[]);
        runner.suite(&mut tests);
        tests.args(["-E", &format!("not test({ABOUT_V1})")]);
        equip(&mut tests, places, interrupt)?;
        step("tests", tests)?;
        counts = nextest::counts(&copy).unwrap_or_else(|error| {
            eprintln!("the tests are not counted: {error:#}");
            Vec::new()
        });
        step("doc tests", everything(&["test", "--doc"]))?;
        left_out = about_v1(&runner, cargo(&[]))?;
    }
    println!(
        "{}",
        report(&removed, &rows, tested.then_some(left_out.as_slice()))
    );
    let passed = rows.iter().all(|row| row.passed);
    let steps: Vec<Value> = rows
        .iter()
        .map(|row| {
            let result = if row.passed { "passed" } else { "failed" };
            json!({ "name": row.step, "result": result, "seconds": row.took.as_secs_f64() })
        })
        .collect();
    let found = json!({
        "passed": passed && tested, "tested": tested, "steps": steps, "binaries": counts,
        "left_out": { "rule": rule(), "tests": left_out },
    });
    evidence::keep(places, "decommission", found)?;
    Ok(passed)
}

fn rule() -> String {
    format!("tests with `{ABOUT_V1}` in their names")
}

/// The tests that are left out, by the runner's own word.
fn about_v1(runner: &Runner, mut list: Command) -> Result<Vec<String>> {
    runner.arguments(&mut list);
    list.args(["list", "--message-format=json"])
        .args(EVERYTHING)
        .args(["-E", &format!("test({ABOUT_V1})")])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let output = list.output().context("cannot list the tests")?;
    if !output.status.success() {
        bail!("the tests cannot be listed ({})", output.status);
    }
    let listed = serde_json::from_slice(&output.stdout).context("the list of tests is no JSON")?;
    matching(&listed)
}

/// Those of a list that its filter meets.
fn matching(listed: &Value) -> Result<Vec<String>> {
    let suites = listed["rust-suites"]
        .as_object()
        .context("the list of tests has no suites")?;
    let mut found = Vec::new();
    for (binary, suite) in suites {
        for (name, test) in suite["testcases"].as_object().into_iter().flatten() {
            if test["filter-match"]["status"] == "matches" {
                found.push(format!("{binary} {name}"));
            }
        }
    }
    found.sort();
    Ok(found)
}

fn report(removed: &Removed, rows: &[Row], left_out: Option<&[String]>) -> String {
    let mut text = String::from("\nremoved\n");
    for what in &removed.paths {
        text.push_str(&format!("  {what}\n"));
    }
    for line in &removed.lines {
        text.push_str(&format!("  {line}\n"));
    }
    text.push_str(&format!(
        "\n{:<22} {:<8} {:>8}\n",
        "step", "result", "seconds"
    ));
    for row in rows {
        let word = if row.passed { "passed" } else { "FAILED" };
        let seconds = row.took.as_secs_f64();
        text.push_str(&format!("{:<22} {word:<8} {seconds:>8.1}\n", row.step));
    }
    match left_out {
        None => text.push_str("\nno test was run\n"),
        Some(tests) => {
            text.push_str(&format!(
                "\nleft out, as they are about it ({}): {}\n",
                rule(),
                tests.len()
            ));
            for test in tests {
                text.push_str(&format!("  {test}\n"));
            }
        }
    }
    text.push_str("\nstill named, for whoever removes it for good:\n");
    for place in &removed.mentions {
        text.push_str(&format!("  {place}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_names_what_went_what_failed_and_what_is_left() {
        let removed = Removed {
            paths: vec!["pool-v1/".to_owned()],
            lines: vec!["app/Cargo.toml: default = [\"pool-v1\"]".to_owned()],
            mentions: vec!["README.md".to_owned()],
        };
        let row = |step, passed| Row {
            step,
            passed,
            took: Duration::from_millis(1500),
        };
        let rows = [row("build", true), row("clippy", false)];
        assert!(report(&removed, &rows, None).contains("no test was run"));
        let left_out = ["dspex::it a::of_pool_v1".to_owned()];
        let text = report(&removed, &rows, Some(&left_out[..]));
        for words in [
            "(tests with `pool_v1` in their names): 1\n  dspex::it a::of_pool_v1\n",
            "  pool-v1/",
            "app/Cargo.toml: default",
            "passed        1.5",
            "FAILED",
            "  README.md",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }

    #[test]
    fn only_what_the_filter_meets_is_left_out() {
        let status = |status| json!({ "filter-match": { "status": status } });
        let listed = json!({ "rust-suites": {
            "b": { "testcases": { "of_pool_v1": status("matches"), "other": status("mismatch") } },
            "a": { "testcases": {} },
        } });
        let found = matching(&listed).expect("a list");
        assert_eq!(found, ["b of_pool_v1"]);
        assert!(matching(&json!({})).is_err());
    }
}
