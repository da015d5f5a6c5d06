//! The checklist as Markdown, with boxes, and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Phase;
use super::evidence::Evidence;
use super::lines::{Finding, Line, Place, Verdict};

type Judged<'a> = [(Phase, Vec<(&'a Line, Finding)>)];

pub(super) fn markdown(judged: &Judged<'_>, evidence: &Evidence) -> String {
    let mut text = format!(
        "# Production checklist\n\nCommit {}. A box is ticked by evidence, or by a person's signature in the journal.\n",
        evidence.commit
    );
    for (phase, lines) in judged {
        let ticked = lines
            .iter()
            .filter(|(_, finding)| finding.verdict == Verdict::Passed)
            .count();
        let _ = write!(
            text,
            "\n## {}: {ticked} of {}\n\n",
            phase.heading(),
            lines.len()
        );
        for (line, finding) in lines {
            let (tick, word) = match finding.verdict {
                Verdict::Passed => ("x", ""),
                Verdict::Failed => (" ", "**failed**: "),
                Verdict::Open => (" ", "open: "),
            };
            let _ = writeln!(text, "- [{tick}] {} (`{}`)", line.text, line.id);
            let _ = writeln!(
                text,
                "  - {word}{}; asked for: {}",
                plain(&finding.value),
                plain(&finding.limit)
            );
            if finding.signable && finding.verdict == Verdict::Open {
                let _ = writeln!(
                    text,
                    "  - to sign it: `dspex migrate sign {} --who NAME --why '…'`",
                    line.id
                );
            }
            for Place { place, age } in &finding.evidence {
                let age = age.as_ref().map(|age| format!(", {age} old"));
                let age = age.unwrap_or_default();
                let _ = writeln!(text, "  - {}{age}", plain(place));
            }
        }
    }
    text
}

/// One line, in which nothing is taken for a box or a link.
fn plain(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' | '\r' | '\t' => safe.push(' '),
            '[' | ']' | '<' | '>' | '`' | '*' | '\\' => {
                safe.push('\\');
                safe.push(letter);
            }
            letter if letter.is_control() => {}
            letter => safe.push(letter),
        }
    }
    safe
}

pub(super) fn json(judged: &Judged<'_>, evidence: &Evidence) -> Value {
    let phases: Vec<Value> = judged
        .iter()
        .map(|(phase, lines)| {
            let lines: Vec<Value> = lines
                .iter()
                .map(|(line, finding)| json!({ "id": line.id, "text": line.text, "finding": finding }))
                .collect();
            json!({ "phase": phase, "lines": lines })
        })
        .collect();
    json!({ "commit": evidence.commit, "phases": phases })
}
