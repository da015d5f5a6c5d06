//! The verdicts and their cost as Markdown: `bench/results/migrate.md`, and the table in the README.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};

use super::super::page::{limits, readme, short};
use super::super::plot::Bar;
use super::record::Record;
use crate::places::Places;
use crate::surroundings::Surroundings;

const BEGIN: &str = "<!-- cargo xtask bench migrate writes from here -->";

/// Kinds of candidates: the result's name, what they are, and how many are to be told.
const KINDS: [(&str, &str, &str); 3] = [
    ("equal", "equal to stable", "at most 1 %"),
    ("errors", "5 % of calls fail more", "at least 95 %"),
    ("latency", "calls take 20 % longer", "at least 95 %"),
];

/// Writes the page, and the table between the README's markers.
pub(super) fn write(record: &Record, places: &Places) -> Result<()> {
    let path = places.root.join("bench/results/migrate.md");
    let page = format!(
        "# Verdicts of a migration\n\nWritten by `cargo xtask bench migrate`; what is measured and how is in \
         [the bench's README](../README.md).\n\n![Candidates that were told](migrate.svg)\n\n{}",
        text(record)
    );
    fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    let table = format!(
        "![Candidates that were told](bench/results/migrate.svg)\n\n{}",
        limits(&record.figures)
    );
    readme(places, BEGIN, &table)
}

/// The told share of each kind of candidate, in percent.
pub(super) fn bars(record: &Record) -> Vec<Bar<'static>> {
    let kinds = KINDS.iter();
    kinds
        .filter_map(|(name, what, _)| {
            let figure = record.figures.iter().find(|figure| figure.id == *name)?;
            Some(Bar {
                name: what,
                spread: figure.measured?,
                ours: true,
            })
        })
        .collect()
}

/// Everything, as a page without its heading.
pub(super) fn text(record: &Record) -> String {
    let of = |name: &str, field: &str| record.results[name][field].as_f64();
    let equal = &record.results["equal"];
    let mut page = limits(&record.figures);
    let _ = writeln!(
        page,
        "\nOf verdicts: the share, with its bounds at 95 % confidence. Of costs: the median of five rounds, with the \
         smallest and the largest.\n\n\
         {} runs of each kind of the default plan (17 hours of holds, a look every 5 s), {} calls a second over the \
         day in five programs with log-normal latencies, seeds 0 and up.\n\n\
         | candidate | told | limit | median time | 95 % | median calls on it | 95 % | by rule |\n\
         |---|---|---|---|---|---|---|---|",
        equal["runs"], equal["calls_per_second"],
    );
    for (name, what, limit) in KINDS {
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
    page.push_str(
        "\nTold is a warning at least, by any rule on failures or latencies. Time and calls are those of the stage in \
         which it was told.\n\n| beside the limits | measured |\n|---|---|\n",
    );
    let costs = &record.results;
    for (name, what) in [("look", "look at"), ("tick", "tick of")] {
        let Some(cost) = costs.get(name) else {
            continue;
        };
        let slowest = cost["ms_max"].as_f64().unwrap_or(f64::NAN);
        let calls = whole(cost["calls"].as_f64());
        let _ = writeln!(
            page,
            "| the slowest {what} {calls} calls | {} ms |",
            short(slowest)
        );
    }
    let number = |name: &str, field: &str| of(name, field).unwrap_or(f64::NAN);
    let _ = writeln!(
        page,
        "| entries of the journal, as JSON | {}, {:.0} MB |\n\
         | a whole migration between equal lanes, {:.0} looks | {:.0} ms |\n",
        whole(of("journal", "entries")),
        number("journal", "bytes") / 1e6,
        number("equal", "looks") / number("equal", "runs"),
        number("equal", "ms_each"),
    );
    let on = &record.surroundings;
    match &record.cost_surroundings {
        None => {
            let _ = writeln!(page, "{}.", measured(on));
        }
        Some(costs) => {
            let _ = writeln!(
                page,
                "Verdicts: {}. Costs: {}.",
                measured(on),
                measured(costs)
            );
        }
    }
    page
}

fn measured(on: &Surroundings) -> String {
    let rustc = on.versions.get("rustc").map_or("unknown", String::as_str);
    format!(
        "{}, commit {}; {}, {} cores, Linux {}, load before the run {}; rustc {rustc}",
        on.date, on.commit, on.cpu, on.cores, on.kernel, on.load_before
    )
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
