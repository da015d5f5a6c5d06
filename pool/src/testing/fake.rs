//! A pool without Python: answers, latency, check failures and faults are scripted.
//!
//! Invariants: every call counted as in flight is counted out again, however its future ends; a
//! drained fake refuses every call; `starts` and `failures` move as a real pool's would, because a
//! scripted [`PoolError::Crashed`] costs a worker.

mod script;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::script::Script;
use super::fixture_programs;
use crate::{
    Call, Drained, Injected, Pool, PoolError, PoolStatus, Probed, Program, ProgramKey, Reply,
    SharedPool, WorkerFault, WorkerState, WorkerStatus,
};

/// A scripted [`Pool`]. Clones share one pool, so a test keeps a handle to what it gave away.
///
/// Without a script it answers every call with the call's own inputs, at once. What changes the
/// script takes effect at once, even for calls that are held, and returns the same pool.
///
/// ```
/// use dspex_pool::{PoolError, testing::FakePool};
/// let broken = FakePool::new("v2").answer_with(|_| {
///     Err(PoolError::Unavailable { reason: "python3 is gone".to_owned() })
/// });
/// let pool = broken.shared();
/// assert_eq!(pool.status().name, "v2");
/// assert_eq!(broken.calls(), 0);
/// ```
#[derive(Clone)]
pub struct FakePool(Arc<Inner>);

struct Inner {
    name: String,
    size: usize,
    capacity: usize,
    slots: Semaphore,
    script: Mutex<Script>,
    /// Calls that reached the script, told to whoever waits for them.
    calls: watch::Sender<u64>,
    held: watch::Sender<bool>,
    in_flight: watch::Sender<usize>,
    finished: AtomicU64,
    starts: AtomicU64,
    failures: AtomicU64,
    ready: AtomicUsize,
    /// When the workers that faults were done to are back; `None`: never.
    missing: Mutex<Vec<Option<Instant>>>,
    draining: AtomicBool,
    /// Set when a drain's limit has passed: what still runs is cut off.
    cut: CancellationToken,
    checked: Mutex<Vec<ProgramKey>>,
    forgotten: Mutex<Vec<ProgramKey>>,
}

impl FakePool {
    /// A pool of two workers that can run 64 calls at once and answers each with its own inputs.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self::sized(name, 2, 64)
    }

    /// As [`FakePool::new`], with so many workers and so many calls at once.
    #[must_use]
    pub fn sized(name: &str, size: usize, capacity: usize) -> Self {
        Self(Arc::new(Inner {
            name: name.to_owned(),
            size,
            capacity,
            slots: Semaphore::new(capacity),
            script: Mutex::new(Script::default()),
            calls: watch::Sender::new(0),
            held: watch::Sender::new(false),
            in_flight: watch::Sender::new(0),
            finished: AtomicU64::new(0),
            starts: AtomicU64::new(size as u64),
            failures: AtomicU64::new(0),
            ready: AtomicUsize::new(size),
            missing: Mutex::default(),
            draining: AtomicBool::new(false),
            cut: CancellationToken::new(),
            checked: Mutex::new(Vec::new()),
            forgotten: Mutex::new(Vec::new()),
        }))
    }

    /// A pool whose callables behave as those of the Python module `fixture_programs`.
    #[must_use]
    pub fn fixture_programs(name: &str) -> Self {
        Self::new(name)
            .answer_with(fixture_programs::answer)
            .latency_with(fixture_programs::latency)
            .check_with(fixture_programs::check)
    }

    /// A reply with these outputs. Anything but a JSON object stands under `result`.
    #[must_use]
    pub fn reply(outputs: &Value) -> Reply {
        Reply {
            outputs: fixture_programs::outputs(outputs.clone()),
            program_time: Some(Duration::ZERO),
            worker: "fake-0.0".into(),
            state: None,
            usage: None,
        }
    }

    /// This pool behind the trait.
    #[must_use]
    pub fn shared(&self) -> SharedPool {
        Arc::new(self.clone())
    }

    /// How many calls have reached a worker.
    #[must_use]
    pub fn calls(&self) -> u64 {
        *self.0.calls.borrow()
    }

    /// Waits until so many calls have reached a worker.
    ///
    /// # Panics
    /// Where that has not come to pass within a minute.
    pub async fn wait_for_calls(&self, calls: u64) {
        let mut seen = self.0.calls.subscribe();
        tokio::time::timeout(Duration::from_secs(60), seen.wait_for(|now| *now >= calls))
            .await
            .unwrap_or_else(|_| panic!("{calls} calls expected, {} seen", self.calls()))
            .expect("the sender lives in self");
    }

    /// Keeps calls from being answered until [`FakePool::release`].
    pub fn hold(&self) {
        self.0.held.send_replace(true);
    }

    /// Lets held calls go on.
    pub fn release(&self) {
        self.0.held.send_replace(false);
    }

    /// Makes the status say that so many workers are ready. Calls are answered as scripted.
    pub fn set_ready(&self, workers: usize) {
        self.0.ready.store(workers.min(self.0.size), SeqCst);
    }

    /// The programs that were checked, in order.
    #[must_use]
    pub fn checked(&self) -> Vec<ProgramKey> {
        self.0
            .checked
            .lock()
            .expect("no test panics inside")
            .clone()
    }

    /// The programs that were forgotten, in order.
    #[must_use]
    pub fn forgotten(&self) -> Vec<ProgramKey> {
        self.0
            .forgotten
            .lock()
            .expect("no test panics inside")
            .clone()
    }

    /// Workers that are not back yet.
    fn missing(&self) -> usize {
        let now = Instant::now();
        let mut missing = self.0.missing.lock().expect("no test panics inside");
        missing.retain(|back| back.is_none_or(|back| back > now));
        missing.len()
    }

    async fn run(&self, call: &Call) -> Result<Reply, PoolError> {
        let late = Instant::now();
        let slot = tokio::time::timeout_at(call.deadline, self.0.slots.acquire()).await;
        let Ok(slot) = slot else {
            return Err(PoolError::Exhausted {
                reason: format!("all {} slots stayed busy", self.0.capacity),
                retry_after: Duration::from_millis(100),
            });
        };
        let _slot = slot.expect("the semaphore is never closed");
        self.0.calls.send_modify(|calls| *calls += 1);
        let script = self.scripted();
        let latency = (script.latency)(call);
        let work = async {
            Self::send_chunks(&script, call).await;
            if *self.0.held.borrow() {
                let mut held = self.0.held.subscribe();
                let _ = held.wait_for(|held| !held).await;
            }
            if !latency.is_zero() {
                tokio::time::sleep(latency).await;
            }
            // The script is read again: a test may have changed it while the call was held.
            (self.scripted().answer)(call)
        };
        let ended = tokio::select! {
            biased;
            () = self.0.cut.cancelled() => Err(self.crash("cut off by the end of a drain")),
            ended = tokio::time::timeout_at(call.deadline, work) => ended.unwrap_or_else(|_| {
                Err(match script.late {
                    PoolError::ProgramTimeout { .. } => PoolError::ProgramTimeout {
                        after: call.deadline.saturating_duration_since(late),
                    },
                    other => other,
                })
            }),
        };
        if let Err(
            PoolError::Crashed { .. } | PoolError::Hung { .. } | PoolError::Protocol { .. },
        ) = &ended
        {
            self.0.failures.fetch_add(1, SeqCst);
            self.0.starts.fetch_add(1, SeqCst);
        }
        ended
    }

    fn crash(&self, reason: &str) -> PoolError {
        PoolError::Crashed {
            worker: format!("{}-0.0", self.0.name),
            reason: reason.to_owned(),
        }
    }
}

/// Counts a call out when its future ends, whether it was answered or dropped.
struct InFlight<'a>(&'a Inner);

impl<'a> InFlight<'a> {
    fn enter(pool: &'a Inner) -> Self {
        pool.in_flight.send_modify(|calls| *calls += 1);
        Self(pool)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.send_modify(|calls| *calls -= 1);
    }
}

#[async_trait]
impl Pool for FakePool {
    async fn execute(&self, call: Call) -> Result<Reply, PoolError> {
        let _in_flight = InFlight::enter(&self.0);
        // After entering: a drain that starts now either sees this call or is seen by it.
        if self.0.draining.load(SeqCst) {
            return Err(PoolError::Draining);
        }
        let ended = self.run(&call).await;
        self.0.finished.fetch_add(1, SeqCst);
        ended
    }

    async fn check(&self, program: &Program) -> Result<(), PoolError> {
        if self.0.draining.load(SeqCst) {
            return Err(PoolError::Draining);
        }
        (self.scripted().check)(program)?;
        self.0
            .checked
            .lock()
            .expect("no test panics inside")
            .push(program.key.clone());
        Ok(())
    }

    async fn forget(&self, program: &ProgramKey) {
        self.0
            .forgotten
            .lock()
            .expect("no test panics inside")
            .push(program.clone());
    }

    fn status(&self) -> PoolStatus {
        let in_flight = *self.0.in_flight.borrow();
        let running = in_flight.min(self.0.capacity);
        let draining = self.0.draining.load(SeqCst);
        let failures = self.0.failures.load(SeqCst);
        let state = match (draining, running) {
            (true, 0) => WorkerState::Terminated,
            (true, _) => WorkerState::Terminating,
            (false, 0) => WorkerState::Ready,
            (false, _) => WorkerState::Busy,
        };
        let mut status = PoolStatus {
            name: self.0.name.clone(),
            kind: "fake",
            size: self.0.size,
            ready: if draining {
                0
            } else {
                self.0.ready.load(SeqCst).saturating_sub(self.missing())
            },
            in_flight: running,
            capacity: self.0.capacity,
            queued: in_flight - running,
            starts: self.0.starts.load(SeqCst),
            failures,
            draining,
            workers: (0..self.0.size)
                .map(|slot| WorkerStatus {
                    id: format!(
                        "{}-{slot}.{}",
                        self.0.name,
                        if slot == 0 { failures } else { 0 }
                    ),
                    state,
                    in_flight: if slot == 0 { running } else { 0 },
                    calls: if slot == 0 { self.calls() } else { 0 },
                    ..WorkerStatus::default()
                })
                .collect(),
            ..PoolStatus::default()
        };
        (self.scripted().status)(&mut status);
        status
    }

    async fn probe(&self, call: &Call, within: Duration) -> Vec<Probed> {
        let mut probed = Vec::new();
        for worker in self.status().workers {
            let call = Call {
                deadline: Instant::now() + within,
                ..call.clone()
            };
            let answer = self.execute(call).await;
            let worker = worker.id;
            probed.push(Probed { worker, answer });
        }
        probed
    }

    async fn inject(&self, fault: WorkerFault) -> Result<Injected, PoolError> {
        if self.0.draining.load(SeqCst) {
            return Err(PoolError::Draining);
        }
        if *self.0.in_flight.borrow() >= self.0.capacity {
            return Err(PoolError::Exhausted {
                reason: "every worker has something to do".to_owned(),
                retry_after: Duration::from_millis(100),
            });
        }
        let back = self.scripted().recovery.map(|after| Instant::now() + after);
        let mut missing = self.0.missing.lock().expect("no test panics inside");
        missing.push(back);
        let failures = self.0.failures.fetch_add(1, SeqCst);
        self.0.starts.fetch_add(1, SeqCst);
        Ok(Injected {
            fault,
            worker: format!("{}-0.{failures}", self.0.name),
            pid: 0,
        })
    }

    async fn drain(&self, limit: Duration) -> Drained {
        self.0.draining.store(true, SeqCst);
        let before = self.0.finished.load(SeqCst);
        let mut in_flight = self.0.in_flight.subscribe();
        let ended = tokio::time::timeout(limit, in_flight.wait_for(|calls| *calls == 0)).await;
        let abandoned = match ended {
            Ok(_) => 0,
            Err(_) => *self.0.in_flight.borrow() as u64,
        };
        let finished = self.0.finished.load(SeqCst) - before;
        self.0.cut.cancel();
        Drained {
            finished,
            abandoned,
        }
    }
}
