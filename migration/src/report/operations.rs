//! Who did what and why; pauses; the time in which no controller looked.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::Finding;
use super::reading::{Reading, between};
use crate::event::{Cause, Event};

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
    /// Entries that asked for a person's eye.
    pub alerts: Vec<Finding>,
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
            alerts: alerts(reading),
        }
    }
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
