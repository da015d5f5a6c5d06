//! What can go wrong with a call: one variant for each decision that a user of a pool can take.

use std::time::Duration;

/// Who is at fault. Only [`Fault::Pool`] speaks against a pool by itself; the others do so only
/// where the two lanes differ significantly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// The caller: inputs missing, of the wrong type, a definition that cannot be built.
    Caller,
    /// The provider behind the program: the model's 429, 5xx or timeout.
    Provider,
    /// The program: it raised, or it ran longer than it was allowed to while its worker was well.
    Program,
    /// The pool: crash, hang, protocol, exhaustion.
    Pool,
}

/// Why a call, or a check of a program, was not answered.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PoolError {
    /// The inputs do not fit the program.
    #[error("{message}")]
    InvalidInput {
        /// What is wrong with which input, and what was expected.
        message: String,
    },
    /// The definition cannot be built.
    #[error("{message}")]
    Rejected {
        /// What is wrong with the definition.
        message: String,
    },
    /// The model behind the program failed.
    #[error("the model's provider failed: {message}")]
    Provider {
        /// The provider's words.
        message: String,
        /// The HTTP status that the provider answered, where it is known.
        status: Option<u16>,
    },
    /// The program raised an exception.
    #[error("{exception}: {message}")]
    Program {
        /// The exception's type, such as `ValueError`.
        exception: String,
        /// The exception's text.
        message: String,
        /// The traceback, for logs; never for callers.
        traceback: Option<String>,
    },
    /// The deadline passed while the program ran, in a worker that was well.
    #[error("the program did not answer within {after:?}")]
    ProgramTimeout {
        /// How long the call was given.
        after: Duration,
    },
    /// The worker ended during the call.
    #[error("worker {worker} ended during the call: {reason}")]
    Crashed {
        /// Which worker.
        worker: String,
        /// Exit code or signal, with the last line of its log where there is one.
        reason: String,
    },
    /// The worker stopped answering.
    #[error("worker {worker} stopped answering: {reason}")]
    Hung {
        /// Which worker.
        worker: String,
        /// What was waited for, and how long.
        reason: String,
    },
    /// The worker broke the protocol.
    #[error("worker {worker} broke the protocol: {reason}")]
    Protocol {
        /// Which worker.
        worker: String,
        /// What was wrong with which frame.
        reason: String,
    },
    /// The call waited too long for a worker, or the queue was full. The call never started.
    #[error("no worker was free: {reason}")]
    Exhausted {
        /// The limit that was met.
        reason: String,
        /// When another try may be worthwhile.
        retry_after: Duration,
    },
    /// The session, or the caller, has as many calls in flight as it may. The call never started.
    #[error("too many calls at once: {reason}")]
    TooMany {
        /// Whose calls, how many, and the limit.
        reason: String,
        /// When another try may be worthwhile.
        retry_after: Duration,
    },
    /// No worker can be had: starting them fails. The call never started.
    #[error("the pool has no worker: {reason}")]
    Unavailable {
        /// Why the last start failed.
        reason: String,
    },
    /// The pool drains, or has drained. The call never started.
    #[error("the pool takes no new calls: it is being stopped")]
    Draining,
}

impl PoolError {
    /// Who is at fault.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::InvalidInput { .. } | Self::Rejected { .. } | Self::TooMany { .. } => {
                Fault::Caller
            }
            Self::Provider { .. } => Fault::Provider,
            Self::Program { .. } | Self::ProgramTimeout { .. } => Fault::Program,
            Self::Crashed { .. }
            | Self::Hung { .. }
            | Self::Protocol { .. }
            | Self::Exhausted { .. }
            | Self::Unavailable { .. }
            | Self::Draining => Fault::Pool,
        }
    }

    /// Whether the program may have begun to run. Where it has not, even a call that must not be
    /// repeated may be sent elsewhere.
    #[must_use]
    pub fn may_have_started(&self) -> bool {
        !matches!(
            self,
            Self::InvalidInput { .. }
                | Self::Rejected { .. }
                | Self::TooMany { .. }
                | Self::Exhausted { .. }
                | Self::Unavailable { .. }
                | Self::Draining
        )
    }

    /// The worker that was lost, where one was. All calls on it fail by this one loss.
    #[must_use]
    pub fn lost_worker(&self) -> Option<&str> {
        match self {
            Self::Crashed { worker, .. }
            | Self::Hung { worker, .. }
            | Self::Protocol { worker, .. } => Some(worker),
            _ => None,
        }
    }

    /// A short, stable name for metrics and problem documents.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::InvalidInput { .. } => "invalid-input",
            Self::Rejected { .. } => "program-rejected",
            Self::Provider { .. } => "provider-failed",
            Self::Program { .. } => "program-failed",
            Self::ProgramTimeout { .. } => "program-timeout",
            Self::Crashed { .. } => "worker-crashed",
            Self::Hung { .. } => "worker-hung",
            Self::Protocol { .. } => "worker-protocol",
            Self::TooMany { .. } => "too-many-calls",
            Self::Exhausted { .. } => "pool-exhausted",
            Self::Unavailable { .. } => "pool-unavailable",
            Self::Draining => "pool-draining",
        }
    }
}
