//! What is to be learnt from a migration: a report made of its journal, and of nothing else.
//!
//! [`report`] is a pure function of the journal. What it says is in [`Report`], which serializes for
//! machines; [`Report::markdown`] and [`Report::html`] say the same to people.
//!
//! Invariants: every sentence names the entries of the journal that it rests on. What the journal
//! cannot tell is said to be open, and is never ticked. Text that came from elsewhere (names, reasons,
//! errors) is escaped where it is rendered, and nowhere else.

mod advice;
mod criteria;
mod document;
mod escape;
mod html;
mod markdown;
mod operations;
mod outcome;
mod performance;
mod plot;
mod reading;
mod series;

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::event::Entry;
use crate::id::MigrationId;
use crate::phase::Phase;
use crate::state::{BrokenJournal, State};
use reading::Reading;

pub use operations::{Act, Gap, Operations, Pause};
pub use performance::{LaneFigures, Performance, StageFigures};
pub use series::{Band, Point, Series, VerdictSpan};

/// What is to be learnt from one migration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Which migration.
    pub id: MigrationId,
    /// What was brought in, with its version where it has one.
    pub candidate: String,
    /// What served before, in the same way.
    pub stable: String,
    /// Who began it.
    pub who: String,
    /// Why.
    pub why: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended, once it has.
    pub ended_at: Option<Timestamp>,
    /// When its last entry was written.
    pub last_at: Timestamp,
    /// The last entry that is in this report.
    pub last_seq: u64,
    /// The part of its way it was on then.
    pub phase: Phase,
    /// What came of it, in sentences.
    pub summary: Vec<Finding>,
    /// Every entry that is no look, and the looks at which the verdict changed.
    pub timeline: Vec<Moment>,
    /// What went well.
    pub went_well: Vec<Finding>,
    /// What went wrong.
    pub went_wrong: Vec<Finding>,
    /// Both lanes, stage by stage.
    pub performance: Performance,
    /// Who did what and why, pauses, and the time without a controller.
    pub operations: Operations,
    /// What to do otherwise the next time.
    pub recommendations: Vec<Finding>,
    /// Whether it was a success, criterion by criterion.
    pub criteria: Vec<Criterion>,
    /// What the plots are drawn from.
    pub series: Series,
}

/// A sentence, and the entries of the journal that it rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The sentence.
    pub text: String,
    /// Numbers of entries.
    pub evidence: Vec<u64>,
}

impl Finding {
    fn new(text: impl Into<String>, evidence: impl Into<Vec<u64>>) -> Self {
        Self {
            text: text.into(),
            evidence: evidence.into(),
        }
    }
}

/// One entry of the journal in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// The entry.
    pub seq: u64,
    /// When it was written.
    pub at: Timestamp,
    /// What it says.
    pub text: String,
    /// Whether a person should look.
    pub trouble: bool,
}

/// Whether a criterion is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Met {
    /// The journal proves that it is.
    Yes,
    /// The journal proves that it is not.
    No,
    /// The journal cannot tell: for a person to judge.
    Open,
}

/// A criterion of success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Criterion {
    /// What must hold.
    pub name: &'static str,
    /// Whether it does.
    pub met: Met,
    /// What that rests on.
    pub finding: Finding,
}

/// Makes the report of a migration's whole journal.
///
/// # Errors
///
/// [`BrokenJournal`] where the entries are no journal: the first one is no start, or one is missing.
pub fn report(id: &MigrationId, entries: &[Entry]) -> Result<Report, BrokenJournal> {
    let state = State::replay(id, entries)?;
    let reading = Reading::of(id, entries, &state);
    let last = entries.last();
    Ok(Report {
        id: id.clone(),
        candidate: state.plan.candidate_name(),
        stable: state.plan.stable_name(),
        who: state.who.clone(),
        why: state.why.clone(),
        started_at: state.started_at,
        ended_at: state.ended_at,
        last_at: last.map_or(state.started_at, |entry| entry.at),
        last_seq: state.seq,
        phase: state.phase,
        summary: outcome::summary(&reading),
        timeline: reading.timeline(),
        went_well: outcome::went_well(&reading),
        went_wrong: outcome::went_wrong(&reading),
        performance: Performance::of(&reading),
        operations: Operations::of(&reading),
        recommendations: advice::of(&reading),
        criteria: criteria::of(&reading),
        series: Series::of(&reading),
    })
}

impl Report {
    /// As Markdown (CommonMark with tables).
    #[must_use]
    pub fn markdown(&self) -> String {
        markdown::render(&document::of(self))
    }

    /// As one HTML page that asks for nothing else: styles and plots are in it, and no script.
    #[must_use]
    pub fn html(&self) -> String {
        html::render(&self.title(), &document::of(self))
    }

    fn title(&self) -> String {
        format!("Migration of {} to {}", self.stable, self.candidate)
    }

    /// How long it took, or has taken so far, by the wall clock.
    fn took(&self) -> Duration {
        reading::between(self.started_at, self.ended_at.unwrap_or(self.last_at))
    }
}

#[cfg(test)]
mod tests;
