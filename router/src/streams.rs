//! Sessions that are in the middle of a stream, and the lane that each keeps for as long.
//!
//! A stream stays where it began, whatever the flags say meanwhile. So that its session is not on both
//! sides at once, the session's other calls go the same way until the stream ends.
//!
//! Invariants: nothing is kept on the candidate against a rollback, and nothing that was kept there
//! before one is kept there after it, or on a candidate that came later; a session takes memory only
//! while it has a stream; a call without a session, and any call while no session streams, takes no
//! lock here.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use dspex_flags::Snapshot;
use dspex_pool::Call;
use dspex_telemetry::Lane;

use crate::route;

/// Sessions that are remembered at most. Those beyond stream too, and go by the flags alone.
const SESSIONS: usize = 100_000;

/// Which sessions stream, and where.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    /// Streams that are open, for whoever wants to take no lock.
    open: AtomicUsize,
    sessions: Mutex<HashMap<Arc<str>, Kept>>,
    /// Counts how often the candidate's sessions were let go.
    let_go: AtomicU64,
}

/// The lane that a session keeps.
#[derive(Debug)]
struct Kept {
    lane: Lane,
    /// What [`Streams::let_go`] was when the flags were read that this lane follows from.
    seen: u64,
    streams: usize,
}

/// A stream that is open; dropped with its call.
#[derive(Debug)]
pub(crate) struct Stream<'a> {
    streams: &'a Streams,
    session: Arc<str>,
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        let mut sessions = self.streams.lock();
        if let Some(kept) = sessions.get_mut(&self.session) {
            kept.streams -= 1;
            if kept.streams == 0 {
                sessions.remove(&self.session);
            }
        }
        self.streams.open.fetch_sub(1, Relaxed);
    }
}

impl Streams {
    /// The lane of a call, and what keeps it for the call's session where the call streams.
    pub(crate) fn route(
        &self,
        served: &ArcSwap<Snapshot>,
        call: &Call,
    ) -> (Lane, Option<Stream<'_>>) {
        let Some(session) = &call.session else {
            return (route::lane(&served.load(), &call.request_id), None);
        };
        // Before the flags are read: a rollback serves its flags and then lets go, so what follows
        // from older flags is known to be old.
        let seen = self.let_go.load(SeqCst);
        let flags = served.load();
        let routed = route::lane(&flags, session);
        if call.chunks.is_some() {
            return self.open(session, routed, seen, route::rolled_back(&flags));
        }
        if self.open.load(Relaxed) == 0 || route::rolled_back(&flags) {
            return (routed, None);
        }
        let sessions = self.lock();
        let kept = sessions.get(session).filter(|kept| self.holds(kept));
        (kept.map_or(routed, |kept| kept.lane), None)
    }

    /// The candidate's sessions go by the flags again: traffic was taken from it, or another pool
    /// stands there.
    pub(crate) fn let_go(&self) {
        self.let_go.fetch_add(1, SeqCst);
    }

    fn open(
        &self,
        session: &Arc<str>,
        routed: Lane,
        seen: u64,
        rolled_back: bool,
    ) -> (Lane, Option<Stream<'_>>) {
        let mut sessions = self.lock();
        if sessions.len() >= SESSIONS && !sessions.contains_key(session) {
            return (routed, None);
        }
        let kept = sessions.entry(Arc::clone(session)).or_insert(Kept {
            lane: routed,
            seen,
            streams: 0,
        });
        if rolled_back || !self.holds(kept) {
            (kept.lane, kept.seen) = (routed, seen);
        }
        kept.streams += 1;
        let lane = kept.lane;
        self.open.fetch_add(1, Relaxed);
        let session = Arc::clone(session);
        let streams = self;
        (lane, Some(Stream { streams, session }))
    }

    fn holds(&self, kept: &Kept) -> bool {
        kept.lane == Lane::Stable || kept.seen == self.let_go.load(SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Kept>> {
        // Each change is one step, so a poisoned lock guards nothing half-done.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane_of(streams: &Streams, session: &str) -> Option<Lane> {
        let sessions = streams.lock();
        let kept = sessions.get(session).filter(|kept| streams.holds(kept));
        kept.map(|kept| kept.lane)
    }

    fn open<'a>(streams: &'a Streams, session: &str, lane: Lane) -> (Lane, Option<Stream<'a>>) {
        let seen = streams.let_go.load(SeqCst);
        streams.open(&session.into(), lane, seen, false)
    }

    #[test]
    fn a_session_keeps_its_lane_until_its_last_stream_ends() {
        let streams = Streams::default();
        let (lane, first) = open(&streams, "s", Lane::Candidate);
        assert_eq!(lane, Lane::Candidate);
        let (lane, second) = open(&streams, "s", Lane::Stable);
        assert_eq!(
            lane,
            Lane::Candidate,
            "the second stream goes with the first"
        );
        drop(first);
        assert_eq!(lane_of(&streams, "s"), Some(Lane::Candidate));
        assert_eq!(lane_of(&streams, "other"), None);
        drop(second);
        assert_eq!(lane_of(&streams, "s"), None);
        assert!(streams.lock().is_empty());
        assert_eq!(streams.open.load(Relaxed), 0);
    }

    #[test]
    fn what_was_let_go_is_not_kept_again_by_what_came_before() {
        let streams = Streams::default();
        let before = streams.let_go.load(SeqCst);
        let (_, _on_candidate) = open(&streams, "a", Lane::Candidate);
        let (_, _on_stable) = open(&streams, "b", Lane::Stable);
        streams.let_go();
        assert_eq!(lane_of(&streams, "a"), None);
        assert_eq!(lane_of(&streams, "b"), Some(Lane::Stable));
        // A call that had read the flags before, and comes here only now.
        let (_, _late) = streams.open(&"c".into(), Lane::Candidate, before, false);
        assert_eq!(lane_of(&streams, "c"), None);
    }

    #[test]
    fn sessions_beyond_the_bound_stream_and_are_not_kept() {
        let streams = Streams::default();
        let kept: Vec<_> = (0..SESSIONS)
            .map(|n| open(&streams, &n.to_string(), Lane::Stable).1)
            .collect();
        let (lane, stream) = open(&streams, "one more", Lane::Candidate);
        assert!(lane == Lane::Candidate && stream.is_none());
        assert!(open(&streams, "7", Lane::Candidate).1.is_some());
        drop(kept);
        assert!(streams.lock().is_empty());
    }
}
