//! Where a migration is, as the fold of its journal.
//!
//! Invariants: [`State::next`] is the only way a state changes, live and in replay. It takes any
//! event in any state and never fails: an event that makes no sense there changes nothing but
//! `seq`. Whatever is wanted next is read off the state ([`State::wants`]), so a crash between
//! a decision and its act resumes to the same act.

mod apply;
mod wants;

use std::time::Duration;

use dspex_flags::Revision;
use jiff::Timestamp;

use crate::alert::Alerts;
use crate::analysis::Analysis;
use crate::cause::Cause;
use crate::error::JournalError;
use crate::event::{Entry, Event};
use crate::id::MigrationId;
use crate::journal::Journal;
use crate::ledger::Ledger;
use crate::lever::Lever;
use crate::phase::Phase;
use crate::plan::Plan;
use crate::scenario::Scenario;
use crate::stage_record::StageRecord;
use crate::step::Step;
use crate::vault::Saved;
use crate::waiting::Waiting;

/// Where a migration is.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Which migration.
    pub id: MigrationId,
    /// What it is going to do.
    pub plan: Plan,
    /// Who began it.
    pub who: String,
    /// Why.
    pub why: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended, once it has.
    pub ended_at: Option<Timestamp>,
    /// The last entry in it.
    pub seq: u64,
    /// The part of the way it is on.
    pub phase: Phase,
    /// The step to be taken in this phase, where there is one.
    pub step: Option<Step>,
    /// How often that step has failed since it was to be taken, or since a person resumed it.
    pub step_failures: u32,
    /// Why it is paused, while it is.
    pub paused: Option<Cause>,
    /// The stage it is in, from 0; none before the first.
    pub stage: Option<usize>,
    /// The stage needs no hold: a person promoted to the end.
    pub waived: bool,
    /// Healthy time seen in this stage.
    pub healthy: Duration,
    /// On whose word the gate of this stage is open, once it is.
    pub gate: Option<Cause>,
    /// What it waits for, beside its hold.
    pub waiting: Option<Waiting>,
    /// Where the lever is.
    pub lever: Lever,
    /// The revision of the flags at which the lever was last acknowledged.
    pub revision: Option<Revision>,
    /// One for each stage that was entered.
    pub stages: Vec<StageRecord>,
    /// The last look.
    pub analysis: Option<Analysis>,
    /// What all looks have proved.
    pub ledger: Ledger,
    /// The last warnings and criticals.
    pub alerts: Alerts,
    /// When it was complete, once it was.
    pub completed_at: Option<Timestamp>,
    /// Time in which the candidate was seen to serve all traffic since then.
    pub served: Duration,
    /// The old pool is cold.
    pub rested: bool,
    /// The backup that was made before it began.
    pub backup: Option<Saved>,
    /// What the old pool left behind.
    pub archive: Option<Saved>,
    /// The last command taken from the inbox.
    pub last_command: u64,
    /// Tries to take traffic to 0 % that failed, and were written down, since the rollback began.
    pub zero_failures: u32,
    /// Withdrawals that failed since the rollback began.
    pub withdraw_failures: u32,
    /// Why it was rolled back, once that was decided.
    pub rollback: Option<Cause>,
    /// What kind of trouble that was.
    pub scenario: Option<Scenario>,
    /// The rollback came in the middle of a promotion, which is to be undone.
    pub demotes: bool,
    /// What stands in the way at present, or what a person must do.
    pub problem: Option<String>,
}

/// Why a journal cannot be replayed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the journal of {id} cannot be replayed: {problem}")]
pub struct BrokenJournal {
    /// Whose journal.
    pub id: MigrationId,
    /// What is wrong with it.
    pub problem: String,
}

/// Entries that are read at once.
const PIECE: usize = 4_096;

impl State {
    /// The state after a whole journal, read from where it is kept. It is taken in piece by piece: a
    /// journal of months is far larger than the state after it.
    ///
    /// # Errors
    ///
    /// [`JournalError::Corrupt`] as [`State::replay`], and the journal's own.
    pub async fn load(journal: &dyn Journal, id: &MigrationId) -> Result<Self, JournalError> {
        let mut state: Option<Self> = None;
        loop {
            let after = state.as_ref().map_or(0, |state| state.seq);
            let piece = journal.entries(id, after, PIECE).await?;
            let ended = piece.len() < PIECE;
            let next = match state {
                None => Self::replay(id, &piece)?,
                Some(state) => state.follow(&piece)?,
            };
            if ended {
                return Ok(next);
            }
            state = Some(next);
        }
    }

    /// The state after a whole journal.
    ///
    /// # Errors
    ///
    /// [`BrokenJournal`] where the first entry is no start, a number is missing, or the plan in it
    /// is not valid.
    pub fn replay(id: &MigrationId, entries: &[Entry]) -> Result<Self, BrokenJournal> {
        let broken = |problem: &str| BrokenJournal {
            id: id.clone(),
            problem: problem.to_owned(),
        };
        let (first, rest) = entries.split_first().ok_or_else(|| broken("it is empty"))?;
        let Event::Started { plan, who, why } = &first.event else {
            return Err(broken("its first entry is not a start"));
        };
        plan.validate()
            .map_err(|invalid| broken(&invalid.to_string()))?;
        let state = Self::begin(id.clone(), plan.clone(), who.clone(), why.clone(), first.at);
        state.follow(rest)
    }

    /// The state after these entries too.
    fn follow(self, entries: &[Entry]) -> Result<Self, BrokenJournal> {
        entries.iter().try_fold(self, |state, entry| {
            if entry.seq != state.seq + 1 {
                return Err(BrokenJournal {
                    problem: format!("entry {} follows entry {}", entry.seq, state.seq),
                    id: state.id,
                });
            }
            Ok(state.next(entry))
        })
    }

    /// The state after the first entry.
    #[must_use]
    pub fn begin(id: MigrationId, plan: Plan, who: String, why: String, at: Timestamp) -> Self {
        Self {
            id,
            plan,
            who,
            why,
            started_at: at,
            ended_at: None,
            seq: 1,
            phase: Phase::Prepare,
            step: Step::first_of(Phase::Prepare),
            step_failures: 0,
            paused: None,
            stage: None,
            waived: false,
            healthy: Duration::ZERO,
            gate: None,
            waiting: None,
            lever: Lever::Rest,
            revision: None,
            stages: Vec::new(),
            analysis: None,
            ledger: Ledger::default(),
            alerts: Alerts::default(),
            completed_at: None,
            served: Duration::ZERO,
            rested: false,
            backup: None,
            archive: None,
            last_command: 0,
            zero_failures: 0,
            withdraw_failures: 0,
            rollback: None,
            scenario: None,
            demotes: false,
            problem: None,
        }
    }
}
