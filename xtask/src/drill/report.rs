//! What a drill came to, as it is written for machines. The words for people are in `text`.

mod text;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::surroundings::Surroundings;

/// The form of the JSON. It changes when a member changes its meaning.
const SCHEMA: u32 = 2;

/// How a drill ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// All that must hold held.
    Passed,
    /// Something did not.
    Failed,
    /// It could not be played here; `trouble` says why.
    CouldNotRun,
}

/// Something that must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Claim {
    pub(super) what: String,
    pub(super) held: bool,
    /// What was seen of it.
    pub(super) seen: String,
}

/// Failed calls that are the drill's own doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Allowed {
    pub(super) why: &'static str,
    pub(super) count: usize,
    pub(super) examples: Vec<String>,
}

/// How long a lane's good answers took, seen by the callers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Latency {
    pub(super) answered: usize,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

/// Of each lane; none where nothing was answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct PerLane {
    pub(super) stable: Option<Latency>,
    pub(super) candidate: Option<Latency>,
}

/// What the callers saw.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Calls {
    pub(super) requests: usize,
    pub(super) answered: usize,
    /// By kind, those that the drill's text does not explain. It must be empty.
    pub(super) failures: BTreeMap<String, usize>,
    pub(super) allowed: Vec<Allowed>,
    /// 429 and 503 that say when to come back; a part of the two above.
    pub(super) refused: usize,
    /// Calls that their caller had to send more than once.
    pub(super) tried_again: usize,
    /// Calls that stable answered in the candidate's stead.
    pub(super) failed_over: usize,
    pub(super) sessions: usize,
    pub(super) lost_sessions: usize,
    /// Calls whose answer names their side, and those of them whose side was judged: a session's side
    /// says nothing while the server comes back.
    pub(super) sides: usize,
    pub(super) sides_judged: usize,
    /// Calls of the program that must not be repeated, and those of them that ran twice.
    pub(super) orders: usize,
    pub(super) orders_twice: usize,
    pub(super) latency: PerLane,
    pub(super) examples: Vec<String>,
}

/// From what sets a rollback off to what comes of it, by the machine's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Reaction {
    /// What set it off.
    pub(super) from: &'static str,
    /// Until the journal says that the rollback began.
    pub(super) to_rollback_ms: Option<i128>,
    /// Until the journal says that every router had acknowledged 0 %. Where it could not be written,
    /// callers were off the candidate before.
    pub(super) to_zero_ms: Option<i128>,
    /// Until the last call began that a caller made and that was sent to the candidate; none where no
    /// call was, after what set it off.
    pub(super) to_last_call_ms: Option<u128>,
}

/// A verdict, and when it was first told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Told {
    pub(super) migration: String,
    pub(super) at: String,
    pub(super) verdict: String,
}

/// One drill.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    pub(super) schema: u32,
    pub(super) drill: &'static str,
    /// Whether `outcome` is `passed`: what a checklist asks first.
    pub(super) passed: bool,
    /// Of this repository, with `-dirty` behind it where there were changes beside it; unknown where
    /// the binary was handed over.
    pub(super) commit: String,
    /// When it ended.
    pub(super) at: String,
    pub(super) does: &'static str,
    pub(super) must: &'static str,
    pub(super) outcome: Outcome,
    /// Why it could not be played.
    pub(super) trouble: Option<String>,
    /// Whether this was a short form of it.
    pub(super) quick: bool,
    /// Chance's own: the same seed makes the same choices.
    pub(super) seed: u64,
    pub(super) seconds: f64,
    pub(super) calls: Calls,
    /// One for each rollback that was set off, the oldest first.
    pub(super) reactions: Vec<Reaction>,
    /// How each migration of the drill ended, the oldest first.
    pub(super) migrations: Vec<Migration>,
    pub(super) verdicts: Vec<Told>,
    pub(super) claims: Vec<Claim>,
    pub(super) notes: Vec<String>,
    /// The SHA-256 of the binary that was driven.
    pub(super) binary_sha256: String,
    pub(super) on: Surroundings,
    /// The server's log.
    pub(super) log: String,
}

/// One migration of a drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Migration {
    pub(super) id: String,
    pub(super) ended: String,
    pub(super) entries: usize,
}

/// All drills of one run.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    pub(super) schema: u32,
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) could_not_run: usize,
    pub(super) seconds: f64,
    pub(super) drills: Vec<Report>,
}

impl Report {
    /// The form that it is written in.
    pub(super) const SCHEMA: u32 = SCHEMA;

    /// Writes `NAME.json` and `NAME.md`.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        write(folder, &format!("{}.json", self.drill), &json(self)?)?;
        write(folder, &format!("{}.md", self.drill), &self.markdown())
    }

    /// What failed, in one line: the claims that did not hold, or why it could not be played.
    pub(super) fn why(&self) -> String {
        let broken = self.claims.iter().filter(|claim| !claim.held);
        let mut words: Vec<String> = broken
            .map(|claim| format!("{}: {}", claim.what, claim.seen))
            .collect();
        words.extend(self.trouble.clone());
        words.join(" | ")
    }
}

impl Summary {
    /// Of these drills.
    pub(super) fn of(drills: Vec<Report>, seconds: f64) -> Self {
        let count = |outcome| {
            drills
                .iter()
                .filter(|drill| drill.outcome == outcome)
                .count()
        };
        Self {
            schema: SCHEMA,
            passed: count(Outcome::Passed),
            failed: count(Outcome::Failed),
            could_not_run: count(Outcome::CouldNotRun),
            seconds,
            drills,
        }
    }

    /// Writes `summary.json` and `summary.md`.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        write(folder, "summary.json", &json(self)?)?;
        write(folder, "summary.md", &self.markdown())
    }
}

fn json(value: &impl Serialize) -> Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

fn write(folder: &Path, name: &str, text: &str) -> Result<()> {
    let path = folder.join(name);
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(held: bool) -> Report {
        let claim = Claim {
            what: "no | caller fails".to_owned(),
            held,
            seen: "3\nfailed".to_owned(),
        };
        Report {
            schema: SCHEMA,
            drill: "happy",
            passed: held,
            commit: "abc".to_owned(),
            at: "2026-01-01T00:00:00Z".to_owned(),
            does: "Moves all traffic.",
            must: "Nobody notices.",
            outcome: if held {
                Outcome::Passed
            } else {
                Outcome::Failed
            },
            trouble: None,
            quick: false,
            seed: 1,
            seconds: 2.5,
            calls: Calls {
                requests: 10,
                answered: 7,
                failures: BTreeMap::from([("worker-crashed".to_owned(), 3)]),
                ..Calls::default()
            },
            reactions: vec![
                Reaction {
                    from: "the first fault",
                    to_rollback_ms: Some(400),
                    to_zero_ms: Some(900),
                    to_last_call_ms: Some(30),
                },
                Reaction {
                    from: "the command",
                    to_rollback_ms: Some(300),
                    to_zero_ms: None,
                    to_last_call_ms: None,
                },
            ],
            migrations: Vec::new(),
            verdicts: Vec::new(),
            claims: vec![claim],
            notes: Vec::new(),
            binary_sha256: "0123456789abcdef".to_owned(),
            on: Surroundings {
                date: "today".to_owned(),
                commit: "abc".to_owned(),
                cpu: "a chip".to_owned(),
                cores: 2,
                kernel: "6".to_owned(),
                load_before: 0.0,
                versions: BTreeMap::new(),
            },
            log: "drill-happy.log".to_owned(),
        }
    }

    #[test]
    fn the_markdown_tells_what_did_not_hold_inside_its_cells() {
        let text = report(false).markdown();
        assert!(text.starts_with("# Drill `happy`: FAILED\n"), "{text}");
        assert!(
            text.contains("| **NO** | no \\| caller fails | 3 failed |"),
            "{text}"
        );
        assert!(
            text.contains("| the first fault | 400 ms | 900 ms | 30 ms |"),
            "{text}"
        );
        assert!(
            text.contains("| the command | 300 ms | never | none |"),
            "{text}"
        );
    }

    #[test]
    fn the_summary_counts_and_names_what_failed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let summary = Summary::of(vec![report(true), report(false)], 5.0);
        assert_eq!((summary.passed, summary.failed), (1, 1));
        summary.write(folder.path()).expect("written");
        report(true).write(folder.path()).expect("written");
        let text = std::fs::read_to_string(folder.path().join("summary.json")).expect("there");
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(json["drills"][1]["outcome"], "failed");
        assert_eq!(
            json["drills"][0]["reactions"][1]["to_zero_ms"],
            serde_json::Value::Null
        );
        assert!(folder.path().join("happy.md").exists());
        let table = summary.table();
        assert!(
            table.contains("happy: no | caller fails: 3\nfailed"),
            "{table}"
        );
        // The slowest of each.
        let row = table.lines().find(|line| line.starts_with("happy "));
        let words: Vec<&str> = row.expect("a row").split_whitespace().collect();
        assert_eq!(words[5..10], ["400", "ms", "never", "30", "ms"], "{table}");
    }
}
