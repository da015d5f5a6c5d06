//! What the dispatcher knows, as figures for the pool's status and for the optimizer.

use std::time::Duration;

use dspex_pool::{Growth, WorkerStatus};
use tokio::time::Instant;

use super::seat::{Retiring, Slot};
use super::{Dispatcher, Handle, Kind};
use crate::affinity::{AffinityMode, Hits};
use crate::leak::worst;
use crate::optimizer::{Load, Measured};

/// Figures for the pool's status.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) workers: Vec<WorkerStatus>,
    /// Workers of the pool's size that take calls.
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
}

/// How well sessions stay near their workers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AffinityFigures {
    pub(crate) mode: AffinityMode,
    /// Sessions that are remembered.
    pub(crate) sessions: usize,
    pub(crate) hits: Hits,
}

/// How busy the pool is and was.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pressure {
    /// Over the optimizer's window, and over its interval.
    pub(crate) window: Measured,
    pub(crate) interval: Measured,
    pub(crate) queued: usize,
    /// How long the longest waiting has waited.
    pub(crate) oldest_wait: Duration,
    /// Places taken.
    pub(crate) busy: usize,
    /// Workers that take calls, of the pool's size and beyond it.
    pub(crate) ready: usize,
    pub(crate) overflow_ready: usize,
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
            ready: state
                .slots
                .iter()
                .filter(|slot| slot.kind == Kind::Regular && slot.serves())
                .count(),
            size: of(Kind::Regular),
            overflow: of(Kind::Overflow),
            leases: state.leases,
            queued: state.queue.len(),
            starts: state.starts,
            failures: state.failures,
            draining: state.draining,
            growth: worst(state.slots.iter().filter_map(|slot| slot.growth.clone())),
        }
    }

    /// Looks at the pool, and answers how busy it is and was, but not before `since`.
    pub(crate) fn pressure(
        &self,
        window: Duration,
        interval: Duration,
        since: Option<Instant>,
        now: Instant,
    ) -> Pressure {
        let mut state = self.state();
        let ready = |kind| {
            let slots = state.slots.iter();
            slots
                .filter(|slot| slot.kind == kind && slot.serves())
                .count()
        };
        let busy_overflow = state
            .slots
            .iter()
            .filter(|slot| slot.kind == Kind::Overflow && slot.leases > 0)
            .count();
        let (ready, overflow_ready) = (ready(Kind::Regular), ready(Kind::Overflow));
        let (busy, queued) = (state.leases, state.queue.len());
        let load = Load {
            busy,
            places: ready * self.concurrency as usize,
            queued,
            overflow: busy_overflow,
        };
        state.meter.look(load, now);
        let oldest = state.queue.oldest();
        Pressure {
            window: state.meter.measure(window, since, now),
            interval: state.meter.measure(interval, since, now),
            queued,
            oldest_wait: oldest
                .map_or(Duration::ZERO, |since| now.saturating_duration_since(since)),
            busy,
            ready,
            overflow_ready,
        }
    }

    /// The slots of the pool's size.
    pub(crate) fn size(&self) -> usize {
        let state = self.state();
        let regular = |slot: &&Slot<W>| slot.kind == Kind::Regular;
        state.slots.iter().filter(regular).count()
    }

    /// How well sessions stay near their workers.
    pub(crate) fn affinity(&self) -> AffinityFigures {
        let state = self.state();
        AffinityFigures {
            mode: state.affinity.mode(),
            sessions: state.affinity.pinned(),
            hits: state.affinity.hits(),
        }
    }
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
