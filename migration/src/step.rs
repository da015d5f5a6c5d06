//! The steps that a migration takes beside moving traffic, in their order.
//!
//! Invariant: the order is here and nowhere else. A step that ended well leads to the one after it,
//! or to another phase.

use serde::{Deserialize, Serialize};

use crate::phase::Phase;

/// A step of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Step {
    /// Can it be begun at all?
    Preflight,
    /// What is there now is put aside, so that it can be restored.
    Backup,
    /// Bring the candidate up, with no traffic.
    Deploy,
    /// Can the candidate serve?
    Verify,
    /// Does the candidate do what stable does, as fast, and does it recover as well?
    Validate,
    /// May the old pool go?
    Confirm,
    /// What the old pool leaves behind is put aside.
    Archive,
    /// The candidate's pool becomes stable. From its end on there is no way back.
    Promote,
    /// The lever back to 0 %: both lanes are the same pool by now.
    Settle,
    /// The old pool is stopped, and what it leaves is cleaned up.
    Retire,
}

impl Step {
    /// The step that a phase begins with, where it has any.
    pub(crate) fn first_of(phase: Phase) -> Option<Self> {
        match phase {
            Phase::Prepare => Some(Self::Preflight),
            Phase::Deploy => Some(Self::Deploy),
            Phase::Verify => Some(Self::Verify),
            Phase::Validate => Some(Self::Validate),
            Phase::Decommission => Some(Self::Confirm),
            _ => None,
        }
    }

    /// Where it leads when it ended well: to a phase, and to the step to be taken in it.
    pub(crate) fn leads_to(self) -> (Phase, Option<Self>) {
        let phase = match self {
            Self::Preflight => return (Phase::Prepare, Some(Self::Backup)),
            Self::Backup => Phase::Deploy,
            Self::Deploy => Phase::Verify,
            Self::Verify => Phase::Rollout,
            // It is complete only once nothing stands in the way, such as a freeze.
            Self::Validate => return (Phase::Validate, None),
            Self::Confirm => return (Phase::Decommission, Some(Self::Archive)),
            Self::Archive => return (Phase::Decommission, Some(Self::Promote)),
            Self::Promote => return (Phase::Decommission, Some(Self::Settle)),
            Self::Settle => return (Phase::Decommission, Some(Self::Retire)),
            Self::Retire => return (Phase::Decommission, None),
        };
        (phase, Self::first_of(phase))
    }

    /// Whether it is one of those before the first stage.
    pub(crate) fn is_on_the_way_in(self) -> bool {
        self <= Self::Verify
    }

    /// Whether it takes the old pool out of service.
    pub(crate) fn is_of_the_decommission(self) -> bool {
        self >= Self::Confirm
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Preflight => "preflight",
            Self::Backup => "backup",
            Self::Deploy => "deploy",
            Self::Verify => "verify",
            Self::Validate => "validate",
            Self::Confirm => "confirm",
            Self::Archive => "archive",
            Self::Promote => "promote",
            Self::Settle => "settle",
            Self::Retire => "retire",
        })
    }
}
