//! `cargo xtask test`: every check, one after the other, with a table at the end.
//!
//! Invariants: a step that fails hides no other step's result; nothing is skipped silently: what
//! cannot run counts as failed and says why. What a step needs is installed by the step before it.

mod modules;
pub(crate) mod nextest;
mod steps;

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;

use self::steps::Work;
pub(crate) use self::steps::{PYTESTS, equip};
use crate::evidence;
use crate::interrupt::Interrupt;
use crate::places::Places;
use crate::process::run_shown;

/// Beyond this a step hangs. The longest, a first build on two cores, takes a third of it.
const STEP_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Which checks to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Leave out what takes longest: the build without pool-v1, documentation and its tests
    #[arg(long)]
    pub(crate) quick: bool,
}

/// How one step went.
#[derive(Debug)]
struct Row {
    name: &'static str,
    result: Outcome,
    took: Duration,
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed(String),
    /// There is nothing to check yet, for the reason given.
    Nothing(String),
}

/// Runs the steps. Answers whether every one passed.
pub(crate) fn run(options: &Options, places: &Places, interrupt: &Interrupt) -> Result<bool> {
    let mut rows = Vec::new();
    nextest::forget(&places.root)?;
    for step in steps::all(options, places, interrupt)? {
        interrupt.check()?;
        eprintln!("\n── {}", step.name);
        let started = Instant::now();
        let result = perform(step.work, interrupt);
        // A failed step is a row; being told to stop ends everything.
        interrupt.check()?;
        if let Outcome::Failed(reason) = &result {
            eprintln!("{} failed: {reason}", step.name);
        }
        rows.push(Row {
            name: step.name,
            result,
            took: started.elapsed(),
        });
    }
    println!("{}", table(&rows));
    let passed = rows
        .iter()
        .all(|row| !matches!(row.result, Outcome::Failed(_)));
    keep(&rows, options, passed, places)?;
    Ok(passed)
}

/// Leaves what was found where the checklist looks for it.
fn keep(rows: &[Row], options: &Options, passed: bool, places: &Places) -> Result<()> {
    let steps: Vec<_> = rows
        .iter()
        .map(|row| {
            let result = match &row.result {
                Outcome::Passed => "passed",
                Outcome::Failed(_) => "failed",
                Outcome::Nothing(_) => "nothing",
            };
            json!({ "name": row.name, "result": result, "seconds": row.took.as_secs_f64() })
        })
        .collect();
    let counts = nextest::counts(&places.root).unwrap_or_else(|error| {
        eprintln!("the tests are not counted: {error:#}");
        Vec::new()
    });
    evidence::keep(
        places,
        "tests",
        json!({ "passed": passed, "quick": options.quick, "steps": steps, "binaries": counts }),
    )
}

fn perform(work: Work<'_>, interrupt: &Interrupt) -> Outcome {
    let passed = match work {
        Work::Command(mut command) => run_shown(&mut command, false, STEP_LIMIT, interrupt),
        Work::Here(check) => check(),
        Work::Nothing(reason) => return Outcome::Nothing(reason),
    };
    match passed {
        Ok(true) => Outcome::Passed,
        Ok(false) => Outcome::Failed("see its output above".to_owned()),
        Err(error) => Outcome::Failed(format!("{error:#}")),
    }
}

fn table(rows: &[Row]) -> String {
    let mut text = format!("\n{:<26} {:<10} {:>8}\n", "step", "result", "seconds");
    for row in rows {
        let (word, why) = match &row.result {
            Outcome::Passed => ("passed", ""),
            Outcome::Failed(why) => ("FAILED", why.lines().next().unwrap_or_default()),
            Outcome::Nothing(why) => ("nothing", why.as_str()),
        };
        let line = format!(
            "{:<26} {word:<10} {:>8.1}  {why}",
            row.name,
            row.took.as_secs_f64()
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_what_failed_and_why() {
        let row = |name, result| Row {
            name,
            result,
            took: Duration::from_millis(1500),
        };
        let text = table(&[
            row("format", Outcome::Passed),
            row("tests", Outcome::Failed("no venv\nlong story".to_owned())),
            row("pages", Outcome::Nothing("there are none".to_owned())),
        ]);
        assert!(
            text.contains("format                     passed          1.5\n"),
            "{text}"
        );
        assert!(text.contains("FAILED          1.5  no venv\n"), "{text}");
        assert!(text.contains("nothing"), "{text}");
    }

    #[test]
    fn a_step_that_cannot_run_has_failed() {
        let work = Work::Here(Box::new(|| anyhow::bail!("no such tool")));
        let result = perform(work, &Interrupt::default());
        assert_eq!(result, Outcome::Failed("no such tool".to_owned()));
        let work = Work::Command(std::process::Command::new("false"));
        let result = perform(work, &Interrupt::default());
        assert!(matches!(result, Outcome::Failed(_)));
    }
}
