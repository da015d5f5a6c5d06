//! Reports of journals made by hand: what is ticked, what is open, and how hostile words look.

mod journals;

use super::*;
use crate::analysis::Verdict;
use crate::command::Command;
use crate::event::Event;
use crate::step::Step;
use crate::succession::Removed;
use journals::{Pen, began, check, failed, happy, healthy, lane, seen};

fn met(report: &Report, name: &str) -> Met {
    let criteria = report.criteria.iter();
    let mut found = criteria.filter(|criterion| criterion.name.contains(name));
    found.next().unwrap_or_else(|| panic!("no {name}")).met
}

fn says(findings: &[Finding], words: &str) -> bool {
    findings.iter().any(|finding| finding.text.contains(words))
}

#[test]
fn a_success_is_ticked_with_its_evidence() {
    let report = happy().report();
    for name in [
        "customer impact",
        "Performance",
        "Error handling",
        "Monitoring",
        "signed",
    ] {
        assert_eq!(
            met(&report, name),
            Met::Yes,
            "{name}: {:#?}",
            report.criteria
        );
    }
    // What no journal knows is never ticked.
    assert_eq!(met(&report, "trained"), Met::Open);
    assert!(says(
        &report.went_well,
        "Stage 1 (5 %) was seen healthy for 10s"
    ));
    assert!(says(&report.went_well, "v2 took over all traffic"));
    assert!(report.went_wrong.is_empty(), "{:#?}", report.went_wrong);
    assert!((report.performance.p50_ratio.unwrap() - 0.9).abs() < 1e-9);
    assert_eq!(report.performance.stages.len(), 2);
    assert_eq!(report.performance.stages[0].candidate.calls, 200);
}

#[test]
fn a_failure_is_told_with_what_to_do() {
    let report = failed().report();
    assert_eq!(met(&report, "customer impact"), Met::No);
    assert_eq!(met(&report, "Monitoring"), Met::No);
    assert_eq!(met(&report, "signed"), Met::No);
    assert!(says(&report.went_wrong, "Rolling back: 40 %"));
    assert!(says(&report.went_wrong, "Nobody looked for 3m"));
    assert!(says(&report.went_wrong, "2 calls were cut off"));
    assert!(says(
        &report.went_wrong,
        "The rule critical_error_rate was broken at 1 look"
    ));
    assert!(says(
        &report.went_well,
        "took traffic to 0 %, acknowledged by every router, within 1s"
    ));
    assert!(says(
        &report.recommendations,
        "Mend what broke critical_error_rate"
    ));
    assert!(says(
        &report.recommendations,
        "run the server under a supervisor"
    ));
    assert!(says(
        &report.recommendations,
        "raise migration.drain_limit (now 30s)"
    ));
    assert_eq!(report.operations.gaps.len(), 1);
    assert_eq!(report.operations.acts.len(), 2);
}

#[test]
fn what_was_cleaned_away_with_the_old_pool_is_told() {
    let mut pen = happy();
    assert!(pen.report().operations.cleaned.is_none());
    pen.write(
        1,
        Event::StepDone {
            step: Step::Retire,
            checks: Vec::new(),
            saved: None,
            removed: Some(Removed {
                looks: 1,
                files: 2,
                ..Removed::default()
            }),
        },
    );
    let told = "With the old pool were cleaned away: 1 recorded look of earlier migrations, \
                2 left-over files.";
    let report = pen.report();
    assert_eq!(report.operations.cleaned.as_ref().unwrap().text, told);
    assert!(report.markdown().contains(told) && report.html().contains(told));
}

#[test]
fn what_the_journal_cannot_tell_is_open_and_not_ticked() {
    let report = Pen::new("ada", "Python 3.13").report();
    for name in [
        "customer impact",
        "Performance",
        "Error handling",
        "Monitoring",
        "trained",
    ] {
        assert_eq!(met(&report, name), Met::Open, "{name}");
    }
}

#[test]
fn a_check_that_failed_is_not_ticked() {
    let mut pen = Pen::new("ada", "Python 3.13");
    let failed = serde_json::json!({"type": "step_failed", "step": "verify",
        "checks": [check("a crash is recovered from", false)], "reason": "it was not"});
    pen.write(1, serde_json::from_value(failed).unwrap());
    let report = pen.report();
    assert_eq!(met(&report, "Error handling"), Met::No);
    assert!(says(&report.recommendations, "give it more workers"));
}

/// The windows of looks overlap: one failed call is seen by each look for as long as it is in reach.
#[test]
fn failed_calls_are_told_by_looks_and_never_summed_over_them() {
    let mut pen = Pen::new("ada", "Python 3.13");
    pen.steps().stage(0);
    for faults in [0, 3, 3, 3, 0, 0, 0, 0, 0, 0] {
        let candidate = lane(60, faults, 90.0, 180.0);
        pen.look(5, seen(Verdict::Healthy, "", candidate));
    }
    let report = pen.report();
    let mut criteria = report.criteria.iter();
    let impact = criteria.find(|criterion| criterion.name.contains("customer impact"));
    let impact = impact.expect("there");
    assert_eq!(impact.met, Met::Open);
    let text = &impact.finding.text;
    assert!(
        text.starts_with(
            "3 of 10 looks saw failed calls on the candidate, which had 600 calls in all: 5 % of \
             those in the worst look's window"
        ),
        "{text}"
    );
    let candidate = report.performance.stages[0].candidate;
    assert_eq!(
        (candidate.failed_percent, candidate.worst_failed_percent),
        (Some(0.0), Some(5.0))
    );
}

#[test]
fn a_slow_stage_is_told_from_a_starved_one() {
    let mut pen = Pen::new("ada", "why");
    pen.steps().stage(0);
    for _ in 0..20 {
        pen.look(
            5,
            seen(
                Verdict::Inconclusive,
                "minimum_samples",
                lane(3, 0, 90.0, 180.0),
            ),
        );
    }
    pen.look(5, healthy()).look(5, healthy()).left(0);
    let report = pen.report();
    assert!(says(
        &report.recommendations,
        "for want of traffic: 20 of 22 looks lacked calls"
    ));
}

#[test]
fn silence_after_an_unhealthy_look_is_no_gap() {
    let mut pen = Pen::new("ada", "why");
    pen.steps().stage(0);
    pen.look(
        5,
        seen(
            Verdict::Inconclusive,
            "minimum_samples",
            lane(0, 0, 0.0, 0.0),
        ),
    );
    pen.look(600, healthy());
    assert!(pen.report().operations.gaps.is_empty());
}

#[test]
fn hostile_words_stay_words() {
    let evil =
        "</title><script>alert(1)</script>\n\n# owned | [x](javascript:alert(1)) \u{1b}[2J\u{202e}";
    let mut pen = Pen::new(evil, evil);
    pen.steps().stage(0);
    pen.write(
        1,
        Event::Commanded {
            command_id: 1,
            command: Command::Pause,
            who: evil.to_owned(),
            why: evil.to_owned(),
            refused: Some(evil.to_owned()),
        },
    );
    pen.write(0, began(evil));
    let report = pen.report();
    let (page, text) = (report.html(), report.markdown());
    assert!(
        page.contains("&lt;script&gt;"),
        "the words themselves are shown"
    );
    for broken in ["<script", "\u{1b}", "\u{202e}"] {
        assert!(!page.contains(broken), "{broken:?} is in the page");
    }
    // What is escaped is a word; what is left could be markup.
    let mut bare = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => drop(letters.next()),
            letter => bare.push(letter),
        }
    }
    for broken in ["<script", "\u{1b}", "\u{202e}", "\n# owned", "](javascript"] {
        assert!(!bare.contains(broken), "{broken:?} is in the Markdown");
    }
    // Every row of a table has as many cells as its head.
    let cells = |line: &str| line.replace("\\|", "").matches('|').count();
    let lines: Vec<&str> = text.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        let below = lines.get(index + 1);
        if line.starts_with('|') && below.is_some_and(|below| below.starts_with('|')) {
            assert_eq!(cells(line), cells(lines[index + 1]), "{line}");
        }
    }
}

#[test]
fn the_page_asks_for_nothing() {
    let page = failed().report().html();
    for asking in [
        "http:",
        "https:",
        "src=",
        "href=",
        "url(",
        "@import",
        "<link",
        "<script",
        "javascript:",
    ] {
        assert!(!page.contains(asking), "{asking} is in the page");
    }
    assert!(page.contains("default-src 'none'"));
    for plot in [
        "plot-share",
        "plot-p50",
        "plot-p99",
        "plot-failed",
        "plot-verdicts",
    ] {
        assert!(
            page.contains(&format!("id=\"{plot}-t\"")),
            "{plot} is missing"
        );
    }
    // Whoever opens it with a strict parser must find it closed.
    for tag in ["section", "svg", "figure", "table", "ul", "main", "div"] {
        let (opened, closed) = (
            page.matches(&format!("<{tag}")).count(),
            page.matches(&format!("</{tag}>")).count(),
        );
        assert_eq!(opened, closed, "{tag}");
    }
}

#[test]
fn the_text_is_as_it_was() {
    for (name, pen) in [("happy.md", happy()), ("failed.md", failed())] {
        let text = pen.report().markdown();
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src/report/tests")
            .join(name);
        if std::env::var_os("DSPEX_WRITE_GOLDENS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            text == before,
            "{name} is another: look, then write it with DSPEX_WRITE_GOLDENS=1\n{text}"
        );
    }
}

#[test]
fn a_long_journal_makes_a_page_of_bounded_size() {
    let mut pen = Pen::new("ada", "why");
    pen.steps().stage(0);
    for _ in 0..20_000 {
        pen.look(5, healthy());
    }
    let page = pen.report().html();
    assert!(page.len() < 400_000, "{} bytes", page.len());
}

#[test]
fn the_share_is_drawn_as_it_was_served() {
    let report = failed().report();
    let share: Vec<f64> = report
        .series
        .share
        .iter()
        .map(|point| point.value)
        .collect();
    assert_eq!(share, [5.0, 0.0]);
    assert_eq!(report.series.verdicts.len(), 3);
}
