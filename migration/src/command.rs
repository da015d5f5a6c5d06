//! What a person can ask of a migration while it runs.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::checklist_line::ChecklistLine;

/// What a person can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Command {
    /// Nothing goes on and traffic stays as it is.
    Pause,
    /// Go on where it was paused. The stage's share is set again, and is judged on traffic from
    /// now on.
    Resume,
    /// Do not wait for what is left of the hold.
    Promote {
        /// Not to the next stage, but straight to the last, without its hold. The validation and a healthy look
        /// still come before it is complete.
        to_end: bool,
    },
    /// Traffic to 0 % at once, then take the candidate away.
    Rollback,
    /// The gate of the stage it is in may open.
    Approve,
    /// Take the old pool out of service, for good.
    Decommission,
    /// A person's word for a line of the production checklist. It is written down and moves nothing, so
    /// it is never refused.
    Sign {
        /// Which line.
        line: ChecklistLine,
    },
}

impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sign { line } => return write!(f, "sign {line}"),
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Promote { to_end: false } => "promote",
            Self::Promote { to_end: true } => "promote to the end",
            Self::Rollback => "rollback",
            Self::Approve => "approve",
            Self::Decommission => "decommission",
        })
    }
}

/// A command in the inbox, where any process with the database may put one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandRow {
    /// Its number: rising, from 1.
    pub id: u64,
    /// What is asked for.
    pub command: Command,
    /// Who asks.
    pub who: String,
    /// Why.
    pub why: String,
    /// When it was put there.
    pub at: Timestamp,
}
