//! What was seen of the candidate, of stable, and of the machine: what an analysis judges.

use std::time::Duration;

use dspex_flags::Percent;
use dspex_pool::{Growth, PoolStatus};
use dspex_telemetry::{HostUsage, LaneWindow};

use crate::plan::Plan;

/// What was seen over one window. Both lanes over the same stretch of time.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// Calls on stable.
    pub stable: LaneWindow,
    /// Calls on the candidate.
    pub candidate: LaneWindow,
    /// The candidate's pool, while it is up.
    pub candidate_pool: Option<PoolStatus>,
    /// How fast the memory of stable's workers grows, where its pool measures it.
    pub stable_growth: Option<Growth>,
    /// Workers of the candidate that ended unasked, broke the protocol or failed their health checks
    /// within the window.
    pub worker_failures: u64,
    /// What copied calls came to, program by program, where the plan has calls copied.
    pub differences: Option<Vec<Differences>>,
    /// The machine.
    pub host: HostUsage,
    /// Whether telemetry records windows at all.
    pub recorded: bool,
    /// The share of traffic that the candidate is meant to have. At 100 % stable need not have any
    /// calls to compare with.
    pub percent: Percent,
    /// How many separate windows the stage spans, at least one: a comparison is made anew in each.
    pub windows: f64,
}

/// What the copies of one program's calls came to, since the candidate came up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Differences {
    /// Which program.
    pub program: String,
    /// Copies whose two answers were compared.
    pub compared: u64,
    /// Those of them that were answered differently.
    pub different: u64,
    /// Copies that could not be compared, and why the last of them could not.
    pub not_compared: u64,
    /// Why the last of them could not.
    pub trouble: Option<String>,
}

/// How many separate windows this stage spans.
pub(crate) fn windows(plan: &Plan, hold: Duration) -> f64 {
    (hold.as_secs_f64() / plan.window.as_secs_f64()).max(1.0)
}
