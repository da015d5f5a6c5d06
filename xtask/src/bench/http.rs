//! `cargo xtask bench http`: dspex beside other HTTP servers for Python callables, and what each does
//! when one of its processes is killed under load.
//!
//! All serve the same callable with two processes; one client asks all of them, on the same number of
//! kept-alive connections. In every round every contender is started anew.

mod connection;
mod contenders;
mod figures;
mod load;
mod outcome;
mod page;
mod rounds;
mod server;

use std::path::PathBuf;

use anyhow::Result;

use self::contenders::Contenders;
use self::rounds::Amount;
use super::record::Record;
use super::results::Results;
use super::{compare, plot};
use crate::interrupt::Interrupt;
use crate::places::Places;
use crate::surroundings::Surroundings;

/// Fields of a round that are written down.
const FIELDS: [&str; 12] = [
    "rate",
    "p50_us",
    "p99_us",
    "processes",
    "failed_before",
    "failed",
    "cut",
    "refused",
    "wrong",
    "well_ms",
    "back_ms",
    "longest_ms",
];

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A whole run, with --rivals and without --quick, --only or --binary, is written to bench/results and to
the README. Every other run is only printed.

DSPEX_BENCH_PYTHON    the Python (3.10 or newer) that the venvs are made with; python3 otherwise
DSPEX_CACHE           where the venvs are kept; inside the target folder otherwise

Exit code 0: it was measured, whether or not the limits are met. With --compare, 1 where a figure is
worse than in the checked-in result, or was measured there and failed here.")]
pub(super) struct Http {
    /// Measure LitServe, BentoML and Ray Serve too, installed into venvs of their own
    #[arg(long)]
    rivals: bool,
    /// Fewer and shorter rounds, for a first look
    #[arg(long)]
    quick: bool,
    /// Hold the ratios against the checked-in result and write nothing
    #[arg(long)]
    compare: bool,
    /// Measure only what begins with this, such as `dspex` or `fastapi`
    #[arg(long, value_name = "PREFIX")]
    only: Option<String>,
    /// Measure this dspex and build none
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
}

impl Http {
    /// Whether the run is one to publish: of this tree's own dspex, and of all.
    fn whole(&self) -> bool {
        self.rivals && !self.quick && self.only.is_none() && self.binary.is_none()
    }
}

/// Measures. Answers false only where `--compare` found something worse.
pub(super) fn run(http: &Http, places: &Places, interrupt: &Interrupt) -> Result<bool> {
    let before: Option<Record> = Results::HTTP.before(http.compare, places)?;
    let contenders = Contenders::prepare(http, places, interrupt)?;
    let surroundings = Surroundings::of(places, contenders.versions.clone());
    surroundings.warn_if_busy();
    let amount = Amount::of(http.quick);
    let mut samples = rounds::run(&contenders, amount, interrupt)?;
    samples.part = http.only.is_some();
    let absent = &contenders.absent;
    let record = Record {
        surroundings,
        rounds: amount.rounds,
        figures: figures::all(&samples, absent),
        measured: samples.spreads(&FIELDS),
        absent: samples.absent(absent),
    };
    println!("{}", page::text(&record));
    if let Some(before) = before {
        return Ok(compare::holds(&before.figures, &record.figures));
    }
    if http.whole() {
        Results::HTTP.write(places, &record)?;
        publish(&record, places)?;
    }
    Ok(true)
}

/// Writes the record's page, its plot, and the table of the README.
pub(super) fn publish(record: &Record, places: &Places) -> Result<()> {
    page::write(record, places)?;
    plot::write(
        &places.root.join("bench/results/http.svg"),
        "Requests a second: 100 B echo, 2 processes, 16 connections",
        &record.bars(&page::NAMES),
    )
}
