//! Who did what and why; pauses; the time in which no controller looked.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::Finding;
use super::reading::{Reading, between};
use crate::alert::Alert;
use crate::cause::Cause;
use crate::event::Event;

/// The most alerts that are listed one by one; beyond it they are counted.
const ALERTS: usize = 100;

/// What people did, and what happened around the controller.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Operations {
    /// The start and every command, in order.
    pub acts: Vec<Act>,
    /// Times in which nothing went on.
    pub pauses: Vec<Pause>,
    /// Times in which no controller looked at a stage that was healthy.
    pub gaps: Vec<Gap>,
    /// Times in which a stage waited for a gate or for the end of a freeze.
    pub waits: Vec<Wait>,
    /// Warnings and criticals of the rules, the last of them.
    pub told: Vec<Alert>,
    /// Entries that asked for a person's eye.
    pub alerts: Vec<Finding>,
    /// What was cleaned away with the old pool, once it is gone.
    pub cleaned: Option<Finding>,
}

/// What a person did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Act {
    /// The entry.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub who: String,
    /// What was asked for.
    pub what: String,
    /// Why.
    pub why: String,
    /// Why it was not obeyed, where it was not.
    pub refused: Option<String>,
}

/// A pause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pause {
    /// The entry that paused it.
    pub seq: u64,
    /// When it began.
    pub from: Timestamp,
    /// When it ended, once it has.
    pub until: Option<Timestamp>,
    /// On whose word.
    pub cause: Cause,
}

/// A time in which it would have gone on, but for a gate or a freeze.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wait {
    /// The entry that said so first.
    pub seq: u64,
    /// When.
    pub from: Timestamp,
    /// When it went on, or was asked to go elsewhere; none where it waits still.
    pub until: Option<Timestamp>,
    /// What for.
    pub what: String,
}

impl Wait {
    /// How long it was; none while it lasts.
    #[must_use]
    pub fn length(&self) -> Option<Duration> {
        self.until.map(|until| between(self.from, until))
    }
}

/// A time in which nobody looked, though a stage was healthy and would have been written about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The last entry before it.
    pub after: u64,
    /// When that was written.
    pub from: Timestamp,
    /// When the next one was.
    pub until: Timestamp,
}

impl Gap {
    /// How long it was.
    #[must_use]
    pub fn length(&self) -> Duration {
        between(self.from, self.until)
    }
}

impl Operations {
    pub(super) fn of(reading: &Reading<'_>) -> Self {
        Self {
            acts: acts(reading),
            pauses: reading.pauses.clone(),
            gaps: reading.gaps.clone(),
            waits: waits(reading),
            told: reading.state.alerts.iter().cloned().collect(),
            alerts: alerts(reading),
            cleaned: cleaned(reading),
        }
    }
}

fn cleaned(reading: &Reading<'_>) -> Option<Finding> {
    reading.entries.iter().find_map(|entry| match &entry.event {
        Event::StepDone {
            removed: Some(removed),
            ..
        } => {
            let text = match removed.is_nothing() {
                true => "The old pool left nothing behind that had to be cleaned away.".to_owned(),
                false => format!("With the old pool were cleaned away: {removed}."),
            };
            Some(Finding::new(text, [entry.seq]))
        }
        _ => None,
    })
}

/// From the first word about what is waited for until the stage moves.
pub(super) fn waits(reading: &Reading<'_>) -> Vec<Wait> {
    let mut waits: Vec<Wait> = Vec::new();
    for entry in reading.entries {
        let open = waits.last_mut().filter(|wait| wait.until.is_none());
        match &entry.event {
            Event::GateWaiting { .. } | Event::Frozen { .. } if open.is_none() => {
                waits.push(Wait {
                    seq: entry.seq,
                    from: entry.at,
                    until: None,
                    what: entry.event.to_string(),
                });
            }
            Event::GateOpened { .. }
            | Event::StageLeft { .. }
            | Event::StageEntered { .. }
            | Event::RollbackBegan { .. }
            | Event::DecommissionBegan { .. }
            | Event::Completed => {
                if let Some(wait) = open {
                    wait.until = Some(entry.at);
                }
            }
            _ => {}
        }
    }
    waits
}

/// The start and the commands.
pub(super) fn acts(reading: &Reading<'_>) -> Vec<Act> {
    let told = reading.entries.iter().filter_map(|entry| {
        let (what, who, why, refused) = match &entry.event {
            Event::Started { who, why, .. } => ("start".to_owned(), who, why, None),
            Event::Commanded {
                command,
                who,
                why,
                refused,
                ..
            } => (command.to_string(), who, why, refused.clone()),
            _ => return None,
        };
        Some(Act {
            seq: entry.seq,
            at: entry.at,
            who: who.clone(),
            what,
            why: why.clone(),
            refused,
        })
    });
    told.collect()
}

/// Trouble, the same words once, with every entry that says them.
pub(super) fn alerts(reading: &Reading<'_>) -> Vec<Finding> {
    let (mut alerts, mut more): (Vec<Finding>, Vec<u64>) = (Vec::new(), Vec::new());
    let troubles = reading
        .entries
        .iter()
        .filter(|entry| entry.event.is_trouble());
    for entry in troubles {
        let text = entry.event.to_string();
        if let Some(alert) = alerts.iter_mut().find(|alert| alert.text == text) {
            alert.evidence.push(entry.seq);
        } else if alerts.len() < ALERTS {
            alerts.push(Finding::new(text, [entry.seq]));
        } else {
            more.push(entry.seq);
        }
    }
    if !more.is_empty() {
        alerts.push(Finding::new("further alerts are in the journal", more));
    }
    alerts
}
