//! What became of one stage.

use std::time::Duration;

use dspex_flags::Percent;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::cause::Cause;

/// What became of one stage that was entered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageRecord {
    /// Which stage, from 0.
    pub stage: usize,
    /// The share that was asked for.
    pub percent: Percent,
    /// How long it was to be seen healthy.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub hold: Duration,
    /// How long it was seen healthy.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub healthy: Duration,
    /// When it was entered.
    pub entered_at: Timestamp,
    /// When it was left, once it was.
    pub left_at: Option<Timestamp>,
    /// On whose word it was left.
    pub left_by: Option<Cause>,
    /// Calls on stable while every router served the share, to the call. What no look had written
    /// down when a controller died is not in it.
    pub calls_stable: u64,
    /// Calls on the candidate that were counted in it.
    pub calls_candidate: u64,
    /// The candidate's share of those calls, in percent; none while there are none.
    pub measured_percent: Option<f64>,
}

impl StageRecord {
    pub(crate) fn enter(stage: usize, percent: Percent, hold: Duration, at: Timestamp) -> Self {
        Self {
            stage,
            percent,
            hold,
            healthy: Duration::ZERO,
            entered_at: at,
            left_at: None,
            left_by: None,
            calls_stable: 0,
            calls_candidate: 0,
            measured_percent: None,
        }
    }

    pub(crate) fn count(&mut self, healthy: Duration, stable: u64, candidate: u64) {
        if self.left_at.is_some() {
            return;
        }
        self.healthy = healthy;
        self.calls_stable += stable;
        self.calls_candidate += candidate;
        let all = self.calls_stable + self.calls_candidate;
        #[expect(
            clippy::cast_precision_loss,
            reason = "calls beyond 2^52 are not counted one by one"
        )]
        let share = self.calls_candidate as f64 / all as f64 * 100.0;
        self.measured_percent = (all > 0).then_some(share);
    }

    pub(crate) fn leave(&mut self, healthy: Duration, cause: &Cause, at: Timestamp) {
        if self.left_at.is_none() {
            self.healthy = healthy;
            self.left_at = Some(at);
            self.left_by = Some(cause.clone());
        }
    }
}
