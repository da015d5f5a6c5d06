//! One call of nobody's on the candidate, made and recorded as a caller's is.
//!
//! Invariant: it goes the way of a call, and no caller waits for it. It is in the candidate's window
//! like any other, so it is for times in which nothing is judged by that.

use std::sync::Arc;

use dspex_pool::{Call, PoolError, Reply};
use tokio::time::Instant;

use crate::dispatch::Attempt;
use crate::router::Router;

impl Router {
    /// Sends the call to the candidate, and records it under its program's name. [`None`] where there
    /// is no candidate.
    ///
    /// # Errors
    ///
    /// As [`Pool::execute`](dspex_pool::Pool::execute).
    pub async fn probe_candidate(&self, call: Call) -> Option<Result<Reply, PoolError>> {
        let candidate = self.candidate_lane()?;
        let program: Arc<str> = call.program.key.id.to_string().into();
        let attempt = Attempt {
            program: &program,
            permit: candidate.circuit.try_borrow(Instant::now()).ok(),
            caller_until: call.deadline,
            first_chunk_by: None,
            max_state: self.config.sessions.max_state_bytes,
            telemetry: &self.telemetry,
        };
        Some(candidate.attempt(call, attempt).await)
    }
}
