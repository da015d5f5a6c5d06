//! A worker that speaks the bridge protocol: frames on standard input and output, one request at a
//! time, each with an id, a command and arguments.
//!
//! Invariant: after any error but [`BridgeError::Failed`] the worker is not used again. Its stream
//! may still hold an answer that belongs to nobody.

#[cfg(feature = "fuzzing")]
pub(crate) mod answer;
#[cfg(not(feature = "fuzzing"))]
mod answer;

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::failure::{Failure, FailureClass, LAST_WORDS};
use crate::fault::WorkerFault;
use crate::launch::LaunchSpec;
use crate::process::{Launch, Process, SpawnError, Spawner, Wire, WireEnd};
use crate::wire::{self, FrameError};

/// How long an ended worker is given to be reaped, so that its exit can be told.
const REAP: Duration = Duration::from_millis(500);
/// How long its last words are waited for then. They are in the pipe already; on a busy machine whoever
/// reads them may be late.
const LAST_WORDS_WITHIN: Duration = Duration::from_millis(500);

/// One worker process on the bridge protocol. Dropping it kills the process, whoever else still
/// watches it.
#[derive(Debug)]
pub struct BridgeWorker {
    name: String,
    process: Leash,
    stdin: pipe::Sender,
    stdout: pipe::Receiver,
    received: BytesMut,
    last_id: u64,
    max_frame: usize,
}

/// Kills the process when the worker goes, although others may hold it to learn of its end.
#[derive(Debug)]
struct Leash(Arc<Process>);

impl Drop for Leash {
    fn drop(&mut self) {
        self.0.kill();
    }
}

/// Why a request was not answered with success.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BridgeError {
    /// The worker answered that the command failed. It may be used again.
    #[error("{}", .failure.message)]
    Failed {
        /// What it said.
        failure: Failure,
        /// Whether the worker said whose fault it is, in a word that we know. A script older than
        /// dspex does not: its failure may also mean that it holds no such program.
        classified: bool,
    },
    /// No answer came in time.
    #[error("no answer to `{command}` within {after:?}")]
    TimedOut {
        /// The command.
        command: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The worker broke the protocol.
    #[error("{0}")]
    Protocol(String),
    /// The worker was gone before the whole command had been sent: it never began.
    #[error("{0}")]
    NotSent(String),
    /// The worker ended, having perhaps begun.
    #[error("{0}")]
    Ended(String),
}

#[derive(Serialize)]
struct Request<'a> {
    id: u64,
    command: &'a str,
    args: &'a Value,
    timestamp: String,
}

impl BridgeWorker {
    /// Starts `command` with `--mode MODE --worker-id NAME` after it.
    ///
    /// # Errors
    /// Where the process cannot be started. Whether it speaks the protocol is not known yet:
    /// send a `ping`.
    pub async fn start(
        name: &str,
        command: &[String],
        mode: &str,
        spec: &LaunchSpec,
        spawner: &Spawner,
        tracker: &TaskTracker,
    ) -> Result<Self, SpawnError> {
        let refused = |reason: &str| SpawnError::Refused {
            program: spec.python.clone(),
            reason: reason.to_owned(),
        };
        let (program, args) = command
            .split_first()
            .ok_or_else(|| refused("the command is empty"))?;
        let launch = Launch {
            name: name.to_owned(),
            program: program.into(),
            args: args
                .iter()
                .map(String::as_str)
                .chain(["--mode", mode, "--worker-id", name])
                .map(OsString::from)
                .collect(),
            env: spec.environment(),
            wire: Wire::Stdio,
            limits: spec.limits,
            guardian: Some(spec.python.clone()),
        };
        match spawner.spawn(launch, tracker).await? {
            (process, WireEnd::Stdio { stdin, stdout }) => Ok(Self {
                name: name.to_owned(),
                process: Leash(Arc::new(process)),
                stdin,
                stdout,
                received: BytesMut::new(),
                last_id: 0,
                max_frame: spec.max_frame,
            }),
            _ => Err(refused("it was started without standard input and output")),
        }
    }

    /// The name it was started with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process. Who keeps a clone learns of its end, but does not keep it alive.
    #[must_use]
    pub fn process(&self) -> &Arc<Process> {
        &self.process.0
    }

    /// Sends a command and waits for its answer until `deadline`.
    ///
    /// # Errors
    /// See [`BridgeError`]. The future must not be dropped while the worker is to be used again.
    pub async fn request(
        &mut self,
        command: &str,
        args: &Value,
        deadline: Instant,
    ) -> Result<Map<String, Value>, BridgeError> {
        self.last_id += 1;
        let id = self.last_id;
        let request = Request {
            id,
            command,
            args,
            timestamp: crate::clock::now_rfc3339(),
        };
        let frame = wire::frame(&request, self.max_frame).map_err(|error| {
            // Nothing was sent: the worker is still good, the arguments are at fault.
            BridgeError::Failed {
                failure: Failure {
                    class: FailureClass::Input,
                    exception: None,
                    message: error.to_string(),
                    traceback: None,
                    status: None,
                },
                classified: true,
            }
        })?;
        let began = Instant::now();
        let answered = tokio::time::timeout_at(deadline, self.exchange(id, &frame)).await;
        answered.unwrap_or_else(|_| {
            Err(BridgeError::TimedOut {
                command: command.to_owned(),
                after: began.elapsed(),
            })
        })
    }

    async fn exchange(&mut self, id: u64, frame: &[u8]) -> Result<Map<String, Value>, BridgeError> {
        // A frame that was not written to its last byte is no command to the worker: even where
        // some of it was read, nothing began.
        if self.process().exited().is_some() || self.stdin.write_all(frame).await.is_err() {
            return Err(BridgeError::NotSent(self.how_it_ended().await));
        }
        let payload = self.next_frame().await?;
        answer::read(&payload, id)
    }

    async fn next_frame(&mut self) -> Result<bytes::Bytes, BridgeError> {
        loop {
            if let Some(payload) = wire::take_frame(&mut self.received, self.max_frame)? {
                return Ok(payload);
            }
            match self.stdout.read_buf(&mut self.received).await {
                Ok(0) | Err(_) => {
                    wire::end_of_stream(&self.received)?;
                    return Err(BridgeError::Ended(self.how_it_ended().await));
                }
                Ok(_) => {}
            }
        }
    }

    async fn how_it_ended(&self) -> String {
        explain_end(self.process()).await
    }

    /// Does to it what `fault` says. Whoever holds it asks it something next, to see it fail.
    ///
    /// # Errors
    /// Where it has ended already.
    pub async fn suffer(&mut self, fault: WorkerFault) -> std::io::Result<()> {
        match fault {
            WorkerFault::Crash => self.process().kill(),
            WorkerFault::Hang => self.process().freeze()?,
            WorkerFault::Wire => self.stdin.write_all(&wire::NO_FRAME).await?,
        }
        Ok(())
    }

    /// Asks it to end, and kills it where it has not within `limit`.
    pub async fn shutdown(mut self, limit: Duration) {
        let deadline = Instant::now() + limit;
        // Whatever it answers: what counts is that it ends.
        let _ = self
            .request("shutdown", &Value::Object(Map::new()), deadline)
            .await;
        drop(self.stdin);
        self.process
            .0
            .end_within(deadline.saturating_duration_since(Instant::now()))
            .await;
    }
}

impl From<FrameError> for BridgeError {
    fn from(error: FrameError) -> Self {
        Self::Protocol(error.to_string())
    }
}

/// How a process ended, with the last line of its log: the line an operator needs first.
pub(crate) async fn explain_end(process: &Process) -> String {
    // The sweep after its end is not waited for: callers wait for this answer.
    if tokio::time::timeout(REAP, process.over()).await.is_err() {
        process.kill();
    }
    let exit = match process.over().await {
        Some(exit) => exit.to_string(),
        None => "it is gone".to_owned(),
    };
    if let Some(reason) = process.broke_limit() {
        return format!("{exit}: {reason}");
    }
    // The log is read by tasks of their own; the exit may be known a moment earlier. What it started
    // may hold the log open a little longer.
    let _ = tokio::time::timeout(LAST_WORDS_WITHIN, process.log_read()).await;
    match process.output().last() {
        Some(line) => format!("{exit}{LAST_WORDS}{line}"),
        None => exit,
    }
}
