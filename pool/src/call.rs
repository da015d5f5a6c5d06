//! One call, and its answer.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::program::Program;

/// A program to run, with its inputs and its limits.
#[derive(Debug, Clone)]
pub struct Call {
    /// Names the call in logs, in the worker and in the answer's header.
    pub request_id: Arc<str>,
    /// The caller's key, where there is one. Calls of one session prefer one worker.
    pub session: Option<Arc<str>>,
    /// What to run. A worker that does not hold it builds it from this definition.
    pub program: Arc<Program>,
    /// Inputs by name.
    pub inputs: Arc<Map<String, Value>>,
    /// When the caller stops waiting.
    pub deadline: Instant,
}

/// What a worker answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// Outputs by name.
    pub outputs: Map<String, Value>,
    /// Time spent inside the program, where the worker reports it. The rest of a call's time is
    /// the pool's overhead: queue, dispatch, wire.
    pub program_time: Option<Duration>,
    /// The worker that answered, as in [`crate::WorkerStatus::id`].
    pub worker: Arc<str>,
}
