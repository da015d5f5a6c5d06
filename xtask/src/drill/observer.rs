//! Looks at the migration all the time, from outside, and remembers how its percentage moved.
//!
//! Invariant: a server that is away, or does not answer, is not an error here: nothing is learnt
//! until it answers again, and the timeline says so by how wide its steps are.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::live::client::Client;
use crate::live::ledger::Ledger;
use crate::live::timeline::Timeline;
use crate::live::watch::Status;

/// How often it looks.
const LOOK: Duration = Duration::from_millis(50);
/// A server that takes longer than this says nothing.
const LIMIT: Duration = Duration::from_secs(2);

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The newest answer, and when it came.
    pub(super) status: Option<(Duration, Status)>,
    pub(super) timeline: Timeline,
}

/// The one who looks. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Observer {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    thread: Option<JoinHandle<()>>,
}

impl Observer {
    /// Begins to look.
    pub(super) fn start(client: &Client, ledger: Arc<Ledger>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let client = client.with_timeout(LIMIT);
        let thread = {
            let (stop, seen) = (Arc::clone(&stop), Arc::clone(&seen));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    look(&client, &ledger, &seen);
                    std::thread::sleep(LOOK);
                }
            })
        };
        Self {
            stop,
            seen,
            thread: Some(thread),
        }
    }

    /// What was seen so far. The observer waits while the guard is held.
    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest status, if one came after this moment.
    pub(super) fn status_after(&self, after: Duration) -> Option<Status> {
        let seen = self.seen();
        let (at, status) = seen.status.as_ref()?;
        (*at > after).then(|| status.clone())
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn look(client: &Client, ledger: &Ledger, seen: &Mutex<Seen>) {
    let asked = ledger.now();
    let Ok(answer) = client.get("/admin/v1/migrations/current") else {
        return;
    };
    let Ok(status) = serde_json::from_value::<Status>(answer) else {
        return;
    };
    let answered = ledger.now();
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.timeline
        .observe(asked, answered, status.percent, status.acknowledged);
    // As of when it was asked: what is waited for must not be older than the wait.
    seen.status = Some((asked, status));
}
