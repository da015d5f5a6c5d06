//! The figures as Markdown: `bench/results/pool.md`, and the table in the README.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};

use super::figures::{Figure, Limit};
use super::record::Record;
use super::spread::Spread;
use crate::places::Places;
use crate::surroundings::Surroundings;

const BEGIN: &str = "<!-- cargo xtask bench pool writes from here -->";
const END: &str = "<!-- to here -->";

/// Names of contenders as people know them, best known first.
pub(super) const NAMES: [(&str, &str); 7] = [
    ("echo/bare", "two bare loops, no pool"),
    ("echo/dspex", "dspex, pool V2"),
    ("echo/process-pool-executor", "ProcessPoolExecutor"),
    ("echo/multiprocessing-pool", "multiprocessing.Pool"),
    ("echo/loky", "loky"),
    ("echo/pebble", "pebble"),
    ("echo/ray", "Ray actors"),
];

/// Writes the page, and the table between the README's markers.
pub(super) fn write(record: &Record, places: &Places) -> Result<()> {
    let path = places.root.join("bench/results/pool.md");
    let page = format!(
        "# What pool V2 costs\n\nWritten by `cargo xtask bench pool --rivals`; how it is measured is in \
         [../README.md](../README.md).\n\n![Calls a second](pool.svg)\n\n{}",
        text(record)
    );
    fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    let table = format!(
        "![Calls a second](bench/results/pool.svg)\n\n{}",
        rates(record)
    );
    readme(places, BEGIN, &table)
}

/// Everything, as a page without its heading.
pub(super) fn text(record: &Record) -> String {
    let mut text = limits(&record.figures);
    text.push('\n');
    text.push_str(&rates(record));
    text.push('\n');
    text.push_str(&surroundings(&record.surroundings, record.rounds));
    text
}

pub(super) fn limits(figures: &[Figure]) -> String {
    let mut text = "| figure | limit | measured | met |\n|---|---|---|---|\n".to_owned();
    for figure in figures {
        let limit = match figure.limit {
            Limit::AtLeast(limit) => format!("≥ {}{}", short(limit), figure.unit),
            Limit::AtMost(limit) => format!("≤ {}{}", short(limit), figure.unit),
        };
        let measured = match (&figure.measured, &figure.lacks) {
            (Some(spread), _) => format!("{}{}", span(spread), figure.unit),
            (None, Some(why)) => format!("not measured: {why}"),
            (None, None) => "not measured".to_owned(),
        };
        let met = match figure.met {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "unknown",
        };
        let _ = writeln!(text, "| {} | {limit} | {measured} | {met} |", figure.what);
    }
    text
}

fn rates(record: &Record) -> String {
    let mut text =
        "| 100 B echo, 2 workers, 16 calls in flight | calls/s | p50 | p99 | dspex is |\n\
         |---|---|---|---|---|\n"
            .to_owned();
    let ours = record.spread("echo/dspex", "rate");
    for (contender, name) in NAMES {
        let Some(rate) = record.spread(contender, "rate") else {
            if let Some(why) = record.absent.get(contender) {
                let why = why.lines().next().unwrap_or_default();
                let _ = writeln!(text, "| {name} | not measured: {why} | | | |");
            }
            continue;
        };
        let time = |field| {
            record
                .spread(contender, field)
                .map_or_else(String::new, |spread| {
                    format!("{:.2} ms", spread.median / 1e3)
                })
        };
        let factor = ours
            .filter(|_| contender != "echo/dspex")
            .map_or_else(String::new, |ours| {
                format!("{} ×", short(ours.median / rate.median))
            });
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {} | {factor} |",
            span(&rate),
            time("p50_us"),
            time("p99_us"),
        );
    }
    text
}

pub(super) fn surroundings(on: &Surroundings, rounds: usize) -> String {
    let versions: Vec<String> = on
        .versions
        .iter()
        .filter(|(_, version)| !version.starts_with("Python"))
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    format!(
        "Medians of {} rounds, with the smallest and the largest. {}, commit {}; {}, {} cores, Linux {}, \
         load before the run {}; {}.\n",
        rounds,
        on.date,
        on.commit,
        on.cpu,
        on.cores,
        on.kernel,
        on.load_before,
        versions.join(", ")
    )
}

pub(super) fn span(spread: &Spread) -> String {
    let Spread {
        median, min, max, ..
    } = *spread;
    if min == max && min == median {
        return short(median);
    }
    format!("{} ({} to {})", short(median), short(min), short(max))
}

/// Three digits that count, and no more.
pub(super) fn short(value: f64) -> String {
    let size = value.abs();
    if size >= 1000.0 {
        let whole = format!("{value:.0}");
        let (sign, digits) = whole.split_at(usize::from(value < 0.0));
        let grouped: Vec<&str> = digits
            .as_bytes()
            .rchunks(3)
            .rev()
            .filter_map(|group| std::str::from_utf8(group).ok())
            .collect();
        return format!("{sign}{}", grouped.join(","));
    }
    let decimals = if size >= 100.0 {
        0
    } else if size >= 10.0 {
        1
    } else {
        2
    };
    let text = format!("{value:.decimals$}");
    match text.split_once('.') {
        Some((whole, rest)) if rest.bytes().all(|digit| digit == b'0') => whole.to_owned(),
        _ => text,
    }
}

/// Writes what stands between the README's markers anew.
pub(super) fn readme(places: &Places, begin: &str, table: &str) -> Result<()> {
    let path = places.root.join("README.md");
    let readme = fs::read_to_string(&path).context("cannot read the README")?;
    let readme = between_markers(&readme, begin, table)
        .with_context(|| format!("{} has no lines {begin:?} and {END:?}", path.display()))?;
    fs::write(&path, readme).with_context(|| format!("cannot write {}", path.display()))
}

/// The text with what stands between its markers replaced.
fn between_markers(readme: &str, begin: &str, table: &str) -> Option<String> {
    let begin = readme.find(begin)? + begin.len();
    let end = begin + readme[begin..].find(END)?;
    Some(format!("{}\n{table}{}", &readme[..begin], &readme[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_as_many_digits_as_count() {
        for (value, text) in [
            (1_234_567.8, "1,234,568"),
            (1000.0, "1,000"),
            (123.4, "123"),
            (12.34, "12.3"),
            (1.234, "1.23"),
            (5.0, "5"),
            (0.4, "0.40"),
            (0.0, "0"),
        ] {
            assert_eq!(short(value), text);
        }
    }

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let readme = format!("before\n{BEGIN}\nold\nlines\n{END}\nafter\n");
        let written = between_markers(&readme, BEGIN, "| new |\n").expect("markers");
        assert_eq!(written, format!("before\n{BEGIN}\n| new |\n{END}\nafter\n"));
        assert_eq!(
            between_markers(&written, BEGIN, "| new |\n").expect("again"),
            written
        );
        assert_eq!(between_markers("none", BEGIN, ""), None);
    }

    #[test]
    fn a_limit_that_is_not_met_and_one_that_is_unknown_are_said() {
        let figure = |measured, met| Figure {
            id: "a".to_owned(),
            what: "speed".to_owned(),
            limit: Limit::AtLeast(5.0),
            unit: " ×".to_owned(),
            portable: true,
            measured,
            lacks: Some("no rival".to_owned()),
            failed: false,
            met,
        };
        let spread = Spread {
            median: 4.5,
            min: 4.0,
            max: 5.25,
            samples: 3,
        };
        let text = limits(&[figure(Some(spread), Some(false)), figure(None, None)]);
        assert!(
            text.contains("| speed | ≥ 5 × | 4.50 (4 to 5.25) × | **no** |"),
            "{text}"
        );
        assert!(
            text.contains("| not measured: no rival | unknown |"),
            "{text}"
        );
    }
}
