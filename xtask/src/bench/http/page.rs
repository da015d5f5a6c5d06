//! The figures as Markdown: `bench/results/http.md`, and the table in the README.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};

use crate::bench::page::{limits, readme, short, span, surroundings};
use crate::bench::record::Record;
use crate::places::Places;

const BEGIN: &str = "<!-- cargo xtask bench http writes from here -->";

/// What the others are held against.
pub(super) const OURS: &str = "http/dspex-v2";

/// Names of contenders as people know them, ours first.
pub(super) const NAMES: [(&str, &str); 8] = [
    (OURS, "dspex, pool V2"),
    ("http/dspex-v1", "dspex, pool V1"),
    ("http/fastapi-uvicorn", "FastAPI, uvicorn"),
    (
        "http/fastapi-uvicorn-threads",
        "FastAPI, uvicorn, in threads",
    ),
    ("http/fastapi-gunicorn", "FastAPI, gunicorn"),
    ("http/litserve", "LitServe"),
    ("http/bentoml", "BentoML"),
    ("http/ray-serve", "Ray Serve"),
];

/// Writes the page, and the table between the README's markers.
pub(super) fn write(record: &Record, places: &Places) -> Result<()> {
    let path = places.root.join("bench/results/http.md");
    let page = format!(
        "# dspex beside other HTTP servers\n\nWritten by `cargo xtask bench http --rivals`; how it is measured is \
         in [../README.md](../README.md).\n\n![Requests a second](http.svg)\n\n{}",
        text(record)
    );
    fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    let table = format!(
        "![Requests a second](bench/results/http.svg)\n\n{}",
        servers(record)
    );
    readme(places, BEGIN, &table)
}

/// Everything, as a page without its heading.
pub(super) fn text(record: &Record) -> String {
    let table = limits(&record.figures);
    let on = surroundings(&record.surroundings, record.rounds);
    format!("{table}\n{}\n{on}", servers(record))
}

fn servers(record: &Record) -> String {
    let mut text = "| 100 B echo, 2 processes, 16 connections | requests/s | p50 | p99 | failed under a kill | well \
                    again after | slowest then | dspex is |\n|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for (contender, name) in NAMES {
        if let Some(row) = row(record, contender) {
            let _ = writeln!(text, "| {name} | {row} |");
        } else if let Some(why) = record.absent.get(contender) {
            let why = why.lines().next().unwrap_or_default();
            let _ = writeln!(text, "| {name} | not measured: {why} | | | | | | |");
        }
    }
    let _ = write!(text, "\n{}", faster(record));
    text
}

fn row(record: &Record, contender: &str) -> Option<String> {
    let spread = |field| record.spread(contender, field);
    let rate = spread("rate")?;
    let micros = |field| {
        spread(field).map_or_else(String::new, |time| format!("{:.2} ms", time.median / 1e3))
    };
    let mut failed = spread("failed").map_or_else(String::new, |failed| span(&failed));
    let before = spread("failed_before").filter(|before| before.max > 0.0);
    if let Some(before) = before {
        let _ = write!(failed, ", and {} before it", span(&before));
    }
    let well = match spread("well_ms") {
        None => "not while it was watched".to_owned(),
        Some(well) if well.max == 0.0 => "at once".to_owned(),
        Some(well) => format!("{} ms", span(&well)),
    };
    // Rounds without a value are those in which it was not seen.
    let seen = spread("well_ms").map_or(0, |well| well.samples);
    let well = if (1..rate.samples).contains(&seen) {
        format!(
            "{well}; in {} of {} rounds not",
            rate.samples - seen,
            rate.samples
        )
    } else {
        well
    };
    let slowest =
        spread("longest_ms").map_or_else(String::new, |time| format!("{} ms", span(&time)));
    let factor = record
        .spread(OURS, "rate")
        .filter(|_| contender != OURS)
        .map_or_else(String::new, |ours| {
            format!("{} ×", short(ours.median / rate.median))
        });
    let processes = spread("processes").map_or(f64::NAN, |processes| processes.min);
    let rates = if processes < 2.0 {
        format!("{}, from {} process", span(&rate), short(processes))
    } else {
        span(&rate)
    };
    Some(format!(
        "{rates} | {} | {} | {failed} | {well} | {slowest} | {factor}",
        micros("p50_us"),
        micros("p99_us"),
    ))
}

/// Who was faster, and why.
fn faster(record: &Record) -> String {
    let Some(ours) = record.spread(OURS, "rate") else {
        return "dspex on pool V2 was not measured: nothing is said of who was faster.\n"
            .to_owned();
    };
    let faster: Vec<&str> = NAMES
        .iter()
        .filter(|(contender, _)| *contender != OURS)
        .filter(|(contender, _)| {
            record
                .spread(contender, "rate")
                .is_some_and(|rate| rate.median > ours.median)
        })
        .map(|(_, name)| *name)
        .collect();
    let hop = "dspex runs the callable in another process than the one that has the connection. That hop costs \
               time, and it is why a killed worker takes no connection along: its calls are made again on \
               another. FastAPI runs it where the connection is.";
    if faster.is_empty() {
        return format!("{hop}\n");
    }
    format!(
        "Faster than dspex on pool V2: {}. {hop}\n",
        faster.join("; ")
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::bench::spread::Spread;
    use crate::surroundings::Surroundings;

    /// A field with a value for each round.
    type Field<'a> = (&'a str, &'a [f64]);

    fn record(contenders: &[(&str, &[Field<'_>])]) -> Record {
        let measured = contenders.iter().map(|(contender, fields)| {
            let fields = fields
                .iter()
                .map(|(field, values)| ((*field).to_owned(), Spread::of(values).expect("values")));
            ((*contender).to_owned(), fields.collect())
        });
        Record {
            surroundings: Surroundings {
                date: "today".into(),
                commit: "c".into(),
                cpu: "A Chip".into(),
                cores: 2,
                kernel: "6".into(),
                load_before: 0.1,
                versions: BTreeMap::new(),
            },
            rounds: 2,
            figures: Vec::new(),
            measured: measured.collect(),
            absent: [("http/bentoml".to_owned(), "not here\nmore".to_owned())].into(),
        }
    }

    #[test]
    fn the_table_says_who_was_faster_and_what_the_kill_did() {
        let ours: &[Field<'_>] = &[
            ("rate", &[100.0, 100.0]),
            ("failed", &[0.0, 0.0]),
            ("well_ms", &[0.0, 0.0]),
            ("processes", &[2.0, 2.0]),
        ];
        let theirs: &[Field<'_>] = &[
            ("rate", &[200.0, 200.0]),
            ("failed", &[8.0, 8.0]),
            ("well_ms", &[1200.0]),
            ("processes", &[1.0, 2.0]),
        ];
        let text = servers(&record(&[(OURS, ours), ("http/fastapi-uvicorn", theirs)]));
        assert!(
            text.contains("| dspex, pool V2 | 100 |  |  | 0 | at once |  |  |"),
            "{text}"
        );
        assert!(
            text.contains(
                "| FastAPI, uvicorn | 200, from 1 process |  |  | 8 | 1,200 ms; in 1 of 2 rounds not |  | 0.50 × |"
            ),
            "{text}"
        );
        assert!(
            text.contains("| BentoML | not measured: not here | | | | | | |"),
            "{text}"
        );
        assert!(
            text.contains("Faster than dspex on pool V2: FastAPI, uvicorn. "),
            "{text}"
        );
    }

    #[test]
    fn what_never_was_well_again_is_told_so() {
        let theirs: &[Field<'_>] = &[("rate", &[1.0]), ("failed", &[400.0])];
        let text = servers(&record(&[("http/litserve", theirs)]));
        assert!(
            text.contains("| 400 | not while it was watched |"),
            "{text}"
        );
        assert!(text.contains("dspex on pool V2 was not measured"), "{text}");
    }
}
