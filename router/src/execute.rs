//! The way of a call: find the program, choose the lane, try it, and fall back to stable once.
//!
//! Invariant: between the reading of the flags and the first poll of the lane's pool nothing is
//! awaited, so an acknowledged revision is what new calls go by.

use std::sync::Arc;
use std::time::Duration;

use dspex_breaker::{BorrowedPermit, Mode};
use dspex_pool::{Call, ChunkSender, PoolError, ProgramId, Reply};
use dspex_telemetry::Lane;
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::catalog::cache::Entry;
use crate::dispatch::{Attempt, LaneState};
use crate::error::{ExecuteFailed, RouterError};
use crate::failover::{candidate_time, may_ask_again, may_ask_stable};
use crate::rescue::Rescued;
use crate::router::Router;
use crate::sessions::states::Held;

/// How often a call is asked again of stable where its worker was lost. Workers that are killed
/// together, such as by the kernel for want of memory, are met one after the other.
const REPEATS: u32 = 2;

/// A program to run.
#[derive(Debug, Clone)]
pub struct Execute {
    /// Which program.
    pub program: ProgramId,
    /// Inputs by name.
    pub inputs: Map<String, Value>,
    /// The caller's session, where there is one. Empty text is none.
    pub session: Option<Arc<str>>,
    /// Names the call in logs; decides the lane where there is no session.
    pub request_id: Arc<str>,
    /// How long the caller waits; the configured time where it does not say.
    pub timeout: Option<Duration>,
    /// Who calls, as far as the server knows.
    pub caller: Option<String>,
    /// Where the chunks of the answer go, where the caller wants them.
    pub chunks: Option<ChunkSender>,
    /// Told the lane whenever the call is sent to one; with the first chunk it is final.
    pub lane: Option<watch::Sender<Option<Lane>>>,
}

/// A call that was answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Executed {
    /// Outputs by name.
    pub outputs: Map<String, Value>,
    /// The lane that answered.
    pub lane: Lane,
    /// Time spent inside the program, where the worker reports it.
    pub program_time: Option<Duration>,
    /// From the router's first look at the call to its answer, failed attempts included.
    pub total: Duration,
    /// The worker that answered.
    pub worker: Arc<str>,
    /// Stable answered in place of a candidate that failed the call, or that its circuit kept from
    /// being asked.
    pub failed_over: bool,
}

impl Router {
    /// Runs a program and answers with its outputs.
    ///
    /// Dropping the future is how a caller leaves: the call is cancelled in the pool and recorded
    /// as nobody's error.
    ///
    /// # Errors
    ///
    /// [`RouterError::UnknownProgram`], [`RouterError::InvalidInput`],
    /// [`RouterError::InputsTooLarge`], [`RouterError::Catalog`], and for a stateful program
    /// [`RouterError::SessionRequired`], [`RouterError::SessionBusy`] and [`RouterError::Sessions`]
    /// before a lane was chosen; [`RouterError::Pool`] and [`RouterError::CircuitOpen`] from the lane
    /// that is named, and [`RouterError::Sessions`] where its answer could not be kept.
    pub async fn execute(&self, request: Execute) -> Result<Executed, ExecuteFailed> {
        let begun = Instant::now();
        let nowhere = |error| ExecuteFailed {
            error,
            lane: None,
            failed_over: false,
        };
        let timeout = self.timeout(request.timeout).map_err(nowhere)?;
        self.check_size(&request.inputs).map_err(nowhere)?;
        let entry = self.find(&request.program).await.map_err(nowhere)?;
        let session = request.session.filter(|session| !session.is_empty());
        let deadline = begun + timeout;
        let held = self.hold(&entry, session.as_ref(), deadline).await;
        let held = held.map_err(nowhere)?;
        let call = Call {
            request_id: request.request_id,
            session,
            caller: request.caller.map(Into::into),
            program: Arc::clone(&entry.program),
            inputs: Arc::new(request.inputs),
            state: held.as_ref().and_then(Held::state),
            chunks: request.chunks,
            deadline,
        };
        let copy = self
            .shadow
            .wanted(&self.served.load(), &call)
            .filter(|_| self.candidate_lane().is_some());
        let tell = |lane| {
            if let Some(told) = &request.lane {
                told.send_replace(Some(lane));
            }
        };
        self.rescue.budget.deposit(begun);
        // Held to the end where the call streams: its session stays on this side for as long.
        let (routed, _stream) = self.streams.route(&self.served, &call);
        let tried = match routed {
            Lane::Candidate => self.try_candidate(&call, &entry, tell).await,
            Lane::Stable => Tried::NotRouted,
        };
        let (ended, lane, failed_over) = match tried {
            Tried::Ended(ended) => (ended.map_err(RouterError::Pool), Lane::Candidate, false),
            tried => {
                tell(Lane::Stable);
                let failed_over = matches!(tried, Tried::AskStable(_));
                let ended = self.ask_stable(call, &entry).await;
                if let Tried::AskStable(Some(rescued)) = tried {
                    rescued.ended(ended.is_ok());
                }
                (ended, Lane::Stable, failed_over)
            }
        };
        let ended = match ended {
            Ok(mut reply) => self.keep(held, &mut reply).await.map(|()| reply),
            failed => failed,
        };
        match ended {
            Ok(reply) => {
                let total = begun.elapsed();
                if let Some(wanted) = copy.filter(|_| !failed_over) {
                    self.shadow.offer(wanted, lane, &reply);
                }
                Ok(Executed {
                    outputs: reply.outputs,
                    lane,
                    program_time: reply.program_time,
                    total,
                    worker: reply.worker,
                    failed_over,
                })
            }
            Err(error) => Err(ExecuteFailed {
                error: whole_time(error, timeout),
                lane: Some(lane),
                failed_over,
            }),
        }
    }

    /// The turn of the call's session, with its state, where the program is stateful.
    async fn hold(
        &self,
        entry: &Entry,
        session: Option<&Arc<str>>,
        deadline: Instant,
    ) -> Result<Option<Held>, RouterError> {
        let program = &entry.program;
        if !program.stateful {
            return Ok(None);
        }
        let Some(session) = session else {
            let id = program.key.id.clone();
            return Err(RouterError::SessionRequired { id });
        };
        let held = self.sessions.take(&program.key, session, deadline).await?;
        Ok(Some(held))
    }

    /// Keeps the state that a call of a stateful program left, before anybody sees its answer.
    async fn keep(&self, held: Option<Held>, reply: &mut Reply) -> Result<(), RouterError> {
        // A worker that answers no state has none to leave: what was there stays.
        if let (Some(held), Some(state)) = (held, reply.state.take()) {
            self.sessions.keep(held, state).await?;
        }
        Ok(())
    }

    async fn try_candidate(&self, call: &Call, entry: &Entry, tell: impl Fn(Lane)) -> Tried {
        let Some(candidate) = self.candidate_lane() else {
            return Tried::NotRouted;
        };
        let now = Instant::now();
        let Ok(permit) = candidate.circuit.try_borrow(now) else {
            // No attempt, but a call that was the candidate's and that it could not serve. Were it
            // left out, a candidate broken enough to open its circuit would show too few failures
            // to be taken back. One that a person holds open says nothing of the candidate.
            if candidate.circuit.mode() != Mode::ForcedOpen {
                candidate.record_refused(&entry.name, &self.telemetry, now);
            }
            return Tried::AskStable(None);
        };
        let repeatable = entry.program.repeatable;
        let left = call.deadline.saturating_duration_since(now);
        let share = self.config.candidate_share_of_deadline;
        let cut = now + candidate_time(left, share, repeatable, entry.need.get());
        // A call that streams is cut only while it is silent: later, nobody else could go on.
        let (deadline, first_chunk_by) = match call.chunks {
            None => (cut, None),
            Some(_) => (call.deadline, Some(cut).filter(|cut| *cut < call.deadline)),
        };
        let attempt = Attempt {
            program: &entry.name,
            permit: Some(permit),
            caller_until: call.deadline,
            first_chunk_by,
            max_state: self.config.sessions.max_state_bytes,
            telemetry: &self.telemetry,
        };
        tell(Lane::Candidate);
        let call_there = Call {
            deadline,
            ..call.clone()
        };
        let ended = candidate.attempt(call_there, attempt).await;
        let rescued = match &ended {
            Err(error)
                if may_ask_stable(error, repeatable, cut < call.deadline, streamed(call))
                    && Instant::now() < call.deadline =>
            {
                let circuit = &candidate.circuit;
                let rescued = self.rescue.failover(&call.request_id, error, circuit);
                if rescued.is_some() {
                    tracing::info!(
                        request_id = %call.request_id,
                        program = %entry.name,
                        %error,
                        "the candidate failed a call; stable answers it"
                    );
                }
                rescued
            }
            _ => None,
        };
        match rescued {
            Some(rescued) => Tried::AskStable(Some(rescued)),
            None => Tried::Ended(ended),
        }
    }

    /// Asks stable, and again where a worker was lost under a call that may be repeated.
    async fn ask_stable(&self, call: Call, entry: &Entry) -> Result<Reply, RouterError> {
        let mut stable = self.stable_lane();
        let permit = stable.last_resort(Instant::now())?;
        let mut first = self
            .attempt_stable(&stable, call.clone(), entry, permit)
            .await;
        while let Err(RouterError::Pool(PoolError::Draining)) = first {
            let now = self.stable_lane();
            if Arc::ptr_eq(&now, &stable) {
                break;
            }
            // Another pool took the lane after this call had chosen it. Nothing was started.
            stable = now;
            let permit = stable.last_resort(Instant::now())?;
            first = self
                .attempt_stable(&stable, call.clone(), entry, permit)
                .await;
        }
        let mut rescued: Option<Rescued> = None;
        for _ in 0..REPEATS {
            let lost = match first {
                Err(RouterError::Pool(error))
                    if may_ask_again(&error, entry.program.repeatable, streamed(&call)) =>
                {
                    error
                }
                ended => {
                    first = ended;
                    break;
                }
            };
            // Only with the circuit's leave: a program that kills workers must not kill many.
            let now = Instant::now();
            let (id, circuit) = (&call.request_id, &*stable.circuit);
            let Some(permit) = circuit.try_borrow(now).ok().filter(|_| now < call.deadline) else {
                first = Err(RouterError::Pool(lost));
                break;
            };
            rescued = match rescued.take() {
                None => self.rescue.again(id, &lost, circuit),
                Some(rescued) => rescued.once_more(id, &lost, circuit),
            };
            if rescued.is_none() {
                return Err(RouterError::Pool(lost));
            }
            tracing::info!(
                request_id = %id,
                program = %entry.name,
                error = %lost,
                "stable lost a worker under a call; another worker answers it"
            );
            first = self
                .attempt_stable(&stable, call.clone(), entry, Some(permit))
                .await;
        }
        if let Some(rescued) = rescued {
            rescued.ended(first.is_ok());
        }
        first
    }

    async fn attempt_stable(
        &self,
        stable: &LaneState,
        call: Call,
        entry: &Entry,
        permit: Option<BorrowedPermit<'_>>,
    ) -> Result<Reply, RouterError> {
        let now = Instant::now();
        let attempt = Attempt {
            program: &entry.name,
            permit,
            caller_until: call.deadline,
            first_chunk_by: None,
            max_state: self.config.sessions.max_state_bytes,
            telemetry: &self.telemetry,
        };
        let given = call.deadline.saturating_duration_since(now);
        let ended = stable.attempt(call, attempt).await;
        match &ended {
            Ok(_) => entry.need.answered(now.elapsed()),
            Err(PoolError::ProgramTimeout { .. }) => entry.need.outlasted(given),
            Err(_) => {}
        }
        ended.map_err(RouterError::Pool)
    }

    fn timeout(&self, asked: Option<Duration>) -> Result<Duration, RouterError> {
        let limit = self.config.call_timeout_limit;
        match asked {
            None => Ok(self.config.call_timeout),
            Some(asked) if asked.is_zero() || asked > limit => Err(RouterError::InvalidInput {
                message: format!(
                    "a timeout of {asked:?} is not possible: it must be longer than 0s and at most {limit:?}"
                ),
            }),
            Some(asked) => Ok(asked),
        }
    }

    fn check_size(&self, inputs: &Map<String, Value>) -> Result<(), RouterError> {
        let limit = self.config.max_inputs_bytes;
        match serde_json::to_writer(Room(limit), inputs) {
            Ok(()) => Ok(()),
            // The only error there is: what counts the bytes does no other input or output.
            Err(_) => Err(RouterError::InputsTooLarge { limit }),
        }
    }
}

/// Whether the caller has a part of the answer already.
fn streamed(call: &Call) -> bool {
    call.chunks.as_ref().is_some_and(|chunks| chunks.sent() > 0)
}

/// How the candidate came into it.
enum Tried {
    /// The call is stable's, or there is no candidate.
    NotRouted,
    /// The candidate failed, or its circuit is open: stable answers. A call that the candidate was
    /// sent is stable's second attempt, and accounted for as such.
    AskStable(Option<Rescued>),
    /// The candidate's answer, or its error, is the call's.
    Ended(Result<Reply, PoolError>),
}

/// A timeout names the time that the caller gave, not the part that the last attempt had.
fn whole_time(error: RouterError, timeout: Duration) -> RouterError {
    match error {
        RouterError::Pool(PoolError::ProgramTimeout { .. }) => {
            RouterError::Pool(PoolError::ProgramTimeout { after: timeout })
        }
        other => other,
    }
}

/// Counts bytes down, and keeps none of them.
pub(crate) struct Room(pub(crate) usize);

impl std::io::Write for Room {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self
            .0
            .checked_sub(bytes.len())
            .ok_or(std::io::ErrorKind::FileTooLarge)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
