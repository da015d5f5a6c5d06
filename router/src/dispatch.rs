//! One attempt of a call on one lane.
//!
//! Invariants: an attempt that ends is told to the circuit once and recorded once, with the lane it
//! ran on; an attempt whose caller left is neither, and its permit frees itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dspex_breaker::{BorrowedPermit, Circuit, CircuitConfig, Mode, Note};
use dspex_pool::{Call, ChunkSender, PoolError, Reply, SharedPool};
use dspex_telemetry::{Blame, Lane, Outcome, Telemetry};
use tokio::time::Instant;

use crate::circuits::Held;
use crate::classify::judge;
use crate::error::{InvalidConfig, RouterError};

/// How long past its deadline a call is left to a pool at most. Pools answer by the deadline
/// themselves and know better why there is no answer, so this is a net and not the rule.
const GRACE: Duration = Duration::from_millis(500);

/// The longest that a caller is told to stay away from a stable lane: its circuit is asked again as
/// soon as it has a worker.
const STABLE_RETRY: Duration = Duration::from_secs(1);

/// What stands for a worker where the pool as a whole did not answer.
const NO_WORKER: &str = "unknown";

/// A pool that stands in a lane, with the lane's circuit.
pub(crate) struct LaneState {
    pub(crate) lane: Lane,
    pub(crate) pool: SharedPool,
    /// Shared: it speaks of the pool, and goes with it where the pool changes its lane.
    pub(crate) circuit: Arc<Circuit>,
    /// What a person decided for the circuit. Shared as the circuit is.
    held: Arc<Mutex<Option<Held>>>,
    /// The worker whose loss the circuit was told of last.
    lost: Mutex<Option<String>>,
}

/// What an attempt needs beside the call.
pub(crate) struct Attempt<'a> {
    pub(crate) program: &'a Arc<str>,
    /// None where the call was let through against the circuit's advice.
    pub(crate) permit: Option<BorrowedPermit<'a>>,
    /// When the caller stops waiting, which may be after the attempt's own deadline.
    pub(crate) caller_until: Instant,
    /// When a call that takes chunks must have sent its first; none where it has all its time.
    pub(crate) first_chunk_by: Option<Instant>,
    /// The largest state that the call may leave, in bytes of JSON.
    pub(crate) max_state: usize,
    pub(crate) telemetry: &'a Telemetry,
}

/// Ends when a call that takes chunks has sent none by `by`; never where it has.
///
/// A call that streams has all its time once it has begun: it could not be sent elsewhere any more.
async fn silent(chunks: Option<&ChunkSender>, begun: Instant, by: Option<Instant>) -> Duration {
    if let (Some(chunks), Some(by)) = (chunks, by) {
        tokio::time::sleep_until(by).await;
        if chunks.sent() == 0 {
            return by - begun;
        }
    }
    std::future::pending().await
}

/// A reply whose state can be kept. What is too large is the program's fault, and is recorded so:
/// a lane whose states grow beyond the limit must not look well.
fn within(reply: Reply, max_state: usize) -> Result<Reply, PoolError> {
    let bytes = reply
        .state
        .as_ref()
        .map_or(0, |state| state.as_json().get().len());
    if bytes <= max_state {
        return Ok(reply);
    }
    Err(PoolError::Program {
        exception: "StateTooLarge".to_owned(),
        message: format!(
            "the state that the call left is {bytes} bytes long; at most {max_state} are kept \
             (router.sessions.max_state_bytes), so the session stays as it was"
        ),
        traceback: None,
    })
}

/// Whose fault an attempt was. A program that ran out of time while its caller took no chunks stood
/// still for the caller's sake.
fn blame(ended: &Result<Reply, PoolError>, judged: Blame, chunks: Option<&ChunkSender>) -> Blame {
    let full = |chunks: &ChunkSender| {
        chunks.sent().saturating_sub(chunks.taken()) >= u64::from(chunks.window())
    };
    match ended {
        Err(PoolError::ProgramTimeout { .. }) if chunks.is_some_and(full) => Blame::Caller,
        _ => judged,
    }
}

impl LaneState {
    pub(crate) fn new(
        lane: Lane,
        pool: SharedPool,
        config: &CircuitConfig,
    ) -> Result<Self, InvalidConfig> {
        let circuit =
            Circuit::new(lane.label(), config.clone()).map_err(|error| InvalidConfig {
                setting: error.setting,
                value: error.value,
                expected: error.expected,
            })?;
        Ok(Self {
            lane,
            pool,
            circuit: Arc::new(circuit),
            held: Arc::default(),
            lost: Mutex::default(),
        })
    }

    /// A person decides for the circuit from now on, or none does; it holds once
    /// [`LaneState::decide`] says so.
    pub(crate) fn hold(&self, held: Option<Held>) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
    }

    /// What a person decided.
    pub(crate) fn held(&self) -> Option<Held> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.clone()
    }

    /// Sets the circuit's mode: a person's before the flag's. Answers it where it is another than before.
    pub(crate) fn decide(&self, breaker: bool) -> Option<Mode> {
        let flag = if breaker {
            Mode::Automatic
        } else {
            Mode::Disabled
        };
        let mode = self.held().map_or(flag, |held| held.mode);
        let before = self.circuit.mode();
        self.circuit.set_mode(mode);
        (mode != before).then_some(mode)
    }

    /// The same pool, with the same circuit, in this lane.
    pub(crate) fn standing_in(&self, lane: Lane) -> Self {
        Self {
            lane,
            pool: Arc::clone(&self.pool),
            circuit: Arc::clone(&self.circuit),
            held: Arc::clone(&self.held),
            lost: Mutex::default(),
        }
    }

    /// Leave to call the lane after which there is no other.
    ///
    /// To refuse here helps nobody while the pool has a worker: one program that crashes would shut
    /// out the callers of all others. So an open circuit only refuses for a pool without workers; one
    /// that a person holds open too (`circuit_effect` tells them so).
    pub(crate) fn last_resort(
        &self,
        now: Instant,
    ) -> Result<Option<BorrowedPermit<'_>>, RouterError> {
        match self.circuit.try_borrow(now) {
            Ok(permit) => Ok(Some(permit)),
            Err(_) if self.can_answer() => Ok(None),
            Err(refused) => Err(RouterError::CircuitOpen {
                lane: self.lane,
                retry_after: refused.retry_after.min(STABLE_RETRY),
            }),
        }
    }

    /// Whether the pool has a worker, or starts some for a call.
    fn can_answer(&self) -> bool {
        let status = self.pool.status();
        status.ready > 0 || status.resting
    }

    /// Records a call that the lane's open circuit kept from its pool.
    pub(crate) fn record_refused(&self, program: &Arc<str>, telemetry: &Telemetry, now: Instant) {
        telemetry.record(
            &Outcome {
                lane: self.lane,
                program: Arc::clone(program),
                blame: Some(Blame::Pool),
                kind: "circuit-open",
                total: Duration::ZERO,
                program_time: None,
            },
            now,
        );
    }

    pub(crate) async fn attempt(
        &self,
        call: Call,
        attempt: Attempt<'_>,
    ) -> Result<Reply, PoolError> {
        let begun = Instant::now();
        let until = call.deadline + self.grace(call.deadline, attempt.caller_until);
        let request_id = Arc::clone(&call.request_id);
        let chunks = call.chunks.clone();
        let answering = tokio::time::timeout_at(until, self.pool.execute(call));
        let ended = tokio::select! {
            ended = answering => ended.unwrap_or_else(|_| {
                Err(PoolError::Hung {
                    worker: NO_WORKER.to_owned(),
                    reason: format!("the {} pool did not answer by the deadline", self.lane),
                })
            }),
            after = silent(chunks.as_ref(), begun, attempt.first_chunk_by) => {
                Err(PoolError::ProgramTimeout { after })
            }
        };
        let ended = ended.and_then(|reply| within(reply, attempt.max_state));
        let now = Instant::now();
        let judged = ended.as_ref().err().map(judge);
        if let Some(permit) = attempt.permit {
            let note = match judged.map_or(Note::Success, |judged| judged.circuit) {
                // A worker with many calls on it is one loss, not many in a row.
                Note::Failure if self.knows_loss(ended.as_ref().err()) => Note::Neutral,
                note => note,
            };
            permit.note(note, now);
        }
        attempt.telemetry.record(
            &Outcome {
                lane: self.lane,
                program: Arc::clone(attempt.program),
                blame: judged.map(|judged| blame(&ended, judged.blame, chunks.as_ref())),
                kind: ended.as_ref().err().map_or("ok", PoolError::kind),
                total: now - begun,
                program_time: ended.as_ref().ok().and_then(|reply| reply.program_time),
            },
            now,
        );
        if let (Err(error), Some(judged)) = (&ended, judged) {
            tracing::debug!(
                %request_id,
                lane = self.lane.label(),
                program = %attempt.program,
                blame = judged.blame.label(),
                class = ?judged.class,
                %error,
                "an attempt failed"
            );
        }
        ended
    }

    /// Whether the circuit was told of this worker's loss already.
    fn knows_loss(&self, error: Option<&PoolError>) -> bool {
        let Some(worker) = error.and_then(PoolError::lost_worker) else {
            return false;
        };
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let known = worker != NO_WORKER && lost.as_deref() == Some(worker);
        *lost = Some(worker.to_owned());
        known
    }

    /// Where the caller waits longer than this attempt, half of what is left stays for the next.
    fn grace(&self, until: Instant, caller_until: Instant) -> Duration {
        match caller_until.saturating_duration_since(until) {
            Duration::ZERO => GRACE,
            left => GRACE.min(left / 2),
        }
    }
}
