//! `cargo xtask bench migrate`: how often a migration's verdicts are wrong, and what they cost.
//!
//! The runs are made by an example of the migration crate, in simulated time and by the functions that
//! judge real runs; it prints a line of JSON for each result. A whole run, with a thousand migrations
//! of each kind, is written to `bench/results/migrate.md` and `.json`.

mod figures;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::compare;
use super::results::Results;
use crate::interrupt::Interrupt;
use crate::places::Places;
use crate::process::run_logged;
use crate::progress::Progress;
use crate::surroundings::Surroundings;

/// Runs of each kind in a whole run.
const RUNS: u64 = 1_000;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A whole run is written to bench/results; one with --quick is only printed.

Exit code 0: it was measured, whether or not the limits are met. With --compare, 1 where verdicts are
worse than in the checked-in result.")]
pub(super) struct Migrate {
    /// Fifty runs of each kind, for a first look
    #[arg(long)]
    quick: bool,
    /// Hold the verdicts against the checked-in result and write nothing
    #[arg(long)]
    compare: bool,
    /// Calls a second, over the day
    #[arg(long, default_value_t = 10.0, value_name = "N")]
    rate: f64,
}

/// All that a run found.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    surroundings: Surroundings,
    /// By name, as the example prints them.
    results: BTreeMap<String, Value>,
}

pub(super) fn run(migrate: &Migrate, places: &Places, interrupt: &Interrupt) -> Result<bool> {
    let before: Option<Record> = Results::MIGRATE.before(migrate.compare, places)?;
    let surroundings = Surroundings::of(places, BTreeMap::new());
    let runs = if migrate.quick { 50 } else { RUNS };
    let progress = Progress::start("migrations in simulated time");
    let log = places.log("bench-migrate")?;
    let mut command = Command::new(Places::cargo());
    command
        .args([
            "run",
            "--release",
            "--locked",
            "--package",
            "dspex-migration",
        ])
        .args(["--example", "verdicts", "--"])
        .args([runs.to_string(), migrate.rate.to_string()])
        .current_dir(&places.root);
    run_logged(&mut command, &log, &progress, interrupt)?;
    progress.done("measured");
    let printed =
        fs::read_to_string(&log).with_context(|| format!("cannot read {}", log.display()))?;
    let record = Record {
        surroundings,
        results: results(&printed)?,
    };
    let page = page(&record);
    println!("{page}");
    if let Some(before) = before {
        // Fewer calls are judged later and worse, whatever the code is.
        let rate = |record: &Record| record.results["equal"]["calls_per_second"].as_f64();
        ensure!(
            rate(&before) == rate(&record),
            "the checked-in result is of {:?} calls a second: compare with --rate of as many",
            rate(&before).unwrap_or(f64::NAN)
        );
        return Ok(compare::holds(
            &figures::all(&before.results),
            &figures::all(&record.results),
        ));
    }
    if !migrate.quick {
        Results::MIGRATE.write(places, &record)?;
        let path = places.root.join("bench/results/migrate.md");
        fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(true)
}

/// The lines that are JSON objects with a name.
fn results(printed: &str) -> Result<BTreeMap<String, Value>> {
    let results: BTreeMap<String, Value> = printed
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|value| Some((value["name"].as_str()?.to_owned(), value)))
        .collect();
    for name in ["equal", "errors", "latency", "look", "journal"] {
        if !results.contains_key(name) {
            bail!("the example printed no result {name:?}");
        }
    }
    Ok(results)
}

fn page(record: &Record) -> String {
    let Surroundings {
        date,
        commit,
        cpu,
        cores,
        load_before,
        versions,
        ..
    } = &record.surroundings;
    let rustc = versions.get("rustc").map_or("unknown", String::as_str);
    let of = |name: &str, field: &str| record.results[name][field].as_f64();
    let equal = &record.results["equal"];
    let mut page = format!(
        "# Verdicts of a migration\n\nWritten by `cargo xtask bench migrate`; what is measured and how is in \
         [the bench's README](../README.md).\n\n{date}, commit {commit}, {cpu}, {cores} cores, load {load_before} \
         before, rustc {rustc}.\n\n{} runs of each kind of the default plan (17 hours of holds, a look every 5 s), \
         {} calls a second over the day in five programs with log-normal latencies, seeds 0 and up.\n\n\
         | candidate | told | limit | median time | 95 % | median calls on it | 95 % | by rule |\n\
         |---|---|---|---|---|---|---|---|\n",
        equal["runs"], equal["calls_per_second"],
    );
    for (name, what, limit) in [
        ("equal", "equal to stable", "at most 1 %"),
        ("errors", "5 % of calls fail more", "at least 95 %"),
        ("latency", "calls take 20 % longer", "at least 95 %"),
    ] {
        let share = of(name, "told").unwrap_or(f64::NAN) / of(name, "runs").unwrap_or(f64::NAN);
        let rules = record.results[name]["by_rule"].as_object();
        let rules: Vec<String> = rules
            .into_iter()
            .flatten()
            .map(|(rule, count)| format!("{rule} {count}"))
            .collect();
        let _ = writeln!(
            page,
            "| {what} | {:.1} % | {limit} | {} | {} | {} | {} | {} |",
            share * 100.0,
            minutes(of(name, "after_p50_s")),
            minutes(of(name, "after_p95_s")),
            whole(of(name, "calls_p50")),
            whole(of(name, "calls_p95")),
            rules.join(", "),
        );
    }
    let number = |name: &str, field: &str| of(name, field).unwrap_or(f64::NAN);
    let _ = writeln!(
        page,
        "\nTold is a warning at least, by any rule on failures or latencies. Time and calls are those of the stage in \
         which it was told.\n\n\
         | cost | measured | limit |\n|---|---|---|\n\
         | a look with {} calls in the window, median | {:.1} ms | 5 ms |\n\
         | the same, slowest | {:.1} ms | |\n\
         | a journal of {} entries read and replayed ({:.0} MB) | {:.2} s | 1 s |\n\
         | a whole migration between equal lanes, {:.0} looks | {:.0} ms | |",
        whole(of("look", "calls")),
        number("look", "ms_p50"),
        number("look", "ms_max"),
        whole(of("journal", "entries")),
        number("journal", "bytes") / 1e6,
        number("journal", "seconds"),
        number("equal", "looks") / number("equal", "runs"),
        number("equal", "ms_each"),
    );
    page
}

fn minutes(seconds: Option<f64>) -> String {
    seconds.map_or_else(
        || "-".to_owned(),
        |seconds| format!("{:.1} min", seconds / 60.0),
    )
}

fn whole(number: Option<f64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| format!("{number:.0}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "   Compiling dspex-migration\n\
        {\"name\":\"equal\",\"runs\":1000,\"told\":3,\"looks\":12240000,\"ms_each\":900.0,\"by_rule\":{},\"calls_per_second\":10.0}\n\
        {\"name\":\"errors\",\"runs\":1000,\"told\":1000,\"after_p50_s\":300.0,\"calls_p50\":150,\"by_rule\":{\"error_ratio\":1000}}\n\
        {\"name\":\"latency\",\"runs\":1000,\"told\":990,\"by_rule\":{\"degradation\":990}}\n\
        {\"name\":\"look\",\"calls\":1000000,\"ms_p50\":3.2,\"ms_max\":4.0}\n\
        {\"name\":\"journal\",\"entries\":100001,\"bytes\":80000000,\"seconds\":0.7}\n";

    #[test]
    fn what_is_printed_becomes_a_page() {
        let record = Record {
            surroundings: Surroundings {
                date: "today".into(),
                commit: "c".into(),
                cpu: "A Chip".into(),
                cores: 2,
                kernel: "6".into(),
                load_before: 0.1,
                versions: BTreeMap::new(),
            },
            results: results(PRINTED).unwrap(),
        };
        let page = page(&record);
        assert!(
            page.contains("| equal to stable | 0.3 % | at most 1 % | - | - | - | - |  |"),
            "{page}"
        );
        assert!(
            page.contains("| 5 % of calls fail more | 100.0 % | at least 95 % | 5.0 min |"),
            "{page}"
        );
        assert!(
            page.contains("1000000 calls in the window, median | 3.2 ms | 5 ms |"),
            "{page}"
        );
        assert!(
            results("{\"name\":\"equal\"}").is_err(),
            "a result is missing"
        );
    }
}
