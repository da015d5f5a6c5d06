//! The parts of a migration's way.

use serde::{Deserialize, Serialize};

/// The part of its way that a migration is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Preflight and backup.
    Prepare,
    /// The candidate is being brought up.
    Deploy,
    /// The candidate is up, and looked at before it gets traffic.
    Verify,
    /// Stage by stage.
    Rollout,
    /// The candidate serves all traffic, and is held against stable once more.
    Validate,
    /// The candidate serves all traffic, and is still looked at. It can be rolled back.
    Complete,
    /// The old pool is taken out of service for good.
    Decommission,
    /// The candidate is stable now, and the old pool is gone. The end: the next migration starts
    /// from here.
    Decommissioned,
    /// Traffic to 0 %, then the candidate away.
    RollingBack,
    /// As before the migration.
    RolledBack,
    /// Traffic is at 0 %, but a person must help to take the candidate away.
    Stuck,
}

impl Phase {
    /// Every phase, in the order in which a migration comes through them.
    pub const ALL: [Self; 11] = [
        Self::Prepare,
        Self::Deploy,
        Self::Verify,
        Self::Rollout,
        Self::Validate,
        Self::Complete,
        Self::Decommission,
        Self::Decommissioned,
        Self::RollingBack,
        Self::RolledBack,
        Self::Stuck,
    ];

    /// Whether the migration is under way, so that no other may begin.
    #[must_use]
    pub fn is_live(self) -> bool {
        !matches!(
            self,
            Self::Complete | Self::RolledBack | Self::Decommissioned
        )
    }

    /// The phase's name in JSON and in the database.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Deploy => "deploy",
            Self::Verify => "verify",
            Self::Rollout => "rollout",
            Self::Validate => "validate",
            Self::Complete => "complete",
            Self::Decommission => "decommission",
            Self::Decommissioned => "decommissioned",
            Self::RollingBack => "rolling_back",
            Self::RolledBack => "rolled_back",
            Self::Stuck => "stuck",
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.label())
    }
}
