//! Copied calls and differences in words.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::cli::style::{Paint, Tone, dim, plain};
use crate::cli::view::{moment, setting, trimmed};

/// The answer of `/admin/v1/shadow`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    share_percent: f64,
    leading: String,
    candidate: bool,
    queued: u64,
    queue: u64,
    calls_last_minute: u64,
    calls_per_minute: u64,
    tokens_last_minute: u64,
    tokens_per_minute: u64,
    counts: BTreeMap<String, u64>,
    programs: Vec<Program>,
    cases: u64,
    comparers: Vec<Comparer>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Program {
    program: String,
    compared: u64,
    different: u64,
    rate: Option<f64>,
    at_least: f64,
    at_most: f64,
    hidden_by_noise: u64,
    comparer_controls: u64,
    comparer_controls_different: u64,
    learning: u64,
    failed: u64,
    unjudged: u64,
    noise: Vec<String>,
    trouble: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Comparer {
    program: String,
    judged: u64,
    failed: u64,
    suspended_ms: Option<u64>,
    trouble: Option<String>,
}

/// The answer of `/admin/v1/shadow/cases`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Cases {
    cases: Vec<Summary>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Summary {
    id: u64,
    at: String,
    program: Key,
    request_id: String,
    differences: u64,
    first: Option<Difference>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Key {
    id: String,
    version: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Difference {
    path: String,
    rule: String,
    what: String,
    stable: Value,
    candidate: Value,
}

/// The answer of `/admin/v1/shadow/cases/{id}`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Case {
    id: u64,
    at: String,
    program: Key,
    request_id: String,
    answered_by: String,
    inputs: Value,
    stable: Value,
    candidate: Value,
    differences: Vec<Difference>,
}

/// The answer of `/admin/v1/shadow/cases/{id}/replay`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Replay {
    stable: Answer,
    candidate: Answer,
    differences: Option<Vec<Difference>>,
    unjudged: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    outputs: Option<Value>,
    error: Option<String>,
}

fn share(fraction: f64) -> String {
    format!("{}%", trimmed(fraction * 100.0))
}

/// A limit, or none.
fn cap(limit: u64) -> String {
    match limit {
        0 => "no limit".to_owned(),
        limit => limit.to_string(),
    }
}

pub(super) fn status(seen: &Status, paint: Paint) -> String {
    let from = match (seen.candidate, seen.leading.as_str()) {
        (false, _) => "there is no candidate to compare with",
        (true, "candidate") => "from the candidate to stable",
        (true, _) => "from stable to the candidate",
    };
    let mut lines = vec![
        format!(
            "{} of calls are copied, {from}",
            paint.text(Tone::Strong, &format!("{}%", trimmed(seen.share_percent)))
        ),
        format!(
            "last minute: {} copies ({} at most), {} tokens ({}); {} of {} wait",
            seen.calls_last_minute,
            seen.calls_per_minute,
            seen.tokens_last_minute,
            cap(seen.tokens_per_minute),
            seen.queued,
            seen.queue
        ),
    ];
    let counts: Vec<_> = seen
        .counts
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(name, count)| format!("{} {count}", name.replace('_', " ")))
        .collect();
    if !counts.is_empty() {
        lines.push(paint.text(
            Tone::Dim,
            &format!("since the start: {}", counts.join(", ")),
        ));
    }
    if seen.programs.is_empty() {
        lines.push("nothing was compared yet".to_owned());
    } else {
        lines.push(programs(seen, paint));
    }
    for program in &seen.programs {
        if program.compared == 0 && program.hidden_by_noise > 0 {
            let line = format!(
                "{}: nothing is compared, stable does not answer it twice alike: give it a comparer \
                 (`router.shadow.programs.{}.comparer`)",
                program.program, program.program
            );
            lines.push(paint.text(Tone::Warn, &line));
        }
        if program.comparer_controls_different > 0 {
            let line = format!(
                "{}: its comparer tells stable from itself in {} of {}: so often a candidate that is just like \
                 stable differs too",
                program.program, program.comparer_controls_different, program.comparer_controls
            );
            lines.push(paint.text(Tone::Warn, &line));
        }
    }
    for comparer in &seen.comparers {
        let mut line = format!(
            "comparer {}: judged {}, failed {}",
            comparer.program, comparer.judged, comparer.failed
        );
        if let Some(rest) = comparer.suspended_ms {
            line.push_str(&format!(", not asked for {}s", rest / 1_000));
        }
        if let Some(trouble) = &comparer.trouble {
            line.push_str(&format!(": {trouble}"));
        }
        lines.push(paint.text(Tone::Warn, &line));
    }
    if seen.cases > 0 {
        let line = format!("{} differences are kept: `dspex shadow cases`", seen.cases);
        lines.push(paint.text(Tone::Dim, &line));
    }
    lines.join("\n")
}

fn programs(seen: &Status, paint: Paint) -> String {
    let rows = seen.programs.iter().map(|program| {
        let tone = match program.different {
            0 => Tone::Good,
            _ => Tone::Warn,
        };
        let hidden = match program.hidden_by_noise {
            0 => Tone::Dim,
            _ => Tone::Warn,
        };
        let rate = program.rate.map_or("-".to_owned(), share);
        [
            plain(&program.program),
            plain(program.compared.to_string()),
            (program.different.to_string(), tone),
            plain(rate),
            dim(format!(
                "{} to {}",
                share(program.at_least),
                share(program.at_most)
            )),
            (program.hidden_by_noise.to_string(), hidden),
            dim((program.learning + program.failed + program.unjudged).to_string()),
            dim(program.noise.join(" ")),
            dim(program.trouble.clone().unwrap_or_default()),
        ]
    });
    let heading = [
        "PROGRAM",
        "COMPARED",
        "DIFFERENT",
        "RATE",
        "AT 99%",
        "HIDDEN",
        "NOT JUDGED",
        "NOISE",
        "TROUBLE",
    ];
    paint.table(heading, rows)
}

pub(super) fn cases(found: &Cases, paint: Paint) -> String {
    if found.cases.is_empty() {
        return "no differences".to_owned();
    }
    let rows = found.cases.iter().map(|case| {
        let first = case.first.as_ref();
        let told = |of: fn(&Difference) -> &str| first.map_or("", of).to_owned();
        [
            plain(case.id.to_string()),
            dim(moment(&case.at)),
            plain(format!("{}@{}", case.program.id, case.program.version)),
            dim(&case.request_id),
            plain(case.differences.to_string()),
            plain(told(|difference| &difference.rule)),
            plain(told(|difference| &difference.path)),
            plain(told(|difference| &difference.what)),
        ]
    });
    let heading = [
        "CASE", "AT", "PROGRAM", "REQUEST", "PLACES", "RULE", "FIRST", "WHAT",
    ];
    paint.table(heading, rows)
}

pub(super) fn case(case: &Case, paint: Paint) -> String {
    let name = format!("case {}", case.id);
    let mut lines = vec![format!(
        "{}: {}@{}, request {}, at {}, answered by {}",
        paint.text(Tone::Strong, &name),
        case.program.id,
        case.program.version,
        paint.text(Tone::Plain, &case.request_id),
        moment(&case.at),
        case.answered_by
    )];
    for (name, value) in [
        ("inputs", &case.inputs),
        ("stable", &case.stable),
        ("candidate", &case.candidate),
    ] {
        let name = paint.text(Tone::Dim, &format!("{name:<10}"));
        lines.push(format!(
            "{name} {}",
            paint.text(Tone::Plain, &value.to_string())
        ));
    }
    lines.push(differences(&case.differences, paint));
    lines.join("\n")
}

fn differences(found: &[Difference], paint: Paint) -> String {
    let rows = found.iter().map(|difference| {
        let at = Some(difference.path.as_str()).filter(|path| !path.is_empty());
        let value = |value: &Value| match value {
            Value::Null => "-".to_owned(),
            value => setting(value),
        };
        [
            plain(at.unwrap_or("(all)")),
            plain(&difference.rule),
            plain(&difference.what),
            dim(value(&difference.stable)),
            dim(value(&difference.candidate)),
        ]
    });
    paint.table(["PLACE", "RULE", "WHAT", "STABLE", "CANDIDATE"], rows)
}

pub(super) fn replay(replay: &Replay, paint: Paint) -> String {
    let mut lines = Vec::new();
    for (name, answer) in [("stable", &replay.stable), ("candidate", &replay.candidate)] {
        let name = paint.text(Tone::Dim, &format!("{name:<10}"));
        let said = match (&answer.outputs, &answer.error) {
            (Some(outputs), _) => paint.text(Tone::Plain, &outputs.to_string()),
            (None, error) => paint.text(Tone::Bad, error.as_deref().unwrap_or("no answer")),
        };
        lines.push(format!("{name} {said}"));
    }
    match &replay.differences {
        None => {}
        Some(found) if found.is_empty() => {
            lines.push(paint.text(Tone::Good, "the two answers say the same now"));
        }
        Some(found) => lines.push(differences(found, paint)),
    }
    if let Some(why) = &replay.unjudged {
        lines.push(paint.text(Tone::Warn, &format!("not judged: {why}")));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::view::read;

    #[test]
    fn the_shadow_is_told_with_its_bounds_and_without_what_is_nought() {
        let body = json!({"share_percent": 10.0, "leading": "stable", "candidate": true,
            "queued": 1, "queue": 256, "calls_last_minute": 7, "calls_per_minute": 600,
            "tokens_last_minute": 0, "tokens_per_minute": 0, "counts": {"drawn": 9, "queue_full": 0},
            "programs": [{"program": "qa", "compared": 200, "different": 3, "rate": 0.015,
                "at_least": 0.004, "at_most": 0.05, "learning": 10, "noise": ["/time"],
                    "comparer_controls": 12, "comparer_controls_different": 1},
                {"program": "essay", "compared": 0, "at_most": 1.0, "hidden_by_noise": 90, "noise": ["/text"]}],
            "cases": 3});
        assert_eq!(
            status(&read(&body).unwrap(), Paint::PLAIN),
            "10% of calls are copied, from stable to the candidate\n\
             last minute: 7 copies (600 at most), 0 tokens (no limit); 1 of 256 wait\n\
             since the start: drawn 9\n\
             PROGRAM  COMPARED  DIFFERENT  RATE  AT 99%      HIDDEN  NOT JUDGED  NOISE  TROUBLE\n\
             qa       200       3          1.5%  0.4% to 5%  0       10          /time\n\
             essay    0         0          -     0% to 100%  90      0           /text\n\
             qa: its comparer tells stable from itself in 1 of 12: so often a candidate that is just like stable \
             differs too\n\
             essay: nothing is compared, stable does not answer it twice alike: give it a comparer \
             (`router.shadow.programs.essay.comparer`)\n\
             3 differences are kept: `dspex shadow cases`"
        );
    }

    #[test]
    fn a_case_is_told_whole() {
        let body = json!({"id": 4, "at": "2026-01-02T03:04:05Z", "program": {"id": "qa", "version": 2},
            "request_id": "r-1", "answered_by": "stable", "inputs": {"q": "why?"},
            "stable": {"a": "Paris"}, "candidate": {"a": "Rome"},
            "differences": [{"path": "/a", "rule": "text", "what": "the words differ", "stable": "Paris", "candidate": "Rome"}]});
        let told = case(&read(&body).unwrap(), Paint::PLAIN);
        assert!(
            told.starts_with(
                "case 4: qa@2, request r-1, at 2026-01-02 03:04:05, answered by stable\n"
            ),
            "{told}"
        );
        assert!(
            told.contains("/a     text  the words differ  Paris   Rome"),
            "{told}"
        );
        let none = replay(
            &read(&json!({"stable": {"outputs": {}}, "candidate": {"error": "gone"}})).unwrap(),
            Paint::PLAIN,
        );
        assert_eq!(none, "stable     {}\ncandidate  gone");
        let body = json!({"stable": {"outputs": {}}, "candidate": {"outputs": {}},
            "differences": null, "unjudged": "the comparer c failed: no"});
        let unjudged = replay(&read(&body).unwrap(), Paint::PLAIN);
        assert_eq!(
            unjudged,
            "stable     {}\ncandidate  {}\nnot judged: the comparer c failed: no"
        );
    }
}
