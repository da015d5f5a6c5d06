//! Starts workers: from a warm fork server where that is wanted and safe, else as plain processes.
//!
//! Invariants: at most one fork server is asked for workers; one that is not asked any more ends with
//! the last worker that it forked. That it cannot be had, does not answer, or must not be used, costs
//! speed and never a worker. No more workers are started at the same time than the strategy says.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dspex_pool::{
    ForkServer, ForkServerOptions, LaunchSpec, Spawner, StartError, Target, Worker, WorkerOptions,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::config::Config;

/// How long a fork server that could not be started, or has died, is left alone.
const REST: Duration = Duration::from_secs(5);
/// How long none is started after one that must not fork. What an import leaves behind it will leave
/// behind again, and each try costs those imports; what passed by may have passed.
const UNSAFE_REST: Duration = Duration::from_secs(600);
/// How long a fork may take. It takes milliseconds; a server that does not answer must not keep a slot
/// empty for as long as a plain start may take.
const FORK_LIMIT: Duration = Duration::from_secs(5);

/// How many workers are started at the same time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// All at once: soonest ready, at the price of a busy machine meanwhile.
    #[default]
    Parallel,
    /// A few at a time.
    Staged,
    /// One after the other.
    Sequential,
}

/// How workers are warmed before they take calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WarmConfig {
    /// How many workers are started at the same time.
    pub strategy: Strategy,
    /// Workers started at the same time where the strategy is `staged`.
    pub at_once: usize,
    /// Callables `module:attribute` that the fork server runs once, before it forks the first
    /// worker: what they import and cache, every worker has. They must leave no thread and no
    /// open connection behind.
    pub calls: Vec<Target>,
}

impl Default for WarmConfig {
    fn default() -> Self {
        Self {
            strategy: Strategy::Parallel,
            at_once: 4,
            calls: Vec::new(),
        }
    }
}

impl WarmConfig {
    fn permits(&self) -> usize {
        match self.strategy {
            Strategy::Parallel => Semaphore::MAX_PERMITS,
            Strategy::Staged => self.at_once.max(1),
            Strategy::Sequential => 1,
        }
    }
}

#[derive(Debug)]
enum Server {
    /// None was needed yet, or it has ended.
    Absent,
    Warm(Arc<ForkServer>),
    /// It must not fork: threads or connections were found in it.
    Unsafe {
        reason: String,
        until: Instant,
    },
    /// It could not be started.
    Failed {
        reason: String,
        until: Instant,
    },
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Warmer {
    name: String,
    config: Config,
    launch: LaunchSpec,
    spawner: Spawner,
    tracker: TaskTracker,
    gate: Semaphore,
    server: Mutex<Server>,
    /// Held while a fork server is being started, so that one is.
    starting: tokio::sync::Mutex<()>,
}

impl Warmer {
    pub(crate) fn new(
        name: &str,
        config: &Config,
        launch: LaunchSpec,
        spawner: Spawner,
        tracker: &TaskTracker,
    ) -> Self {
        Self {
            name: name.to_owned(),
            gate: Semaphore::new(config.warm.permits()),
            config: config.clone(),
            launch,
            spawner,
            tracker: tracker.clone(),
            server: Mutex::new(Server::Absent),
            starting: tokio::sync::Mutex::default(),
        }
    }

    /// Starts a worker and waits until it is ready. `warm` says whether a fork server is wanted.
    pub(crate) async fn start(&self, name: &str, warm: bool) -> Result<Worker, StartError> {
        let _turn = self.gate.acquire().await;
        let options = WorkerOptions {
            name: name.to_owned(),
            concurrency: self.config.concurrency,
            preload: self.config.preload.clone(),
            start_timeout: self.config.start_timeout,
        };
        if warm && let Some(server) = self.server().await {
            let fork = WorkerOptions {
                start_timeout: options.start_timeout.min(FORK_LIMIT),
                ..options.clone()
            };
            match Worker::fork(fork, &self.launch, &server, &self.tracker).await {
                Err(error @ StartError::ForkUnsafe { .. }) => {
                    self.is_unsafe(&error);
                }
                // A server that answers nobody must not keep the slot empty.
                Err(error @ StartError::TimedOut { .. }) => {
                    tracing::warn!(pool = %self.name, %error, "the fork server does not answer");
                    self.failed(&error);
                }
                // The server has died under the fork: a plain worker now, a new server later.
                Err(error) if server.is_over() => {
                    tracing::warn!(pool = %self.name, %error, "the fork server has died");
                    self.failed(&error);
                }
                started => return started,
            }
        }
        Worker::start(options, &self.launch, &self.spawner, &self.tracker).await
    }

    /// The fork server, started where there is none; nothing where it cannot be used.
    async fn server(&self) -> Option<Arc<ForkServer>> {
        if let Some(known) = self.known() {
            return known;
        }
        let _starting = self.starting.lock().await;
        if let Some(known) = self.known() {
            return known;
        }
        let options = ForkServerOptions {
            name: format!("{}-fork-server", self.name),
            imports: self.config.preload.clone(),
            warmup: self.config.warm.calls.clone(),
            start_timeout: self.config.start_timeout,
        };
        match ForkServer::start(options, &self.launch, &self.spawner, &self.tracker).await {
            Ok(server) => {
                let server = Arc::new(server);
                tracing::info!(pool = %self.name, pid = server.pid(), "the fork server is warm");
                *self.lock() = Server::Warm(Arc::clone(&server));
                Some(server)
            }
            Err(error @ StartError::ForkUnsafe { .. }) => {
                self.is_unsafe(&error);
                None
            }
            Err(error) => {
                tracing::warn!(
                    pool = %self.name, %error,
                    "the fork server cannot be started; workers are started as plain processes"
                );
                self.failed(&error);
                None
            }
        }
    }

    /// What is known without starting anything: a server, that there is to be none, or nothing.
    fn known(&self) -> Option<Option<Arc<ForkServer>>> {
        match &*self.lock() {
            Server::Warm(server) if !server.is_over() => Some(Some(Arc::clone(server))),
            Server::Unsafe { until, .. } if *until > Instant::now() => Some(None),
            Server::Failed { until, .. } if *until > Instant::now() => Some(None),
            Server::Absent | Server::Warm(_) | Server::Unsafe { .. } | Server::Failed { .. } => {
                None
            }
        }
    }

    fn is_unsafe(&self, error: &StartError) {
        let reason = error.to_string();
        let mut server = self.lock();
        let known = matches!(&*server, Server::Unsafe { reason: before, .. } if *before == reason);
        if !known {
            tracing::warn!(
                pool = %self.name, reason,
                "workers cannot be forked; they are started as plain processes, which takes longer"
            );
        }
        *server = Server::Unsafe {
            reason,
            until: Instant::now() + UNSAFE_REST,
        };
    }

    fn failed(&self, error: &StartError) {
        *self.lock() = Server::Failed {
            reason: error.to_string(),
            until: Instant::now() + REST,
        };
    }

    /// The fork server's state, for people.
    pub(crate) fn figures(&self) -> Value {
        match &*self.lock() {
            Server::Absent => json!({"state": "absent"}),
            Server::Warm(server) if server.is_over() => json!({"state": "ended"}),
            Server::Warm(server) => json!({"state": "warm", "pid": server.pid()}),
            Server::Unsafe { reason, .. } => json!({"state": "unsafe", "reason": reason}),
            Server::Failed { reason, .. } => json!({"state": "failed", "reason": reason}),
        }
    }

    /// Lets the fork server go: it ends with the last worker that it has forked.
    pub(crate) fn end(&self) {
        *self.lock() = Server::Absent;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Server> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
