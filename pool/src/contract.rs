//! What a pool is, to those who use one.
//!
//! Invariant: nothing here decides anything. Which worker, how many, when to restart: that is each
//! pool's own. The trait stays object-safe and small: five methods for those who use a pool, and two
//! by which one is tried, that a pool may do without.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::call::{Call, Reply};
use crate::error::PoolError;
use crate::fault::{Injected, Probed, WorkerFault};
use crate::program::{Program, ProgramKey};

/// A set of workers that can run any [`Program`].
///
/// Every method may be called from many tasks at once. A pool never keeps a call whose future was
/// dropped: dropping the future of [`Pool::execute`] is how a caller says that it has left.
#[async_trait]
pub trait Pool: Send + Sync + 'static {
    /// Runs one call and waits for its answer, until `call.deadline` at the latest.
    ///
    /// A worker that does not hold the program builds it from the definition first.
    async fn execute(&self, call: Call) -> Result<Reply, PoolError>;

    /// Builds the program in a worker, and so learns whether its definition can be built at all.
    ///
    /// Answers [`PoolError::Rejected`] where the definition is at fault.
    async fn check(&self, program: &Program) -> Result<(), PoolError>;

    /// Drops every instance of the program from every worker. Unknown programs are no error.
    async fn forget(&self, program: &ProgramKey);

    /// What the pool looks like right now. Cheap: it asks no worker.
    fn status(&self) -> PoolStatus;

    /// Asks every worker by itself, one after the other: each gets the call and `within` to answer.
    ///
    /// It takes only room that nobody waits for: a worker that has none within that time answers
    /// [`PoolError::Exhausted`]. Empty where the pool cannot tell its workers apart.
    async fn probe(&self, call: &Call, within: Duration) -> Vec<Probed> {
        let _ = (call, within);
        Vec::new()
    }

    /// Does this to one worker that has nothing to do, and returns once it was done. What follows
    /// is the pool's own affair, as it would be in earnest.
    ///
    /// Answers [`PoolError::Exhausted`] where every worker has something to do, and
    /// [`PoolError::Rejected`] where the pool cannot do this to a worker.
    async fn inject(&self, fault: WorkerFault) -> Result<Injected, PoolError> {
        Err(PoolError::Rejected {
            message: format!(
                "pool {} has no worker to try a {fault} on",
                self.status().name
            ),
        })
    }

    /// Takes no new calls, lets those in flight finish for at most `limit`, then stops every
    /// worker. May be called again; later calls wait for the same end.
    async fn drain(&self, limit: Duration) -> Drained;
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Drained {
    /// Calls that finished while the pool drained.
    pub finished: u64,
    /// Calls that were still running at the limit and were cut off.
    pub abandoned: u64,
}

/// A pool at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PoolStatus {
    /// The name from the configuration, such as `v1`.
    pub name: String,
    /// The kind of pool, such as `pool-v1`.
    pub kind: &'static str,
    /// Workers wanted.
    pub size: usize,
    /// Workers that can take a call now, or are busy with one.
    pub ready: usize,
    /// Calls in flight.
    pub in_flight: usize,
    /// Calls that a pool can run at the same time with all its workers ready.
    pub capacity: usize,
    /// Calls waiting for a worker.
    pub queued: usize,
    /// Worker processes started since the pool began.
    pub starts: u64,
    /// Workers that ended unasked, broke the protocol, hung, or could not be started. Not those
    /// that were replaced for the sake of a call that outstayed its caller: that is the program's.
    pub failures: u64,
    /// The pool takes no new calls.
    pub draining: bool,
    /// The pool has stopped its workers and starts them again for the next call.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub resting: bool,
    /// How fast the workers' memory grows, where the pool measures it and the samples suffice.
    pub growth: Option<Growth>,
    /// One entry for each slot, in slot order.
    pub workers: Vec<WorkerStatus>,
    /// What is particular to the kind of pool, by name: figures and decisions, for people.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub details: Map<String, Value>,
}

/// How fast the memory of a pool's workers grows, by the worst of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Growth {
    /// The worker that it was measured on, as in [`WorkerStatus::id`].
    pub worker: String,
    /// The program whose calls it grows with, where one stands out.
    pub program: Option<String>,
    /// The slope, as a share of the worker's memory an hour: 0.1 is 10 % an hour.
    pub per_hour: f64,
    /// The lower bound of the slope at 99 % confidence. Growth is certain where this is above 0.
    pub at_least: f64,
    /// Measurements behind it.
    pub samples: u64,
    /// The time that they span.
    pub span: Duration,
}

/// One worker at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct WorkerStatus {
    /// Slot and generation, such as `v2-3.1`: slot 3, started for the second time.
    pub id: String,
    /// The process, while there is one.
    pub pid: Option<u32>,
    /// Where it is in its life.
    pub state: WorkerState,
    /// What its last check said.
    pub health: Health,
    /// For how long it has been in this state, in milliseconds.
    pub in_state_ms: u64,
    /// Calls in flight on it.
    pub in_flight: usize,
    /// Calls answered by it since it started.
    pub calls: u64,
    /// Why it is in this state, where there is something to say: the last failure, in one line.
    pub detail: Option<String>,
    /// Its own memory in bytes (PSS), where the pool measures it.
    pub memory: Option<u64>,
    /// Its slot's latest changes of state, oldest first; bounded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<WorkerChange>,
}

/// One change of a worker's state.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorkerChange {
    /// The worker, as in [`WorkerStatus::id`].
    pub worker: String,
    /// When, as RFC 3339 text in UTC.
    pub at: String,
    /// The state that it left.
    pub from: WorkerState,
    /// The state that it entered.
    pub to: WorkerState,
    /// Why.
    pub reason: String,
}

/// What is known of a worker's health.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Its last check succeeded.
    Healthy,
    /// Its last check failed.
    Unhealthy,
    /// It has not been checked yet, or is gone.
    #[default]
    Unknown,
}

/// Where a worker is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// Started, not yet answering.
    #[default]
    Initializing,
    /// Waiting for a call.
    Ready,
    /// Running at least one call.
    Busy,
    /// Answering, but not trusted: it takes no new calls.
    Degraded,
    /// Asked to end.
    Terminating,
    /// Gone; the slot waits for its next worker.
    Terminated,
}

/// A pool that is shared.
pub type SharedPool = std::sync::Arc<dyn Pool>;
