//! What a fake pool answers, and how tests change it.
//!
//! Invariant: a change takes effect at once, for calls that are held too, and returns the same
//! pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use serde_json::Value;

use super::FakePool;
use crate::{Call, PoolError, PoolStatus, Program, Reply};

type Answer = Arc<dyn Fn(&Call) -> Result<Reply, PoolError> + Send + Sync>;
type Latency = Arc<dyn Fn(&Call) -> Duration + Send + Sync>;
type Chunks = Arc<dyn Fn(&Call) -> Vec<Value> + Send + Sync>;
type Status = Arc<dyn Fn(&mut PoolStatus) + Send + Sync>;
type Check = Arc<dyn Fn(&Program) -> Result<(), PoolError> + Send + Sync>;

#[derive(Clone)]
pub(super) struct Script {
    pub(super) answer: Answer,
    pub(super) latency: Latency,
    pub(super) chunks: Chunks,
    pub(super) check: Check,
    pub(super) late: PoolError,
    pub(super) status: Status,
    /// How long a worker is missing after a fault; `None`: for good.
    pub(super) recovery: Option<Duration>,
}

impl Default for Script {
    /// Every call is answered with its own inputs, at once.
    fn default() -> Self {
        Self {
            answer: Arc::new(|call| {
                Ok(Reply {
                    outputs: call.inputs.as_ref().clone(),
                    program_time: Some(Duration::ZERO),
                    worker: "fake-0.0".into(),
                    state: None,
                    usage: None,
                })
            }),
            latency: Arc::new(|_| Duration::ZERO),
            chunks: Arc::new(|_| Vec::new()),
            check: Arc::new(|_| Ok(())),
            late: PoolError::ProgramTimeout {
                after: Duration::ZERO,
            },
            status: Arc::new(|_| {}),
            recovery: Some(Duration::ZERO),
        }
    }
}

impl FakePool {
    /// Answers calls with this from now on. May be changed while calls run.
    pub fn answer_with<F>(&self, answer: F) -> Self
    where
        F: Fn(&Call) -> Result<Reply, PoolError> + Send + Sync + 'static,
    {
        self.script(|script| script.answer = Arc::new(answer));
        self.clone()
    }

    /// Answers every call with these outputs. Anything but a JSON object stands under `result`.
    pub fn answer(&self, outputs: &Value) -> Self {
        let reply = Self::reply(outputs);
        self.answer_with(move |_| Ok(reply.clone()))
    }

    /// Fails every call with this error.
    ///
    /// A lost worker is another one each time, as it is in a real pool.
    pub fn fail_with(&self, error: PoolError) -> Self {
        let lost = AtomicU64::new(0);
        self.answer_with(move |_| {
            let mut error = error.clone();
            if let PoolError::Crashed { worker, .. }
            | PoolError::Hung { worker, .. }
            | PoolError::Protocol { worker, .. } = &mut error
            {
                *worker = format!("{worker}.{}", lost.fetch_add(1, SeqCst));
            }
            Err(error)
        })
    }

    /// Waits so long before each answer.
    pub fn latency(&self, latency: Duration) -> Self {
        self.latency_with(move |_| latency)
    }

    /// Waits before each answer for as long as this says.
    pub fn latency_with<F>(&self, latency: F) -> Self
    where
        F: Fn(&Call) -> Duration + Send + Sync + 'static,
    {
        self.script(|script| script.latency = Arc::new(latency));
        self.clone()
    }

    /// Sends these chunks before each answer, where the call takes chunks, and no faster than they
    /// are taken. A held call has sent them already.
    pub fn chunks_with<F>(&self, chunks: F) -> Self
    where
        F: Fn(&Call) -> Vec<Value> + Send + Sync + 'static,
    {
        self.script(|script| script.chunks = Arc::new(chunks));
        self.clone()
    }

    /// Answers this where a call's deadline passes, in place of [`PoolError::ProgramTimeout`].
    pub fn late_with(&self, error: PoolError) -> Self {
        self.script(|script| script.late = error);
        self.clone()
    }

    /// Fails every check with this error.
    pub fn fail_checks(&self, error: PoolError) -> Self {
        self.check_with(move |_| Err(error.clone()))
    }

    /// Answers checks with this from now on.
    pub fn check_with<F>(&self, check: F) -> Self
    where
        F: Fn(&Program) -> Result<(), PoolError> + Send + Sync + 'static,
    {
        self.script(|script| script.check = Arc::new(check));
        self.clone()
    }

    /// Changes what the status says before anybody reads it.
    pub fn status_with<F>(&self, change: F) -> Self
    where
        F: Fn(&mut PoolStatus) + Send + Sync + 'static,
    {
        self.script(|script| script.status = Arc::new(change));
        self.clone()
    }

    /// Leaves a worker missing for so long after each fault that is injected; `None`: for good.
    pub fn recovers_within(&self, recovery: Option<Duration>) -> Self {
        self.script(|script| script.recovery = recovery);
        self.clone()
    }

    /// Sends a call's chunks, as a worker does: waits while the window is full.
    pub(super) async fn send_chunks(script: &Script, call: &Call) {
        let Some(sender) = &call.chunks else { return };
        for chunk in (script.chunks)(call) {
            let chunk = serde_json::value::to_raw_value(&chunk).expect("a value is JSON");
            loop {
                let taken = sender.taken();
                if sender.send(chunk.clone()) {
                    break;
                }
                sender.taken_beyond(taken).await;
            }
        }
    }

    fn script(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.0.script.lock().expect("no test panics inside"));
    }

    pub(super) fn scripted(&self) -> Script {
        self.0.script.lock().expect("no test panics inside").clone()
    }
}
