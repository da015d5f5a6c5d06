//! One call on a worker, from its frame to its reply.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::Worker;
use super::connection::Pending;
use super::frames::ToWorker;
use super::waiting::Answer;
use crate::call::{Call, Reply, SessionState};
use crate::error::PoolError;
use crate::failure::{FailureClass, reported_time};
use crate::fork_server::Fate;
use crate::stream::ChunkSender;

impl Worker {
    /// Runs a call. `slot` is dropped when the worker is done with the call, which may be later
    /// than the return of this future where the caller left or the deadline passed. A call whose
    /// chunks are no longer read is given up.
    ///
    /// # Errors
    /// See [`PoolError`]; [`PoolError::Unavailable`] where the worker was over before the call was
    /// sent, so that another worker may run it.
    pub async fn call(&self, call: &Call, slot: Box<dyn Any + Send>) -> Result<Reply, PoolError> {
        // It is as good as gone: another worker may run the call, which was not sent.
        if self.server.as_ref().is_some_and(Fate::is_sealed) {
            return Err(PoolError::Unavailable {
                reason: format!("worker {}: its fork server is gone", self.name),
            });
        }
        // A second round only where the worker has lost the program, which it answers before it
        // runs anything. The slot is given back by then; the retry goes without one. No third: a
        // worker that was just told of the program and does not know it never will.
        let mut slot = Some(slot);
        let mut again = false;
        let state = call.state.as_ref().filter(|_| call.program.stateful);
        loop {
            self.define_once(&call.program)?;
            let began = Instant::now();
            // Before the call leaves: a quick program's first chunks may be taken before this task
            // comes to wait for them, and each that is taken must be made up for.
            let taken = call.chunks.as_ref().map_or(0, ChunkSender::taken);
            let answer = self.connection.ask(
                |id| ToWorker::Call {
                    id,
                    key: &call.program.key,
                    inputs: &call.inputs,
                    session: call.session.as_deref(),
                    request: &call.request_id,
                    timeout_ms: time_left(call, began),
                    stream: call.chunks.is_some(),
                    window: call.chunks.as_ref().map(ChunkSender::window),
                    stateful: call.program.stateful,
                    state: state.map(SessionState::as_json),
                },
                slot.take().or_else(|| Some(Box::new(()))),
                call.chunks.clone(),
            );
            let mut answer = answer.map_err(|error| self.unsendable(&error))?;
            let waited = wait(&mut answer, call.chunks.as_ref(), taken);
            let Ok(answered) = tokio::time::timeout_at(call.deadline, waited).await else {
                // The cancel leaves before the probe does.
                drop(answer);
                return Err(self.timed_out(began).await);
            };
            // Dropping the answer cancels the call.
            let answered = answered.ok_or_else(|| PoolError::InvalidInput {
                message: "the call was given up, because its chunks are no longer read".to_owned(),
            })?;
            // Its end is no answer: a worker that dies under its first call has come to nothing.
            if !matches!(answered, Answer::Ended(_) | Answer::NeverSent(_)) {
                self.answered.fetch_add(1, Ordering::Relaxed);
            }
            return match answered {
                Answer::Result { state: None, .. } if call.program.stateful => {
                    Err(self.protocol("it answered a call of a stateful program without its state"))
                }
                Answer::Result {
                    outputs: Some(outputs),
                    program_ms,
                    state,
                    usage,
                } => Ok(Reply {
                    outputs,
                    program_time: reported_time(program_ms),
                    worker: Arc::clone(&self.name),
                    state: state
                        .filter(|_| call.program.stateful)
                        .map(SessionState::from),
                    usage,
                }),
                Answer::Result { outputs: None, .. } => {
                    Err(self.protocol("it answered a call with a result without outputs"))
                }
                Answer::Failed(failure) if failure.class == FailureClass::UnknownProgram => {
                    if again || !self.forget_defined(&call.program.key) {
                        return Err(failure.into_error(&self.name));
                    }
                    again = true;
                    continue;
                }
                // It keeps the deadline too, and may be heard first where we are late.
                Answer::Failed(failure)
                    if failure.class == FailureClass::Cancelled
                        && Instant::now() >= call.deadline =>
                {
                    Err(PoolError::ProgramTimeout {
                        after: began.elapsed(),
                    })
                }
                Answer::Failed(failure) => Err(failure.into_error(&self.name)),
                Answer::Ended(ending) => Err(self.lost(ending)),
                Answer::NeverSent(ending) => Err(PoolError::Unavailable {
                    reason: format!("worker {}: {ending}", self.name),
                }),
                Answer::Pong => Err(self.protocol("it answered a call with a pong")),
            };
        }
    }
}

/// Waits for a call's answer, and lets its chunks come as fast as they are taken; `credited` were
/// taken before the call was sent. `None` once nobody takes them any more.
async fn wait(
    answer: &mut Pending<'_>,
    chunks: Option<&ChunkSender>,
    credited: u64,
) -> Option<Answer> {
    match chunks {
        None => Some(answer.wait().await),
        // Apart, so that calls without chunks do not carry its room along.
        Some(chunks) => Box::pin(wait_and_credit(answer, chunks, credited)).await,
    }
}

async fn wait_and_credit(
    answer: &mut Pending<'_>,
    chunks: &ChunkSender,
    mut credited: u64,
) -> Option<Answer> {
    // One message for half a window: fewer would hold the worker up, more would only wake it.
    let batch = u64::from(chunks.window()).div_ceil(2);
    loop {
        let credit = tokio::select! {
            biased;
            answered = answer.wait() => return Some(answered),
            () = chunks.reader_left() => return None,
            taken = chunks.taken_beyond(credited + batch - 1) => taken - credited,
        };
        answer.credit(credit);
        credited += credit;
    }
}

/// Rounded up: the worker's own clock must not end a call that we still wait for.
fn time_left(call: &Call, now: Instant) -> u64 {
    let left = call.deadline.saturating_duration_since(now);
    u64::try_from(left.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)
}
