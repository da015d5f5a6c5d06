//! What an attempt's end means: the one place where errors of pools are judged.
//!
//! Invariant: only a fault of the pool is a failure to the lane's circuit. A program that raises,
//! or a provider that refuses, was answered for by a worker that did its work: a success of the
//! pool. What says nothing about the pool is neutral.

use dspex_breaker::{Classified, Classify, ErrorClass, Note};
use dspex_pool::{Fault, PoolError};
use dspex_telemetry::Blame;

/// A failed attempt, judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) blame: Blame,
    pub(crate) class: ErrorClass,
    pub(crate) circuit: Note,
}

/// The judge of pools' errors, for whatever asks by the trait.
pub(crate) struct PoolErrors;

impl Classify<PoolError> for PoolErrors {
    fn classify(&self, error: &PoolError) -> Classified {
        let judged = judge(error);
        Classified {
            class: judged.class,
            note: judged.circuit,
        }
    }
}

pub(crate) fn judge(error: &PoolError) -> Judgement {
    let blame = match error {
        // The program stood in the catalog, so stable has built it before. That a lane cannot
        // build it now is not the fault of whoever calls it: on both lanes the lanes do not
        // differ, on one of them the difference shows.
        PoolError::Rejected { .. } => Blame::Program,
        _ => match error.fault() {
            Fault::Caller => Blame::Caller,
            Fault::Provider => Blame::Provider,
            Fault::Program => Blame::Program,
            Fault::Pool => Blame::Pool,
        },
    };
    let class = match error {
        PoolError::InvalidInput { .. } | PoolError::TooMany { .. } => ErrorClass::Caller,
        PoolError::Provider { .. } => ErrorClass::Provider,
        PoolError::Program { .. } | PoolError::Rejected { .. } => ErrorClass::Python,
        PoolError::ProgramTimeout { .. } => ErrorClass::Timeout,
        PoolError::Crashed { .. } | PoolError::Draining => ErrorClass::Connection,
        PoolError::Hung { .. } => ErrorClass::HealthCheck,
        PoolError::Protocol { .. } => ErrorClass::Communication,
        PoolError::Exhausted { .. } => ErrorClass::Resource,
        PoolError::Unavailable { .. } => ErrorClass::Initialization,
    };
    let circuit = match error {
        PoolError::Program { .. } | PoolError::Provider { .. } => Note::Success,
        // A worker that runs a slow program is well, but has not shown that it can answer.
        PoolError::ProgramTimeout { .. }
        | PoolError::InvalidInput { .. }
        | PoolError::TooMany { .. }
        | PoolError::Rejected { .. } => Note::Neutral,
        PoolError::Crashed { .. }
        | PoolError::Hung { .. }
        | PoolError::Protocol { .. }
        | PoolError::Exhausted { .. }
        | PoolError::Unavailable { .. }
        | PoolError::Draining => Note::Failure,
    };
    Judgement {
        blame,
        class,
        circuit,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::*;

    /// One error of each kind.
    pub(crate) fn every_error() -> Vec<PoolError> {
        let (message, worker, reason) = (String::new, String::new, String::new);
        vec![
            PoolError::InvalidInput { message: message() },
            PoolError::Rejected { message: message() },
            PoolError::Provider {
                message: message(),
                status: None,
            },
            PoolError::Program {
                exception: "ValueError".to_owned(),
                message: message(),
                traceback: None,
            },
            PoolError::ProgramTimeout {
                after: Duration::ZERO,
            },
            PoolError::Crashed {
                worker: worker(),
                reason: reason(),
            },
            PoolError::Hung {
                worker: worker(),
                reason: reason(),
            },
            PoolError::Protocol {
                worker: worker(),
                reason: reason(),
            },
            PoolError::TooMany {
                reason: reason(),
                retry_after: Duration::from_secs(1),
            },
            PoolError::Exhausted {
                reason: reason(),
                retry_after: Duration::ZERO,
            },
            PoolError::Unavailable { reason: reason() },
            PoolError::Draining,
        ]
    }

    #[test]
    fn only_faults_of_the_pool_fail_the_circuit() {
        for error in every_error() {
            let judged = judge(&error);
            let of_pool = error.fault() == Fault::Pool;
            assert_eq!(judged.circuit == Note::Failure, of_pool, "{error:?}");
            assert_eq!(judged.blame == Blame::Pool, of_pool, "{error:?}");
        }
    }

    #[test]
    fn callers_and_providers_are_told_apart() {
        let blame = |kind| {
            let error = every_error().into_iter().find(|error| error.kind() == kind);
            judge(&error.unwrap()).blame
        };
        assert_eq!(blame("invalid-input"), Blame::Caller);
        assert_eq!(blame("provider-failed"), Blame::Provider);
        assert_eq!(blame("program-timeout"), Blame::Program);
        assert_eq!(blame("program-rejected"), Blame::Program);
    }
}
