//! The pool: leases a place, sends the call, and starts and stops the slots' tasks.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dspex_pool::{
    Call, Drained, LaunchSpec, Pool, PoolError, PoolStatus, Program, ProgramKey, Reply, Spawner,
    WorkerState,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::dispatcher::Dispatcher;
use crate::slot::Keeper;

/// How long a program may take to be built when it is checked.
const CHECK_LIMIT: Duration = Duration::from_secs(60);

/// A set of workers on the worker protocol, several calls at once on each.
#[derive(Debug)]
pub struct PoolV2 {
    name: String,
    config: Config,
    dispatcher: Arc<Dispatcher>,
    tracker: TaskTracker,
    /// Ends the slots' tasks.
    stop: CancellationToken,
}

impl PoolV2 {
    /// Starts the workers and waits until each is ready.
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
        let dispatcher = Dispatcher::new(
            name,
            config.workers,
            config.concurrency,
            config.queue_limit,
            config.queue_wait,
        );
        let stop = CancellationToken::new();
        let launch = Arc::new(launch);
        for slot in 0..config.workers {
            let keeper = Keeper {
                name: name.to_owned(),
                slot,
                config: config.clone(),
                launch: Arc::clone(&launch),
                spawner: spawner.clone(),
                tracker: tracker.clone(),
                dispatcher: Arc::clone(&dispatcher),
                stop: stop.clone(),
            };
            tracker.spawn(keeper.run());
        }
        let pool = Arc::new(Self {
            name: name.to_owned(),
            config,
            dispatcher,
            tracker: tracker.clone(),
            stop,
        });
        if let Err(reason) = pool.dispatcher.all_ready().await {
            pool.drain(Duration::ZERO).await;
            return Err(PoolError::Unavailable { reason });
        }
        Ok(pool)
    }
}

impl Drop for PoolV2 {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[async_trait]
impl Pool for PoolV2 {
    async fn execute(&self, call: Call) -> Result<Reply, PoolError> {
        loop {
            let lease = self
                .dispatcher
                .lease(call.session.as_deref(), call.deadline)
                .await?;
            match lease.worker.call(&call, Box::new(lease.place)).await {
                // The worker was over before the call reached it: another may run it. Each round
                // waits for a worker, so this ends with the queue's own limits.
                Err(PoolError::Unavailable { .. }) => {}
                Err(error @ PoolError::Hung { .. }) => {
                    // One missed ping is no proof, and others have calls on the worker: its slot
                    // looks closer.
                    self.dispatcher.suspect(lease.slot, lease.generation);
                    return Err(error);
                }
                answer => return answer,
            }
        }
    }

    async fn check(&self, program: &Program) -> Result<(), PoolError> {
        let deadline = Instant::now() + CHECK_LIMIT;
        // The place is held while the worker builds, so that checks count as work.
        let lease = self.dispatcher.lease(None, deadline).await?;
        lease.worker.check(program, deadline).await
    }

    async fn forget(&self, program: &ProgramKey) {
        for worker in self.dispatcher.workers() {
            worker.forget(program);
        }
    }

    fn status(&self) -> PoolStatus {
        let figures = self.dispatcher.figures();
        let ready = figures
            .workers
            .iter()
            .filter(|worker| matches!(worker.state, WorkerState::Ready | WorkerState::Busy))
            .count();
        PoolStatus {
            name: self.name.clone(),
            kind: "pool-v2",
            size: self.config.workers,
            ready,
            in_flight: figures.leases,
            capacity: self.config.workers * self.config.concurrency,
            queued: figures.queued,
            starts: figures.starts,
            failures: figures.failures,
            draining: figures.draining,
            workers: figures.workers,
            ..PoolStatus::default()
        }
    }

    async fn drain(&self, limit: Duration) -> Drained {
        let deadline = Instant::now() + limit;
        let (in_flight, ended_before) = self.dispatcher.close();
        let _ = tokio::time::timeout_at(deadline, self.dispatcher.idle()).await;
        let (abandoned, ended) = self.dispatcher.leases();
        self.stop.cancel();
        let stops = self.dispatcher.workers().into_iter().map(|worker| {
            // A worker with calls that outlived the limit is not asked to finish them.
            let limit = if abandoned == 0 {
                self.config.shutdown_timeout
            } else {
                Duration::ZERO
            };
            self.tracker
                .spawn(async move { worker.shutdown(limit).await })
        });
        for stop in stops.collect::<Vec<_>>() {
            let _ = stop.await;
        }
        self.dispatcher.stopped();
        let finished = (ended - ended_before).min(in_flight as u64);
        Drained {
            finished,
            abandoned: abandoned as u64,
        }
    }
}
