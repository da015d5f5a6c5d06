//! What can be seen of recoveries: those under way, and how the last ones ended.

use std::sync::Arc;

use serde::Serialize;
use tokio::time::Instant;

use super::Action;
use crate::{ErrorClass, Severity};

/// How a recovery ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A further try succeeded.
    Recovered,
    /// Nothing more was tried, and the caller has the error.
    Abandoned,
    /// The circuit was opened, and the caller has the error.
    Tripped,
    /// The caller left before it ended.
    Left,
}

impl Outcome {
    /// Every outcome, in the order of their declaration.
    pub const ALL: [Self; 4] = [Self::Recovered, Self::Abandoned, Self::Tripped, Self::Left];

    /// The outcome's name in logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Recovered => "recovered",
            Self::Abandoned => "abandoned",
            Self::Tripped => "tripped",
            Self::Left => "left",
        }
    }
}

/// One recovery.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempted {
    /// Counts up from 1.
    pub number: u64,
    /// What failed: a request, a worker.
    pub subject: Arc<str>,
    /// The class of its last failure.
    pub class: ErrorClass,
    /// How grave the gravest was.
    pub severity: Severity,
    /// When it began.
    pub begun: Instant,
    /// How often something was tried.
    pub tries: u32,
    /// What was done last.
    pub last: Option<Action>,
    /// How it ended; none while it is under way.
    pub outcome: Option<Outcome>,
    /// When it ended.
    pub ended: Option<Instant>,
}

/// All recoveries of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct RecoveryFigures {
    /// Which kind.
    pub name: Arc<str>,
    /// How many have begun.
    pub begun: u64,
    /// How many are under way, listed or not.
    pub under_way: u64,
    /// How many have ended, by the order of [`Outcome::ALL`].
    pub ended: [u64; Outcome::ALL.len()],
    /// Those under way, in the order in which they began; bounded.
    pub active: Vec<Attempted>,
    /// Those that ended last, the oldest first; bounded.
    pub recent: Vec<Attempted>,
}
