//! Findings of a validation, for people.

use super::{Finding, Validation};
use crate::cli::style::{Paint, Tone};

/// One finding: a line, and one more for what to do where something is to be done.
pub(super) fn finding(finding: &Finding, paint: Paint) -> String {
    let (word, tone) = match (finding.ok, finding.inconclusive) {
        (true, false) => ("ok", Tone::Good),
        (true, true) => ("ok?", Tone::Warn),
        (false, true) => ("unknown", Tone::Warn),
        (false, false) => ("FAILED", Tone::Bad),
    };
    let word = paint.text(tone, &format!("{word:<8}"));
    let area = paint.text(Tone::Dim, &format!("{:<12}", finding.area));
    let text = paint.text(Tone::Plain, &format!("{}: {}", finding.name, finding.value));
    let mut line = format!("{word}{area}{text}");
    if !finding.ok {
        let needs = format!("needs {}", finding.limit);
        line.push_str(&format!("\n{:20}{}", "", paint.text(Tone::Dim, &needs)));
        if let Some(hint) = &finding.hint {
            let label = paint.text(Tone::Good, "hint:");
            let hint = paint.text(Tone::Plain, hint);
            line.push_str(&format!("\n{:20}{label} {hint}", ""));
        }
    }
    line
}

/// How it ended, in one line.
pub(super) fn end(validation: &Validation, paint: Paint) -> String {
    let all = validation.findings.len();
    let failed = validation.findings.iter().filter(|finding| !finding.ok);
    let failed = failed.count();
    let pools = format!("{} against {}", validation.candidate, validation.stable);
    let (tone, text) = match validation.state.as_str() {
        "passed" => (Tone::Good, format!("passed: {pools}, {all} findings")),
        "failed" => (
            Tone::Bad,
            format!("failed: {pools}, {failed} of {all} findings"),
        ),
        "cancelled" => (
            Tone::Warn,
            format!("cut off after {all} findings: {pools}; it says nothing"),
        ),
        other => (Tone::Warn, format!("{other}: {pools}")),
    };
    paint.text(tone, &text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::view::read;
    use serde_json::json;

    #[test]
    fn a_finding_is_one_line_and_says_what_to_do_where_it_is_not_well() {
        let told = |ok, inconclusive| {
            let body = json!({"area": "performance", "name": "p99 latency", "ok": ok,
                "inconclusive": inconclusive, "value": "30.0 ms\u{1b}[2J", "limit": "no worse",
                "hint": "compare the pools", "took_ms": 12, "new member": 1});
            finding(&read(&body).unwrap(), Paint::PLAIN)
        };
        assert_eq!(
            told(true, false),
            "ok      performance p99 latency: 30.0 ms\u{fffd}[2J"
        );
        assert!(told(true, true).starts_with("ok? "));
        assert!(told(false, true).starts_with("unknown "));
        assert_eq!(
            told(false, false),
            "FAILED  performance p99 latency: 30.0 ms\u{fffd}[2J\n\
             \x20                   needs no worse\n\
             \x20                   hint: compare the pools"
        );
    }

    #[test]
    fn the_end_says_how_many_were_not_well() {
        let told = |state: &str| {
            let body = json!({"stable": "v1@1", "candidate": "v2@3", "state": state,
                "findings": [{"ok": true}, {"ok": false}]});
            end(&read(&body).unwrap(), Paint::PLAIN)
        };
        assert_eq!(told("failed"), "failed: v2@3 against v1@1, 1 of 2 findings");
        assert_eq!(told("passed"), "passed: v2@3 against v1@1, 2 findings");
        assert!(told("cancelled").contains("says nothing"));
    }
}
