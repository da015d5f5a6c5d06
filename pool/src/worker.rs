//! A worker that speaks the worker protocol: many calls at once over one socket.
//!
//! Invariants:
//! - Every id that was sent is answered exactly once, by the worker or by the worker's end.
//! - A call's slot is given back when the *worker* is done with it, not when the caller leaves: a
//!   thread that still runs is not free.
//! - A frame that breaks the protocol ends the worker, and every call on it is told why.

mod calling;
mod connection;
mod frames;
mod handshake;
#[cfg(feature = "fuzzing")]
pub(crate) mod model;
mod outgoing;
mod waiting;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use self::connection::{Connection, Pending};
use self::frames::ToWorker;
pub use self::frames::{Engines, Hello};
pub use self::handshake::{StartError, WorkerOptions};
use self::waiting::{Answer, Ending};
use crate::error::PoolError;
use crate::fault::WorkerFault;
use crate::fork_server::{Fate, ForkServer};
use crate::launch::LaunchSpec;
use crate::process::{Memory, Process, Spawner};
use crate::program::{Program, ProgramKey};
use crate::wire::FrameError;

/// How long past its deadline a call waits to learn whether its worker is well: whose fault the
/// timeout is depends on it. On a busy machine [`MOST_LATE`] comes to it, and both together end well
/// before a caller of the pool should give up waiting for it.
const PROBE: Duration = Duration::from_millis(100);

/// How much longer an answer is waited for, where we came late to see that there was none.
const MOST_LATE: Duration = Duration::from_millis(150);

/// How a worker is found when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// It answers.
    Answers,
    /// It does not answer, but its processor time grows, or it waits for a processor: a program may
    /// hold its one interpreter, or the machine be busy with others.
    Computes,
    /// Neither.
    Silent,
}

/// One worker process on the worker protocol. Dropping it kills the process.
#[derive(Debug)]
pub struct Worker {
    name: Arc<str>,
    process: Arc<Process>,
    /// Of the fork server that it ends with, where it has one.
    server: Option<Fate>,
    connection: Arc<Connection>,
    hello: Hello,
    /// Programs that the worker was told of.
    defined: Mutex<HashSet<ProgramKey>>,
    answered: AtomicU64,
}

impl Worker {
    /// Starts a worker and waits until it can take calls.
    ///
    /// # Errors
    /// Where it cannot be started, ends, breaks the protocol, or is not ready in time; with its
    /// last words.
    pub async fn start(
        options: WorkerOptions,
        spec: &LaunchSpec,
        spawner: &Spawner,
        tracker: &TaskTracker,
    ) -> Result<Self, StartError> {
        let ready = handshake::start(options, spec, spawner, tracker).await?;
        Ok(Self::open(ready, None, spec, tracker))
    }

    /// As [`Worker::start`], but forked from a server that has imported everything already.
    ///
    /// # Errors
    /// [`StartError::ForkUnsafe`] where that server must not fork; else as for a start.
    pub async fn fork(
        options: WorkerOptions,
        spec: &LaunchSpec,
        server: &ForkServer,
        tracker: &TaskTracker,
    ) -> Result<Self, StartError> {
        let ready = handshake::fork(options, spec, server, tracker).await?;
        Ok(Self::open(ready, Some(server.fate()), spec, tracker))
    }

    fn open(
        ready: handshake::ReadyWorker,
        server: Option<Fate>,
        spec: &LaunchSpec,
        tracker: &TaskTracker,
    ) -> Self {
        let name: Arc<str> = ready.name.into();
        let process = Arc::new(ready.process);
        let connection = Connection::open(
            Arc::clone(&name),
            ready.socket,
            ready.received,
            spec.max_frame,
            Arc::clone(&process),
            tracker,
        );
        let defined = Mutex::default();
        Self {
            name,
            process,
            server,
            connection,
            hello: ready.hello,
            defined,
            answered: 0.into(),
        }
    }

    /// The name it was started with.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What it said of itself.
    #[must_use]
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// The process id, for people.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The memory that it holds; `None` once it is gone. Reading it costs the kernel milliseconds.
    #[must_use]
    pub fn memory(&self) -> Option<Memory> {
        self.process.memory()
    }

    /// Calls answered since it started.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Whether it has ended, or was given up: it takes no more calls.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.connection.is_over()
    }

    /// Calls that it runs for callers who still wait.
    #[must_use]
    pub fn wanted_calls(&self) -> usize {
        self.connection.wanted_calls()
    }

    /// Builds the program, and says whether it can be built.
    ///
    /// # Errors
    /// [`PoolError::Rejected`] where the definition is at fault; else as for a call.
    pub async fn check(&self, program: &Program, deadline: Instant) -> Result<(), PoolError> {
        let mut answer = self
            .define(program)
            .map_err(|error| self.unsendable(&error))?;
        let began = Instant::now();
        match tokio::time::timeout_at(deadline, answer.wait()).await {
            Err(_) => Err(self.timed_out(began).await),
            Ok(Answer::Result { .. }) => {
                self.defined().insert(program.key.clone());
                Ok(())
            }
            Ok(Answer::Failed(failure)) => Err(failure.into_error(&self.name)),
            Ok(Answer::Ended(ending) | Answer::NeverSent(ending)) => Err(self.lost(ending)),
            Ok(Answer::Pong) => Err(self.protocol("it answered a definition with a pong")),
        }
    }

    /// Drops the worker's instance of a program.
    pub fn forget(&self, key: &ProgramKey) {
        let mut defined = self.defined();
        if defined.remove(key) {
            self.connection.tell(&ToWorker::Forget { key });
        }
    }

    /// Asks whether the worker's I/O thread answers, busy or not.
    pub async fn ping(&self, within: Duration) -> bool {
        let Ok(mut answer) = self.connection.ask(|id| ToWorker::Ping { id }, None, None) else {
            return false;
        };
        let asked = Instant::now();
        let mut answer = std::pin::pin!(answer.wait());
        let mut found = tokio::time::timeout(within, &mut answer).await;
        if found.is_err() {
            // As much as we came late, whoever reads may be late too, and the answer be there.
            let late = asked.elapsed().saturating_sub(within).min(MOST_LATE);
            found = tokio::time::timeout(late, answer).await;
        }
        matches!(found, Ok(Answer::Pong))
    }

    /// For how long the oldest call that was given up has kept its slot, where there is one.
    #[must_use]
    pub fn overstayed(&self) -> Option<Duration> {
        self.connection.overstayed()
    }

    /// Does to it what `fault` says. It and its pool are left to find out by themselves.
    ///
    /// # Errors
    /// Where it has ended already.
    pub fn suffer(&self, fault: WorkerFault) -> std::io::Result<()> {
        match fault {
            WorkerFault::Crash => self.process.kill(),
            WorkerFault::Hang => self.process.freeze()?,
            WorkerFault::Wire => self.connection.garble(),
        }
        Ok(())
    }

    /// Ends it now; every call on it is answered with `PoolError::Hung` and this reason.
    pub fn condemn(&self, reason: &str) {
        self.connection.condemn(Ending::Hung(reason.to_owned()));
        self.process.kill();
    }

    /// Waits for its end and says how it ended.
    pub async fn ended(&self) -> String {
        self.connection.ended().await.to_string()
    }

    /// Asks it to finish its calls and end; kills it where it has not within `limit`.
    pub async fn shutdown(&self, limit: Duration) {
        self.connection.stopping();
        self.connection.tell(&ToWorker::Shutdown);
        self.process.end_within(limit).await;
    }

    /// Sends the definition ahead of the first call that needs it; the worker handles frames in
    /// order, so the call need not wait for the answer.
    fn define_once(&self, program: &Program) -> Result<(), PoolError> {
        let mut defined = self.defined();
        if defined.contains(&program.key) {
            return Ok(());
        }
        // Sent under the lock: a second caller must not send its call before this definition.
        let answer = self
            .define(program)
            .map_err(|error| self.unsendable(&error))?;
        // Nobody waits for this answer: a failure comes back with the call itself.
        answer.detach();
        defined.insert(program.key.clone());
        Ok(())
    }

    fn define(&self, program: &Program) -> Result<Pending<'_>, FrameError> {
        let define = |id| ToWorker::Define {
            id,
            key: &program.key,
            definition: &program.definition,
            stateful: program.stateful,
        };
        self.connection.ask(define, None, None)
    }

    fn forget_defined(&self, key: &ProgramKey) -> bool {
        self.defined().remove(key)
    }

    fn defined(&self) -> std::sync::MutexGuard<'_, HashSet<ProgramKey>> {
        self.defined.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Past the deadline: the program's fault where the worker is well, else the worker's. A worker
    /// whose one interpreter is held by a program cannot answer, but its processor time grows:
    /// busy, and not hung. Nor is one that gets no processor.
    async fn timed_out(&self, began: Instant) -> PoolError {
        let after = began.elapsed();
        if self.liveness(PROBE).await != Liveness::Silent {
            return PoolError::ProgramTimeout { after };
        }
        let reason = format!("no answer to a call within {after:.1?}, nor to a ping after it");
        PoolError::Hung {
            worker: self.name.to_string(),
            reason,
        }
    }

    /// Whether the worker answers a ping within this time, or at least computes meanwhile.
    pub async fn liveness(&self, within: Duration) -> Liveness {
        let before = self.process.cpu_time();
        if self.ping(within).await {
            return Liveness::Answers;
        }
        match (before, self.process.cpu_time()) {
            (Some(before), Some(now)) if now > before => Liveness::Computes,
            // It would answer, if others left it a processor.
            _ if self.process.wants_processor() => Liveness::Computes,
            _ => Liveness::Silent,
        }
    }

    /// How a call's worker was lost.
    fn lost(&self, ending: Ending) -> PoolError {
        let with_all = match ending {
            Ending::Crashed(_) => self.server.as_ref().and_then(Fate::shared_by_all),
            _ => None,
        };
        with_all.unwrap_or_else(|| ending.into_error(&self.name))
    }

    /// A message that is too long is the caller's: nothing was sent.
    fn unsendable(&self, error: &FrameError) -> PoolError {
        PoolError::InvalidInput {
            message: format!("the call cannot be sent: {error}"),
        }
    }

    /// It answered, but not what was asked: nothing that it says can be relied on any more.
    fn protocol(&self, reason: &str) -> PoolError {
        self.connection.condemn(Ending::Protocol(reason.to_owned()));
        self.process.kill();
        PoolError::Protocol {
            worker: self.name.to_string(),
            reason: reason.to_owned(),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.connection.stopping();
        self.process.kill();
    }
}
