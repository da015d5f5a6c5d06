//! What is done about a worker after a failure.
//!
//! Invariants: all pure but for the circuit that [`Starts`] keeps. A worker whose process has ended
//! is gone at once, whatever that leaves: there is nothing to decide. One that is only *suspected* is never taken out of service
//! where fewer than `min_ready` would be left: it serves on as the last choice, and is retired when
//! another has become ready for it.
//!
//! Whether a *call* is repeated is not decided here. Whoever routes it knows which lanes there are,
//! and must see each failure: a pool that repeated calls by itself would hide a bad candidate.

mod starts;

#[cfg(test)]
mod tests;

use dspex_breaker::ErrorClass;
use serde::{Deserialize, Serialize};

pub use self::starts::StartConfig;
pub(crate) use self::starts::{SlotStarts, StartPermit, Starts};
use crate::config::InvalidConfig;

/// When workers are taken out of service, and how many are kept in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecoveryConfig {
    /// Workers that stay in service whatever their health checks say; half of the size, rounded up,
    /// where it is not set. The other half is what may be ejected, as in Envoy, which stops
    /// trusting its health checks below 50 % healthy hosts: where half of the workers fail them
    /// at once, the machine is the likelier cause, and taking more out of service only puts their
    /// load on the rest.
    pub min_ready: Option<usize>,
    /// A worker is degraded after one failed health check and replaced after this many in a row.
    pub health_failures: u32,
    /// How often workers are started.
    pub start: StartConfig,
}

impl Default for RecoveryConfig {
    fn default() -> Self {
        Self {
            min_ready: None,
            health_failures: 3,
            start: StartConfig::default(),
        }
    }
}

impl RecoveryConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// Names the first setting that cannot be used.
    pub fn check(&self) -> Result<(), InvalidConfig> {
        if !(1..=100).contains(&self.health_failures) {
            return Err(InvalidConfig {
                setting: "recovery.health_failures",
                value: self.health_failures.to_string(),
                expected: "use 1 to 100",
            });
        }
        self.start.check()
    }

    /// How many workers of a pool of `size` stay in service. Never more than all of them.
    pub(crate) fn least_ready(&self, size: usize) -> usize {
        self.min_ready.unwrap_or(size.div_ceil(2)).min(size)
    }
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// A health check was not answered.
    HealthCheck {
        /// How many in a row, this one included.
        in_a_row: u32,
    },
    /// Anything else, by its class.
    Error(ErrorClass),
}

/// The pool at that moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Workers {
    /// Workers wanted.
    pub(crate) size: usize,
    /// Workers in service, and not as the last choice: the one in question among them, where it is.
    pub(crate) ready: usize,
    /// The worker in question is one of these.
    pub(crate) in_service: bool,
}

/// What is done about the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WorkerAct {
    /// Nothing: it is well.
    Keep,
    /// It takes no new calls until it answers a check.
    Degrade,
    /// It is suspected, but too few others are ready: it takes calls when nobody else can.
    LastChoice,
    /// It ends, and another is started in its place.
    Replace,
    /// Another is started first, and it ends when that one is ready; until then it is the last
    /// choice.
    ReplaceWhenWarm,
}

/// What is done, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Act {
    pub(crate) worker: WorkerAct,
    /// For the log and for the worker's history.
    pub(crate) reason: String,
}

/// What to do about a failure. A worker that is not ready in time is not in question here: its start
/// has failed, and the slot's next start is another worker.
pub(crate) fn decide(config: &RecoveryConfig, failure: Failure, workers: Workers) -> Act {
    match failure {
        Failure::HealthCheck { in_a_row } => suspected(config, workers, in_a_row),
        Failure::Error(class) => match Blame::of(class) {
            Blame::Nobody => Act {
                worker: WorkerAct::Keep,
                reason: "the failure is not the worker's".to_owned(),
            },
            // It answers, so it can serve until another is there.
            Blame::Worker => Act {
                worker: WorkerAct::ReplaceWhenWarm,
                reason: format!("a {class} error: it is not relied on any longer"),
            },
            Blame::Check => suspected(config, workers, 1),
        },
    }
}

/// Whom a class of errors speaks against.
enum Blame {
    /// The program, the caller, the provider, or a session's state: the worker is as good as before.
    Nobody,
    /// The worker: its wire, its memory, its start, or the system under it.
    Worker,
    /// The worker, perhaps.
    Check,
}

impl Blame {
    fn of(class: ErrorClass) -> Self {
        match class {
            ErrorClass::Caller
            | ErrorClass::Provider
            | ErrorClass::Python
            | ErrorClass::Session
            | ErrorClass::Timeout => Self::Nobody,
            ErrorClass::HealthCheck => Self::Check,
            // A class that is not known here is not harmless because of that.
            _ => Self::Worker,
        }
    }
}

/// What a failed health check means for a worker that has not ended.
fn suspected(config: &RecoveryConfig, workers: Workers, in_a_row: u32) -> Act {
    let left = workers
        .ready
        .saturating_sub(usize::from(workers.in_service));
    let least = config.least_ready(workers.size);
    let condemned = in_a_row >= config.health_failures;
    let worker = match (condemned, left >= least) {
        (false, true) => WorkerAct::Degrade,
        (false, false) => WorkerAct::LastChoice,
        (true, true) => WorkerAct::Replace,
        (true, false) => WorkerAct::ReplaceWhenWarm,
    };
    let checks = if in_a_row == 1 {
        "a health check".to_owned()
    } else {
        format!("{in_a_row} health checks in a row")
    };
    let but = if left >= least {
        String::new()
    } else {
        format!(
            ", but serves when nobody else can: of the others {left} are ready, and {least} must be"
        )
    };
    Act {
        worker,
        reason: format!("it did not answer {checks}{but}"),
    }
}
