//! Ties a child that was just started to the tasks that watch it and read its log.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::{Arc, OnceLock};

use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::output::{self, LastLines, Log};
use super::trail::{Cookie, Trail};
use super::watch_over::{Charge, Ended, Kept, Reaper};
use super::{Process, Spawner, WireEnd};
use crate::fork_server::Release;

/// Who forked a child, and so must outlive it.
#[derive(Debug, Clone)]
pub(crate) enum Owner {
    /// Our permanent thread.
    Spawner {
        /// Held, and not read.
        _thread: Spawner,
    },
    /// A fork server.
    ForkServer {
        /// Held, and not read.
        _server: Release,
    },
}

/// Takes charge of a child that our own thread started.
pub(super) fn adopt(
    mut charge: Charge,
    socket: Option<StdUnixStream>,
    name: &str,
    spawner: Spawner,
    tracker: &TaskTracker,
) -> io::Result<(Process, WireEnd)> {
    let child = charge.child();
    let (stdin, stdout, stderr) = child.map_or((None, None, None), |child| {
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    });
    let owner = Owner::Spawner { _thread: spawner };
    let (process, log) = take_charge(charge, owner, name, tracker);
    if let Some(stderr) = stderr {
        follow(&process, stderr.into(), &log, "stderr", tracker)?;
    }
    let wire = match (socket, stdin, stdout) {
        (None, Some(stdin), Some(stdout)) => WireEnd::Stdio {
            stdin: pipe::Sender::from_owned_fd(stdin.into())?,
            stdout: pipe::Receiver::from_owned_fd(stdout.into())?,
        },
        (socket, _, stdout) => {
            if let Some(stdout) = stdout {
                follow(&process, stdout.into(), &log, "stdout", tracker)?;
            }
            match socket {
                Some(socket) => {
                    socket.set_nonblocking(true)?;
                    WireEnd::Socket(UnixStream::from_std(socket)?)
                }
                None => WireEnd::None,
            }
        }
    };
    Ok((process, wire))
}

/// A worker that a fork server has forked.
#[derive(Debug)]
pub(crate) struct Forked {
    /// Its number.
    pub(crate) pid: u32,
    /// Opened by the server before anybody could have reaped it.
    pub(crate) pidfd: OwnedFd,
    /// Where the server tells its end.
    pub(crate) ended: oneshot::Receiver<Ended>,
}

/// What is needed to look after a worker that somebody else forked.
pub(crate) struct Adoption<'a> {
    /// Names it in logs.
    pub(crate) name: &'a str,
    /// The reading ends of its standard output and error.
    pub(crate) logs: [OwnedFd; 2],
    /// The mark in its environment.
    pub(crate) cookie: &'a Cookie,
    /// How many processes it may have.
    pub(crate) most_processes: Option<u64>,
    /// Whose family it belongs to.
    pub(crate) spawner: &'a Spawner,
    /// The right to have it reaped.
    pub(crate) release: Release,
}

/// Takes charge of a child that a fork server started.
pub(crate) fn adopt_forked(
    forked: Forked,
    adoption: Adoption<'_>,
    tracker: &TaskTracker,
) -> io::Result<Process> {
    let Adoption { name, release, .. } = adoption;
    let reaper = Reaper::Server {
        release: release.clone(),
        told: Some(forked.ended),
    };
    let guardian = adoption.spawner.guardian().clone();
    let trail = Trail::of(forked.pid, adoption.cookie);
    guardian.add(forked.pid, trail.started());
    let kept = Kept {
        trail,
        guardian,
        most_processes: adoption.most_processes,
    };
    let charge = Charge::new(forked.pid, forked.pidfd, reaper, kept);
    let owner = Owner::ForkServer { _server: release };
    let (process, log) = take_charge(charge, owner, name, tracker);
    for (stream, from) in adoption.logs.into_iter().zip(["stdout", "stderr"]) {
        follow(&process, stream, &log, from, tracker)?;
    }
    Ok(process)
}

/// From here on an error drops the process, which kills the child.
fn take_charge(
    charge: Charge,
    owner: Owner,
    name: &str,
    tracker: &TaskTracker,
) -> (Process, Arc<Log>) {
    let kill = CancellationToken::new();
    let (exit_told, exit) = watch::channel(None);
    let (pid, pidfd) = (charge.pid(), charge.pidfd());
    let broke = Arc::new(OnceLock::new());
    let watch = charge.watch_over(kill.clone(), exit_told, Arc::clone(&broke), tracker.clone());
    tracker.spawn(watch);
    let output = Arc::new(LastLines::default());
    let (log, log_read) = Log::new(name, pid, Arc::clone(&output));
    let process = Process {
        pid,
        pidfd,
        exit,
        kill,
        output,
        log_read,
        broke,
        _owner: owner,
    };
    (process, Arc::new(log))
}

/// Reads the child's log until its end.
fn follow(
    process: &Process,
    stream: OwnedFd,
    log: &Arc<Log>,
    from: &'static str,
    tracker: &TaskTracker,
) -> io::Result<()> {
    let stream = pipe::Receiver::from_owned_fd(stream)?;
    let log = Arc::clone(log);
    tracker.spawn(output::follow(stream, from, log, process.exit.clone()));
    Ok(())
}
