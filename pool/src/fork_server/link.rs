//! The wire to a fork server: who waits for what, and what becomes of it.
//!
//! Invariants:
//! - Whoever asked is answered once, or learns from a closed channel that the server is gone.
//! - A worker that nobody took, because whoever asked has left, is killed and released.

use std::collections::HashMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::TaskTracker;

use super::channel::{self, Inbox, Outgoing};
use super::messages::{FromServer, Kind, ToServer};
use crate::bridge::explain_end;
use crate::process::{Ended, Forked, Process, Spawner};
use crate::wire::FrameError;

/// The right to have workers of a server reaped. Each worker's process holds one, and with it the
/// server.
#[derive(Clone)]
pub(crate) struct Release(pub(super) Arc<Link>);

impl Release {
    /// The worker is killed or has ended: its number may be given on.
    pub(crate) fn send(&self, pid: u32) {
        if let Err(error) = self.0.send(&ToServer::Release { pid }, Vec::new()) {
            tracing::error!(pid, %error, "a worker's number cannot be released");
        }
    }
}

impl fmt::Debug for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Release")
            .field(&self.0.process.pid())
            .finish()
    }
}

/// The process and its wire. Dropping it ends the server.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) process: Arc<Process>,
    pub(super) spawner: Spawner,
    outbox: mpsc::UnboundedSender<Outgoing>,
    shared: Arc<Mutex<Shared>>,
    pub(super) ended: watch::Receiver<Option<String>>,
}

/// Who waits for what.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) last_id: u64,
    pub(super) warmed: Option<oneshot::Sender<FromServer>>,
    pub(super) asked: HashMap<u64, oneshot::Sender<Result<Newborn, Refused>>>,
    living: HashMap<u32, oneshot::Sender<Ended>>,
}

/// The server does not fork.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) is_unsafe: bool,
    pub(super) reason: String,
}

impl Link {
    pub(super) fn open(
        name: &str,
        process: Process,
        socket: UnixStream,
        spawner: Spawner,
        tracker: &TaskTracker,
    ) -> Arc<Self> {
        let process = Arc::new(process);
        let shared = Arc::new(Mutex::new(Shared::default()));
        let (outbox, outgoing) = mpsc::unbounded_channel();
        let (told, ended) = watch::channel(None);
        let socket = Arc::new(socket);
        tracker.spawn(channel::write(Arc::clone(&socket), outgoing));
        let reader = Reader {
            name: name.to_owned(),
            inbox: Inbox::new(socket),
            shared: Arc::clone(&shared),
            outbox: outbox.downgrade(),
            process: Arc::clone(&process),
        };
        tracker.spawn(reader.run(told));
        Arc::new(Self {
            process,
            spawner,
            outbox,
            shared,
            ended,
        })
    }

    /// Sends, unless the server has ended; whoever waits for its answer is told that then.
    ///
    /// # Errors
    /// Where the message cannot be put into a frame: nothing was sent.
    pub(super) fn send(&self, message: &ToServer<'_>, fds: Vec<OwnedFd>) -> Result<(), FrameError> {
        let _ = self.outbox.send(Outgoing::new(message, fds)?);
        Ok(())
    }

    pub(super) fn shared(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }

    pub(super) async fn why_it_ended(&self) -> String {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            Err(_) => "nobody watches it any more".to_owned(),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.process.kill();
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A worker that was just forked. Whoever asked may have left meanwhile: dropped, it is killed and
/// released.
#[derive(Debug)]
pub(super) struct Newborn {
    forked: Option<Forked>,
    outbox: mpsc::WeakUnboundedSender<Outgoing>,
}

impl Newborn {
    pub(super) fn taken(mut self) -> Forked {
        self.forked.take().expect("a child is taken once")
    }
}

impl Drop for Newborn {
    fn drop(&mut self) {
        if let Some(Forked { pid, pidfd, .. }) = self.forked.take() {
            let _ = rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL);
            let release = Outgoing::new(&ToServer::Release { pid }, Vec::new());
            if let (Some(outbox), Ok(release)) = (self.outbox.upgrade(), release) {
                let _ = outbox.send(release);
            }
        }
    }
}

/// Reads what the server says and hands it to whoever waits.
struct Reader {
    name: String,
    inbox: Inbox,
    shared: Arc<Mutex<Shared>>,
    outbox: mpsc::WeakUnboundedSender<Outgoing>,
    process: Arc<Process>,
}

impl Reader {
    async fn run(mut self, told: watch::Sender<Option<String>>) {
        let broken = loop {
            match self.inbox.next().await {
                Ok(Some(frame)) => {
                    if let Err(reason) = self.deliver(frame) {
                        break Some(reason);
                    }
                }
                Ok(None) => break None,
                Err(error) => break Some(error.to_string()),
            }
        };
        let why = match broken {
            Some(reason) => {
                self.process.kill();
                self.process.wait().await;
                format!("it broke its protocol: {reason}")
            }
            None => explain_end(&self.process).await,
        };
        tracing::debug!(server = %self.name, why, "a fork server has ended");
        told.send_replace(Some(why));
        // Whoever still waits learns it from the channel that closes.
        *lock(&self.shared) = Shared::default();
    }

    fn deliver(&mut self, frame: FromServer) -> Result<(), String> {
        match frame.kind {
            Kind::Ready | Kind::Unsafe | Kind::Fatal => {
                if let Some(warmed) = lock(&self.shared).warmed.take() {
                    let _ = warmed.send(frame);
                }
            }
            Kind::Forked => {
                let (Some(id), Some(pid)) = (frame.id, frame.pid) else {
                    return Err("a fork is told without its id and number".to_owned());
                };
                let pidfd = self.inbox.descriptor();
                let pidfd = pidfd.ok_or("a fork is told without its descriptor")?;
                let (ended_told, ended) = oneshot::channel();
                let forked = Some(Forked { pid, pidfd, ended });
                let outbox = self.outbox.clone();
                let newborn = Newborn { forked, outbox };
                let mut shared = lock(&self.shared);
                shared.living.insert(pid, ended_told);
                let asked = shared.asked.remove(&id);
                drop(shared);
                // Where nobody waits any more it comes back, and is dropped here.
                let _ = asked.map(|asked| asked.send(Ok(newborn)));
            }
            Kind::Refused => {
                let refused = Refused {
                    is_unsafe: frame.is_unsafe,
                    reason: frame.reason.unwrap_or_default(),
                };
                let asked = frame.id.and_then(|id| lock(&self.shared).asked.remove(&id));
                let _ = asked.map(|asked| asked.send(Err(refused)));
            }
            Kind::Ended => {
                let ended = match (frame.code, frame.signal) {
                    (Some(code), _) => Ended::Code(code),
                    (None, Some(signal)) => Ended::Signal(signal),
                    (None, None) => Ended::Untold,
                };
                let living = frame
                    .pid
                    .and_then(|pid| lock(&self.shared).living.remove(&pid));
                let _ = living.map(|living| living.send(ended));
            }
        }
        Ok(())
    }
}
