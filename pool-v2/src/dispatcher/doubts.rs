//! Workers under suspicion, and what calls a slot's task to its worker.

use std::sync::Arc;

use dspex_pool::WorkerState;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::seat::{Slot, Summons};
use super::{Dispatcher, Handle, Kind};
use crate::recovery::{WorkerAct, Workers};

impl<W: Handle> Dispatcher<W> {
    /// A worker answered a check: it takes new calls again, where it did not.
    pub(crate) fn trust(self: &Arc<Self>, slot: usize) {
        {
            let now = Instant::now();
            let mut state = self.state();
            let trusted = &mut state.slots[slot];
            trusted.last_choice = false;
            trusted.life.checked(true);
            if trusted.life.state() == WorkerState::Degraded {
                let entered = trusted
                    .life
                    .enter(WorkerState::Ready, "it answers again", now);
                debug_assert!(entered.is_ok());
                trusted.life.work(trusted.leases > 0, now);
            }
            self.rank(&mut state, slot);
        }
        self.serve_queue();
    }

    /// A worker did not answer a check: it takes no new calls for now, or only those that nobody
    /// else can take.
    pub(crate) fn doubt(self: &Arc<Self>, slot: usize, act: WorkerAct, why: &str) {
        {
            let now = Instant::now();
            let mut state = self.state();
            let doubted = &mut state.slots[slot];
            doubted.last_choice = matches!(act, WorkerAct::LastChoice | WorkerAct::ReplaceWhenWarm);
            if doubted.life.enter(WorkerState::Degraded, why, now).is_err() {
                doubted.life.checked(false);
            }
            self.rank(&mut state, slot);
        }
        self.serve_queue();
    }

    /// A call found its worker silent: it gets no new ones until the slot's task has looked closer,
    /// which takes half a second. Not even as the last choice: a call would only share its fate.
    pub(crate) fn suspect(&self, slot: usize, generation: u64) {
        let now = Instant::now();
        let mut state = self.state();
        let doubted = &mut state.slots[slot];
        if doubted.generation != generation || doubted.life.state() == WorkerState::Degraded {
            return;
        }
        let why = "a call was not answered, nor a ping after it";
        if doubted.life.enter(WorkerState::Degraded, why, now).is_ok() {
            doubted.last_choice = false;
            doubted.summon(Summons::Suspect);
            self.rank(&mut state, slot);
        }
    }

    /// A call's deadline has passed on a worker that answered, or at least computed: it stays in
    /// service, and the slot's task makes sure that it was not its last word.
    pub(crate) fn look_closer(&self, slot: usize, generation: u64) {
        let mut state = self.state();
        let slot = &mut state.slots[slot];
        if slot.generation == generation && slot.worker.is_some() && slot.summons.is_none() {
            slot.summon(Summons::Look);
        }
    }

    /// The slot's worker is to be replaced, once another is ready.
    pub(crate) fn ask_replacement(&self, slot: usize, generation: u64, why: &str) {
        let mut state = self.state();
        let slot = &mut state.slots[slot];
        if slot.generation == generation && slot.worker.is_some() {
            slot.replacing = true;
            // A suspicion is more urgent, and may end the worker anyway.
            if slot.summons.is_none() {
                slot.summon(Summons::Replace(why.to_owned()));
            }
        }
    }

    /// The slot's worker was not replaced: its successor could not be started, or is not wanted.
    pub(crate) fn not_replaced(&self, slot: usize, failed: bool) {
        let mut state = self.state();
        state.failures += u64::from(failed);
        state.slots[slot].replacing = false;
    }

    /// Signalled when the slot's task is called to its worker.
    pub(crate) fn bell(&self, slot: usize) -> Arc<Notify> {
        Arc::clone(&self.state().slots[slot].summoned)
    }

    /// What the slot's task was called for, where it was.
    pub(crate) fn summons(&self, slot: usize) -> Option<Summons> {
        self.state().slots[slot].summons.take()
    }

    /// How many workers are in service, and whether this one is among them.
    pub(crate) fn in_service(&self, slot: usize) -> Workers {
        let state = self.state();
        let regular = |slot: &&Slot<W>| slot.kind == Kind::Regular;
        Workers {
            size: state.slots.iter().filter(regular).count(),
            ready: state.slots.iter().filter(|slot| slot.serves()).count(),
            in_service: state.slots[slot].serves(),
        }
    }
}
