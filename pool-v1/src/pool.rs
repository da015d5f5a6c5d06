//! The pool: starting it, its face to callers, and its end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use dspex_pool::{
    Call, Drained, Injected, LaunchSpec, Pool, PoolError, PoolStatus, Probed, Program, ProgramKey,
    Reply, Spawner, WorkerFault,
};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::command::Lms;
use crate::config::Config;
use crate::seat::Work;
use crate::state::State;

/// How long a program may take to be built when it is checked.
const CHECK_LIMIT: Duration = Duration::from_secs(60);

/// A fixed set of workers on the bridge protocol, one call at a time each.
#[derive(Debug)]
pub struct PoolV1(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) name: String,
    pub(crate) config: Config,
    pub(crate) command: Vec<String>,
    pub(crate) launch: LaunchSpec,
    pub(crate) lms: Lms,
    pub(crate) spawner: Spawner,
    /// Whoever started the pool waits for its tasks, and for the processes' watchers, here.
    pub(crate) tracker: TaskTracker,
    /// The pool's own tasks: a drain ends when they have.
    pub(crate) tasks: TaskTracker,
    /// As many permits as there are idle seats: see [`crate::lend`].
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
    /// The pool was dropped: its workers are not asked to end any more.
    pub(crate) dropped: CancellationToken,
}

impl PoolV1 {
    /// Starts the workers and waits until each has answered a ping.
    ///
    /// # Errors
    /// [`PoolError::Unavailable`] where a worker cannot be started, with its last words. Every
    /// process that was started has ended by then.
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
        let inner = Arc::new(Inner {
            name: name.to_owned(),
            command,
            launch,
            lms,
            spawner,
            tracker: tracker.clone(),
            tasks: TaskTracker::new(),
            idle: Semaphore::new(0),
            state: Mutex::new(State::new(config.size())),
            queued: AtomicUsize::new(0),
            call_ended: Notify::new(),
            slot_settled: Notify::new(),
            stop: CancellationToken::new(),
            cut: CancellationToken::new(),
            dropped: CancellationToken::new(),
            config,
        });
        for slot in 0..inner.config.size() {
            inner.spawn(Arc::clone(&inner).keep_filled(slot));
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
        self.0.dropped.cancel();
    }
}

impl Inner {
    /// Runs a task that both a drain and the pool's owner wait for.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(self.tasks.track_future(task));
    }

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
        self.0.state().forget(program);
    }

    fn status(&self) -> PoolStatus {
        let state = self.0.state();
        PoolStatus {
            name: self.0.name.clone(),
            kind: "pool-v1",
            size: self.0.config.size(),
            ready: state.slots.iter().filter(|slot| slot.lives()).count(),
            in_flight: state.in_flight,
            capacity: self.0.config.size(),
            queued: self.0.queued.load(Ordering::Relaxed),
            starts: state.starts,
            failures: state.failures,
            draining: state.draining,
            workers: state.workers(&self.0.name),
            ..PoolStatus::default()
        }
    }

    async fn probe(&self, call: &Call, within: Duration) -> Vec<Probed> {
        self.0.probe(call, within).await
    }

    async fn inject(&self, fault: WorkerFault) -> Result<Injected, PoolError> {
        self.0.inject(fault).await
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
            (state.close(), state.finished - before)
        };
        for seat in seats {
            let limit = self.0.config.shutdown_timeout;
            self.0.spawn(seat.worker.shutdown(limit));
        }
        // Each slot's task ends after its process.
        self.0.tasks.close();
        self.0.tasks.wait().await;
        let finished = finished.min(in_flight as u64);
        Drained {
            finished,
            abandoned: abandoned as u64,
        }
    }
}
