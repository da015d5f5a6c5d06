//! The guardian: a small process that outlives us for a moment, to end what ours have started.
//!
//! When we are killed, the kernel kills our children with us, but not what they started in turn.
//! The guardian holds the reading end of a pipe from us. At its end it kills every process that
//! carries our family's mark or belongs to a session of ours, until none is left, and ends.
//!
//! Invariants:
//! - It is there before the first worker is, holds no descriptor of ours but that pipe, and is not
//!   tied to our life; it is reaped by us while we live.
//! - Where it is killed, another is started and told everything again.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use super::spawner::{lead_own_session, pidfd_of};
use super::trail::Family;

const SOURCE: &str = include_str!("../../python/dspex_worker/guardian.py");
/// Between the end of one guardian and the start of the next: the shortest, and the longest where
/// they keep ending.
const RESTART: Duration = Duration::from_secs(1);
const LONGEST_RESTART: Duration = Duration::from_secs(60);

/// A handle on the guardian of one family. Dropping the last one lets it do its work and end.
#[derive(Debug, Clone)]
pub(super) struct Guardian(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    family: Family,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The interpreter, once a guardian was asked for.
    python: Option<PathBuf>,
    /// There while there is a guardian.
    line: Option<Line>,
    /// Sessions that our children lead, with the time at which each leader was started.
    sessions: BTreeMap<u32, u64>,
}

/// How we reach a guardian.
#[derive(Debug)]
struct Line {
    pipe: std::fs::File,
    pidfd: OwnedFd,
}

impl Guardian {
    pub(super) fn new(family: Family) -> Self {
        Self(Arc::new(Inner {
            family,
            state: Mutex::default(),
        }))
    }

    /// Starts it where there is none yet. Where that cannot be done, workers are started all the
    /// same: they die with us in any case, and only what they start may stay.
    pub(super) fn ensure(&self, python: &Path) {
        let mut state = self.0.state();
        if state.python.is_some() {
            return;
        }
        state.python = Some(python.to_owned());
        let child = self.0.start(&mut state);
        drop(state);
        let inner = Arc::downgrade(&self.0);
        let keeper = std::thread::Builder::new().name("dspex-guardian".to_owned());
        if let Err(error) = keeper.spawn(move || keep(&inner, child)) {
            tracing::error!(%error, "nobody watches the guardian: the system has no thread for us");
        }
    }

    /// A child of ours leads this session.
    pub(super) fn add(&self, leader: u32, started: u64) {
        let mut state = self.0.state();
        state.sessions.insert(leader, started);
        state.tell(&format!("+ {leader} {started}\n"));
    }

    /// The leader is about to be reaped: its number may soon be somebody else's.
    pub(super) fn remove(&self, leader: u32) {
        let mut state = self.0.state();
        if state.sessions.remove(&leader).is_some() {
            state.tell(&format!("- {leader}\n"));
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the process and tells it what it must know.
    fn start(&self, state: &mut State) -> Option<Child> {
        let python = state.python.as_ref()?;
        match launch(python) {
            Ok((mut child, mut pipe)) => {
                let mut known = format!("{SOURCE}= {}\n", self.family.as_str());
                for (leader, started) in &state.sessions {
                    known.push_str(&format!("+ {leader} {started}\n"));
                }
                if let Err(error) = pipe.write_all(known.as_bytes()) {
                    tracing::warn!(%error, "the guardian does not listen");
                }
                // From here on nobody waits for it: where its pipe is full it is stopped, and of no
                // use.
                let _ = rustix::io::ioctl_fionbio(&pipe, true);
                match pidfd_of(&child) {
                    Ok(pidfd) => state.line = Some(Line { pipe, pidfd }),
                    Err(error) => {
                        tracing::warn!(%error, "the guardian cannot be watched, and is ended");
                        let _ = child.kill();
                    }
                }
                Some(child)
            }
            Err(error) => {
                tracing::warn!(
                    %error,
                    python = %python.display(),
                    "no guardian: should this process be killed, what its workers started may stay"
                );
                None
            }
        }
    }
}

impl State {
    fn tell(&mut self, text: &str) {
        if let Some(line) = &mut self.line
            && let Err(error) = line.pipe.write_all(text.as_bytes())
        {
            tracing::warn!(%error, "the guardian does not listen; another is started");
            // Before its pipe is closed: at the end of it, it would end all our workers.
            let _ = rustix::process::pidfd_send_signal(&line.pidfd, Signal::KILL);
        }
    }
}

/// Reaps the guardian, and starts another while there is a spawner.
fn keep(inner: &Weak<Inner>, mut child: Option<Child>) {
    let mut pause = RESTART;
    loop {
        let began = Instant::now();
        if let Some(child) = &mut child {
            let _ = child.wait();
        }
        if began.elapsed() > LONGEST_RESTART {
            pause = RESTART;
        }
        let Some(strong) = inner.upgrade() else {
            return;
        };
        strong.state().line = None;
        if child.is_some() {
            tracing::warn!("the guardian has ended; another is started");
        }
        drop(strong);
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_RESTART);
        let Some(strong) = inner.upgrade() else {
            return;
        };
        child = strong.start(&mut strong.state());
    }
}

fn launch(python: &Path) -> std::io::Result<(Child, std::fs::File)> {
    // The source comes through the pipe, so that neither a path nor the whole text stands in the
    // list of processes.
    let bootstrap = format!(
        "import os\n\
         source = b''\n\
         while len(source) < {length}:\n    \
             piece = os.read(0, {length} - len(source))\n    \
             if not piece: raise SystemExit\n    \
             source += piece\n\
         exec(compile(source, 'dspex guardian', 'exec'))",
        length = SOURCE.len()
    );
    #[expect(
        clippy::disallowed_methods,
        reason = "the guardian must outlive us; this module is part of the one that starts processes"
    )]
    let mut command = Command::new(python);
    command
        .args(["-I", "-S", "-c", &bootstrap])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    lead_own_session(&mut command);
    let mut child = command.spawn()?;
    let pipe = child.stdin.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
    Ok((child, std::fs::File::from(OwnedFd::from(pipe))))
}
