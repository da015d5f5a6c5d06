//! One call, and its answer.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::program::Program;
use crate::stream::ChunkSender;

/// A program to run, with its inputs and its limits.
#[derive(Debug, Clone)]
pub struct Call {
    /// Names the call in logs, in the worker and in the answer's header.
    pub request_id: Arc<str>,
    /// The caller's key, where there is one. Calls of one session prefer one worker.
    pub session: Option<Arc<str>>,
    /// Who calls, as far as the server knows; a pool may limit how many calls one caller has in
    /// flight.
    pub caller: Option<Arc<str>>,
    /// What to run. A worker that does not hold it builds it from this definition.
    pub program: Arc<Program>,
    /// Inputs by name.
    pub inputs: Arc<Map<String, Value>>,
    /// What the session's last call of a stateful program left behind; a fresh instance where
    /// there is none. Of no meaning to a program that is not stateful.
    pub state: Option<SessionState>,
    /// Where the answer's chunks go while the program runs, where the caller wants them.
    pub chunks: Option<ChunkSender>,
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
    /// What the call leaves to the session's next call of a stateful program.
    pub state: Option<SessionState>,
    /// Tokens that the call's model calls used, where the worker knows. The bridge protocol does not
    /// say it, and an answer from a cache used none and says none.
    pub usage: Option<Usage>,
}

/// Tokens, summed over the model calls of one call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Tokens that models were given.
    pub prompt_tokens: u64,
    /// Tokens that models wrote.
    pub completion_tokens: u64,
    /// All that models counted, which may be more than both.
    pub total_tokens: u64,
}

/// The state of one session of one stateful program, as JSON. It is the program's own; nobody but
/// the program reads it.
#[derive(Debug, Clone)]
pub struct SessionState(Arc<RawValue>);

impl SessionState {
    /// The state as JSON text.
    #[must_use]
    pub fn as_json(&self) -> &RawValue {
        &self.0
    }
}

impl From<Box<RawValue>> for SessionState {
    fn from(state: Box<RawValue>) -> Self {
        Self(state.into())
    }
}

impl PartialEq for SessionState {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}
