//! A named person's word for what no machine can judge, in the journal of the newest migration.
//!
//! Invariants: a name that a program fills in names nobody; a word grows old like any evidence.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::super::ago;
use super::super::evidence::{Evidence, Server};
use super::Finding;

/// Names that a program fills in where nobody gave one, or that whoever has the machine goes by.
const NOBODY: [&str; 9] = [
    "",
    "admin",
    "administrator",
    "anonymous",
    "cli",
    "nobody",
    "root",
    "unknown",
    "user",
];

/// `found` with the newest signature that counts in its place, or with why there is none beside it.
pub(super) fn stands_for(line: &str, found: Finding, evidence: &Evidence) -> Finding {
    let Some(server) = &evidence.server else {
        return found;
    };
    let mut refused = None;
    let entries = server.events.iter().rev();
    let entries = entries.filter(|entry| {
        entry["event"]["type"] == "signed" && entry["event"]["line"].as_str() == Some(line)
    });
    for entry in entries {
        match read(entry, evidence.max_age) {
            Ok((word, age)) => {
                let value = format!("{word}; {}", found.value);
                let signed = Finding::measured(true, value, "a named person's word");
                return Finding {
                    evidence: found.evidence,
                    ..signed
                }
                .from(place(server, entry), Some(age));
            }
            // The newest one says best why.
            Err(why) => {
                refused.get_or_insert(why);
            }
        }
    }
    match refused {
        None => found,
        Some(why) => Finding {
            value: format!("{}; {why}", found.value),
            ..found
        },
    }
}

/// Who says what and how long ago, or why that does not count.
fn read(entry: &Value, max_age: Duration) -> Result<(String, Duration), String> {
    let event = &entry["event"];
    let text = |field: &str| event[field].as_str().unwrap_or_default().trim().to_owned();
    let (who, why) = (text("who"), text("why"));
    if NOBODY.contains(&who.to_lowercase().as_str()) {
        return Err(format!(
            "a signature by {who:?} does not count, which names no person: sign again with --who"
        ));
    }
    let at: Option<Timestamp> = entry["at"].as_str().and_then(|at| at.parse().ok());
    let age = at.and_then(|at| Duration::try_from(Timestamp::now() - at).ok());
    match age {
        Some(age) if age <= max_age => Ok((format!("signed by {who}: {why}"), age)),
        Some(age) => Err(format!(
            "the signature by {who} is of {} ago: sign again",
            ago(age)
        )),
        None => Err(format!("the signature by {who} says no time that has been")),
    }
}

fn place(server: &Server, entry: &Value) -> String {
    let id = server.migration["id"].as_str().unwrap_or("?");
    format!("journal of {id}, entry {}", entry["seq"])
}
