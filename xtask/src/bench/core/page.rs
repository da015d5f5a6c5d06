//! The figures as Markdown: `bench/results/core.md`, and the table in the README.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};

use super::super::page::{limits, readme, span, surroundings};
use super::super::plot::Bar;
use super::super::spread::Spread;
use super::record::Record;
use crate::places::Places;

const BEGIN: &str = "<!-- cargo xtask bench core writes from here -->";

/// Figures that are another crate's time over ours, and what the crate is for.
const RIVALS: [(&str, &str); 6] = [
    ("flag-unleash", "flag: unleash"),
    ("flag-open-feature", "flag: OpenFeature"),
    ("flag-flagd", "flag: flagd's engine"),
    ("permit-failsafe", "permit: failsafe"),
    ("permit-recloser", "permit: recloser"),
    ("permit-tower", "permit: tower-resilience"),
];

/// Writes the page, and the table between the README's markers.
pub(super) fn write(record: &Record, places: &Places) -> Result<()> {
    let path = places.root.join("bench/results/core.md");
    let page = format!(
        "# What a decision, a permit and a route cost\n\nWritten by `cargo xtask bench core --rivals`; how \
         it is measured is in [../README.md](../README.md).\n\n![Times ours](core.svg)\n\n{}",
        text(record)
    );
    fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    let table = format!(
        "![Times ours](bench/results/core.svg)\n\n{}",
        limits(&record.figures)
    );
    readme(places, BEGIN, &table)
}

/// What others take, times ours, where they do the same.
pub(super) fn bars(record: &Record) -> Vec<Bar<'static>> {
    let ours = Spread::of(&[1.0]).map(|spread| Bar {
        name: "dspex",
        spread,
        ours: true,
    });
    let others = RIVALS.iter().filter_map(|(id, name)| {
        let figure = record.figures.iter().find(|figure| figure.id == *id)?;
        Some(Bar {
            name,
            spread: figure.measured?,
            ours: false,
        })
    });
    ours.into_iter().chain(others).collect()
}

/// Everything, as a page without its heading.
pub(super) fn text(record: &Record) -> String {
    let mut text = limits(&record.figures);
    text.push_str("\n| benchmark | ns | allocations |\n|---|---|---|\n");
    for (name, nanos) in &record.nanos {
        let allocations = record.allocations.get(name).map(span).unwrap_or_default();
        let _ = writeln!(text, "| {name} | {} | {allocations} |", span(nanos));
    }
    text.push('\n');
    text.push_str(&surroundings(&record.surroundings, record.rounds));
    text
}
