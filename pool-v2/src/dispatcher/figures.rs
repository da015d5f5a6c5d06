//! What the dispatcher knows, as figures for the pool's status and for the optimizer.

use std::time::Duration;

use dspex_pool::{Growth, WorkerState, WorkerStatus};
use tokio::time::Instant;

use super::load::Seen;
use super::seat::{Retiring, Slot};
use super::{Dispatcher, Handle, Kind};
use crate::affinity::{AffinityMode, Hits};

/// Figures for the pool's status.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) workers: Vec<WorkerStatus>,
    /// Workers that take calls.
    pub(crate) ready: usize,
    /// Slots of the pool's size, and those beyond it.
    pub(crate) size: usize,
    pub(crate) overflow: usize,
    pub(crate) leases: usize,
    pub(crate) queued: usize,
    pub(crate) starts: u64,
    pub(crate) failures: u64,
    pub(crate) draining: bool,
    /// The worker whose memory grows the most for certain.
    pub(crate) growth: Option<Growth>,
    pub(crate) affinity: AffinityFigures,
}

/// How well sessions stay near their workers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AffinityFigures {
    pub(crate) mode: AffinityMode,
    pub(crate) pins: usize,
    pub(crate) hits: Hits,
}

/// How busy the pool is and was.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pressure {
    pub(crate) past: Seen,
    pub(crate) queued: usize,
    /// How long the longest waiting has waited.
    pub(crate) oldest_wait: Duration,
    pub(crate) ready: usize,
}

impl<W: Handle> Dispatcher<W> {
    /// The figures of this moment.
    pub(crate) fn figures(&self) -> Figures {
        let now = Instant::now();
        let state = self.state();
        let there = |slot: &&Slot<W>| slot.kind != Kind::Leaving || slot.worker.is_some();
        let seated = state.slots.iter().filter(there);
        let leaving = state.retiring.iter();
        let workers = seated
            .map(|slot| seated_status(slot, now))
            .chain(leaving.map(|old| retiring_status(old, now)))
            .collect();
        let of = |kind| state.slots.iter().filter(|slot| slot.kind == kind).count();
        Figures {
            workers,
            ready: state.slots.iter().filter(|slot| takes_calls(slot)).count(),
            size: of(Kind::Regular),
            overflow: of(Kind::Overflow),
            leases: state.leases,
            queued: state.queue.len(),
            starts: state.starts,
            failures: state.failures,
            draining: state.draining,
            growth: state
                .slots
                .iter()
                .filter_map(|slot| slot.growth.clone())
                .max_by(|a, b| a.at_least.total_cmp(&b.at_least)),
            affinity: AffinityFigures {
                mode: state.affinity.mode(),
                pins: state.affinity.pinned(),
                hits: state.affinity.hits(),
            },
        }
    }

    /// How busy the pool was in the last `window`, and is now.
    pub(crate) fn pressure(&self, window: Duration) -> Pressure {
        let now = Instant::now();
        let mut state = self.state();
        let taken = state.leases;
        let oldest = state.queue.oldest();
        Pressure {
            past: state.load.look(window, taken, now),
            queued: state.queue.len(),
            oldest_wait: oldest.map_or(Duration::ZERO, |since| now.saturating_duration_since(since)),
            ready: state.slots.iter().filter(|slot| takes_calls(slot)).count(),
        }
    }
}

fn takes_calls<W: Handle>(slot: &Slot<W>) -> bool {
    slot.worker.is_some()
        && !slot.shunned
        && matches!(slot.life.state(), WorkerState::Ready | WorkerState::Busy)
}

fn seated_status<W: Handle>(slot: &Slot<W>, now: Instant) -> WorkerStatus {
    WorkerStatus {
        id: slot.id.to_string(),
        pid: slot.worker.as_ref().and_then(|worker| worker.pid()),
        state: slot.life.state(),
        health: slot.life.health(),
        in_state_ms: millis(slot.life.in_state(now)),
        in_flight: slot.leases as usize,
        calls: slot.worker.as_ref().map_or(0, |worker| worker.answered()),
        detail: slot.life.detail().map(str::to_owned),
        memory: slot.memory,
        history: slot.life.history(),
    }
}

fn retiring_status<W: Handle>(old: &Retiring<W>, now: Instant) -> WorkerStatus {
    WorkerStatus {
        id: old.id.to_string(),
        pid: old.worker.pid(),
        state: old.life.state(),
        health: old.life.health(),
        in_state_ms: millis(old.life.in_state(now)),
        in_flight: old.leases as usize,
        calls: old.worker.answered(),
        detail: old.life.detail().map(str::to_owned),
        memory: None,
        // The slot shows it.
        history: Vec::new(),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
