//! What kind of trouble a rollback was for.

use serde::{Deserialize, Serialize};

use crate::analysis::{Analysis, Degraded, Verdict};
use crate::thresholds::Action;

/// What kind of trouble a rollback was for: one word to count and to search by. The whole reason is
/// the rollback's cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Scenario {
    /// Calls fail.
    ErrorRateSpike,
    /// Calls are slow.
    LatencyDegradation,
    /// Workers die.
    WorkerFailures,
    /// Workers grow.
    MemoryLeak,
    /// Copied calls are answered differently.
    Differences,
    /// The machine itself has no room.
    HostExhausted,
    /// A step before the first stage failed.
    StepFailed,
    /// The validation failed.
    Validation,
    /// A person asked.
    Manual,
}

impl Scenario {
    /// Of the worst reason that asks for a rollback.
    pub(crate) fn of(analysis: &Analysis) -> Self {
        let worst = analysis.reasons.iter().find(|reason| {
            reason.verdict == Verdict::Critical && reason.action == Action::Rollback
        });
        if worst.and_then(|reason| reason.degraded) == Some(Degraded::Latency) {
            return Self::LatencyDegradation;
        }
        match worst.map(|reason| reason.rule.as_ref()) {
            Some("overhead_p99" | "p99_ratio" | "median_ratio") => Self::LatencyDegradation,
            Some("worker_failure_rate") => Self::WorkerFailures,
            Some("memory_growth") => Self::MemoryLeak,
            Some("difference_rate") => Self::Differences,
            Some("cpu" | "memory") => Self::HostExhausted,
            _ => Self::ErrorRateSpike,
        }
    }

    /// The scenario's name in JSON.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::ErrorRateSpike => "error_rate_spike",
            Self::LatencyDegradation => "latency_degradation",
            Self::WorkerFailures => "worker_failures",
            Self::MemoryLeak => "memory_leak",
            Self::Differences => "differences",
            Self::HostExhausted => "host_exhausted",
            Self::StepFailed => "step_failed",
            Self::Validation => "validation",
            Self::Manual => "manual",
        }
    }
}

impl std::fmt::Display for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.label())
    }
}
