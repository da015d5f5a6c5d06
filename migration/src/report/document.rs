//! The report as a document: headings, sentences, tables, plots. Both renderings are made of it, so
//! they say the same.
//!
//! Invariant: text in here is as it came, unescaped: each rendering escapes for itself.

use jiff::Timestamp;

use super::performance::{LaneFigures, Performance, StageFigures};
use super::plot::{self, Plot};
use super::{Criterion, Finding, Met, Operations, Report, criteria};
use crate::wording;

/// The most moments of the timeline that are shown; the journal has the rest.
const MOMENTS: usize = 500;

/// The most entries that are named behind a sentence.
const NAMED: usize = 6;

/// One part of the document.
#[derive(Debug, Clone)]
pub(super) enum Block {
    Title(String),
    Heading(&'static str),
    Paragraph(String),
    List(Vec<Item>),
    Table(Table),
    Plot(Box<Plot>),
}

/// A line of a list: with a box that is ticked, not ticked or open; or without one.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) ticked: Option<Met>,
    pub(super) strong: Option<&'static str>,
    pub(super) text: String,
    /// Where it says so: `entries 3, 4`.
    pub(super) evidence: String,
}

#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) caption: &'static str,
    pub(super) head: Vec<&'static str>,
    pub(super) rows: Vec<Vec<String>>,
}

pub(super) fn of(report: &Report) -> Vec<Block> {
    let mut blocks = vec![Block::Title(report.title()), about(report)];
    section(&mut blocks, "Summary", findings(&report.summary), "");
    blocks.push(Block::Heading("Success criteria"));
    blocks.push(Block::Paragraph(
        "A box is ticked where the journal proves it. An open one is for a person to judge."
            .to_owned(),
    ));
    blocks.push(Block::List(report.criteria.iter().map(criterion).collect()));
    blocks.push(Block::Heading("Plots"));
    blocks.extend(
        plot::all(&report.series)
            .into_iter()
            .map(|plot| Block::Plot(Box::new(plot))),
    );
    section(
        &mut blocks,
        "What went well",
        findings(&report.went_well),
        "The journal shows nothing that went well.",
    );
    section(
        &mut blocks,
        "What went wrong",
        findings(&report.went_wrong),
        "The journal shows nothing that went wrong.",
    );
    performance(&mut blocks, &report.performance);
    operations(&mut blocks, &report.operations);
    section(
        &mut blocks,
        "Recommendations",
        findings(&report.recommendations),
        "The journal gives no reason for any.",
    );
    timeline(&mut blocks, report);
    blocks
}

fn about(report: &Report) -> Block {
    let took = wording::span(report.took());
    let end = match report.ended_at {
        Some(at) => format!("ended {}", moment(at)),
        None => format!("not ended; the last entry is of {}", moment(report.last_at)),
    };
    Block::Paragraph(format!(
        "{}, begun by {} at {} ({}), {end}, {took} in all. Made from entries 1 to {} of its journal.",
        report.id,
        report.who,
        moment(report.started_at),
        report.why,
        report.last_seq
    ))
}

/// A moment as people read it: UTC, to the second.
pub(super) fn moment(at: Timestamp) -> String {
    let text = at.strftime("%Y-%m-%d %H:%M:%S UTC");
    text.to_string()
}

fn section(blocks: &mut Vec<Block>, heading: &'static str, items: Vec<Item>, none: &str) {
    blocks.push(Block::Heading(heading));
    if items.is_empty() {
        blocks.push(Block::Paragraph(none.to_owned()));
    } else {
        blocks.push(Block::List(items));
    }
}

fn findings(findings: &[Finding]) -> Vec<Item> {
    let items = findings.iter().map(|finding| Item {
        ticked: None,
        strong: None,
        text: finding.text.clone(),
        evidence: evidence(&finding.evidence),
    });
    items.collect()
}

fn criterion(criterion: &Criterion) -> Item {
    Item {
        ticked: Some(criterion.met),
        strong: Some(criterion.name),
        text: criterion.finding.text.clone(),
        evidence: evidence(&criterion.finding.evidence),
    }
}

/// `entries 3, 4 and 12 more`.
fn evidence(entries: &[u64]) -> String {
    match entries {
        [] => String::new(),
        [one] => format!("entry {one}"),
        many => {
            let named: Vec<String> = many.iter().take(NAMED).map(u64::to_string).collect();
            let more = match many.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!("entries {}{more}", named.join(", "))
        }
    }
}

fn performance(blocks: &mut Vec<Block>, performance: &Performance) {
    blocks.push(Block::Heading("Performance"));
    let told = match (performance.p50_ratio, performance.p99_ratio) {
        (Some(p50), Some(p99)) => format!(
            "Over {} at which both lanes had calls enough, the candidate's median latency was {} and \
             its 99th percentile {}.",
            wording::count(performance.compared, "look"),
            criteria::against_stable(p50),
            criteria::against_stable(p99)
        ),
        _ => "At no look did both lanes have calls enough to be compared.".to_owned(),
    };
    blocks.push(Block::Paragraph(told));
    if performance.stages.is_empty() {
        return;
    }
    blocks.push(Block::Table(Table {
        caption: "Stages",
        head: vec![
            "Stage",
            "Share",
            "Measured",
            "Hold",
            "Seen healthy",
            "Took",
            "Looks",
            "Healthy",
            "Lacking calls",
        ],
        rows: performance.stages.iter().map(stage).collect(),
    }));
    let lanes = performance.stages.iter().flat_map(|stage| {
        [
            lane(stage, "stable", &stage.stable),
            lane(stage, "candidate", &stage.candidate),
        ]
    });
    blocks.push(Block::Table(Table {
        caption: "Lanes: calls exactly; shares and latencies at the middle and the worst of the looks",
        head: vec![
            "Stage",
            "Lane",
            "Calls",
            "Failed, middle look",
            "Failed, worst look",
            "p50",
            "p99",
            "p99, worst look",
        ],
        rows: lanes.collect(),
    }));
}

fn stage(stage: &StageFigures) -> Vec<String> {
    vec![
        stage.number.to_string(),
        wording::percent_of(stage.percent / 100.0),
        percent(stage.measured_percent),
        wording::span(stage.hold()),
        wording::span(stage.healthy()),
        wording::span(stage.took()),
        stage.looks.to_string(),
        stage.healthy_looks.to_string(),
        stage.inconclusive_looks.to_string(),
    ]
}

fn lane(stage: &StageFigures, name: &str, lane: &LaneFigures) -> Vec<String> {
    vec![
        stage.number.to_string(),
        name.to_owned(),
        lane.calls.to_string(),
        percent(lane.failed_percent),
        percent(lane.worst_failed_percent),
        milliseconds(lane.p50_ms),
        milliseconds(lane.p99_ms),
        milliseconds(lane.worst_p99_ms),
    ]
}

fn percent(value: Option<f64>) -> String {
    value.map_or("–".to_owned(), |percent| {
        wording::percent_of(percent / 100.0)
    })
}

fn milliseconds(value: Option<f64>) -> String {
    let span = value.and_then(|ms| std::time::Duration::try_from_secs_f64(ms / 1000.0).ok());
    span.map_or("–".to_owned(), wording::latency)
}

fn operations(blocks: &mut Vec<Block>, operations: &Operations) {
    blocks.push(Block::Heading("Operations"));
    let acts = operations.acts.iter().map(|act| {
        vec![
            act.seq.to_string(),
            moment(act.at),
            act.who.clone(),
            act.what.clone(),
            act.why.clone(),
            act.refused
                .as_ref()
                .map_or("obeyed".to_owned(), |why| format!("refused: {why}")),
        ]
    });
    blocks.push(Block::Table(Table {
        caption: "Who did what, and why",
        head: vec!["Entry", "When", "Who", "What", "Why", "Then"],
        rows: acts.collect(),
    }));
    let pauses = operations.pauses.iter().map(|pause| {
        let until = pause.until.map_or("not ended".to_owned(), |until| {
            wording::span(super::reading::between(pause.from, until))
        });
        vec![
            pause.seq.to_string(),
            moment(pause.from),
            until,
            pause.cause.to_string(),
        ]
    });
    table(
        blocks,
        Table {
            caption: "Pauses",
            head: vec!["Entry", "From", "For", "Why"],
            rows: pauses.collect(),
        },
        "It was never paused.",
    );
    let waits = operations.waits.iter().map(|wait| {
        vec![
            wait.seq.to_string(),
            moment(wait.from),
            wait.length().map_or("not ended".to_owned(), wording::span),
            wait.what.clone(),
        ]
    });
    table(
        blocks,
        Table {
            caption: "Waits for a gate, or for the end of a freeze",
            head: vec!["Entry", "From", "For", "What for"],
            rows: waits.collect(),
        },
        "It never waited for a gate or a freeze.",
    );
    let told = operations.told.iter().map(|alert| {
        vec![
            moment(alert.at),
            alert.verdict.to_string(),
            alert.rule.to_string(),
            alert.text.clone(),
            alert.ended_at.map_or("not ended".to_owned(), |until| {
                wording::span(super::reading::between(alert.at, until))
            }),
        ]
    });
    table(
        blocks,
        Table {
            caption: "Warnings and criticals, the last of them",
            head: vec!["From", "Verdict", "Rule", "What", "For"],
            rows: told.collect(),
        },
        "No rule warned.",
    );
    let gaps = operations.gaps.iter().map(|gap| {
        vec![
            gap.after.to_string(),
            moment(gap.from),
            wording::span(gap.length()),
        ]
    });
    table(
        blocks,
        Table {
            caption: "Times in which no controller looked, though a stage was healthy",
            head: vec!["After entry", "From", "For"],
            rows: gaps.collect(),
        },
        "The controller was never away while a stage was healthy.",
    );
    if let Some(cleaned) = &operations.cleaned {
        blocks.push(Block::List(findings(std::slice::from_ref(cleaned))));
    }
}

fn table(blocks: &mut Vec<Block>, table: Table, none: &str) {
    blocks.push(if table.rows.is_empty() {
        Block::Paragraph(none.to_owned())
    } else {
        Block::Table(table)
    });
}

fn timeline(blocks: &mut Vec<Block>, report: &Report) {
    blocks.push(Block::Heading("Timeline"));
    let moments = report.timeline.iter().take(MOMENTS).map(|told| {
        vec![
            told.seq.to_string(),
            moment(told.at),
            if told.trouble { "trouble" } else { "" }.to_owned(),
            told.text.clone(),
        ]
    });
    blocks.push(Block::Table(Table {
        caption: "Every entry that is no look, and the looks at which the verdict changed",
        head: vec!["Entry", "When", "", "What"],
        rows: moments.collect(),
    }));
    let more = report.timeline.len().saturating_sub(MOMENTS);
    if more > 0 {
        blocks.push(Block::Paragraph(format!(
            "{} more are in the journal: `dspex migrate events {}`.",
            more, report.id
        )));
    }
}
