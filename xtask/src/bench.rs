//! `cargo xtask bench`: what dspex costs, beside what there is for Python already.
//!
//! Invariants: everything that is compared is measured in one run, in turns, so that what else the
//! machine does hits all alike; a figure is the median of its rounds, with the smallest and the
//! largest beside it; what could not be measured is said, with the reason, and never filled in.
//! Nothing here fails because a machine is slow: limits are reported as met or not, and only
//! `--compare` judges: by what means the same on every machine, and by whether it could be measured.

mod compare;
mod contenders;
mod core;
mod figures;
mod http;
mod migrate;
mod page;
mod plot;
mod record;
mod results;
mod rounds;
mod spread;

use anyhow::{Context, Result};

use self::contenders::Contenders;
use self::record::Record;
use self::results::Results;
use self::rounds::Samples;
use crate::interrupt::Interrupt;
use crate::places::Places;
use crate::surroundings::{Surroundings, python_versions};

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    subject: Subject,
}

#[derive(Debug, clap::Subcommand)]
enum Subject {
    /// Pool V2: calls a second, latency, memory, recovery
    Pool(Pool),
    /// Flags, breaker and router: a decision, a permit, a way through
    Core(Core),
    /// dspex beside other HTTP servers, under load and under a kill
    Http(http::Http),
    /// A migration's verdicts: how often they are wrong, what they cost
    Migrate(migrate::Migrate),
    /// Write the pages, plots and tables anew out of the checked-in results; measures nothing
    Pages,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A whole run, with --rivals and without --quick or --only, is written to bench/results and to the
README. Every other run is only printed.

Exit code 0: it was measured, whether or not the limits are met. With --compare, 1 where a figure is
worse than in the checked-in result, or was measured there and failed here.")]
struct Core {
    /// Measure other crates of the kind too
    #[arg(long)]
    rivals: bool,
    /// One short round, for a first look
    #[arg(long)]
    quick: bool,
    /// Hold the ratios and counts against the checked-in result and write nothing
    #[arg(long)]
    compare: bool,
    /// Measure only what begins with this, such as `breaker/` or `router/execute`
    #[arg(long, value_name = "PREFIX")]
    only: Option<String>,
}

impl Core {
    /// Whether the run is one to publish.
    fn whole(&self) -> bool {
        self.rivals && !self.quick && self.only.is_none()
    }
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A whole run, with --rivals and without --quick or --only, is written to bench/results and to the
README. Every other run is only printed.

DSPEX_BENCH_PYTHON    the Python (3.10 or newer) that the venvs are made with; python3 otherwise
DSPEX_CACHE           where the venvs are kept; inside the target folder otherwise

Exit code 0: it was measured, whether or not the limits are met. With --compare, 1 where a figure is
worse than in the checked-in result, or was measured there and failed here.")]
struct Pool {
    /// Measure loky, pebble and Ray too, installed into venvs of their own
    #[arg(long)]
    rivals: bool,
    /// Fewer and shorter rounds, for a first look
    #[arg(long)]
    quick: bool,
    /// Hold the ratios and counts against the checked-in result and write nothing
    #[arg(long)]
    compare: bool,
    /// Measure only what begins with this, such as `echo` or `kills`
    #[arg(long, value_name = "PREFIX")]
    only: Option<String>,
}

impl Pool {
    /// Whether the run is one to publish.
    fn whole(&self) -> bool {
        self.rivals && !self.quick && self.only.is_none()
    }
}

/// Measures. Answers false only where `--compare` found something worse.
pub(crate) fn run(options: &Options, places: &Places, interrupt: &Interrupt) -> Result<bool> {
    match &options.subject {
        Subject::Pool(pool) => run_pool(pool, places, interrupt),
        Subject::Core(core) => core::run(core, places, interrupt),
        Subject::Http(options) => http::run(options, places, interrupt),
        Subject::Migrate(options) => migrate::run(options, places, interrupt),
        Subject::Pages => pages(places).map(|()| true),
    }
}

/// Writes what is made of results, for those that are there.
fn pages(places: &Places) -> Result<()> {
    type Write = fn(&Places) -> Result<()>;
    let subjects: [(Results, Write); 4] = [
        (Results::POOL, |places| {
            publish(&Results::POOL.read(places)?, places)
        }),
        (Results::HTTP, |places| {
            http::publish(&Results::HTTP.read(places)?, places)
        }),
        (Results::CORE, |places| {
            core::publish(&Results::CORE.read(places)?, places)
        }),
        (Results::MIGRATE, |places| {
            migrate::publish(&Results::MIGRATE.read(places)?, places)
        }),
    ];
    for (results, write) in subjects {
        let name = results.name();
        if results.is_there(places) {
            write(places).with_context(|| format!("cannot write the pages of {name}"))?;
            println!("{name}: written");
        } else {
            println!("{name}: no result is checked in");
        }
    }
    Ok(())
}

fn run_pool(pool: &Pool, places: &Places, interrupt: &Interrupt) -> Result<bool> {
    let before: Option<Record> = Results::POOL.before(pool.compare, places)?;
    let contenders = Contenders::prepare(pool, places, interrupt)?;
    let versions = python_versions(&contenders.python, &["orjson", "dspy"]);
    let surroundings = Surroundings::of(places, versions);
    surroundings.warn_if_busy();
    let mut samples = Samples::default();
    samples.part = pool.only.is_some();
    rounds::run(&contenders, &mut samples, interrupt)?;
    let record = Record::of(surroundings, &contenders, &samples);
    println!("{}", page::text(&record));
    if let Some(before) = before {
        return Ok(compare::holds(&before.figures, &record.figures));
    }
    if pool.whole() {
        Results::POOL.write(places, &record)?;
        publish(&record, places)?;
    }
    Ok(true)
}

/// Writes a pool's page, its plot, and the table of the README.
fn publish(record: &Record, places: &Places) -> Result<()> {
    page::write(record, places)?;
    plot::write(
        &places.root.join("bench/results/pool.svg"),
        "Calls a second: 100 B echo, 2 workers, 16 calls in flight",
        &record.bars(&page::NAMES),
    )
}

#[cfg(test)]
pub(crate) mod samples {
    //! Results as the benchmarks write them, for whoever reads them.

    use serde_json::Value;

    /// Of `bench migrate`, on this date.
    pub(crate) fn migrate(date: &str) -> Value {
        serde_json::to_value(super::migrate::tests::record(date)).expect("it is JSON")
    }
}
