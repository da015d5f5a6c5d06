//! `cargo xtask decommission --check`: proves that pool V1 can be deleted.
//!
//! A copy of the tree, as git sees the working copy, loses what the law names: the folder `pool-v1`, the
//! app's `pools/v1.rs` and the lines of the manifests. What is left must build, lint without a warning and
//! pass its tests. The working copy itself is not touched.

mod surgery;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use self::surgery::Removed;
use crate::interrupt::Interrupt;
use crate::places::Places;
use crate::process::run_shown;
use crate::python::Python;
use crate::test::{nextest, requirements};
use crate::venv::Venv;

/// Beyond this a step hangs: a first build of everything takes a third of it.
const STEP_LIMIT: Duration = Duration::from_secs(45 * 60);

/// The tests of the binary that are run: the main job, its end and what comes after, with a V2 in the
/// place of the V1 that is gone. The others are about workers of one pool, and run with the whole suite.
const OF_THE_BINARY: &str =
    "test(migration::) + test(again::) + test(decommission::) + test(cli::)";

/// What to do.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Check on a copy of the tree that everything builds and passes without pool V1
    #[arg(long, required = true)]
    check: bool,
    /// Build and lint, and run no tests
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
    let copy = tempfile::tempdir().context("cannot make a temporary folder")?;
    let files = surgery::copy(&places.root, copy.path())?;
    let removed = surgery::remove(copy.path())?;
    eprintln!("{files} files copied to {}", copy.path().display());
    let venv = match options.no_tests {
        true => None,
        false => {
            let python = Python::find("DSPEX_TEST_BASE_PYTHON")?;
            Some(Venv::ensure(
                places,
                "test",
                &python,
                &requirements(places),
                interrupt,
            )?)
        }
    };
    let cargo = |arguments: &[&str]| cargo(places, copy.path(), arguments);
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
    let lint = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "--deny=warnings",
    ];
    // What does not build need not be tested.
    let sound = step("build", cargo(&["build", "--workspace"]))? && step("clippy", cargo(&lint))?;
    if let Some(venv) = venv.filter(|_| sound) {
        let runner = nextest::ensure(places, interrupt)?;
        for (name, arguments) in [
            (
                "tests of the crates",
                &["--workspace", "-E", "not binary_id(dspex::it)"][..],
            ),
            (
                "tests of the binary",
                &["-p", "dspex", "--test", "it", "-E", OF_THE_BINARY],
            ),
        ] {
            let mut tests = cargo(&[]);
            runner.arguments(&mut tests);
            tests.arg("run").arg("--no-fail-fast").args(arguments);
            tests.env("DSPEX_TEST_PYTHON", venv.python());
            step(name, tests)?;
        }
    }
    println!("{}", report(&removed, &rows));
    Ok(rows.iter().all(|row| row.passed))
}

fn cargo(places: &Places, root: &Path, arguments: &[&str]) -> Command {
    let mut cargo = Command::new(Places::cargo());
    cargo
        .args(arguments)
        .current_dir(root)
        // A folder of its own: the binary without V1 must not lie where the one with it does.
        .env("CARGO_TARGET_DIR", places.target.join("decommission"));
    cargo
}

fn report(removed: &Removed, rows: &[Row]) -> String {
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
        let text = report(&removed, &[row("build", true), row("clippy", false)]);
        for words in [
            "  pool-v1/",
            "app/Cargo.toml: default",
            "passed        1.5",
            "FAILED",
            "  README.md",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }
}
