//! A worker that speaks the bridge protocol: frames on standard input and output, one request at a
//! time, each with an id, a command and arguments.
//!
//! Invariant: after any error but [`BridgeError::Failed`] the worker is not used again. Its stream
//! may still hold an answer that belongs to nobody.

use std::ffi::OsString;
use std::time::Duration;

use bytes::BytesMut;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::failure::{Failure, FailureClass};
use crate::launch::LaunchSpec;
use crate::process::{Launch, Process, SpawnError, Spawner, Wire, WireEnd};
use crate::wire::{self, FrameError};

/// How long an ended worker is given to be reaped, so that its exit can be told.
const REAP: Duration = Duration::from_millis(500);

/// One worker process on the bridge protocol.
#[derive(Debug)]
pub struct BridgeWorker {
    name: String,
    process: Process,
    stdin: pipe::Sender,
    stdout: pipe::Receiver,
    received: BytesMut,
    last_id: u64,
    max_frame: usize,
}

/// Why a request was not answered with success.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BridgeError {
    /// The worker answered that the command failed. It may be used again.
    #[error("{}", .0.message)]
    Failed(Failure),
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
    /// The worker ended.
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

#[derive(Deserialize)]
struct Response {
    id: u64,
    success: bool,
    #[serde(default)]
    result: Map<String, Value>,
    /// For people; may begin with the exception's type.
    #[serde(default)]
    error: Option<String>,
    /// Our own bridge's: the text alone.
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    traceback: Option<String>,
    #[serde(default)]
    error_class: Option<FailureClass>,
    #[serde(default)]
    exception: Option<String>,
    #[serde(default)]
    status: Option<u16>,
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
        };
        match spawner.spawn(launch, tracker).await? {
            (process, WireEnd::Stdio { stdin, stdout }) => Ok(Self {
                name: name.to_owned(),
                process,
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

    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
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
            BridgeError::Failed(Failure {
                class: FailureClass::Input,
                exception: None,
                message: error.to_string(),
                traceback: None,
                status: None,
            })
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
        if self.stdin.write_all(frame).await.is_err() {
            return Err(self.ended().await);
        }
        let payload = self.next_frame().await?;
        let response: Response = wire::parse(&payload)?;
        if response.id != id {
            return Err(BridgeError::Protocol(format!(
                "it answered with id {}, where {id} was asked",
                response.id
            )));
        }
        if response.success {
            return Ok(response.result);
        }
        Err(BridgeError::Failed(Failure {
            // An older script has only text: whose fault it is cannot be told, and a program's
            // fault is the one that is judged by comparison alone.
            class: response.error_class.unwrap_or(FailureClass::Program),
            exception: response.exception,
            message: response
                .message
                .or(response.error)
                .unwrap_or_else(|| "the worker gave no reason".to_owned()),
            traceback: response.traceback,
            status: response.status,
        }))
    }

    async fn next_frame(&mut self) -> Result<bytes::Bytes, BridgeError> {
        loop {
            if let Some(payload) = wire::take_frame(&mut self.received, self.max_frame)? {
                return Ok(payload);
            }
            match self.stdout.read_buf(&mut self.received).await {
                Ok(0) | Err(_) => {
                    wire::end_of_stream(&self.received)?;
                    return Err(self.ended().await);
                }
                Ok(_) => {}
            }
        }
    }

    async fn ended(&self) -> BridgeError {
        BridgeError::Ended(explain_end(&self.process).await)
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
    let exit = match process.end_within(REAP).await {
        Some(exit) => exit.to_string(),
        None => "it is gone".to_owned(),
    };
    // The log is read by a task of its own; the exit may be known a moment earlier.
    for _ in 0..20 {
        if process.output().last().is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    match process.output().last() {
        Some(line) => format!("{exit}; its last words: {line}"),
        None => exit,
    }
}
