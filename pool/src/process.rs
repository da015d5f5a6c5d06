//! The one module that starts processes.
//!
//! Invariants:
//! - Every child is started by one permanent thread, because Linux ties the parent-death signal to
//!   the *thread* that forked. When our process ends, however it ends, the kernel kills the child.
//! - A child leads its own session, so that what it started in turn can be ended with it.
//! - Signals go through the child's pidfd, or to its group while the child is not yet reaped:
//!   never to a number that may belong to somebody else by now.
//! - Every child is reaped, by the task that watches it.

mod adopt;
mod guardian;
mod memory;
mod output;
mod spawner;
mod table;
mod trail;
mod watch_over;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::process::Signal;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::adopt::Owner;
pub(crate) use self::adopt::{Adoption, Forked, adopt_forked};
pub use self::memory::Memory;
pub use self::output::LastLines;
pub use self::spawner::Spawner;
pub(crate) use self::trail::Cookie;
pub(crate) use self::watch_over::Ended;
use crate::launch::WorkerLimits;

/// What to start, and how to speak to it.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Names the process in logs.
    pub name: String,
    /// The program: a path, or a name looked up in `PATH`.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its whole environment: nothing is inherited.
    pub env: BTreeMap<OsString, OsString>,
    /// What carries the protocol.
    pub wire: Wire,
    /// What the kernel holds it to.
    pub limits: WorkerLimits,
    /// The Python that runs the guardian: a process that ends what this child started, should we be
    /// killed. There is one for each spawner, started with the first child that asks for it.
    pub guardian: Option<PathBuf>,
}

/// What carries the protocol between us and a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// Standard input and output; standard error is log.
    Stdio,
    /// A socket, inherited as the descriptor that `DSPEX_WIRE_FD` names; standard output and error
    /// are log.
    Socket,
    /// Nothing: standard input is empty, standard output and error are log.
    None,
}

/// Our end of the wire.
#[derive(Debug)]
pub enum WireEnd {
    /// See [`Wire::Stdio`].
    Stdio {
        /// To the child.
        stdin: pipe::Sender,
        /// From the child.
        stdout: pipe::Receiver,
    },
    /// See [`Wire::Socket`].
    Socket(UnixStream),
    /// See [`Wire::None`].
    None,
}

/// Why a process could not be started.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SpawnError {
    /// There is no such program.
    #[error("cannot start {program:?}: there is no such program")]
    NotFound {
        /// As configured.
        program: PathBuf,
    },
    /// The system refused.
    #[error("cannot start {program:?}: {reason}")]
    Refused {
        /// As configured.
        program: PathBuf,
        /// The system's words.
        reason: String,
    },
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit(Ended);

impl Exit {
    /// Whether it ended by itself with code 0.
    #[must_use]
    pub fn success(self) -> bool {
        self.0 == Ended::Code(0)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Ended::Code(code) => write!(f, "exit code {code}"),
            Ended::Signal(signal) => write!(f, "signal {signal}"),
            Ended::Untold => f.write_str("it is gone, and nobody could tell how"),
        }
    }
}

/// A running child. Dropping it kills the child and everything in its session.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    pidfd: Arc<OwnedFd>,
    exit: watch::Receiver<Option<Exit>>,
    kill: CancellationToken,
    output: Arc<LastLines>,
    log_read: watch::Receiver<()>,
    broke: Arc<OnceLock<String>>,
    /// Who forked the child must outlive it: see the module's first invariant.
    _owner: Owner,
}

impl Process {
    /// The process id. For people and for reading `/proc`; never to be signalled.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Processor time that it has used so far, in clock ticks; `None` once it is gone. By it a
    /// process that computes is told from one that is stopped.
    #[must_use]
    pub fn cpu_time(&self) -> Option<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        // The second field is the name, which may hold anything but ends with the last bracket;
        // the times in user and system mode are the 14th and 15th.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        let mut next = || fields.next()?.parse::<u64>().ok();
        Some(next()? + next()?)
    }

    /// Whether one of its threads runs, or would run if it were given a processor. One that is stopped
    /// does not, nor one that waits for something else.
    #[must_use]
    pub fn wants_processor(&self) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid));
        threads.into_iter().flatten().flatten().any(|thread| {
            let stat = std::fs::read_to_string(thread.path().join("stat"));
            stat.is_ok_and(|stat| {
                let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
                state.is_some_and(|state| state.starts_with('R'))
            })
        })
    }

    /// The memory that it holds; `None` once it is gone, or where the kernel does not tell.
    #[must_use]
    pub fn memory(&self) -> Option<Memory> {
        Memory::of(self.pid)
    }

    /// What it last wrote to its log.
    #[must_use]
    pub fn output(&self) -> &LastLines {
        &self.output
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn exited(&self) -> Option<Exit> {
        *self.exit.borrow()
    }

    /// Waits until all that it wrote was read, its end included.
    pub(crate) async fn log_read(&self) {
        let mut read = self.log_read.clone();
        while read.changed().await.is_ok() {}
    }

    /// Which limit of ours it was killed for, with figures, if it was.
    #[must_use]
    pub fn broke_limit(&self) -> Option<&str> {
        self.broke.get().map(String::as_str)
    }

    /// Waits until it has ended, was reaped, and what it started is gone too.
    pub async fn wait(&self) -> Option<Exit> {
        let exit = self.over().await;
        let mut gone = self.exit.clone();
        // Whoever watches it lets go of the channel last.
        while gone.changed().await.is_ok() {}
        exit
    }

    /// Waits until it has ended, some milliseconds before [`Process::wait`] returns.
    pub async fn over(&self) -> Option<Exit> {
        let mut exit = self.exit.clone();
        // An error means that the watching task is gone, which it never is before the exit is
        // told, unless the runtime itself is being torn down.
        exit.wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|exit| *exit)
    }

    /// Kills it and everything in its session, now.
    pub fn kill(&self) {
        self.kill.cancel();
    }

    /// Stops it where it is: it lives, and answers nobody until it is killed. For whoever tries what
    /// becomes of a worker that hangs.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn freeze(&self) -> io::Result<()> {
        Ok(rustix::process::pidfd_send_signal(
            &*self.pidfd,
            Signal::STOP,
        )?)
    }

    /// Waits for its end for at most `limit`, then kills it; returns as [`Process::wait`] does.
    pub async fn end_within(&self, limit: Duration) -> Option<Exit> {
        if tokio::time::timeout(limit, self.over()).await.is_err() {
            self.kill();
        }
        self.wait().await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
