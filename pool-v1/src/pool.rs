//! The pool: seats lent to one call at a time, and a task for each slot that fills it again.
//!
//! Invariants:
//! - The semaphore has as many permits as there are idle seats. A seat that is lost takes its
//!   permit with it; the slot's next worker brings a new one.
//! - A call runs in a task of its own, so that a caller who leaves never leaves an answer behind
//!   in a worker's stream for the next caller to find.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use dspex_pool::{
    Call, Drained, LaunchSpec, Pool, PoolError, PoolStatus, Program, ProgramKey, Reply, Spawner,
    WorkerState, WorkerStatus,
};
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::command::Lms;
use crate::config::Config;
use crate::seat::{Seat, Used, Work};

/// How long a program may take to be built when it is checked.
const CHECK_LIMIT: Duration = Duration::from_secs(60);

/// A fixed set of workers on the bridge protocol, one call at a time each.
#[derive(Debug)]
pub struct PoolV1(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) name: String,
    pub(crate) config: Config,
    pub(crate) command: Vec<String>,
    pub(crate) launch: LaunchSpec,
    pub(crate) lms: Lms,
    pub(crate) spawner: Spawner,
    pub(crate) tracker: TaskTracker,
    pub(crate) idle: Semaphore,
    pub(crate) state: Mutex<State>,
    pub(crate) queued: AtomicUsize,
    /// Signalled whenever a call ends.
    pub(crate) call_ended: Notify,
    /// Signalled whenever a slot's first start ends, well or not.
    pub(crate) slot_settled: Notify,
    /// Ends the slots' tasks.
    pub(crate) stop: CancellationToken,
    /// Cuts off the calls in flight.
    pub(crate) cut: CancellationToken,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) seats: Vec<Seat>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) starts: u64,
    pub(crate) failures: u64,
    pub(crate) in_flight: usize,
    pub(crate) finished: u64,
    pub(crate) draining: bool,
    pub(crate) last_failure: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) generation: u64,
    pub(crate) pid: Option<u32>,
    pub(crate) state: WorkerState,
    pub(crate) calls: u64,
    pub(crate) detail: Option<String>,
    /// Programs to be dropped before the seat's next call.
    pub(crate) forget: Vec<ProgramKey>,
    /// Filled by the slot's own task; woken when its seat is lost.
    pub(crate) lost: Arc<Notify>,
}

impl PoolV1 {
    /// Starts the workers and waits until each has answered a ping.
    ///
    /// # Errors
    /// [`PoolError::Unavailable`] where a worker cannot be started, with its last words; nothing
    /// is left running then.
    pub async fn start(
        name: &str,
        config: Config,
        launch: LaunchSpec,
        spawner: Spawner,
        tracker: &TaskTracker,
    ) -> Result<Arc<Self>, PoolError> {
        config.check().map_err(|error| PoolError::Unavailable {
            reason: format!("pool {name}: {error}"),
        })?;
        let ours = config.command.is_empty();
        let command = if ours {
            let python = launch.python.to_string_lossy().into_owned();
            vec![python, "-m".to_owned(), "dspex_worker.bridge".to_owned()]
        } else {
            config.command.clone()
        };
        let lms = Lms {
            profiles: launch.lms.clone(),
            keys_by_name: ours,
        };
        let slots = (0..config.size()).map(|_| Slot {
            generation: 0,
            pid: None,
            state: WorkerState::Initializing,
            calls: 0,
            detail: None,
            forget: Vec::new(),
            lost: Arc::default(),
        });
        let state = State {
            slots: slots.collect(),
            ..State::default()
        };
        let inner = Arc::new(Inner {
            name: name.to_owned(),
            command,
            launch,
            lms,
            spawner,
            tracker: tracker.clone(),
            idle: Semaphore::new(0),
            state: Mutex::new(state),
            queued: AtomicUsize::new(0),
            call_ended: Notify::new(),
            slot_settled: Notify::new(),
            stop: CancellationToken::new(),
            cut: CancellationToken::new(),
            config,
        });
        for slot in 0..inner.config.size() {
            tracker.spawn(Arc::clone(&inner).keep_filled(slot));
        }
        let pool = Arc::new(Self(inner));
        if let Err(reason) = pool.0.all_ready().await {
            pool.drain(Duration::ZERO).await;
            return Err(PoolError::Unavailable { reason });
        }
        Ok(pool)
    }
}

impl Drop for PoolV1 {
    fn drop(&mut self) {
        self.0.stop.cancel();
        self.0.cut.cancel();
    }
}

impl Inner {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no call is in flight.
    async fn calls_ended(&self) {
        loop {
            let ended = self.call_ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.state().in_flight == 0 {
                return;
            }
            ended.await;
        }
    }

    /// Waits for a seat; one that knows the session, where several are idle.
    async fn take_seat(
        &self,
        session: Option<&str>,
        deadline: Instant,
    ) -> Result<(Seat, Vec<ProgramKey>), PoolError> {
        let waiting = Waiting::new(&self.queued);
        if waiting.ahead >= self.config.queue_limit && self.idle.available_permits() == 0 {
            return Err(PoolError::Exhausted {
                reason: format!("{} calls wait already, which is the limit", waiting.ahead),
                retry_after: self.config.queue_wait,
            });
        }
        let until = deadline.min(Instant::now() + self.config.queue_wait);
        let permit = match tokio::time::timeout_at(until, self.idle.acquire()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_closed)) => return Err(PoolError::Draining),
            Err(_) => return Err(self.nobody_free()),
        };
        permit.forget();
        let mut state = self.state();
        let best = state.seats.iter().rposition(|seat| seat.knows(session));
        let seat = match best {
            Some(index) => Some(state.seats.remove(index)),
            None => state.seats.pop(),
        };
        let Some(seat) = seat else {
            return Err(PoolError::Draining);
        };
        state.in_flight += 1;
        let slot = &mut state.slots[seat.slot];
        slot.state = WorkerState::Busy;
        Ok((seat, std::mem::take(&mut slot.forget)))
    }

    fn nobody_free(&self) -> PoolError {
        let state = self.state();
        let alive = state
            .slots
            .iter()
            .any(|slot| matches!(slot.state, WorkerState::Ready | WorkerState::Busy));
        match (&state.last_failure, alive) {
            (Some(reason), false) => PoolError::Unavailable {
                reason: reason.clone(),
            },
            _ => PoolError::Exhausted {
                reason: format!("none came free within {:?}", self.config.queue_wait),
                retry_after: self.config.queue_wait,
            },
        }
    }

    fn give_back(&self, seat: Seat) {
        {
            let mut state = self.state();
            state.in_flight -= 1;
            state.finished += 1;
            let slot = &mut state.slots[seat.slot];
            slot.state = WorkerState::Ready;
            slot.calls += 1;
            state.seats.push(seat);
        }
        self.idle.add_permits(1);
        self.call_ended.notify_waiters();
    }

    fn throw_away(&self, seat: Seat, why: &str) {
        tracing::warn!(pool = %self.name, worker = %seat.name, why, "a worker is replaced");
        {
            let mut state = self.state();
            state.in_flight -= 1;
            state.failures += 1;
            let slot = &mut state.slots[seat.slot];
            slot.state = WorkerState::Terminated;
            slot.pid = None;
            slot.detail = Some(why.to_owned());
            slot.lost.notify_one();
        }
        // Dropping the seat kills its process.
        drop(seat);
        self.call_ended.notify_waiters();
    }

    /// Ends when the caller has left and the call has had its time after that. The protocol has
    /// no way to cancel: short calls are let finish, long ones cost the worker.
    async fn given_up<T>(&self, answer: &mut oneshot::Sender<T>) -> Duration {
        answer.closed().await;
        tokio::time::sleep(self.config.give_up_after).await;
        self.config.give_up_after
    }

    /// Lends a seat to `work` in a task of its own.
    async fn lend(
        self: &Arc<Self>,
        session: Option<&str>,
        deadline: Instant,
        work: Work,
    ) -> Result<Option<Reply>, PoolError> {
        let (mut seat, forget) = self.take_seat(session, deadline).await?;
        let (mut answer, answered) = oneshot::channel();
        let inner = Arc::clone(self);
        self.tracker.spawn(async move {
            let unusable = |error| Used { answer: Err(error), usable: false };
            let used = tokio::select! {
                used = seat.perform(&work, &forget, &inner.lms, deadline) => used,
                () = inner.cut.cancelled() => unusable(PoolError::Draining),
                after = inner.given_up(&mut answer) => unusable(PoolError::ProgramTimeout { after }),
            };
            match &used.answer {
                Err(error) if !used.usable => inner.throw_away(seat, &error.to_string()),
                _ => inner.give_back(seat),
            }
            // Where the caller has left, nobody wants the answer.
            let _ = answer.send(used.answer);
        });
        answered.await.unwrap_or(Err(PoolError::Draining))
    }
}

/// Counts a call that waits, for as long as it does.
struct Waiting<'a> {
    queued: &'a AtomicUsize,
    ahead: usize,
}

impl<'a> Waiting<'a> {
    fn new(queued: &'a AtomicUsize) -> Self {
        Self {
            queued,
            ahead: queued.fetch_add(1, Ordering::Relaxed),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.queued.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl Pool for PoolV1 {
    async fn execute(&self, call: Call) -> Result<Reply, PoolError> {
        let (session, deadline) = (call.session.clone(), call.deadline);
        let reply = self
            .0
            .lend(session.as_deref(), deadline, Work::Execute(call))
            .await?;
        reply.ok_or(PoolError::Draining)
    }

    async fn check(&self, program: &Program) -> Result<(), PoolError> {
        let deadline = Instant::now() + CHECK_LIMIT;
        self.0
            .lend(None, deadline, Work::Check(program.clone()))
            .await
            .map(drop)
    }

    async fn forget(&self, program: &ProgramKey) {
        for slot in &mut self.0.state().slots {
            slot.forget.push(program.clone());
        }
    }

    fn status(&self) -> PoolStatus {
        let state = self.0.state();
        let lives = |slot: &&Slot| matches!(slot.state, WorkerState::Ready | WorkerState::Busy);
        PoolStatus {
            name: self.0.name.clone(),
            kind: "pool-v1",
            size: self.0.config.size(),
            ready: state.slots.iter().filter(lives).count(),
            in_flight: state.in_flight,
            capacity: self.0.config.size(),
            queued: self.0.queued.load(Ordering::Relaxed),
            starts: state.starts,
            failures: state.failures,
            draining: state.draining,
            workers: state
                .slots
                .iter()
                .enumerate()
                .map(|(index, slot)| WorkerStatus {
                    id: format!(
                        "{}-{index}.{}",
                        self.0.name,
                        slot.generation.saturating_sub(1)
                    ),
                    pid: slot.pid,
                    state: slot.state,
                    in_flight: usize::from(slot.state == WorkerState::Busy),
                    calls: slot.calls,
                    detail: slot.detail.clone(),
                })
                .collect(),
        }
    }

    async fn drain(&self, limit: Duration) -> Drained {
        let deadline = Instant::now() + limit;
        let (before, in_flight) = {
            let mut state = self.0.state();
            state.draining = true;
            (state.finished, state.in_flight)
        };
        self.0.idle.close();
        self.0.stop.cancel();
        let _ = tokio::time::timeout_at(deadline, self.0.calls_ended()).await;
        let abandoned = self.0.state().in_flight;
        self.0.cut.cancel();
        self.0.calls_ended().await;
        let (seats, finished) = {
            let mut state = self.0.state();
            for slot in &mut state.slots {
                slot.state = WorkerState::Terminated;
                slot.pid = None;
            }
            (std::mem::take(&mut state.seats), state.finished - before)
        };
        let ends = seats.into_iter().map(|seat| {
            self.0
                .tracker
                .spawn(seat.worker.shutdown(self.0.config.shutdown_timeout))
        });
        for end in ends.collect::<Vec<_>>() {
            let _ = end.await;
        }
        let finished = finished.min(in_flight as u64);
        Drained {
            finished,
            abandoned: abandoned as u64,
        }
    }
}
