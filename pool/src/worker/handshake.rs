//! Starting a worker: hello, configure, ready.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio_util::task::TaskTracker;

use super::frames::{FromWorker, Hello, Kind, PROTOCOL, ToWorker};
use crate::bridge::explain_end;
use crate::fork_server::ForkServer;
use crate::launch::LaunchSpec;
use crate::process::{Launch, Process, SpawnError, Spawner, Wire, WireEnd};
use crate::wire::{self, FrameError};

/// What one worker is started with.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// Names it in logs and status.
    pub name: String,
    /// Calls that it runs at the same time.
    pub concurrency: usize,
    /// Python modules imported before it is ready.
    pub preload: Vec<String>,
    /// How long it may take to be ready.
    pub start_timeout: Duration,
}

/// Why a worker did not become ready.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StartError {
    /// The process could not be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// It ended before it was ready.
    #[error("worker {name} ended before it was ready: {reason}")]
    Ended {
        /// Which worker.
        name: String,
        /// Exit and last words.
        reason: String,
    },
    /// It said that it cannot work.
    #[error("worker {name} cannot work: {reason}")]
    Fatal {
        /// Which worker.
        name: String,
        /// Its words.
        reason: String,
    },
    /// It does not speak the protocol.
    #[error("worker {name} does not speak the worker protocol: {reason}")]
    Protocol {
        /// Which worker.
        name: String,
        /// What was wrong.
        reason: String,
    },
    /// Its fork server must not fork: the worker is to be started from nothing instead.
    #[error("worker {name} cannot be forked safely: {reason}")]
    ForkUnsafe {
        /// Which worker, or which fork server.
        name: String,
        /// The threads or descriptors that were found, and after which import.
        reason: String,
    },
    /// It took too long.
    #[error("worker {name} was not ready within {limit:?}")]
    TimedOut {
        /// Which worker.
        name: String,
        /// The limit.
        limit: Duration,
    },
}

/// A worker that can take calls.
pub(super) struct ReadyWorker {
    pub(super) name: String,
    pub(super) process: Process,
    pub(super) socket: UnixStream,
    pub(super) received: BytesMut,
    pub(super) hello: Hello,
}

pub(super) async fn start(
    options: WorkerOptions,
    spec: &LaunchSpec,
    spawner: &Spawner,
    tracker: &TaskTracker,
) -> Result<ReadyWorker, StartError> {
    let launch = Launch {
        name: options.name.clone(),
        program: spec.python.clone(),
        args: ["-m", "dspex_worker", "--worker-id", &options.name]
            .map(Into::into)
            .into(),
        env: spec.environment(),
        wire: Wire::Socket,
        limits: spec.limits,
        guardian: Some(spec.python.clone()),
    };
    let (process, wire) = spawner.spawn(launch, tracker).await?;
    let WireEnd::Socket(socket) = wire else {
        let reason = "it was started without a socket".to_owned();
        return Err(StartError::Protocol {
            name: options.name,
            reason,
        });
    };
    greet(options, spec, process, socket).await
}

/// As [`start`], with a worker that a fork server forks.
pub(super) async fn fork(
    options: WorkerOptions,
    spec: &LaunchSpec,
    server: &ForkServer,
    tracker: &TaskTracker,
) -> Result<ReadyWorker, StartError> {
    let forked = server.fork(&options.name, spec, tracker);
    let (process, socket) = match tokio::time::timeout(options.start_timeout, forked).await {
        Ok(forked) => forked?,
        Err(_) => {
            return Err(StartError::TimedOut {
                name: options.name,
                limit: options.start_timeout,
            });
        }
    };
    greet(options, spec, process, socket).await
}

async fn greet(
    options: WorkerOptions,
    spec: &LaunchSpec,
    process: Process,
    socket: UnixStream,
) -> Result<ReadyWorker, StartError> {
    let mut greeter = Greeter {
        name: &options.name,
        process,
        socket,
        received: BytesMut::new(),
        limit: spec.max_frame,
    };
    let greeted = tokio::time::timeout(options.start_timeout, greeter.greet(&options, spec)).await;
    match greeted {
        Ok(hello) => {
            let hello = hello?;
            let Greeter {
                process,
                socket,
                received,
                ..
            } = greeter;
            Ok(ReadyWorker {
                name: options.name,
                process,
                socket,
                received,
                hello,
            })
        }
        Err(_) => Err(StartError::TimedOut {
            name: options.name,
            limit: options.start_timeout,
        }),
    }
}

struct Greeter<'a> {
    name: &'a str,
    process: Process,
    socket: UnixStream,
    received: BytesMut,
    limit: usize,
}

impl Greeter<'_> {
    async fn greet(
        &mut self,
        options: &WorkerOptions,
        spec: &LaunchSpec,
    ) -> Result<Hello, StartError> {
        let payload = self.next().await?;
        let kind = self.parse::<FromWorker>(&payload)?.kind;
        if kind != Kind::Hello {
            return Err(self.protocol(format!("its first frame is {kind:?}, where Hello was due")));
        }
        let hello: Hello = self.parse(&payload)?;
        if hello.protocol != PROTOCOL {
            return Err(self.protocol(format!(
                "it speaks version {}, we speak version {PROTOCOL}",
                hello.protocol
            )));
        }
        let configure = ToWorker::Configure {
            lms: &spec.lms,
            allow_modules: &spec.allow_modules,
            concurrency: options.concurrency,
            preload: &options.preload,
        };
        let frame = wire::frame(&configure, self.limit).map_err(|error| self.broken(&error))?;
        if self.socket.write_all(&frame).await.is_err() {
            return Err(self.ended().await);
        }
        let payload = self.next().await?;
        let answer: FromWorker = self.parse(&payload)?;
        match (answer.kind, answer.error) {
            (Kind::Ready, _) => Ok(hello),
            (Kind::Fatal, Some(failure)) => Err(StartError::Fatal {
                name: self.name.to_owned(),
                reason: failure.message,
            }),
            (kind, _) => Err(self.protocol(format!("it answered {kind:?} to its configuration"))),
        }
    }

    async fn next(&mut self) -> Result<Bytes, StartError> {
        loop {
            match wire::take_frame(&mut self.received, self.limit) {
                Ok(Some(payload)) => return Ok(payload),
                Ok(None) => {}
                Err(error) => return Err(self.broken(&error)),
            }
            match self.socket.read_buf(&mut self.received).await {
                Ok(0) | Err(_) => return Err(self.ended().await),
                Ok(_) => {}
            }
        }
    }

    fn parse<'a, T: serde::Deserialize<'a>>(&self, payload: &'a [u8]) -> Result<T, StartError> {
        wire::parse(payload).map_err(|error| self.broken(&error))
    }

    fn broken(&self, error: &FrameError) -> StartError {
        self.protocol(error.to_string())
    }

    fn protocol(&self, reason: String) -> StartError {
        StartError::Protocol {
            name: self.name.to_owned(),
            reason,
        }
    }

    async fn ended(&self) -> StartError {
        let reason = explain_end(&self.process).await;
        StartError::Ended {
            name: self.name.to_owned(),
            reason,
        }
    }
}
