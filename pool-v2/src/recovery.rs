//! What is done after a failure: about the worker, and about the call that met it.
//!
//! Invariants: all pure but for the circuit that [`Starts`] keeps. A worker whose process has ended
//! is gone at once, whatever that leaves. One that is only *suspected* is never taken out of service
//! where fewer than `min_ready` would be left: it serves on as the last choice, and is retired when
//! another has become ready for it. A call is repeated only where it may be, while its deadline
//! leaves time for it, and on another worker.

mod starts;

#[cfg(test)]
mod tests;

use std::time::Duration;

use dspex_breaker::{ErrorClass, Matrix, Strategy};
use serde::{Deserialize, Serialize};

pub use self::starts::StartConfig;
#[cfg_attr(
    not(test),
    expect(unused_imports, reason = "the pool does not call it yet")
)]
pub(crate) use self::starts::{MayNotStart, SlotStarts, StartPermit, Starts};
use crate::config::InvalidConfig;

/// How often a call is repeated under which a worker ended. The call may be what ended it, and one
/// that is repeated as often as a broken connection may be (five times) would take five workers with
/// it.
const AFTER_A_CRASH: u32 = 1;

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
    /// What is done about each class of error.
    pub matrix: Matrix,
    /// How often workers are started.
    pub start: StartConfig,
}

impl Default for RecoveryConfig {
    fn default() -> Self {
        Self {
            min_ready: None,
            health_failures: 3,
            matrix: Matrix::default(),
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
        if let Some((class, rule, error)) = self
            .matrix
            .iter()
            .find_map(|(class, rule)| Some((class, rule, rule.backoff.validate().err()?)))
        {
            return Err(InvalidConfig {
                setting: "recovery.matrix",
                value: format!("{class}: {} ({error})", rule.backoff.name()),
                expected: "use a base up to the cap, and a jitter of 0 to 1",
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
    /// The worker's process or its wire has ended.
    Exited,
    /// A health check was not answered.
    HealthCheck {
        /// How many in a row, this one included.
        in_a_row: u32,
    },
    /// The worker was not ready in time.
    StartTimeout,
    /// A call was not answered in time, by a worker that is well.
    CallTimeout,
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

/// The call that met the failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// Its program may be repeated, and nothing of its answer has reached the caller yet.
    pub(crate) repeatable: bool,
    /// The program may have begun to run.
    pub(crate) started: bool,
    /// How often it was repeated already.
    pub(crate) repeated: u32,
    /// Until its deadline.
    pub(crate) remaining: Duration,
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

/// What is done about the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallAct {
    /// There is none.
    None,
    /// Its caller is told.
    Fail,
    /// It is sent to another worker, after this long.
    Elsewhere(Duration),
    /// It is sent again, to any worker, after this long.
    Again(Duration),
}

/// What is done, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Act {
    pub(crate) worker: WorkerAct,
    pub(crate) call: CallAct,
    /// For the log and for the worker's history.
    pub(crate) reason: String,
}

/// What to do about a failure. `random` is uniform over all of `u64`; it is for the jitter of waits.
pub(crate) fn decide(
    config: &RecoveryConfig,
    failure: Failure,
    workers: Workers,
    call: Option<Attempt>,
    random: u64,
) -> Act {
    let repeated = |class, most, elsewhere| {
        call.map_or(CallAct::None, |call| {
            repeat(config, class, call, most, elsewhere, random)
        })
    };
    let act = |worker, call, reason: &str| Act {
        worker,
        call,
        reason: reason.to_owned(),
    };
    match failure {
        Failure::Exited => act(
            WorkerAct::Replace,
            repeated(ErrorClass::Connection, AFTER_A_CRASH, true),
            "it ended",
        ),
        Failure::HealthCheck { in_a_row } => {
            let (worker, reason) = suspected(config, workers, in_a_row);
            act(worker, CallAct::None, &reason)
        }
        // The slot's next start is another worker; the one that was too slow is not waited for.
        Failure::StartTimeout => act(
            WorkerAct::Replace,
            CallAct::None,
            "it was not ready in time",
        ),
        Failure::CallTimeout => act(
            WorkerAct::Keep,
            repeated(ErrorClass::Timeout, u32::MAX, false),
            "its call ran out of time",
        ),
        Failure::Error(class) => match Blame::of(class) {
            Blame::Nobody => act(
                WorkerAct::Keep,
                repeated(class, u32::MAX, false),
                "the failure is not the worker's",
            ),
            Blame::Worker => act(
                WorkerAct::Replace,
                repeated(class, AFTER_A_CRASH, true),
                "what it says cannot be trusted any more",
            ),
            Blame::Check => {
                let (worker, reason) = suspected(config, workers, 1);
                act(worker, CallAct::None, &reason)
            }
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
fn suspected(config: &RecoveryConfig, workers: Workers, in_a_row: u32) -> (WorkerAct, String) {
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
    (worker, format!("it did not answer {checks}{but}"))
}

/// Whether the call is tried once more. `most` bounds what the matrix allows.
fn repeat(
    config: &RecoveryConfig,
    class: ErrorClass,
    call: Attempt,
    most: u32,
    elsewhere: bool,
    random: u64,
) -> CallAct {
    let rule = config.matrix.lookup(class);
    // A call that never began to run harms nobody by being sent again.
    let may = call.repeatable || !call.started;
    let retries = match rule.strategy {
        Strategy::Abandon => 0,
        _ => rule.retries.min(most),
    };
    if !may || call.repeated >= retries {
        return CallAct::Fail;
    }
    let wait = match rule.strategy {
        // Another worker is another chance: there is nothing to wait for.
        Strategy::ImmediateRetry | Strategy::Failover => Duration::ZERO,
        _ if elsewhere => Duration::ZERO,
        _ => rule.backoff.jittered(call.repeated + 1, random),
    };
    if wait >= call.remaining {
        return CallAct::Fail;
    }
    if elsewhere || rule.strategy == Strategy::Failover {
        CallAct::Elsewhere(wait)
    } else {
        CallAct::Again(wait)
    }
}
