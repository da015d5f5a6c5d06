//! What a validation found, for machines and for a migration's gate.

use serde::{Deserialize, Serialize};

use super::settings::Extent;
use crate::candidate::Check;

/// Which part of the suite a finding belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Area {
    /// Starting the two rehearsal pools.
    Rehearsal,
    /// Whether both pools do the same.
    Functional,
    /// Whether the candidate is as fast.
    Performance,
    /// Whether it recovers as fast, and loses nothing.
    Recovery,
}

/// One thing that was tried: a check, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The part of the suite.
    pub area: Area,
    /// What was measured, against what.
    #[serde(flatten)]
    pub check: Check,
    /// The measurements do not suffice to decide.
    pub inconclusive: bool,
    /// How long it took, in milliseconds. Comparisons of one load share its time.
    pub took_ms: u64,
}

impl Finding {
    /// A finding that took no time yet.
    pub(super) fn new(
        area: Area,
        name: impl Into<String>,
        ok: bool,
        value: impl Into<String>,
        limit: impl Into<String>,
    ) -> Self {
        Self {
            area,
            check: Check {
                name: name.into(),
                ok,
                value: value.into(),
                limit: limit.into(),
                hint: None,
            },
            inconclusive: false,
            took_ms: 0,
        }
    }

    /// Says what to do, where something is to be done.
    pub(super) fn hint(mut self, hint: Option<&str>) -> Self {
        self.check.hint = hint.map(str::to_owned);
        self
    }

    /// Says whether the measurements sufficed.
    pub(super) fn inconclusive(self, inconclusive: bool) -> Self {
        Self {
            inconclusive,
            ..self
        }
    }
}

/// What is told while a validation runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// This is being tried now.
    Begins(&'static str),
    /// This was found.
    Found(Finding),
}

/// What a whole validation found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValidationReport {
    /// How much was tried.
    pub extent: Extent,
    /// The pool that stable's rehearsal pool was a copy of.
    pub stable: String,
    /// The pool that the candidate's was a copy of.
    pub candidate: String,
    /// Whether every finding is as it must be.
    pub passed: bool,
    /// From the first start to the end of both pools, in milliseconds.
    pub took_ms: u64,
    /// Every finding, in the order in which they were made.
    pub findings: Vec<Finding>,
    /// The load's figures, where it was run.
    pub performance: Option<Performance>,
    /// Each fault's recoveries, where they were tried.
    pub recoveries: Vec<Recoveries>,
}

impl ValidationReport {
    /// The findings as a migration's checks.
    #[must_use]
    pub fn checks(&self) -> Vec<Check> {
        let checks = self.findings.iter();
        checks.map(|finding| finding.check.clone()).collect()
    }
}

/// The load's figures on both pools: medians over the rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Performance {
    /// Rounds on each pool.
    pub rounds: usize,
    /// Users at the same time.
    pub users: usize,
    /// Calls of each of them in a round.
    pub operations: usize,
    /// Stable's.
    pub stable: LoadFigures,
    /// The candidate's.
    pub candidate: LoadFigures,
}

/// One pool under the load. A figure that could not be measured is absent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LoadFigures {
    /// Calls, over all rounds.
    pub calls: u64,
    /// Calls that were not answered as they must be.
    pub errors: u64,
    /// Mean latency in milliseconds.
    pub mean_ms: Option<f64>,
    /// Median latency in milliseconds.
    pub p50_ms: Option<f64>,
    /// 99th percentile of latency in milliseconds.
    pub p99_ms: Option<f64>,
    /// Answered calls a second.
    pub per_second: Option<f64>,
}

/// How both pools came back from one kind of fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recoveries {
    /// What was done.
    pub fault: String,
    /// Stable's times to recover, in milliseconds; absent where it did not.
    pub stable_ms: Vec<Option<f64>>,
    /// The candidate's.
    pub candidate_ms: Vec<Option<f64>>,
}
