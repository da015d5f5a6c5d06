//! A slot and the worker that stands in it; and workers that are on their way out.

use std::sync::Arc;

use dspex_pool::{Growth, WorkerState};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Handle, Kind};
use crate::recycle;
use crate::state::Life;

/// The rank of a slot that takes no call now.
pub(super) const NO_ROOM: u32 = u32::MAX;
/// Ranks from here on are of slots under suspicion, which serve only where no other can.
pub(super) const LAST_CHOICE: u32 = 1 << 20;
/// More leases than this no worker has.
pub(super) const MOST_LEASES: u32 = LAST_CHOICE - 1;

/// A slot.
#[derive(Debug)]
pub(super) struct Slot<W: Handle> {
    pub(super) id: Arc<str>,
    pub(super) kind: Kind,
    /// Counts the slot's workers. A lease belongs to one of them.
    pub(super) generation: u64,
    pub(super) worker: Option<Arc<W>>,
    /// Leases on the worker of this generation.
    pub(super) leases: u32,
    pub(super) life: Life,
    /// A degraded worker still serves where no other can: taking it out would leave too few.
    pub(super) last_choice: bool,
    /// The worker is over, and its slot's task has not said so yet.
    pub(super) shunned: bool,
    /// Since when the worker has had nothing to do, where it has nothing to do.
    pub(super) idle_since: Instant,
    /// Own memory of the worker in bytes, as last measured.
    pub(super) memory: Option<u64>,
    /// How fast it grows, where that is known.
    pub(super) growth: Option<Growth>,
    /// When the worker was ready.
    pub(super) seated: Instant,
    /// When it is to be recycled.
    pub(super) limits: recycle::Limits,
    /// The worker is to be replaced, or is being.
    pub(super) replacing: bool,
    /// What the slot's task is to look at, and the signal that there is something.
    pub(super) summons: Option<Summons>,
    pub(super) summoned: Arc<Notify>,
}

/// Why a slot's task is called to its worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Summons {
    /// A call was not answered, nor a ping after it.
    Suspect,
    /// A call's deadline has passed on it, while it was busy at least.
    Look,
    /// It is to be replaced, for this reason.
    Replace(String),
}

impl<W: Handle> Slot<W> {
    pub(super) fn new(id: Arc<str>, kind: Kind, now: Instant) -> Self {
        Self {
            life: Life::new(Arc::clone(&id), now),
            id,
            kind,
            generation: 0,
            worker: None,
            leases: 0,
            last_choice: false,
            shunned: false,
            idle_since: now,
            memory: None,
            growth: None,
            seated: now,
            limits: recycle::Limits::default(),
            replacing: false,
            summons: None,
            summoned: Arc::new(Notify::new()),
        }
    }

    /// Whether sessions may count on the slot.
    pub(super) fn stays(&self) -> bool {
        self.kind == Kind::Regular
    }

    /// Calls the slot's task to its worker.
    pub(super) fn summon(&mut self, summons: Summons) {
        self.summons = Some(summons);
        self.summoned.notify_one();
    }

    /// How good a choice the slot is, from 0.
    pub(super) fn rank(&self, concurrency: u32) -> u32 {
        if self.worker.is_none() || self.shunned || self.leases >= concurrency {
            return NO_ROOM;
        }
        match self.life.state() {
            WorkerState::Ready | WorkerState::Busy => self.leases,
            WorkerState::Degraded if self.last_choice => LAST_CHOICE + self.leases,
            _ => NO_ROOM,
        }
    }
}

/// A worker that takes no new calls, and another stands in its slot, or nobody.
#[derive(Debug)]
pub(super) struct Retiring<W: Handle> {
    pub(super) slot: usize,
    pub(super) id: Arc<str>,
    pub(super) generation: u64,
    pub(super) worker: Arc<W>,
    pub(super) leases: u32,
    pub(super) life: Life,
}
