//! What counts against a candidate, how much of it, and what is then done.
//!
//! Invariant: a rule whose action moves or stops traffic never fires on a handful of samples. How
//! each rule is judged is in [`analyse`](crate::analyse).

use std::time::Duration;

use dspex_flags::Percent;
use serde::{Deserialize, Serialize};

/// What is done when a rule is broken, from the mildest to the strongest. In the words of those who
/// run releases: `rollback` makes a rule a *guardrail*, `pause` a *signal*, `log` and `note` a *note*,
/// of which `log` keeps the stage from ageing while it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// Reported, and nothing else: the verdict stays as it was and the stage goes on ageing.
    Note,
    /// Reported as a Warning: the stage does not age while it lasts.
    Log,
    /// The migration pauses, and a person decides.
    Pause,
    /// Traffic goes to 0 % and the candidate is withdrawn.
    Rollback,
}

/// A limit on a share: of calls that fail, of workers that die, of a host's CPU, of a memory's
/// growth in an hour.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateRule {
    /// The rule is broken above this.
    pub limit: Percent,
    /// What is done then.
    pub action: Action,
}

/// A limit on a latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatencyRule {
    /// The rule is broken above this. Text with a unit, such as `"200ms"`.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub limit: Duration,
    /// What is done then.
    pub action: Action,
}

/// A limit on the candidate's value over stable's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RatioRule {
    /// The rule is broken above this many times stable's value.
    pub limit: f64,
    /// What is done then.
    pub action: Action,
}

/// Every rule that a candidate is judged by.
///
/// The host's CPU and memory are notes by default. Both pools run side by side on one machine
/// during every migration, so a small machine is busy *because* it migrates; were that a warning,
/// no stage on it would ever age. Set their action to `log` or `pause` where the machine is known
/// to be large enough.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {
    /// Calls on the candidate (and on stable, below 100 %) without which nothing is Healthy.
    pub minimum_samples: u64,
    /// Calls in each lane without which a p99 is noise and is not judged.
    pub latency_samples: u64,
    /// Calls on the candidate from which a catastrophe is acted on before the minimum is there.
    pub early_samples: u64,
    /// Chance that anything in a whole migration between two equal lanes is taken for the candidate's
    /// fault by a rule on calls or on workers: that its failures, or its latencies, are beyond stable's, or
    /// the pool's faults beyond the critical rate, or its workers' beyond theirs. It holds however often and however long it is looked at,
    /// and is divided among the rules and the programs as [`Ledger`](crate::Ledger) says.
    pub significance: Percent,
    /// Pool faults, as a share of the candidate's calls.
    pub error_rate: RateRule,
    /// Pool faults at which nobody need be asked.
    pub critical_error_rate: RateRule,
    /// All faults but the caller's, against stable's rate. Broken where it is proved that the candidate
    /// fails more often, and what is seen now is beyond the limit and the floor.
    pub error_ratio: RatioRule,
    /// Error rates at or below this are never compared: three times nothing is nothing.
    pub error_floor: Percent,
    /// How much worse than stable, in errors, in the median or in the 95th percentile, is worth a
    /// warning, where it is proved that the candidate is worse.
    pub degradation: RateRule,
    /// p99 of the overhead (queue, dispatch, wire: all but the program) on the candidate.
    pub overhead_p99: LatencyRule,
    /// p99 of overhead and of the whole call against stable's, program by program: bounds of it
    /// beyond the limit. Pauses at most where the calls in general are not slower.
    pub p99_ratio: RatioRule,
    /// The median of overhead and of the whole call against stable's, program by program: bounds of it
    /// beyond the limit, where the calls in general are slower. A few dozen calls prove it, and a p99
    /// takes more than a thousand.
    pub median_ratio: RatioRule,
    /// A median or a p99 that is worse than stable's by no more than this is never a breach of the ratio.
    /// Nor is a candidate refused for it when it is verified before its first call.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub latency_floor: Duration,
    /// Workers of the candidate that ended unasked, broke the protocol or failed their health checks
    /// within the window, as a share of all that ran. Not those replaced after a call timed out. Broken,
    /// where the rule stops or moves traffic, once it is proved that they fail more often than this.
    pub worker_failure_rate: RateRule,
    /// Growth of the memory of the candidate's workers, as a share an hour, by the worst of them:
    /// its lower bound at 99 % confidence where the rule stops or moves traffic, and that of its
    /// difference to stable's growth. Each look has that chance of an error by itself, see the README;
    /// no part of the significance. Pauses at most where that difference is not certain. Not judged,
    /// and nothing held back, until its pool has measured for long enough.
    pub memory_growth: RateRule,
    /// Copied calls that the candidate answered differently, as a share of those that were compared:
    /// its bounds at a confidence of one less the significance. Judged only where the plan has calls copied; then no stage
    /// ages until the share is known to lie below this.
    pub difference_rate: RateRule,
    /// CPU of the host. A note by default, see above.
    pub cpu: RateRule,
    /// Memory of the host. A note by default, see above.
    pub memory: RateRule,
}

impl Default for Thresholds {
    fn default() -> Self {
        let rate = |basis_points, action| RateRule {
            limit: percent(basis_points),
            action,
        };
        Self {
            minimum_samples: 50,
            latency_samples: 100,
            early_samples: 10,
            significance: percent(100),
            error_rate: rate(500, Action::Log),
            critical_error_rate: rate(1_000, Action::Rollback),
            error_ratio: RatioRule {
                limit: 3.0,
                action: Action::Rollback,
            },
            error_floor: percent(100),
            degradation: rate(1_000, Action::Log),
            overhead_p99: LatencyRule {
                limit: Duration::from_millis(200),
                action: Action::Log,
            },
            p99_ratio: RatioRule {
                limit: 2.0,
                action: Action::Rollback,
            },
            median_ratio: RatioRule {
                limit: 2.0,
                action: Action::Rollback,
            },
            latency_floor: Duration::from_millis(50),
            worker_failure_rate: rate(1_000, Action::Rollback),
            memory_growth: rate(1_000, Action::Rollback),
            difference_rate: rate(500, Action::Pause),
            cpu: rate(8_000, Action::Note),
            memory: rate(9_000, Action::Note),
        }
    }
}

impl Thresholds {
    /// What is wrong with these thresholds, if anything.
    pub(crate) fn problem(&self) -> Option<String> {
        let ratios = [
            ("error_ratio", self.error_ratio),
            ("p99_ratio", self.p99_ratio),
            ("median_ratio", self.median_ratio),
        ];
        for (name, ratio) in ratios {
            if !(ratio.limit.is_finite() && ratio.limit >= 1.0) {
                return Some(format!(
                    "thresholds.{name}.limit is {}, which is not a number of at least 1",
                    ratio.limit
                ));
            }
        }
        for (name, samples) in [
            ("minimum_samples", self.minimum_samples),
            ("latency_samples", self.latency_samples),
            ("early_samples", self.early_samples),
        ] {
            if samples == 0 {
                return Some(format!(
                    "thresholds.{name} is 0: nothing would ever be unknown"
                ));
            }
        }
        if self.significance.basis_points() == 0 {
            return Some("thresholds.significance is 0 %: no difference would ever count".into());
        }
        None
    }
}

/// A share that is known to be valid where it is written.
pub(crate) fn percent(basis_points: u16) -> Percent {
    Percent::from_basis_points(basis_points).expect("written as at most 10,000 basis points")
}
