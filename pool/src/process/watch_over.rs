//! The task that watches one child: kills it when asked, tells its end, and has it reaped.
//!
//! Invariants:
//! - While a child is not reaped its number, and its session's, belong to nobody else. So what is
//!   done by number is done before it is reaped.
//! - A child is in charge of somebody from the moment it exists. A charge that is dropped, wherever
//!   on the way, kills its child and has it reaped.

use std::os::fd::{AsFd, OwnedFd};
use std::process::Child;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus};
use tokio::io::unix::AsyncFd;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Exit;
use super::guardian::Guardian;
use super::table;
use super::trail::Trail;
use crate::fork_server::Release;

/// How long a fork server may take to say how a child ended, once it has. A server that is stopped
/// must not make a dead worker look alive; one that gets no processor for a while must not hide how it died.
const TOLD_WITHIN: Duration = Duration::from_secs(5);
/// How often the processes of a child are counted, where they are limited.
const LOOK: Duration = Duration::from_millis(200);

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// By itself.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// Whoever could have told is gone.
    Untold,
}

impl From<WaitIdStatus> for Ended {
    fn from(status: WaitIdStatus) -> Self {
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => Self::Untold,
        }
    }
}

/// Who reaps a child.
#[derive(Debug)]
pub(super) enum Reaper {
    /// We do: it is our own child.
    Us(Child),
    /// The fork server does, once it is told that it may; it tells the end before.
    Server {
        release: Release,
        told: Option<oneshot::Receiver<Ended>>,
    },
}

/// A child that somebody answers for.
#[derive(Debug)]
pub(super) struct Charge {
    pid: u32,
    pidfd: Arc<OwnedFd>,
    reaper: Reaper,
    kept: Kept,
}

/// What is kept of a child beside itself.
#[derive(Debug)]
pub(super) struct Kept {
    /// By what the processes that it starts are known.
    pub(super) trail: Trail,
    /// Who knows of its session.
    pub(super) guardian: Guardian,
    /// How many processes and threads it may have.
    pub(super) most_processes: Option<u64>,
}

impl Charge {
    pub(super) fn new(pid: u32, pidfd: OwnedFd, reaper: Reaper, kept: Kept) -> Self {
        Self {
            pid,
            pidfd: Arc::new(pidfd),
            reaper,
            kept,
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// What signals go through, for whoever holds the process.
    pub(super) fn pidfd(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.pidfd)
    }

    /// The child where it is our own, for its pipes.
    pub(super) fn child(&mut self) -> Option<&mut Child> {
        match &mut self.reaper {
            Reaper::Us(child) => Some(child),
            Reaper::Server { .. } => None,
        }
    }

    /// Watches until the child is reaped. Its end is told as soon as it is known.
    pub(super) async fn watch_over(
        mut self,
        kill: CancellationToken,
        exit: watch::Sender<Option<Exit>>,
        broke: Arc<OnceLock<String>>,
        tracker: TaskTracker,
    ) {
        let pid = self.pid;
        match self.pidfd.try_clone().and_then(register) {
            Ok(pidfd) => {
                tokio::select! {
                    // A pidfd is readable once its process has ended, before it is reaped.
                    _ = pidfd.readable() => {}
                    () = kill.cancelled() => {}
                    reason = self.breaks_limit(&tracker) => {
                        tracing::warn!(pid, reason, "a process is killed");
                        let _ = broke.set(reason);
                    }
                }
                self.kill();
                let _ = pidfd.readable().await;
            }
            Err(error) => {
                tracing::error!(pid, %error, "cannot watch a child; it is killed");
                self.kill();
            }
        }
        self.kill_group();
        let ended = self.how_it_ended().await;
        exit.send_replace(Some(Exit(ended)));
        let trail = self.kept.trail.clone();
        let _ = tracker.spawn_blocking(move || trail.sweep()).await;
        // In this order: who waits for the channel to close waits for the reaping.
        drop(self);
        drop(exit);
    }

    /// Waits until it has more processes than it may, and says so.
    async fn breaks_limit(&self, tracker: &TaskTracker) -> String {
        let Some(most) = self.kept.most_processes else {
            return std::future::pending().await;
        };
        loop {
            tokio::time::sleep(LOOK).await;
            let trail = self.kept.trail.clone();
            let count = tracker.spawn_blocking(move || trail.count(&table::recent(LOOK / 2)));
            match count.await {
                Ok(count) if count > most => {
                    return format!(
                        "it and what it started had {count} processes and threads, where {most} \
                         are allowed"
                    );
                }
                _ => {}
            }
        }
    }

    async fn how_it_ended(&mut self) -> Ended {
        let told = match &mut self.reaper {
            Reaper::Us(_) => None,
            Reaper::Server { told, .. } => told.take(),
        };
        let told = match told {
            Some(told) => match tokio::time::timeout(TOLD_WITHIN, told).await {
                Ok(Ok(ended)) => ended,
                _ => Ended::Untold,
            },
            None => Ended::Untold,
        };
        match told {
            // It may be our own: as one from the start, or since its fork server died and we are
            // the next in line for orphans.
            Ended::Untold => self.look(WaitIdOptions::NOWAIT).unwrap_or(Ended::Untold),
            told => told,
        }
    }

    fn look(&self, more: WaitIdOptions) -> Option<Ended> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | more;
        let status = rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), options);
        status.ok().flatten().map(Ended::from)
    }

    fn kill(&self) {
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// It is not reaped yet, so its group's number is still its own. Only a worker whose fork server
    /// died may have been reaped by somebody else.
    fn kill_group(&self) {
        let is_ours = matches!(self.reaper, Reaper::Us(_)) || self.kept.trail.leader_is_there();
        if !is_ours {
            return;
        }
        let group = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.kill();
        self.kill_group();
        self.kept.guardian.remove(self.pid);
        match &mut self.reaper {
            // Returns at once: it has ended, or has just been killed.
            Reaper::Us(child) => {
                if let Err(error) = child.wait() {
                    tracing::error!(pid = self.pid, %error, "cannot reap a child");
                }
            }
            Reaper::Server { release, .. } => {
                release.send(self.pid);
                // Where the server is gone and orphans come to us. Else it is not our child.
                let _ = self.look(WaitIdOptions::empty());
            }
        }
    }
}

#[expect(
    unsafe_code,
    reason = "tokio asks us to promise that the descriptor is owned"
)]
fn register(pidfd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` keeps one open descriptor, always the same, until it is dropped, and
    // `AsyncFd` drops it last.
    unsafe { AsyncFd::register(pidfd) }.map_err(Into::into)
}
