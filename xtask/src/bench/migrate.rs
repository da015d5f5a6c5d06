//! `cargo xtask bench migrate`: how often a migration's verdicts are wrong, and what they cost.
//!
//! The runs are made by an example of the migration crate, in simulated time and by the functions that
//! judge real runs; it prints a line of JSON for each result. A whole run, with a thousand migrations
//! of each kind, is written to `bench/results/migrate.md` and `.json`. What verdicts cost is measured by
//! the clock in the same run, or again without the simulations, which do not depend on the machine.

mod figures;
mod page;
mod record;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

pub(super) use self::record::Record;
use super::results::Results;
use super::{compare, plot};
use crate::interrupt::Interrupt;
use crate::places::Places;
use crate::process::run_logged;
use crate::progress::Progress;
use crate::surroundings::Surroundings;

/// Runs of each kind in a whole run.
const RUNS: u64 = 1_000;

/// Results of simulations, by name.
const VERDICTS: [&str; 3] = ["equal", "errors", "latency"];
/// Results of the clock.
const COSTS: [&str; 3] = ["look", "tick", "journal"];

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A whole run is written to bench/results and to the README; one with --quick is only printed. One with
--only cost is written too, beside the verdicts that are checked in.

Exit code 0: it was measured, whether or not the limits are met. With --compare, 1 where verdicts are
worse than in the checked-in result.")]
pub(super) struct Migrate {
    /// Fifty runs of each kind, for a first look
    #[arg(long)]
    quick: bool,
    /// Hold the verdicts against the checked-in result and write nothing
    #[arg(long)]
    compare: bool,
    /// Measure only what verdicts cost, and keep the simulations of the checked-in result
    #[arg(long, value_enum, conflicts_with = "compare")]
    only: Option<Part>,
    /// Changes nothing: nobody else judges migrations, so there is nothing to measure beside this
    #[arg(long)]
    rivals: bool,
    /// Calls a second, over the day
    #[arg(long, default_value_t = 10.0, value_name = "N")]
    rate: f64,
}

/// A part of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// A look, a tick, a journal: times on this machine
    Cost,
}

pub(super) fn run(migrate: &Migrate, places: &Places, interrupt: &Interrupt) -> Result<bool> {
    if migrate.rivals {
        eprintln!("bench migrate has no rivals: nobody else judges migrations");
    }
    let wanted = migrate.compare || migrate.only.is_some();
    let before: Option<Record> = Results::MIGRATE.before(wanted, places)?;
    let surroundings = Surroundings::of(places, BTreeMap::new());
    surroundings.warn_if_busy();
    let runs = match (migrate.only, migrate.quick) {
        (Some(Part::Cost), _) => 0,
        (None, true) => 50,
        (None, false) => RUNS,
    };
    let printed = measure(runs, migrate.rate, places, interrupt)?;
    let record = match (&before, migrate.only) {
        (Some(before), Some(Part::Cost)) => {
            before.with_costs(surroundings, results(&printed, &COSTS)?)
        }
        _ => {
            let all = [VERDICTS, COSTS].concat();
            Record::of(surroundings, results(&printed, &all)?)
        }
    };
    println!("{}", page::text(&record));
    if let Some(before) = before.filter(|_| migrate.compare) {
        // Fewer calls are judged later and worse, whatever the code is.
        let rate = |record: &Record| record.results["equal"]["calls_per_second"].as_f64();
        ensure!(
            rate(&before) == rate(&record),
            "the checked-in result is of {:?} calls a second: compare with --rate of as many",
            rate(&before).unwrap_or(f64::NAN)
        );
        return Ok(compare::holds(&before.figures, &record.figures));
    }
    if !migrate.quick {
        publish(&record, places)?;
    }
    Ok(true)
}

/// Writes the record, its page, its plot, and the table of the README.
pub(super) fn publish(record: &Record, places: &Places) -> Result<()> {
    Results::MIGRATE.write(places, record)?;
    page::write(record, places)?;
    plot::write(
        &places.root.join("bench/results/migrate.svg"),
        "Candidates that were told, in percent of their kind, with 95 % bounds",
        &page::bars(record),
    )
}

/// Runs the example, and answers what it printed.
fn measure(runs: u64, rate: f64, places: &Places, interrupt: &Interrupt) -> Result<String> {
    let progress = Progress::start("migrations in simulated time, looks and ticks in real time");
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
        .args([runs.to_string(), rate.to_string()])
        .current_dir(&places.root);
    run_logged(&mut command, &log, &progress, interrupt)?;
    progress.done("measured");
    fs::read_to_string(&log).with_context(|| format!("cannot read {}", log.display()))
}

/// The lines that are JSON objects with a name; each of these names must be there.
fn results(printed: &str, names: &[&str]) -> Result<BTreeMap<String, Value>> {
    let results: BTreeMap<String, Value> = printed
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|value| Some((value["name"].as_str()?.to_owned(), value)))
        .collect();
    for name in names {
        if !results.contains_key(*name) {
            bail!("the example printed no result {name:?}");
        }
    }
    Ok(results)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const PRINTED: &str = "   Compiling dspex-migration\n\
        {\"name\":\"equal\",\"runs\":1000,\"told\":3,\"looks\":12240000,\"ms_each\":900.0,\"by_rule\":{},\"calls_per_second\":10.0}\n\
        {\"name\":\"errors\",\"runs\":1000,\"told\":1000,\"after_p50_s\":300.0,\"calls_p50\":150,\"by_rule\":{\"error_ratio\":1000}}\n\
        {\"name\":\"latency\",\"runs\":1000,\"told\":990,\"after_p50_s\":400.0,\"by_rule\":{\"degradation\":990}}\n\
        {\"name\":\"look\",\"calls\":1000000,\"ms\":[3.2,3.0,3.4,3.1,3.3],\"ms_max\":4.0}\n\
        {\"name\":\"tick\",\"calls\":1000000,\"ms\":[4.2,4.0,6.4,4.1,4.3],\"ms_max\":9.0}\n\
        {\"name\":\"journal\",\"entries\":100001,\"bytes\":80000000,\"seconds\":[0.7,0.8,0.9,0.7,0.8]}\n";

    fn surroundings(date: &str) -> Surroundings {
        Surroundings {
            date: date.into(),
            commit: "c".into(),
            cpu: "A Chip".into(),
            cores: 2,
            kernel: "6".into(),
            load_before: 0.1,
            versions: BTreeMap::new(),
        }
    }

    /// A record as a run writes it.
    pub(in crate::bench) fn record(date: &str) -> Record {
        let all = [VERDICTS, COSTS].concat();
        Record::of(
            surroundings(date),
            results(PRINTED, &all).expect("all are there"),
        )
    }

    fn met(record: &Record, id: &str) -> Option<bool> {
        let mut figures = record.figures.iter();
        figures.find(|figure| figure.id == id)?.met
    }

    #[test]
    fn what_is_printed_becomes_a_page() {
        let page = page::text(&record("today"));
        for row in [
            "| equal to stable | 0.3 % | at most 1 % | - | - | - | - |  |",
            "| 5 % of calls fail more | 100.0 % | at least 95 % | 5.0 min |",
            "| ≤ 5 ms | 3.20 (3 to 3.40) ms | yes |",
            "| ≤ 5 ms | 4.20 (4 to 6.40) ms | yes |",
            "| ≤ 1 s | 0.80 (0.70 to 0.90) s | yes |",
            "| the slowest tick of 1000000 calls | 9 ms |",
        ] {
            assert!(page.contains(row), "no {row:?} in {page}");
        }
        let bars = page::bars(&record("today"));
        assert_eq!(bars.len(), 3);
        assert!((bars[0].spread.median - 0.3).abs() < 1e-9, "{bars:?}");
    }

    #[test]
    fn rivals_may_be_asked_for_as_with_every_subject() {
        #[derive(clap::Parser)]
        struct Asked {
            #[command(flatten)]
            migrate: Migrate,
        }
        let asked = <Asked as clap::Parser>::try_parse_from(["migrate", "--rivals", "--quick"]);
        assert!(asked.expect("no usage error").migrate.rivals);
    }

    #[test]
    fn a_result_that_was_not_printed_is_missed() {
        assert!(results(PRINTED, &["look", "tick"]).is_ok());
        let error = results("{\"name\":\"equal\"}", &VERDICTS).expect_err("two are missing");
        assert!(error.to_string().contains("errors"), "{error}");
    }

    #[test]
    fn a_record_without_figures_has_them_once_it_is_read() {
        let mut written = serde_json::to_value(record("today")).expect("JSON");
        let figures = written["figures"].as_array().map_or(0, Vec::len);
        assert_eq!(figures, record("today").figures.len());
        // As it was written before: no figures, one value of a look, no tick.
        for member in ["figures", "cost_surroundings"] {
            written.as_object_mut().expect("an object").remove(member);
        }
        let results = written["results"].as_object_mut().expect("an object");
        results.remove("tick");
        results["look"] = serde_json::json!({"calls": 1_000_000, "ms_p50": 5.5, "ms_max": 6.0});
        results["journal"]["seconds"] = 0.5.into();
        let read: Record = serde_json::from_value(written).expect("it is read");
        assert_eq!(met(&read, "equal"), Some(true));
        assert_eq!(met(&read, "look"), Some(false));
        assert_eq!(met(&read, "journal"), Some(true));
        assert_eq!(met(&read, "tick"), None);
    }

    #[test]
    fn costs_that_are_measured_again_leave_the_verdicts_alone() {
        let before = record("yesterday");
        let faster = PRINTED.replace("[3.2,3.0,3.4,3.1,3.3]", "[1.0,1.0,1.0]");
        let faster = faster.replace("\"told\":3", "\"told\":900");
        let costs = results(&faster, &COSTS).expect("all are there");
        let after = before.with_costs(surroundings("today"), costs);
        assert_eq!(after.results["equal"], before.results["equal"]);
        assert_eq!(after.results["look"]["ms"][0], 1.0);
        assert_eq!(after.surroundings.date, "yesterday");
        let page = page::text(&after);
        assert!(
            page.contains("yesterday") && page.contains("today"),
            "{page}"
        );
    }
}
