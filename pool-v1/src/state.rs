//! What the pool knows of its workers: the idle seats, and a slot for each worker wanted.
//!
//! Invariants: a worker is lost once, and counted once; it counts as a failure only where it ended
//! unasked or broke the protocol. A slot's list of programs to forget names only programs that its
//! worker may hold.

use std::collections::BTreeSet;
use std::sync::Arc;

use dspex_pool::{ProgramKey, WorkerState, WorkerStatus};
use tokio::sync::Notify;

use crate::seat::Seat;

#[derive(Debug)]
pub(crate) struct State {
    /// The idle ones; the last was used last.
    pub(crate) seats: Vec<Seat>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) starts: u64,
    pub(crate) failures: u64,
    pub(crate) in_flight: usize,
    pub(crate) finished: u64,
    pub(crate) draining: bool,
    pub(crate) last_failure: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) generation: u64,
    pub(crate) pid: Option<u32>,
    pub(crate) state: WorkerState,
    pub(crate) calls: u64,
    pub(crate) detail: Option<String>,
    /// Programs to be dropped before the seat's next call.
    pub(crate) forget: BTreeSet<ProgramKey>,
    /// Wakes the slot's task when its seat is lost.
    pub(crate) lost: Arc<Notify>,
}

/// Why a worker is not used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It ended unasked or broke the protocol: this speaks against the pool.
    Failed,
    /// We gave it up: its call took too long, its caller left, or the pool stops.
    GivenUp,
}

impl Slot {
    pub(crate) fn lives(&self) -> bool {
        matches!(self.state, WorkerState::Ready | WorkerState::Busy)
    }
}

impl State {
    pub(crate) fn new(size: usize) -> Self {
        let slot = |_| Slot {
            generation: 0,
            pid: None,
            state: WorkerState::Initializing,
            calls: 0,
            detail: None,
            forget: BTreeSet::new(),
            lost: Arc::default(),
        };
        Self {
            seats: Vec::new(),
            slots: (0..size).map(slot).collect(),
            starts: 0,
            failures: 0,
            in_flight: 0,
            finished: 0,
            draining: false,
            last_failure: None,
        }
    }

    /// Files a worker that was just started; answers what tells that it is lost.
    pub(crate) fn welcome(&mut self, seat: Seat) -> Arc<Notify> {
        self.last_failure = None;
        let slot = &mut self.slots[seat.slot];
        slot.state = WorkerState::Ready;
        slot.pid = Some(seat.worker.process().pid());
        slot.calls = 0;
        slot.forget.clear();
        let lost = Arc::clone(&slot.lost);
        self.seats.push(seat);
        lost
    }

    /// Drops a seat that is not idle, which kills its worker, and wakes its slot's task.
    pub(crate) fn lose(&mut self, seat: Seat, loss: Loss, why: String) {
        let lost = Arc::clone(&self.slots[seat.slot].lost);
        self.bury(&seat, loss, why);
        drop(seat);
        lost.notify_one();
    }

    /// Drops the idle seat of a slot whose worker has ended; `false` where it is not idle.
    pub(crate) fn bury_idle(&mut self, slot: usize) -> bool {
        let Some(index) = self.seats.iter().position(|seat| seat.slot == slot) else {
            return false;
        };
        let seat = self.seats.remove(index);
        let why = seat.last_words();
        self.bury(&seat, Loss::Failed, why);
        true
    }

    fn bury(&mut self, seat: &Seat, loss: Loss, why: String) {
        tracing::warn!(worker = %seat.name, why, "a worker is replaced");
        self.failures += u64::from(loss == Loss::Failed);
        let slot = &mut self.slots[seat.slot];
        slot.state = WorkerState::Terminated;
        slot.pid = None;
        slot.detail = Some(why);
        slot.forget.clear();
    }

    /// Has every worker that may hold the program drop it before its next call.
    pub(crate) fn forget(&mut self, program: &ProgramKey) {
        for seat in self.seats.iter().filter(|seat| seat.holds(program)) {
            self.slots[seat.slot].forget.insert(program.clone());
        }
        // What a lent seat holds is known when it comes back.
        let lent = |slot: &&mut Slot| slot.state == WorkerState::Busy;
        for slot in self.slots.iter_mut().filter(lent) {
            slot.forget.insert(program.clone());
        }
    }

    /// Ends the book-keeping: answers the idle seats, for their workers to be asked to end.
    pub(crate) fn close(&mut self) -> Vec<Seat> {
        for slot in &mut self.slots {
            slot.state = WorkerState::Terminated;
            slot.pid = None;
        }
        std::mem::take(&mut self.seats)
    }

    pub(crate) fn workers(&self, pool: &str) -> Vec<WorkerStatus> {
        let status = |(index, slot): (usize, &Slot)| WorkerStatus {
            id: format!("{pool}-{index}.{}", slot.generation.saturating_sub(1)),
            pid: slot.pid,
            state: slot.state,
            in_flight: usize::from(slot.state == WorkerState::Busy),
            calls: slot.calls,
            detail: slot.detail.clone(),
            ..WorkerStatus::default()
        };
        self.slots.iter().enumerate().map(status).collect()
    }
}
