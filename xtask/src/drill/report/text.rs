//! Reports as people read them: Markdown for each drill and for all, a table for the terminal.

use std::fmt::Write as _;

use super::{Outcome, Reaction, Report, Summary};

impl Outcome {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::CouldNotRun => "could not run",
        }
    }
}

impl Report {
    /// For people who read one drill.
    pub(super) fn markdown(&self) -> String {
        let mut text = format!(
            "# Drill `{}`: {}\n\n{}\n\n**Must hold:** {}\n\n",
            self.drill,
            self.outcome.word(),
            self.does,
            self.must
        );
        if let Some(trouble) = &self.trouble {
            let _ = writeln!(text, "**Could not run:** {}\n", cell(trouble));
        }
        text.push_str("| what callers saw | |\n|---|---|\n");
        for (what, seen) in self.figures() {
            let _ = writeln!(text, "| {what} | {} |", cell(&seen));
        }
        text.push_str("\n| held | claim | seen |\n|---|---|---|\n");
        for claim in &self.claims {
            let mark = if claim.held { "yes" } else { "**NO**" };
            let _ = writeln!(
                text,
                "| {mark} | {} | {} |",
                cell(&claim.what),
                cell(&claim.seen)
            );
        }
        for allowed in self
            .calls
            .allowed
            .iter()
            .filter(|allowed| allowed.count > 0)
        {
            let _ = writeln!(
                text,
                "\n{} failed calls are explained: {}",
                allowed.count, allowed.why
            );
            for example in &allowed.examples {
                let _ = writeln!(text, "- {}", cell(example));
            }
        }
        if !self.reactions.is_empty() {
            text.push_str(
                "\n| from | rollback began | 0 % acknowledged | last call to the candidate |\n|---|---|---|---|\n",
            );
        }
        for reaction in &self.reactions {
            let row = Row::of_reactions(std::slice::from_ref(reaction));
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} |",
                reaction.from, row.rollback, row.zero, row.last_call
            );
        }
        if !self.migrations.is_empty() {
            text.push_str("\n| migration | ended | entries |\n|---|---|---|\n");
            for migration in &self.migrations {
                let (id, ended) = (&migration.id, &migration.ended);
                let _ = writeln!(text, "| {id} | {ended} | {} |", migration.entries);
            }
        }
        if !self.verdicts.is_empty() {
            let told: Vec<String> = self
                .verdicts
                .iter()
                .map(|told| format!("{} {}", told.at, told.verdict))
                .collect();
            let _ = writeln!(text, "\nVerdicts: {}", told.join(", "));
        }
        for note in &self.notes {
            let _ = writeln!(text, "\n{note}");
        }
        let on = &self.on;
        let versions: Vec<String> = on
            .versions
            .iter()
            .map(|(name, version)| format!("{name} {version}"))
            .collect();
        let _ = writeln!(
            text,
            "\nPlayed on {} in {:.1} s with seed {}{}, commit {}, on {} ({} cores, kernel {}, load {} before); {}; binary {}.",
            on.date,
            self.seconds,
            self.seed,
            if self.quick {
                ", in its short form"
            } else {
                ""
            },
            on.commit,
            on.cpu,
            on.cores,
            on.kernel,
            on.load_before,
            versions.join(", "),
            self.binary_sha256.get(..12).unwrap_or_default(),
        );
        text
    }

    fn figures(&self) -> Vec<(&'static str, String)> {
        let calls = &self.calls;
        let unexplained: usize = calls.failures.values().sum();
        let explained: usize = calls.allowed.iter().map(|allowed| allowed.count).sum();
        let mut figures = vec![
            (
                "requests",
                format!("{}, {} answered", calls.requests, calls.answered),
            ),
            (
                "failures",
                format!("{unexplained} unexplained, {explained} explained"),
            ),
            (
                "lost sessions",
                format!(
                    "{} of {}, sides judged on {} of {} calls",
                    calls.lost_sessions, calls.sessions, calls.sides_judged, calls.sides
                ),
            ),
            ("tried again by their caller", calls.tried_again.to_string()),
            (
                "answered by stable in the candidate's stead",
                calls.failed_over.to_string(),
            ),
            (
                "orders",
                format!("{}, {} ran twice", calls.orders, calls.orders_twice),
            ),
        ];
        let lanes = [
            ("latency, stable", calls.latency.stable),
            ("latency, candidate", calls.latency.candidate),
        ];
        for (what, latency) in lanes {
            if let Some(latency) = latency {
                let (p50, p99) = (latency.p50_ms, latency.p99_ms);
                figures.push((
                    what,
                    format!("p50 {p50} ms, p99 {p99} ms over {}", latency.answered),
                ));
            }
        }
        figures
    }
}

impl Summary {
    pub(super) fn markdown(&self) -> String {
        let mut text = format!(
            "# Drills: {} passed, {} failed, {} could not run\n\n",
            self.passed, self.failed, self.could_not_run
        );
        text.push_str(
            "| drill | result | requests | failures | lost sessions | to rollback | to 0 % | to the last call | seconds |\n|---|---|---|---|---|---|---|---|---|\n",
        );
        for drill in &self.drills {
            let row = Row::of(drill);
            let _ = writeln!(
                text,
                "| [{}]({}.md) | {} | {} | {} | {} | {} | {} | {} | {:.1} |",
                drill.drill,
                drill.drill,
                drill.outcome.word(),
                drill.calls.requests,
                row.failures,
                drill.calls.lost_sessions,
                row.rollback,
                row.zero,
                row.last_call,
                drill.seconds
            );
        }
        text
    }

    /// For the terminal.
    pub(in crate::drill) fn table(&self) -> String {
        let mut text = format!(
            "\n{:<20} {:<13} {:>8} {:>8} {:>5} {:>11} {:>9} {:>9} {:>8}\n",
            "drill",
            "result",
            "requests",
            "failures",
            "lost",
            "to rollback",
            "to 0 %",
            "last call",
            "seconds"
        );
        for drill in &self.drills {
            let row = Row::of(drill);
            let _ = writeln!(
                text,
                "{:<20} {:<13} {:>8} {:>8} {:>5} {:>11} {:>9} {:>9} {:>8.1}",
                drill.drill,
                drill.outcome.word(),
                drill.calls.requests,
                row.failures,
                drill.calls.lost_sessions,
                row.rollback,
                row.zero,
                row.last_call,
                drill.seconds
            );
        }
        for drill in self
            .drills
            .iter()
            .filter(|drill| drill.outcome != Outcome::Passed)
        {
            let _ = writeln!(
                text,
                "\n{}: {}\n  server log: {}",
                drill.drill,
                drill.why(),
                drill.log
            );
        }
        text
    }
}

/// The cells of a drill that need words: of its reactions the slowest.
struct Row {
    failures: usize,
    rollback: String,
    zero: String,
    last_call: String,
}

impl Row {
    fn of(drill: &Report) -> Self {
        Self {
            failures: drill.calls.failures.values().sum(),
            ..Self::of_reactions(&drill.reactions)
        }
    }

    fn of_reactions(reactions: &[Reaction]) -> Self {
        let slowest = |of: fn(&Reaction) -> Option<i128>| {
            let all: Option<Vec<i128>> = reactions.iter().map(of).collect();
            match all.map(|all| all.into_iter().max()) {
                None => "never".to_owned(),
                Some(None) => "–".to_owned(),
                Some(Some(millis)) => format!("{millis} ms"),
            }
        };
        let last = reactions.iter().filter_map(|one| one.to_last_call_ms).max();
        let last_call = match last {
            None if reactions.is_empty() => "–".to_owned(),
            None => "none".to_owned(),
            Some(millis) => format!("{millis} ms"),
        };
        Self {
            failures: 0,
            rollback: slowest(|reaction| reaction.to_rollback_ms),
            zero: slowest(|reaction| reaction.to_zero_ms),
            last_call,
        }
    }
}

/// Text that cannot leave its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}
