//! What a migration waits for, beside its hold.

use jiff::Timestamp;

/// What a migration waits for: nothing is wrong, and it does not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// The gate of its stage.
    Gate {
        /// Who must say yes, or why it was none.
        reason: String,
    },
    /// The end of a freeze.
    Freeze {
        /// Why it is frozen.
        why: String,
        /// Until when; none where that cannot be told.
        until: Option<Timestamp>,
    },
}

impl Waiting {
    /// Whether it is over by now.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        matches!(self, Self::Freeze { until: Some(until), .. } if *until <= now)
    }
}

impl std::fmt::Display for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gate { reason } => write!(f, "the gate is not open: {reason}"),
            Self::Freeze {
                why,
                until: Some(until),
            } => write!(f, "frozen until {until}: {why}"),
            Self::Freeze { why, until: None } => write!(f, "frozen: {why}"),
        }
    }
}
