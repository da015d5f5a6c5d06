//! The last changes of the lanes' circuits, numbered, and how often each kind of change was seen.
//!
//! Invariants: numbers count up from 1 and none is left out; the list is bounded, the counts are of the
//! router's whole life; nothing here is on the way of a call.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use dspex_breaker::{Circuit, CircuitEvent, Phase};
use dspex_telemetry::Lane;
use tokio::sync::{broadcast, mpsc, watch};

use super::{CircuitChange, CircuitDeed, CircuitTransitions};

/// Changes that are kept.
const KEPT: usize = 256;

/// A circuit whose changes are to be told.
pub(super) struct Watched {
    pub(super) lane: Lane,
    /// Not kept alive by being watched: with its last handle its events end.
    pub(super) circuit: Weak<Circuit>,
    pub(super) events: broadcast::Receiver<CircuitEvent>,
}

pub(crate) struct CircuitLog {
    book: Mutex<Book>,
    newest: watch::Sender<u64>,
    watch: mpsc::UnboundedSender<Watched>,
    /// Taken by whoever follows.
    watched: Mutex<Option<mpsc::UnboundedReceiver<Watched>>>,
}

#[derive(Default)]
struct Book {
    number: u64,
    changes: VecDeque<Arc<CircuitChange>>,
    counts: BTreeMap<(Lane, &'static str, &'static str), u64>,
}

impl CircuitLog {
    pub(crate) fn new() -> Self {
        let (watch, watched) = mpsc::unbounded_channel();
        Self {
            book: Mutex::default(),
            newest: watch::Sender::new(0),
            watch,
            watched: Mutex::new(Some(watched)),
        }
    }

    /// Has everything told that happens to this circuit from now on.
    pub(crate) fn watch(&self, lane: Lane, circuit: &Arc<Circuit>) {
        let watched = Watched {
            lane,
            circuit: Arc::downgrade(circuit),
            events: circuit.subscribe(),
        };
        // Nobody follows any more: the server ends.
        let _ = self.watch.send(watched);
    }

    /// The circuits that are watched, as they come; once.
    pub(super) fn watched(&self) -> Option<mpsc::UnboundedReceiver<Watched>> {
        self.watched
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    pub(super) fn write(&self, lane: Lane, at: jiff::Timestamp, what: CircuitDeed) {
        let mut book = self.book();
        book.number += 1;
        let number = book.number;
        if let CircuitDeed::State { from, to, .. } = &what {
            *book
                .counts
                .entry((lane, from.name(), to.name()))
                .or_default() += 1;
        }
        if book.changes.len() == KEPT {
            book.changes.pop_front();
        }
        book.changes.push_back(Arc::new(CircuitChange {
            number,
            at,
            lane,
            what,
        }));
        drop(book);
        self.newest
            .send_if_modified(|newest| std::mem::replace(newest, number.max(*newest)) < number);
    }

    pub(super) fn after(&self, number: u64) -> Vec<Arc<CircuitChange>> {
        let book = self.book();
        let changes = book.changes.iter();
        changes
            .filter(|change| change.number > number)
            .cloned()
            .collect()
    }

    pub(super) fn newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    pub(super) fn counts(&self) -> Vec<CircuitTransitions> {
        const POSSIBLE: [(Phase, Phase); 5] = [
            (Phase::Closed, Phase::Open),
            (Phase::Open, Phase::HalfOpen),
            (Phase::HalfOpen, Phase::Open),
            (Phase::HalfOpen, Phase::Closed),
            (Phase::Open, Phase::Closed),
        ];
        let book = self.book();
        let of = |lane, (from, to): (Phase, Phase)| CircuitTransitions {
            lane,
            from: from.name(),
            to: to.name(),
            count: book
                .counts
                .get(&(lane, from.name(), to.name()))
                .copied()
                .unwrap_or(0),
        };
        let lanes = Lane::ALL.into_iter();
        lanes
            .flat_map(|lane| POSSIBLE.map(|change| of(lane, change)))
            .collect()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Nothing panics while it holds the lock, and the book is for people to read.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_bounded_and_the_numbers_and_counts_go_on() {
        let log = CircuitLog::new();
        let opened = || CircuitDeed::State {
            from: Phase::Closed,
            to: Phase::Open,
            cause: "a test".to_owned(),
        };
        let all = KEPT as u64 + 10;
        for _ in 0..all {
            log.write(Lane::Candidate, jiff::Timestamp::UNIX_EPOCH, opened());
        }
        let kept = log.after(0);
        assert_eq!(kept.len(), KEPT);
        assert_eq!((kept[0].number, kept[KEPT - 1].number), (11, all));
        assert_eq!(log.after(all - 2).len(), 2);
        assert_eq!(*log.newest().borrow(), all);
        let counted = log.counts();
        let counted: Vec<_> = counted.iter().filter(|each| each.count > 0).collect();
        assert_eq!(counted.len(), 1);
        assert_eq!((counted[0].count, counted[0].to), (all, "open"));
    }
}
