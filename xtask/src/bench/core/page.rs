//! The figures as Markdown: `bench/results/core.md`, and the table in the README.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};

use super::super::page::{between_markers, limits, span, surroundings};
use super::record::Record;
use crate::places::Places;

const BEGIN: &str = "<!-- cargo xtask bench core writes from here -->";

/// Writes the page, and the table between the README's markers.
pub(super) fn write(record: &Record, places: &Places) -> Result<()> {
    let path = places.root.join("bench/results/core.md");
    let page = format!(
        "# What a decision, a permit and a route cost\n\nWritten by `cargo xtask bench core --rivals`; how \
         it is measured is in [../README.md](../README.md).\n\n{}",
        text(record)
    );
    fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    let path = places.root.join("README.md");
    let readme = fs::read_to_string(&path).context("cannot read the README")?;
    let readme = between_markers(&readme, BEGIN, &limits(&record.figures))
        .with_context(|| format!("{} has no line {BEGIN:?}, or no end to it", path.display()))?;
    fs::write(&path, readme).with_context(|| format!("cannot write {}", path.display()))
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
