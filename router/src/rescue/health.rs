//! What can be seen of calls that are sent once more: those under way, how the last ones ended, and
//! what is left in the budget.
//!
//! Invariant: lists are bounded; counts are of the router's whole life.

use std::sync::Arc;
use std::time::Duration;

use dspex_breaker::{Action, BudgetFigures, Draw, ErrorClass, Outcome, RecoveryFigures, Why};
use serde::Serialize;
use tokio::time::Instant;

/// What was sent once more, and what the budget for it holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RescueHealth {
    /// What failovers, retries and copies draw from.
    pub budget: BudgetHealth,
    /// Calls that the candidate failed, for stable to answer in its place.
    pub failover: RuleHealth,
    /// Calls under which stable lost a worker, for another of its workers to answer.
    pub again: RuleHealth,
}

/// The budget for further attempts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BudgetHealth {
    /// Calls in its window.
    pub calls: u64,
    /// Further attempts in its window.
    pub drawn: u64,
    /// Further attempts that could be made for callers now.
    pub left: u64,
    /// What it was asked for since the router was made.
    pub draws: Vec<DrawHealth>,
}

/// What the budget answered to one kind of further attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DrawHealth {
    /// `retry`, `failover`, `hedge` or `shadow`.
    pub draw: &'static str,
    /// How many were granted.
    pub granted: u64,
    /// How many were refused.
    pub refused: u64,
}

/// The calls that one rule sent once more.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RuleHealth {
    /// Calls that are being answered at present.
    pub under_way: u64,
    /// Calls that were answered.
    pub recovered: u64,
    /// Calls that failed once more, that the budget did not hold, or that the rule gives up.
    pub abandoned: u64,
    /// Calls that failed, and whose class opens the circuit.
    pub tripped: u64,
    /// Calls whose caller left.
    pub left: u64,
    /// Those that are under way, the oldest first; bounded.
    pub active: Vec<ActiveRescue>,
    /// Those that ended last, the oldest first; bounded.
    pub recent: Vec<EndedRescue>,
}

/// A call that is being answered by a second attempt.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ActiveRescue {
    /// Which call.
    pub request_id: Arc<str>,
    /// What the last attempt failed by.
    pub class: ErrorClass,
    /// How long ago the first one did, in milliseconds.
    pub for_ms: u64,
}

/// A call that a pool failed, and how it ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EndedRescue {
    /// Which call.
    pub request_id: Arc<str>,
    /// What the last failed attempt failed by.
    pub class: ErrorClass,
    /// How it ended: `recovered`, `abandoned`, `tripped` or `left`.
    pub outcome: &'static str,
    /// Why nothing more was tried, where that was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
    /// How often it was sent once more.
    pub tries: u32,
    /// How long it took from the first failure on, in milliseconds.
    pub took_ms: u64,
    /// How long ago it ended, in milliseconds.
    pub ended_ms_ago: u64,
}

impl BudgetHealth {
    pub(super) fn of(figures: &BudgetFigures) -> Self {
        let draws = Draw::ALL.map(|draw| DrawHealth {
            draw: draw.name(),
            granted: figures.granted[draw as usize],
            refused: figures.refused[draw as usize],
        });
        Self {
            calls: figures.calls,
            drawn: figures.drawn,
            left: figures.left,
            draws: draws.into(),
        }
    }
}

impl RuleHealth {
    pub(super) fn of(figures: &RecoveryFigures, now: Instant) -> Self {
        let ended = |outcome: Outcome| figures.ended[outcome as usize];
        let active = figures.active.iter().map(|active| ActiveRescue {
            request_id: Arc::clone(&active.subject),
            class: active.class,
            for_ms: millis(now.saturating_duration_since(active.begun)),
        });
        let recent = figures.recent.iter().filter_map(|one| {
            let (outcome, at) = one.outcome.zip(one.ended)?;
            Some(EndedRescue {
                request_id: Arc::clone(&one.subject),
                class: one.class,
                outcome: outcome.name(),
                why: match one.last {
                    Some(Action::Abandon(why)) => Some(why),
                    _ => None,
                },
                tries: one.tries,
                took_ms: millis(at.saturating_duration_since(one.begun)),
                ended_ms_ago: millis(now.saturating_duration_since(at)),
            })
        });
        Self {
            under_way: figures.under_way,
            recovered: ended(Outcome::Recovered),
            abandoned: ended(Outcome::Abandoned),
            tripped: ended(Outcome::Tripped),
            left: ended(Outcome::Left),
            active: active.collect(),
            recent: recent.collect(),
        }
    }

    /// How many ended how, each by its name.
    #[must_use]
    pub fn ended(&self) -> [(&'static str, u64); 4] {
        [
            (Outcome::Recovered.name(), self.recovered),
            (Outcome::Abandoned.name(), self.abandoned),
            (Outcome::Tripped.name(), self.tripped),
            (Outcome::Left.name(), self.left),
        ]
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
