//! A slot's task: starts a worker, watches it, and replaces it when it is lost.
//!
//! Invariants: a slot starts at most one worker a second, and waits longer while starts fail; a
//! worker that stops answering without computing, or keeps a call that nobody waits for, does not
//! stay.

use std::sync::Arc;
use std::time::Duration;

use dspex_breaker::Backoff;
use dspex_pool::{LaunchSpec, Spawner, Worker, WorkerOptions};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::dispatcher::Dispatcher;

const RESTARTS: Backoff = Backoff::exponential(Duration::from_secs(1), Duration::from_secs(30));
/// How often a worker is looked at, beside its health checks.
const LOOK: Duration = Duration::from_millis(250);

/// What a slot's task needs.
pub(crate) struct Keeper {
    pub(crate) name: String,
    pub(crate) slot: usize,
    pub(crate) config: Config,
    pub(crate) launch: Arc<LaunchSpec>,
    pub(crate) spawner: Spawner,
    pub(crate) tracker: TaskTracker,
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) stop: CancellationToken,
}

/// How long a worker under suspicion has to answer, where its health checks give it longer.
const SUSPECT: Duration = Duration::from_secs(1);

/// Why a worker is replaced.
enum Lost {
    /// It ended, or broke the protocol.
    Ended(String),
    /// It answers nobody.
    Hung(String),
    /// It is well, but keeps a call that nobody waits for. The call's program is at fault, or its
    /// caller's patience: it is no failure of the worker.
    Overstayed(String),
}

impl Keeper {
    /// Runs until the pool stops.
    pub(crate) async fn run(self) {
        let mut failed_starts = 0;
        loop {
            let began = Instant::now();
            let name = self.dispatcher.starting(&self.name, self.slot);
            let options = WorkerOptions {
                name: name.clone(),
                concurrency: self.config.concurrency,
                preload: self.config.preload.clone(),
                start_timeout: self.config.start_timeout,
            };
            let started = tokio::select! {
                started = Worker::start(options, &self.launch, &self.spawner, &self.tracker) => started,
                () = self.stop.cancelled() => return,
            };
            match started {
                Ok(worker) => {
                    failed_starts = 0;
                    let worker = Arc::new(worker);
                    let (pid, python) = (worker.pid(), &worker.hello().python);
                    tracing::info!(pool = %self.name, worker = %name, pid, python, "a worker is ready");
                    self.dispatcher.started(self.slot, Arc::clone(&worker));
                    let lost = tokio::select! {
                        lost = self.watch(&worker) => lost,
                        () = self.stop.cancelled() => return,
                    };
                    let failed = !matches!(lost, Lost::Overstayed(_));
                    let why = match lost {
                        Lost::Ended(why) => why,
                        Lost::Hung(why) | Lost::Overstayed(why) => {
                            worker.condemn(&why);
                            worker.ended().await
                        }
                    };
                    tracing::warn!(pool = %self.name, worker = %name, why, "a worker is replaced");
                    self.dispatcher.gone(self.slot, &why, failed);
                }
                Err(error) => {
                    failed_starts += 1;
                    let reason = error.to_string();
                    tracing::warn!(pool = %self.name, worker = %name, reason, "a worker cannot be started");
                    self.dispatcher.start_failed(self.slot, &reason);
                }
            }
            tokio::select! {
                () = tokio::time::sleep_until(began + RESTARTS.delay(failed_starts.max(1))) => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    /// Watches a worker until it must be replaced.
    async fn watch(&self, worker: &Arc<Worker>) -> Lost {
        let mut failures = 0;
        let mut next_check = Instant::now() + self.config.health_interval;
        let mut retire_by = None;
        loop {
            let look = Instant::now() + LOOK;
            let suspected = tokio::select! {
                why = worker.ended() => return Lost::Ended(why),
                () = self.dispatcher.suspected(self.slot) => true,
                () = tokio::time::sleep_until(look.min(next_check)) => false,
            };
            if suspected {
                let limit = self.config.health_timeout.min(SUSPECT);
                if !worker.is_alive(limit).await {
                    let why = format!("a call was not answered, nor a ping for {limit:?}");
                    return Lost::Hung(why);
                }
                if failures == 0 && retire_by.is_none() {
                    self.dispatcher.set_degraded(self.slot, None);
                }
            }
            if let Some(retire_by) = retire_by {
                if worker.wanted_calls() == 0 || Instant::now() >= retire_by {
                    let kept = self.config.give_up_after;
                    let why = format!("it kept a call for {kept:?} after it was given up");
                    return Lost::Overstayed(why);
                }
            } else if worker
                .overstayed()
                .is_some_and(|kept| kept >= self.config.give_up_after)
            {
                let why =
                    "it keeps a call that was given up; it is replaced once its others are done";
                self.dispatcher
                    .set_degraded(self.slot, Some(why.to_owned()));
                retire_by = Some(Instant::now() + self.config.shutdown_timeout);
            }
            if Instant::now() < next_check {
                continue;
            }
            let well = tokio::select! {
                why = worker.ended() => return Lost::Ended(why),
                well = worker.is_alive(self.config.health_timeout) => well,
            };
            if well {
                next_check = Instant::now() + self.config.health_interval;
                if failures > 0 && retire_by.is_none() {
                    self.dispatcher.set_degraded(self.slot, None);
                }
                failures = 0;
                continue;
            }
            // While it is out of service it is asked again soon, so that one missed ping does not
            // cost a pool its worker for a whole interval.
            next_check = Instant::now() + self.config.health_interval.min(SUSPECT);
            failures += 1;
            let why = format!("{failures} health checks in a row without an answer");
            if failures >= self.config.health_failures {
                return Lost::Hung(why);
            }
            tracing::warn!(pool = %self.name, worker = %worker.name(), why, "a worker is degraded");
            self.dispatcher.set_degraded(self.slot, Some(why));
        }
    }
}
