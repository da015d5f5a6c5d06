//! What one migration is going to do: which pools, which stages, judged how.
//!
//! Invariant: a plan that was made by [`Settings::plan`](crate::Settings::plan) or accepted by
//! [`Migrations::start`](crate::Migrations::start) is valid: its stages rise and end at 100 %.

use std::time::Duration;

use dspex_flags::Percent;
use serde::{Deserialize, Serialize};

use crate::freeze::Freeze;
use crate::gate::Gate;
use crate::retention::Retention;
use crate::thresholds::Thresholds;
use crate::validation_rule::ValidationRule;
use crate::wording;

/// A share of traffic, and how long it must be seen healthy there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// The share of traffic that goes to the candidate.
    pub percent: Percent,
    /// How much healthy time must be seen here. Text with a unit, such as `"1h"`.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub hold: Duration,
    /// Who must say yes before it is left.
    #[serde(default, skip_serializing_if = "Gate::is_automatic")]
    pub gate: Gate,
}

/// A pool that was chosen for a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// Its name in the configuration.
    pub name: String,
    /// The version of its configuration; none where configurations have no versions.
    pub version: Option<u32>,
}

impl From<&str> for Chosen {
    fn from(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: None,
        }
    }
}

impl From<(&str, u32)> for Chosen {
    fn from((name, version): (&str, u32)) -> Self {
        Self {
            name: name.to_owned(),
            version: Some(version),
        }
    }
}

/// What one migration is going to do. It is written into the journal when the migration begins
/// and never changes after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Plan {
    /// The pool that is being brought in, by its name in the configuration.
    pub candidate: String,
    /// The pool that serves now.
    pub stable: String,
    /// The version of the candidate's configuration; none where configurations have no versions.
    #[serde(default)]
    pub candidate_version: Option<u32>,
    /// The version of stable's configuration; none where configurations have no versions.
    #[serde(default)]
    pub stable_version: Option<u32>,
    /// The stages, rising, the last one at 100 %.
    pub stages: Vec<Stage>,
    /// The share of calls that are copied to the other lane and compared, from the deployment on;
    /// 0 % leaves the flag where it is, and compares nothing for the plan's sake.
    #[serde(default)]
    pub shadow: Percent,
    /// How often the candidate is looked at.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub interval: Duration,
    /// How far back a look reaches where there are samples enough.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub window: Duration,
    /// How far back a look reaches at most, where `window` holds too few samples. Never before the
    /// stage began.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub window_limit: Duration,
    /// The rules.
    pub thresholds: Thresholds,
    /// How long calls in flight on the candidate may take to finish when it is withdrawn.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub drain_limit: Duration,
    /// How long routers may take to acknowledge a write before it is said that they have not.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub acknowledge_within: Duration,
    /// How long a single step (preflight, deploy, verify, withdraw) may take, beyond the drain.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub step_limit: Duration,
    /// Times in which nothing goes up by itself.
    #[serde(default)]
    pub freezes: Vec<Freeze>,
    /// What is asked of the candidate after the last stage.
    #[serde(default = "ValidationRule::of_old_plans")]
    pub validation: ValidationRule,
    /// How long the old pool is kept.
    #[serde(default)]
    pub retention: Retention,
}

/// Why a plan cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the plan is not valid: {problem}")]
pub struct InvalidPlan {
    /// What is wrong with which part, and what would be right.
    pub problem: String,
}

impl Plan {
    /// Checks what [`Settings::plan`](crate::Settings::plan) checks, for a plan that was changed
    /// since.
    ///
    /// # Errors
    ///
    /// [`InvalidPlan`] says what is wrong with which part.
    pub fn validate(&self) -> Result<(), InvalidPlan> {
        self.problem()
            .map_or(Ok(()), |problem| Err(InvalidPlan { problem }))
    }

    /// The stage with this index; the last one beyond the end.
    pub(crate) fn stage(&self, index: usize) -> &Stage {
        &self.stages[index.min(self.stages.len() - 1)]
    }

    /// The candidate's pool with its version, as an operator names it: `v2@3`.
    #[must_use]
    pub fn candidate_name(&self) -> String {
        named(&self.candidate, self.candidate_version)
    }

    /// Stable's pool with its version, as an operator names it: `v1@1`.
    #[must_use]
    pub fn stable_name(&self) -> String {
        named(&self.stable, self.stable_version)
    }

    fn problem(&self) -> Option<String> {
        if self.candidate.trim().is_empty() || self.stable.trim().is_empty() {
            return Some("it names no candidate or no stable pool".into());
        }
        // One name in two versions is two pools.
        let versions = self.candidate_version.zip(self.stable_version);
        if self.candidate == self.stable && versions.is_none_or(|(one, other)| one == other) {
            return Some(format!(
                "{} cannot be both stable and candidate",
                self.stable_name()
            ));
        }
        let Some(last) = self.stages.last() else {
            return Some("it has no stages".into());
        };
        if last.percent.basis_points() != 10_000 {
            return Some(format!(
                "its last stage is {}: the last stage takes all traffic (100 %)",
                wording::share(last.percent)
            ));
        }
        let mut before = 0;
        for stage in &self.stages {
            if stage.percent.basis_points() <= before {
                return Some(format!(
                    "stage {} is not above the one before it: stages only rise, from above 0 %",
                    wording::share(stage.percent)
                ));
            }
            before = stage.percent.basis_points();
            if let Some(problem) = stage.gate.problem() {
                return Some(format!(
                    "stage {}: {problem}",
                    wording::share(stage.percent)
                ));
            }
        }
        for (name, span) in [
            ("interval", self.interval),
            ("window", self.window),
            ("acknowledge_within", self.acknowledge_within),
            ("step_limit", self.step_limit),
        ] {
            if span < Duration::from_millis(10) {
                return Some(format!("{name} is {}: at least 10ms", wording::span(span)));
            }
        }
        if self.window_limit < self.window {
            return Some(format!(
                "window_limit ({}) is shorter than window ({})",
                wording::span(self.window_limit),
                wording::span(self.window)
            ));
        }
        self.validation
            .problem()
            .or_else(|| self.thresholds.problem())
    }
}

fn named(pool: &str, version: Option<u32>) -> String {
    version.map_or_else(|| pool.to_owned(), |version| format!("{pool}@{version}"))
}
