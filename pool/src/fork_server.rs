//! A fork server: one single-threaded Python process that has imported what programs need, and
//! forks workers from what it has become. They start in milliseconds and share its memory.
//!
//! Invariants:
//! - It forks only while it has one thread and no descriptor but its own; else it says what it found.
//! - It holds no key: a worker's environment travels with the request, to the worker alone.
//! - It lives as long as its handle or any worker that it forked; when it dies, they die with it.
//! - A worker's number stays taken until we release it, so that it never means somebody else.

mod channel;
mod fate;
mod link;
mod messages;

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

pub(crate) use self::fate::Fate;
use self::link::Link;
pub(crate) use self::link::Release;
use self::messages::{Kind, ToServer};
use crate::launch::{LaunchSpec, WorkerLimits};
use crate::process::{
    Adoption, Cookie, Forked, Launch, Process, SpawnError, Spawner, Wire, WireEnd, adopt_forked,
};
use crate::program::Target;
use crate::wire::FrameError;
use crate::worker::StartError;

/// What a fork server is started with.
#[derive(Debug, Clone)]
pub struct ForkServerOptions {
    /// Names it in logs.
    pub name: String,
    /// Python modules that it imports, in this order. `dspy` is set up and warmed too.
    pub imports: Vec<String>,
    /// Callables that it calls once, without arguments, after the imports.
    pub warmup: Vec<Target>,
    /// How long imports and warm-up may take together.
    pub start_timeout: Duration,
}

/// A fork server that is ready to fork. It ends when this handle and every worker that it forked
/// are gone.
#[derive(Debug)]
pub struct ForkServer {
    link: Arc<Link>,
}

impl ForkServer {
    /// Starts the process and waits until it has imported everything.
    ///
    /// # Errors
    /// [`StartError::ForkUnsafe`] where an import or a warm-up call left a thread or a descriptor
    /// behind: workers must be started one by one then. Else as for a worker.
    pub async fn start(
        options: ForkServerOptions,
        spec: &LaunchSpec,
        spawner: &Spawner,
        tracker: &TaskTracker,
    ) -> Result<Self, StartError> {
        let launch = Launch {
            name: options.name.clone(),
            program: spec.python.clone(),
            args: ["-m", "dspex_worker.zygote"].map(Into::into).into(),
            env: spec.environment_without_keys(),
            wire: Wire::Socket,
            // Its own limits would be its workers' too. Each of them gets its own instead.
            limits: WorkerLimits::default(),
            guardian: Some(spec.python.clone()),
        };
        let (process, wire) = spawner.spawn(launch, tracker).await?;
        let WireEnd::Socket(socket) = wire else {
            return Err(StartError::Protocol {
                name: options.name,
                reason: "it was started without a socket".to_owned(),
            });
        };
        let link = Link::open(&options.name, process, socket, spawner.clone(), tracker);
        let server = Self { link };
        let warmed = server.warm(&options);
        match tokio::time::timeout(options.start_timeout, warmed).await {
            Ok(warmed) => warmed.map(|()| server),
            Err(_) => Err(StartError::TimedOut {
                name: options.name,
                limit: options.start_timeout,
            }),
        }
    }

    async fn warm(&self, options: &ForkServerOptions) -> Result<(), StartError> {
        let name = || options.name.clone();
        let (answer, warmed) = oneshot::channel();
        self.link.shared().warmed = Some(answer);
        let warm = ToServer::Warm {
            imports: &options.imports,
            warmup: options.warmup.iter().map(ToString::to_string).collect(),
        };
        self.link
            .send(&warm, Vec::new())
            .map_err(|error| unsendable(&options.name, "what it is to import", &error))?;
        let answer = match warmed.await {
            Ok(answer) => answer,
            Err(_) => {
                return Err(StartError::Ended {
                    name: name(),
                    reason: self.ended().await,
                });
            }
        };
        let reason = answer.reason.unwrap_or_default();
        match answer.kind {
            Kind::Ready => Ok(()),
            Kind::Unsafe => Err(StartError::ForkUnsafe {
                name: name(),
                reason,
            }),
            _ => Err(StartError::Fatal {
                name: name(),
                reason,
            }),
        }
    }

    /// The process id, for people.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.link.process.pid()
    }

    /// Whether it forks no more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.link.ended.borrow().is_some()
    }

    /// Waits for its end and says how it ended.
    pub async fn ended(&self) -> String {
        self.link.why_it_ended().await
    }

    /// What its workers know of its end.
    pub(crate) fn fate(&self) -> Fate {
        Fate::new(self.pid(), self.link.ended.clone())
    }

    /// Forks a worker. What it prints goes to the log; the socket is its wire.
    pub(crate) async fn fork(
        &self,
        name: &str,
        spec: &LaunchSpec,
        tracker: &TaskTracker,
    ) -> Result<(Process, UnixStream), StartError> {
        let refused = |error: std::io::Error| SpawnError::Refused {
            program: spec.python.clone(),
            reason: error.to_string(),
        };
        let (ours, theirs) = StdUnixStream::pair().map_err(refused)?;
        ours.set_nonblocking(true).map_err(refused)?;
        let socket = UnixStream::from_std(ours).map_err(refused)?;
        let (stdout, their_stdout) = std::io::pipe().map_err(refused)?;
        let (stderr, their_stderr) = std::io::pipe().map_err(refused)?;
        let handed_down: Vec<OwnedFd> =
            vec![theirs.into(), their_stdout.into(), their_stderr.into()];
        let cookie = self.link.spawner.family().cookie().map_err(refused)?;
        let forked = self.ask(name, spec, &cookie, handed_down).await?;
        let adoption = Adoption {
            name,
            logs: [stdout.into(), stderr.into()],
            cookie: &cookie,
            most_processes: spec.limits.processes,
            spawner: &self.link.spawner,
            release: Release(Arc::clone(&self.link)),
        };
        let process = adopt_forked(forked, adoption, tracker).map_err(refused)?;
        Ok((process, socket))
    }

    async fn ask(
        &self,
        name: &str,
        spec: &LaunchSpec,
        cookie: &Cookie,
        handed_down: Vec<OwnedFd>,
    ) -> Result<Forked, StartError> {
        let mut environment = spec.environment();
        let (mark, value) = cookie.variable();
        environment.insert(mark.into(), value.into());
        let (answer, answered) = oneshot::channel();
        let id = {
            let mut shared = self.link.shared();
            shared.last_id += 1;
            let id = shared.last_id;
            shared.asked.insert(id, answer);
            id
        };
        let fork = ToServer::Fork {
            id,
            name,
            env: environment.iter().map(messages::bytewise).collect(),
            limits: messages::Limits::from(spec.limits),
        };
        if self.is_over() {
            self.link.shared().asked.remove(&id);
        } else {
            self.link.send(&fork, handed_down).map_err(|error| {
                self.link.shared().asked.remove(&id);
                unsendable(name, "its environment", &error)
            })?;
        }
        match answered.await {
            Ok(Ok(newborn)) => Ok(newborn.taken()),
            Ok(Err(refused)) if refused.is_unsafe => Err(StartError::ForkUnsafe {
                name: name.to_owned(),
                reason: refused.reason,
            }),
            Ok(Err(refused)) => Err(StartError::Fatal {
                name: name.to_owned(),
                reason: format!("its fork server cannot fork: {}", refused.reason),
            }),
            Err(_) => Err(StartError::Ended {
                name: name.to_owned(),
                reason: format!("its fork server ended: {}", self.ended().await),
            }),
        }
    }
}

fn unsendable(name: &str, what: &str, error: &FrameError) -> StartError {
    StartError::Fatal {
        name: name.to_owned(),
        reason: format!("the fork server cannot be told {what}: {error}"),
    }
}
