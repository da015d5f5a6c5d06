//! `cargo xtask bench core`: what a decision of the flags, a permit of the breaker and a way through
//! the router cost, beside other crates that do the same.
//!
//! Each crate has its benchmarks in `benches/`, made with criterion. They are run here in rounds, all
//! of them in each round, so that what else the machine does hits ours and the others' alike. A
//! benchmark may print lines `allocations <name> <number>`.

mod figures;
mod page;
mod record;
mod rounds;

use anyhow::Result;

pub(super) use self::record::Record;
use super::results::Results;
use super::{Core, compare, plot};
use crate::interrupt::Interrupt;
use crate::places::Places;
use crate::surroundings::Surroundings;

/// Measures. Answers false only where `--compare` found something worse.
pub(super) fn run(core: &Core, places: &Places, interrupt: &Interrupt) -> Result<bool> {
    let before: Option<Record> = Results::CORE.before(core.compare, places)?;
    let surroundings = Surroundings::of(places, record::rivals(places)?);
    surroundings.warn_if_busy();
    let samples = rounds::run(core, places, interrupt)?;
    let record = Record::of(surroundings, &samples);
    println!("{}", page::text(&record));
    if let Some(before) = before {
        return Ok(compare::holds(&before.figures, &record.figures));
    }
    if core.whole() {
        Results::CORE.write(places, &record)?;
        publish(&record, places)?;
    }
    Ok(true)
}

/// Writes the record's page, its plot, and the table of the README.
pub(super) fn publish(record: &Record, places: &Places) -> Result<()> {
    page::write(record, places)?;
    plot::write(
        &places.root.join("bench/results/core.svg"),
        "The time of a flag's decision and of a breaker's permit, times ours",
        &page::bars(record),
    )
}
