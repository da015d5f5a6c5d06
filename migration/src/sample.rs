//! What one look takes anew: each call once, and the pools and the machine as they are.
//!
//! Invariant: plain data. All that a verdict is drawn from is made of samples, in order, by pure
//! functions ([`Windows`](crate::windows::Windows), [`Ledger`](crate::Ledger)); so samples that were
//! kept can be judged again.

use dspex_flags::Percent;
use dspex_pool::{Growth, PoolStatus};
use dspex_telemetry::{HostUsage, LaneWindow};

use crate::evidence::Differences;

/// What one look takes anew.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// The calls that ended since the look before, stable's first. Their `seconds` are the time that
    /// they cover.
    pub lanes: [LaneWindow; 2],
    /// The candidate's pool, while it is up.
    pub candidate_pool: Option<PoolStatus>,
    /// How fast the memory of stable's workers grows, where its pool measures it.
    pub stable_growth: Option<Growth>,
    /// What copied calls came to, program by program, where the plan has calls copied.
    pub differences: Option<Vec<Differences>>,
    /// The machine.
    pub host: HostUsage,
    /// Whether telemetry records calls at all.
    pub recorded: bool,
    /// The share of traffic that the candidate is meant to have.
    pub percent: Percent,
    /// Whether the calls belong to a stage: every router serves its share. Others are not compared.
    pub counts: bool,
}
