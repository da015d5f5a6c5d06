//! Looks at the migration all the time, from outside, and remembers how its percentage moved.
//!
//! Invariant: a server that is away, or does not answer, is not an error here: nothing is learnt
//! until it answers again, and the timeline says so by how wide its steps are.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

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
    /// When the candidate is to be looked for.
    candidate_from: Option<Duration>,
    /// When a server that had been away was first seen to have its candidate, or to need none.
    pub(super) settled: Vec<Duration>,
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

    /// From this moment on it is of interest when the server has its candidate.
    pub(super) fn look_for_candidate(&self, from: Duration) {
        self.seen().candidate_from = Some(from);
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
    look_for_candidate(client, ledger, seen);
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

fn look_for_candidate(client: &Client, ledger: &Ledger, seen: &Mutex<Seen>) {
    let lock = || seen.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(from) = lock().candidate_from else {
        return;
    };
    let asked = ledger.now();
    if asked < from
        || !client
            .get("/v1/status")
            .is_ok_and(|status| settled(&status))
    {
        return;
    }
    let mut seen = lock();
    // Unless the server went away once more meanwhile.
    if seen.candidate_from == Some(from) {
        seen.candidate_from = None;
        seen.settled.push(ledger.now());
    }
}

/// Whether every call goes where its session's bucket says: nobody goes to a candidate, or there is one
/// with a worker.
fn settled(status: &Value) -> bool {
    let flags = &status["flags"];
    let share = flags["values"]["gradual_rollout_percentage"].as_f64();
    let nobody = flags["values"]["pool_v2_enabled"] == false || share == Some(0.0);
    let ready = status["lanes"]["candidate"]["ready"].as_u64();
    flags["revision"] == flags["served_revision"]
        && (nobody || ready.is_some_and(|ready| ready > 0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_server_is_settled_once_its_candidate_has_a_worker_or_needs_none() {
        let status = |enabled: bool, share: f64, served: u64, candidate: Value| {
            settled(&json!({
                "flags": {
                    "revision": 3, "served_revision": served,
                    "values": {"pool_v2_enabled": enabled, "gradual_rollout_percentage": share},
                },
                "lanes": {"candidate": candidate},
            }))
        };
        assert!(status(true, 25.0, 3, json!({"ready": 1})));
        assert!(!status(true, 25.0, 3, json!({"ready": 0})));
        assert!(!status(true, 25.0, 3, Value::Null));
        assert!(!status(true, 25.0, 2, json!({"ready": 1})));
        assert!(status(true, 0.0, 3, Value::Null));
        assert!(status(false, 25.0, 3, Value::Null));
        assert!(!settled(&json!({})), "what is not known is not settled");
    }
}
