//! By what the processes that a child started are known, wherever they went.
//!
//! Invariants:
//! - A process is taken for ours only by the session that our child led, or by a cookie in its
//!   environment that nobody can guess. It is killed through a pidfd, after a second look.
//! - What a process starts inherits both. It loses the one with `setsid` and the other with a new
//!   environment; only what does both is not found.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

use super::table::{self, Entry};

/// The variable that carries the cookie.
pub(super) const VARIABLE: &str = "DSPEX_PROCESS";

/// After this many rounds in which there was still something to kill, it is given up.
const ROUNDS: usize = 200;
/// Between two rounds. What is killed needs a moment to be gone.
const PAUSE: Duration = Duration::from_millis(5);

/// An unguessable mark, common to all children of a spawner.
#[derive(Debug, Clone)]
pub(crate) struct Family(String);

impl Family {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self(random()?))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// A mark for one child.
    pub(crate) fn cookie(&self) -> std::io::Result<Cookie> {
        Ok(Cookie(format!("{}-{}", self.0, random()?)))
    }
}

/// An unguessable mark of one child: its family's and its own. Always of the same length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cookie(String);

impl Cookie {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// For the child's environment.
    pub(crate) fn variable(&self) -> (String, String) {
        (VARIABLE.to_owned(), self.0.clone())
    }
}

/// 128 bits from the kernel, in hexadecimal digits.
fn random() -> std::io::Result<String> {
    let mut bytes = [MaybeUninit::uninit(); 16];
    let (bytes, _) = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    let mut text = String::with_capacity(32);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

/// A child of ours, and what it started.
#[derive(Debug, Clone)]
pub(super) struct Trail {
    leader: u32,
    /// When the leader was started; 0 where that could not be read.
    started: u64,
    marked: Vec<u8>,
}

impl Trail {
    /// Of a child that is not reaped yet.
    pub(super) fn of(leader: u32, cookie: &Cookie) -> Self {
        Self {
            leader,
            started: Entry::of(leader).map_or(0, |entry| entry.started),
            marked: format!("{VARIABLE}={}", cookie.as_str()).into_bytes(),
        }
    }

    pub(super) fn started(&self) -> u64 {
        self.started
    }

    /// Whether the child, alive or not reaped, still has its number.
    pub(super) fn leader_is_there(&self) -> bool {
        Entry::of(self.leader).is_some_and(|entry| entry.started == self.started)
    }

    /// Kills what the child started, again and again until nothing is left. To be called when the
    /// child has ended. It blocks, commonly for some milliseconds and at most for some seconds.
    pub(super) fn sweep(&self) {
        let mut killed: Vec<OwnedFd> = Vec::new();
        for _ in 0..ROUNDS {
            let table = table::all();
            let found = self.left_behind(&table);
            if found.is_empty() {
                break;
            }
            killed.extend(found.iter().filter_map(|entry| self.kill(entry)));
            std::thread::sleep(PAUSE);
        }
        for pidfd in &killed {
            // Where orphans come to us, as to a container's first process, we reap what we killed.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            let _ = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), options);
        }
        if !killed.is_empty() {
            let (leader, killed) = (self.leader, killed.len());
            tracing::info!(
                pid = leader,
                killed,
                "what a process left behind was killed"
            );
        }
    }

    /// Processes and threads that the living child and what it started have together.
    pub(super) fn count(&self, table: &[Entry]) -> u64 {
        let mut members = HashSet::from([self.leader]);
        members.extend(
            table
                .iter()
                .filter(|one| one.session == self.leader)
                .map(|one| one.pid),
        );
        table::add_descendants(table, &mut members);
        // What has left the session and lost its parent is known by its cookie alone. That is read
        // only of processes whose parent is of another session: there are few.
        let sessions: HashMap<u32, u32> = table
            .iter()
            .map(|entry| (entry.pid, entry.session))
            .collect();
        let is_top = |entry: &&Entry| sessions.get(&entry.parent) != Some(&entry.session);
        let strays = table.iter().filter(is_top);
        let strays = strays.filter(|one| !members.contains(&one.pid) && self.is_marked(one));
        let strays: Vec<u32> = strays.map(|entry| entry.pid).collect();
        if !strays.is_empty() {
            members.extend(strays);
            table::add_descendants(table, &mut members);
        }
        let alive = table.iter().filter(|entry| !entry.ended);
        alive
            .filter(|entry| members.contains(&entry.pid))
            .map(|entry| entry.threads)
            .sum()
    }

    fn left_behind(&self, table: &[Entry]) -> Vec<Entry> {
        // Another process of the leader's number means that its session had no member left.
        let leader = table.iter().find(|entry| entry.pid == self.leader);
        let session_is_ours = leader.is_none_or(|entry| entry.started == self.started);
        let us = std::process::id();
        let left = table.iter().filter(|entry| {
            let other = entry.pid != self.leader && entry.pid != us && !entry.ended;
            other && ((session_is_ours && self.is_in_session(entry)) || self.is_marked(entry))
        });
        left.copied().collect()
    }

    fn is_in_session(&self, entry: &Entry) -> bool {
        entry.session == self.leader && entry.started >= self.started
    }

    fn is_marked(&self, entry: &Entry) -> bool {
        entry.started >= self.started && entry.environment_holds(&self.marked)
    }

    fn kill(&self, entry: &Entry) -> Option<OwnedFd> {
        let pid = i32::try_from(entry.pid).ok().and_then(Pid::from_raw)?;
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // The number may have been given on between the look and the opening. From here on it
        // cannot: the descriptor is of one process.
        let same = Entry::of(entry.pid).is_some_and(|now| now.started == entry.started);
        if same {
            rustix::process::pidfd_send_signal(&pidfd, Signal::KILL).ok()?;
        }
        same.then_some(pidfd)
    }
}
