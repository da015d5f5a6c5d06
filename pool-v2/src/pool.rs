//! The pool: leases a place, sends the call, and stops everything in the end.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dspex_breaker::{CircuitState, ErrorClass};
use dspex_pool::{
    Call, Drained, Injected, LaunchSpec, Pool, PoolError, PoolStatus, Probed, Program, ProgramKey,
    Reply, Spawner, Switches, WorkerFault,
};
use serde_json::{Map, Value, json};
use tokio::sync::watch::Receiver;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::dispatcher::{Ask, Dispatcher};
use crate::fleet::Fleet;
use crate::recovery::{Failure, Starts, WorkerAct, decide};
use crate::slot::Shared;
use crate::trial;
use crate::tuner::Tuner;
use crate::warmer::Warmer;

/// How long a program may take to be built when it is checked.
const CHECK_LIMIT: Duration = Duration::from_secs(60);

/// A set of workers on the worker protocol, several calls at once on each.
#[derive(Debug)]
pub struct PoolV2 {
    shared: Arc<Shared>,
    tuner: Arc<Tuner>,
    /// Ends the tasks.
    stop: CancellationToken,
}

impl PoolV2 {
    /// Starts the workers and waits until each is ready.
    ///
    /// `switches` may change while the pool runs; [`Switches::unchanging`] where nobody switches.
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
        switches: Receiver<Switches>,
    ) -> Result<Arc<Self>, PoolError> {
        let unusable = |error: &dyn std::fmt::Display| PoolError::Unavailable {
            reason: format!("pool {name}: {error}"),
        };
        config.check().map_err(|error| unusable(&error))?;
        let dispatcher = Dispatcher::new(name, &config);
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            warmer: Warmer::new(name, &config, launch, spawner, tracker),
            starts: Starts::new(name, config.recovery.start.clone())
                .map_err(|error| unusable(&error))?,
            switches,
            tracker: tracker.clone(),
            dispatcher,
            config,
        });
        let fleet = Fleet::new(Arc::clone(&shared), stop.clone());
        let tuner = Arc::new(Tuner::new(Arc::clone(&shared), fleet));
        tuner.begin();
        let pool = Arc::new(Self {
            tuner: Arc::clone(&tuner),
            shared,
            stop: stop.clone(),
        });
        if let Err(reason) = pool.shared.dispatcher.all_ready().await {
            pool.drain(Duration::ZERO).await;
            return Err(PoolError::Unavailable { reason });
        }
        tracker.spawn(async move {
            stop.run_until_cancelled(tuner.run()).await;
        });
        Ok(pool)
    }

    /// What a call's error means for its worker, where the worker still stands.
    fn mind(&self, slot: usize, generation: u64, error: &PoolError) {
        // What only says that the worker has ended, its slot's task knows by itself.
        let PoolError::Program { exception, .. } = error else {
            return;
        };
        let class = if exception == "MemoryError" {
            ErrorClass::Resource
        } else {
            ErrorClass::Python
        };
        let dispatcher = &self.shared.dispatcher;
        let workers = dispatcher.in_service(slot);
        let recovery = &self.shared.config.recovery;
        let act = decide(recovery, Failure::Error(class), workers);
        if act.worker == WorkerAct::ReplaceWhenWarm {
            dispatcher.ask_replacement(slot, generation, &act.reason);
        }
    }

    fn start_circuit(&self) -> Value {
        let (circuit, now) = (self.shared.starts.circuit(), Instant::now());
        let state = circuit.state(now);
        let mut figures = json!({"state": state.name(), "on": circuit.is_enabled()});
        if let CircuitState::Open { until } = state {
            let left = until.saturating_duration_since(now);
            figures["next_try_in_ms"] = json!(u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
        }
        figures
    }

    fn details(&self) -> Map<String, Value> {
        let shared = &self.shared;
        let figures = shared.dispatcher.affinity();
        let known = figures.hits.hits + figures.hits.misses;
        let affinity = json!({
            "mode": figures.mode,
            "on": shared.switches().enhanced_workers,
            "sessions": figures.sessions,
            "hits": figures.hits.hits,
            "misses": figures.hits.misses,
            "hit_rate": (known > 0).then(|| figures.hits.hits as f64 / known as f64),
        });
        Map::from_iter([
            ("affinity".to_owned(), affinity),
            ("switches".to_owned(), json!(shared.switches())),
            ("optimizer".to_owned(), self.tuner.figures()),
            ("start_circuit".to_owned(), self.start_circuit()),
            ("fork_server".to_owned(), shared.warmer.figures()),
        ])
    }
}

impl Drop for PoolV2 {
    fn drop(&mut self) {
        self.stop.cancel();
        self.shared.warmer.end();
    }
}

/// A call that its caller gives up after its deadline, before it is known whether its worker is well:
/// that worker is looked at all the same.
struct Unanswered<'a> {
    dispatcher: &'a Dispatcher,
    /// Its slot, and the worker's generation there. None once the call is answered.
    at: Option<(usize, u64)>,
    deadline: Instant,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some((slot, generation)) = self.at
            && Instant::now() >= self.deadline
        {
            self.dispatcher.look_closer(slot, generation);
        }
    }
}

#[async_trait]
impl Pool for PoolV2 {
    async fn execute(&self, call: Call) -> Result<Reply, PoolError> {
        let dispatcher = &self.shared.dispatcher;
        loop {
            let ask = Ask {
                session: call.session.as_deref(),
                caller: call.caller.as_deref(),
                deadline: call.deadline,
            };
            let lease = dispatcher.lease(ask).await?;
            let (slot, generation) = (lease.slot, lease.generation);
            lease.worker.ran(&call.program.key);
            let worker = &lease.worker.worker;
            let mut unanswered = Unanswered {
                dispatcher,
                at: Some((slot, generation)),
                deadline: call.deadline,
            };
            let answer = worker.call(&call, Box::new(lease.place)).await;
            unanswered.at = None;
            match answer {
                // The worker was over before the call reached it: another may run it. Each round
                // waits for a worker, so this ends with the queue's own limits.
                Err(PoolError::Unavailable { .. }) => dispatcher.shun(slot, generation),
                Err(error @ PoolError::Hung { .. }) => {
                    // One missed ping is no proof, and others have calls on the worker: its slot
                    // looks closer.
                    dispatcher.suspect(slot, generation);
                    return Err(error);
                }
                Err(error) => {
                    if matches!(error, PoolError::ProgramTimeout { .. }) {
                        dispatcher.look_closer(slot, generation);
                    }
                    self.mind(slot, generation, &error);
                    return Err(error);
                }
                answer => return answer,
            }
        }
    }

    async fn check(&self, program: &Program) -> Result<(), PoolError> {
        let deadline = Instant::now() + CHECK_LIMIT;
        let ask = Ask {
            session: None,
            caller: None,
            deadline,
        };
        // The place is held while the worker builds, so that checks count as work.
        let lease = self.shared.dispatcher.lease(ask).await?;
        lease.worker.worker.check(program, deadline).await
    }

    async fn forget(&self, program: &ProgramKey) {
        for seated in self.shared.dispatcher.workers() {
            seated.worker.forget(program);
        }
    }

    fn status(&self) -> PoolStatus {
        let figures = self.shared.dispatcher.figures();
        let slots = figures.size + figures.overflow;
        PoolStatus {
            name: self.shared.name.clone(),
            kind: "pool-v2",
            size: figures.size,
            ready: figures.ready,
            in_flight: figures.leases,
            capacity: slots * self.shared.config.concurrency,
            queued: figures.queued,
            starts: figures.starts,
            failures: figures.failures,
            draining: figures.draining,
            resting: false,
            growth: figures.growth,
            workers: figures.workers,
            details: self.details(),
        }
    }

    async fn probe(&self, call: &Call, within: Duration) -> Vec<Probed> {
        trial::probe(&self.shared, call, within).await
    }

    async fn inject(&self, fault: WorkerFault) -> Result<Injected, PoolError> {
        trial::inject(&self.shared, fault).await
    }

    async fn drain(&self, limit: Duration) -> Drained {
        let deadline = Instant::now() + limit;
        let dispatcher = &self.shared.dispatcher;
        let (in_flight, ended_before) = dispatcher.close();
        let _ = tokio::time::timeout_at(deadline, dispatcher.idle()).await;
        let (abandoned, ended) = dispatcher.leases();
        self.stop.cancel();
        let stops = dispatcher.workers().into_iter().map(|seated| {
            // A worker with calls that outlived the limit is not asked to finish them.
            let limit = if abandoned == 0 {
                self.shared.config.shutdown_timeout
            } else {
                Duration::ZERO
            };
            self.shared
                .tracker
                .spawn(async move { seated.worker.shutdown(limit).await })
        });
        for stop in stops.collect::<Vec<_>>() {
            let _ = stop.await;
        }
        dispatcher.stopped();
        self.shared.warmer.end();
        let finished = (ended - ended_before).min(in_flight as u64);
        Drained {
            finished,
            abandoned: abandoned as u64,
        }
    }
}
