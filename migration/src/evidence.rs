//! What was seen of the candidate, of stable, and of the machine: what an analysis judges.

use std::collections::BTreeMap;

use dspex_flags::Percent;
use dspex_pool::{Growth, PoolStatus};
use dspex_telemetry::{HostUsage, LaneWindow, ProgramWindow};
use serde::{Deserialize, Serialize};

use crate::ledger::Ledger;
use crate::plan::Plan;
use crate::sample::Sample;
use crate::windows::Windows;

/// Calls by program, on stable and on the candidate.
pub type Programs = BTreeMap<String, [ProgramWindow; 2]>;

/// What was seen over one window. Both lanes over the same stretch of time.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// Calls on stable.
    pub stable: LaneWindow,
    /// Calls on the candidate.
    pub candidate: LaneWindow,
    /// The same program by program, as far back as windows reach.
    pub recent: Programs,
    /// And since the stage began.
    pub stage: Programs,
    /// What all looks have proved, this one included.
    pub ledger: Ledger,
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
}

impl Evidence {
    /// What there is to judge where all of this was seen in one look, the first of a stage.
    #[must_use]
    pub fn at_once(plan: &Plan, sample: &Sample) -> Self {
        Windows::default()
            .add(plan, &Ledger::default(), 1, sample)
            .evidence
    }
}

/// What the copies of one program's calls came to, since the candidate came up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Differences {
    /// Which program.
    pub program: String,
    /// Copies whose two answers were compared.
    pub compared: u64,
    /// Those of them that were answered differently.
    pub different: u64,
    /// Copies of which nothing could be compared but places where stable differs from itself. Their
    /// form was, and a wrong one is among `different`.
    #[serde(default)]
    pub hidden_by_noise: u64,
    /// Copies that could not be compared, and why the last of them could not.
    pub not_compared: u64,
    /// Why the last of them could not.
    pub trouble: Option<String>,
}
