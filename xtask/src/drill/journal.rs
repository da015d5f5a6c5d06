//! A migration's journal, as the server tells it, and the laws that every journal must keep.

use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::live::client::Client;

/// Entries read at once.
const PAGE: usize = 1000;

/// One entry.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Entry {
    pub(super) seq: u64,
    pub(super) at: Timestamp,
    pub(super) event: Value,
}

/// All entries of one migration, the oldest first.
#[derive(Debug, Clone)]
pub(super) struct Journal {
    pub(super) id: String,
    pub(super) entries: Vec<Entry>,
}

impl Entry {
    /// Such as `rollback_began`.
    pub(super) fn kind(&self) -> &str {
        self.event["type"].as_str().unwrap_or_default()
    }
}

impl Journal {
    /// Reads all of a migration's journal.
    pub(super) fn read(client: &Client, id: &str) -> Result<Self> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let after = entries.last().map_or(0, |entry| entry.seq);
            let path = format!("/admin/v1/migrations/{id}/events?after={after}&limit={PAGE}");
            let mut page = client.get(&path)?;
            let page: Vec<Entry> = serde_json::from_value(page["events"].take())
                .context("the journal is of another form")?;
            let last = page.len() < PAGE;
            entries.extend(page);
            if last {
                return Ok(Self {
                    id: id.to_owned(),
                    entries,
                });
            }
        }
    }

    /// The first entry of this kind.
    pub(super) fn first(&self, kind: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.kind() == kind)
    }

    /// How many entries of this kind there are.
    pub(super) fn count(&self, kind: &str) -> usize {
        let of_kind = self.entries.iter().filter(|entry| entry.kind() == kind);
        of_kind.count()
    }

    /// The verdicts in their order, each told once for as long as it stayed.
    pub(super) fn verdicts(&self) -> Vec<(Timestamp, String)> {
        let mut told: Vec<(Timestamp, String)> = Vec::new();
        for entry in &self.entries {
            let Some(verdict) = entry.event["analysis"]["verdict"].as_str() else {
                continue;
            };
            if told.last().is_none_or(|(_, last)| last != verdict) {
                told.push((entry.at, verdict.to_owned()));
            }
        }
        told
    }

    /// What this journal has done that none may do; nothing where it kept the laws:
    /// no gap, stages only upwards and one at a time, no stage left by the controller before its
    /// hold was credited, and nothing raised after a rollback began.
    pub(super) fn offences(&self) -> Vec<String> {
        let mut offences = Vec::new();
        let mut rolling_back = false;
        let mut credit = Duration::ZERO;
        let mut stage: Option<u64> = None;
        let mut share = 0.0;
        let holds = self.holds();
        for (entry, expected) in self.entries.iter().zip(1..) {
            let seq = entry.seq;
            if seq != expected {
                offences.push(format!("entry {expected} is missing: {seq} follows"));
                break;
            }
            match entry.kind() {
                "rollback_began" => rolling_back = true,
                "ticked" => {
                    let millis = entry.event["credit_ms"].as_u64().unwrap_or(0);
                    credit += Duration::from_millis(millis);
                    if millis > 0 && entry.event["analysis"]["verdict"] != "healthy" {
                        offences.push(format!("entry {seq} credits a stage not seen healthy"));
                    }
                }
                "stage_entered" => {
                    let entered = entry.event["stage"].as_u64();
                    let waived = entry.event["waived"] == true;
                    let next = stage.map_or(0, |stage| stage + 1);
                    if rolling_back {
                        offences.push(format!("entry {seq} enters a stage after a rollback"));
                    }
                    if entered != Some(next) && !waived {
                        offences.push(format!("entry {seq} enters stage {entered:?}, not {next}"));
                    }
                    stage = entered;
                    credit = Duration::ZERO;
                    let to = entry.event["percent"].as_f64().unwrap_or(f64::NAN);
                    if to <= share || to.is_nan() {
                        offences.push(format!("entry {seq} goes from {share} % to {to} %"));
                    }
                    share = to;
                }
                "stage_left" => {
                    let by_controller = entry.event["cause"]["by"] == "controller";
                    let hold = stage.and_then(|stage| holds.get(usize::try_from(stage).ok()?));
                    let short = hold.is_some_and(|hold| credit < *hold);
                    if by_controller && !rolling_back && short && !self.rolls_back_after(seq) {
                        offences.push(format!(
                            "entry {seq} leaves a stage after {credit:?} of {hold:?} seen healthy"
                        ));
                    }
                }
                "traffic_set" if rolling_back => {
                    offences.push(format!("entry {seq} sets traffic after a rollback"));
                }
                _ => {}
            }
        }
        offences
    }

    /// Whether the entry after this one begins a rollback: then its stage was not left for the next.
    fn rolls_back_after(&self, seq: u64) -> bool {
        let next = self.entries.iter().find(|entry| entry.seq == seq + 1);
        next.is_some_and(|entry| entry.kind() == "rollback_began")
    }

    fn holds(&self) -> Vec<Duration> {
        let plan = self.first("started").map(|entry| &entry.event["plan"]);
        let stages = plan.and_then(|plan| plan["stages"].as_array());
        stages
            .into_iter()
            .flatten()
            .map(|stage| {
                let hold = stage["hold"].as_str().unwrap_or_default();
                hold.parse::<jiff::SignedDuration>()
                    .ok()
                    .and_then(|hold| Duration::try_from(hold).ok())
                    .unwrap_or(Duration::MAX)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn journal(events: Vec<Value>) -> Journal {
        let entries = events
            .into_iter()
            .zip(1..)
            .map(|(event, seq)| Entry {
                seq,
                at: Timestamp::UNIX_EPOCH,
                event,
            })
            .collect();
        Journal {
            id: "m".to_owned(),
            entries,
        }
    }

    fn good() -> Vec<Value> {
        let tick = |credit: u64, verdict: &str| json!({"type": "ticked", "credit_ms": credit, "analysis": {"verdict": verdict}});
        let left =
            || json!({"type": "stage_left", "cause": {"by": "controller", "why": "seen healthy"}});
        vec![
            json!({"type": "started", "plan": {"stages": [
                {"percent": 10, "hold": "1s 500ms"}, {"percent": 100, "hold": "1s"},
            ]}}),
            json!({"type": "stage_entered", "stage": 0, "percent": 10, "waived": false}),
            json!({"type": "traffic_set", "percent": 10}),
            tick(0, "inconclusive"),
            tick(1500, "healthy"),
            left(),
            json!({"type": "stage_entered", "stage": 1, "percent": 100, "waived": false}),
            tick(0, "critical"),
            left(),
            json!({"type": "rollback_began", "cause": {"by": "controller", "why": "errors"}}),
            json!({"type": "traffic_zeroed"}),
        ]
    }

    #[test]
    fn a_lawful_journal_has_no_offences_and_tells_its_verdicts() {
        let journal = journal(good());
        assert_eq!(journal.offences(), [""; 0]);
        let verdicts = journal.verdicts();
        let words: Vec<&str> = verdicts.iter().map(|(_, word)| word.as_str()).collect();
        assert_eq!(words, ["inconclusive", "healthy", "critical"]);
        assert_eq!(journal.count("ticked"), 3);
    }

    #[test]
    fn each_offence_is_found() {
        let broken = |change: fn(&mut Vec<Value>)| {
            let mut events = good();
            change(&mut events);
            journal(events).offences().join("; ")
        };
        assert!(broken(|e| e[4]["credit_ms"] = 1499.into()).contains("leaves a stage"));
        assert!(
            broken(|e| e[4]["analysis"]["verdict"] = "warning".into()).contains("not seen healthy")
        );
        assert!(broken(|e| e[6]["stage"] = 2.into()).contains("not 1"));
        assert!(broken(|e| e[6]["percent"] = 5.into()).contains("from 10 % to 5 %"));
        assert!(broken(|e| e.push(json!({"type": "traffic_set"}))).contains("sets traffic"));
        assert!(
            broken(|e| e.push(json!({"type": "stage_entered", "stage": 2, "percent": 101})))
                .contains("after a rollback")
        );
        let mut gap = journal(good());
        gap.entries.remove(2);
        assert!(gap.offences().join("").contains("entry 3 is missing"));
    }
}
