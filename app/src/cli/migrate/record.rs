//! What the server tells about migrations, as far as it is shown.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::client::Client;
use crate::cli::exit::{Exit, Failure};
use crate::cli::problem;
use crate::cli::view::read;

/// A migration at one moment.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) id: String,
    pub(super) last_seq: u64,
    pub(super) phase: String,
    pub(super) stable: String,
    pub(super) candidate: String,
    /// Why it is paused: a cause.
    pub(super) paused: Value,
    pub(super) stage: Option<usize>,
    pub(super) stage_count: usize,
    pub(super) percent: Value,
    pub(super) healthy_for: Value,
    /// Null where the stage needs no hold.
    pub(super) hold: Value,
    pub(super) analysis: Option<Analysis>,
    pub(super) comparison: Option<Comparison>,
    pub(super) alerts: Vec<Alert>,
    /// Time in which the candidate was seen to serve all traffic.
    pub(super) served_for: Value,
    /// Whether the old pool is cold.
    pub(super) rested: bool,
    pub(super) backup: Option<Saved>,
    pub(super) archive: Option<Saved>,
    pub(super) stages: Vec<Stage>,
    pub(super) who: String,
    pub(super) why: String,
    pub(super) started_at: String,
    pub(super) ended_at: Option<String>,
    /// How it ended, or why it is rolling back.
    pub(super) outcome: Option<String>,
    /// What an operator should know now.
    pub(super) reasons: Vec<String>,
}

/// The pools beside each other.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Comparison {
    pub(super) stable: Throughput,
    pub(super) candidate: Throughput,
    pub(super) p50_ratio: Option<f64>,
    pub(super) p99_ratio: Option<f64>,
}

/// What one pool does.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Throughput {
    pub(super) calls_per_second: Option<f64>,
    pub(super) error_percent: Option<f64>,
}

/// A warning or a critical.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Alert {
    pub(super) at: String,
    pub(super) verdict: String,
    pub(super) text: String,
    pub(super) ended_at: Option<String>,
}

/// What was put aside.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Saved {
    pub(super) place: String,
}

/// What was seen when the lanes were last compared.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Analysis {
    pub(super) verdict: String,
    pub(super) reasons: Vec<Reason>,
}

/// One rule's part in a verdict.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Reason {
    pub(super) rule: String,
    pub(super) text: String,
    pub(super) verdict: String,
    /// What was measured; null where the rule was not judged.
    pub(super) value: Value,
}

impl Analysis {
    /// The reasons worth telling: those that make the verdict, and, where it is healthy, what was
    /// measured beyond a limit all the same.
    pub(super) fn telling(&self) -> impl Iterator<Item = &Reason> {
        self.reasons.iter().filter(|reason| {
            if self.verdict == "healthy" {
                !reason.value.is_null()
            } else {
                reason.verdict == self.verdict
            }
        })
    }
}

/// What became of one stage.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Stage {
    pub(super) percent: Value,
    pub(super) hold: Value,
    pub(super) healthy: Value,
    pub(super) left_at: Option<String>,
    pub(super) calls_stable: u64,
    pub(super) calls_candidate: u64,
    pub(super) measured_percent: Option<f64>,
}

/// One line of a journal. The event's members depend on its type, and are looked up by name.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Entry {
    pub(super) seq: u64,
    pub(super) at: String,
    pub(super) event: Value,
}

impl Entry {
    /// The type of the event.
    pub(super) fn kind(&self) -> &str {
        self.event.get("type").and_then(Value::as_str).unwrap_or("")
    }

    /// A member that is a count; 0 where there is none.
    pub(super) fn count(&self, name: &str) -> u64 {
        self.event.get(name).and_then(Value::as_u64).unwrap_or(0)
    }

    /// What was seen at a look; nothing where it was none.
    pub(super) fn analysis(&self) -> Analysis {
        let analysis = self.event.get("analysis");
        analysis.map_or_else(Analysis::default, |analysis| {
            Analysis::deserialize(analysis).unwrap_or_default()
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Listed {
    migrations: Vec<Status>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Journal {
    events: Vec<Entry>,
}

/// The status in an answer; none where no migration was ever started.
pub(super) fn read_status(body: &Value) -> Result<Option<Status>, Failure> {
    read(body)
}

/// The migrations in an answer.
pub(super) fn read_history(body: &Value) -> Result<Vec<Status>, Failure> {
    Ok(read::<Listed>(body)?.migrations)
}

/// The journal's entries in an answer.
pub(super) fn read_events(body: &Value) -> Result<Vec<Entry>, Failure> {
    Ok(read::<Journal>(body)?.events)
}

/// The current migration, or else the last one, as JSON; null where there has never been one.
pub(super) async fn current(client: &Client) -> Result<Value, Failure> {
    let answer = client.get(&super::CURRENT).send_any().await?;
    if problem::name(&answer.body) == "no-migration" {
        return Ok(Value::Null);
    }
    Ok(answer.successful()?.body)
}

/// The id of the current migration, or else the last one.
pub(super) async fn current_id(client: &Client) -> Result<String, Failure> {
    match read_status(&current(client).await?)? {
        Some(status) => Ok(status.id),
        None => Err(Failure::new(Exit::Refused, "no migration was ever started")
            .hint("start one with `dspex migrate start --why '...'`")),
    }
}

/// Entries that are asked for at once: as many as a server gives.
pub(super) const PAGE: usize = 1000;

/// A page of a migration's journal: what comes after an entry.
pub(super) async fn events(client: &Client, id: &str, after: u64) -> Result<Value, Failure> {
    let path = [&super::MIGRATIONS[..], &[id, "events"]].concat();
    let request = client.get(&path).query("after", &after.to_string());
    request.query("limit", &PAGE.to_string()).json().await
}

/// A migration's journal to its end, as one answer.
pub(super) async fn all_events(client: &Client, id: &str, after: u64) -> Result<Value, Failure> {
    let mut seen = after;
    let mut all = Vec::new();
    loop {
        let mut page = events(client, id, seen).await?;
        let Some(last) = read_events(&page)?.last().map(|entry| entry.seq) else {
            break;
        };
        if let Some(Value::Array(entries)) = page.get_mut("events") {
            all.append(entries);
        }
        // A server that ignores `after` must not keep us here for ever.
        if last <= seen {
            break;
        }
        seen = last;
    }
    Ok(json!({"id": id, "events": all}))
}

/// A cause in words: `ada: not today`, or what the controller saw.
pub(super) fn cause(cause: &Value) -> String {
    if let Some(text) = cause.as_str() {
        return text.to_owned();
    }
    let member = |name| cause.get(name).and_then(Value::as_str);
    match (member("who"), member("why")) {
        (Some(who), Some(why)) => format!("{who}: {why}"),
        (None, Some(why)) => why.to_owned(),
        _ => cause.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_read_in_words() {
        assert_eq!(
            cause(&json!({"by": "person", "who": "ada", "why": "no"})),
            "ada: no"
        );
        assert_eq!(
            cause(&json!({"by": "controller", "why": "errors"})),
            "errors"
        );
        assert_eq!(cause(&json!("text")), "text");
    }

    #[test]
    fn no_migration_is_an_answer_too() {
        assert!(read_status(&Value::Null).unwrap().is_none());
    }
}
