//! What the slots' tasks tell the dispatcher: workers that come, go, are doubted and replaced.

use std::sync::Arc;

use dspex_pool::{Growth, WorkerState};
use tokio::time::Instant;

use super::seat::{NO_ROOM, Slot};
use super::{Dispatcher, Handle, State};
use crate::recycle::{self, RecyclingConfig};

/// What a slot is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One of the pool's size.
    Regular,
    /// Beyond the pool's size, for as long as calls wait.
    Overflow,
    /// Not wanted any more: it takes no new sessions, and ends once nobody waits for it.
    Leaving,
}

impl<W: Handle> Dispatcher<W> {
    /// Makes the slot one of this kind.
    pub(crate) fn want(&self, slot: usize, kind: Kind) {
        let now = Instant::now();
        let mut state = self.state();
        while state.slots.len() <= slot {
            let id = self.id(state.slots.len(), 0);
            state.slots.push(Slot::new(id, kind, now));
            state.ranks.push(NO_ROOM);
        }
        state.slots[slot].kind = kind;
    }

    /// A worker is about to be started; answers its name.
    pub(crate) fn starting(&self, slot: usize) -> Arc<str> {
        let now = Instant::now();
        let mut state = self.state();
        state.starts += 1;
        let slot_state = &mut state.slots[slot];
        let id = self.id(slot, slot_state.generation);
        if slot_state.life.state() == WorkerState::Terminated {
            slot_state.life.succeed(Arc::clone(&id), now);
        }
        slot_state.id = Arc::clone(&id);
        id
    }

    /// The name of the worker that will take over from the one that serves; it is about to be
    /// started.
    pub(crate) fn starting_successor(&self, slot: usize) -> Arc<str> {
        let mut state = self.state();
        state.starts += 1;
        let generation = state.slots[slot].generation + 1;
        self.id(slot, generation)
    }

    /// A worker takes calls from now on.
    pub(crate) fn started(self: &Arc<Self>, slot: usize, worker: Arc<W>) {
        {
            let now = Instant::now();
            let mut state = self.state();
            state.start_failure = None;
            state.hopeless = None;
            // It may take over from one that ended while it was started.
            let id = self.id(slot, state.slots[slot].generation);
            let seat = &mut state.slots[slot];
            if seat.life.state() == WorkerState::Terminated {
                seat.life.succeed(Arc::clone(&id), now);
                seat.id = id;
            }
            state.seat(slot, worker, &self.recycling, now);
            self.rank(&mut state, slot);
        }
        self.slot_changed.notify_waiters();
        self.serve_queue();
    }

    /// A worker could not be started.
    pub(crate) fn start_failed(&self, slot: usize, reason: &str) {
        {
            let mut state = self.state();
            state.failures += 1;
            state.start_failure = Some(reason.to_owned());
            let now = Instant::now();
            let life = &mut state.slots[slot].life;
            if let Err(error) = life.enter(WorkerState::Terminated, reason, now) {
                tracing::error!(%error, slot, "a worker that could not be started was somewhere else");
            }
        }
        self.slot_changed.notify_waiters();
    }

    /// A worker is gone. Its leases free nothing any more.
    pub(crate) fn gone(&self, slot: usize, why: &str, failed: bool) {
        {
            let now = Instant::now();
            let mut state = self.state();
            state.failures += u64::from(failed);
            let lost = &mut state.slots[slot];
            let ended = lost
                .life
                .enter(WorkerState::Terminating, why, now)
                .and_then(|()| lost.life.enter(WorkerState::Terminated, why, now));
            if let Err(error) = ended {
                tracing::error!(%error, slot, "a worker that is gone was somewhere else");
            }
            lost.vacate();
            self.rank(&mut state, slot);
        }
        self.slot_changed.notify_waiters();
    }

    /// No worker can be had for now: whoever waits is told so, and so is whoever comes, until one is
    /// there. Only where there is really none.
    pub(crate) fn despair(&self, reason: &str) {
        let mut state = self.state();
        if state.slots.iter().any(|slot| slot.worker.is_some()) {
            return;
        }
        state.hopeless = Some(reason.to_owned());
        state.send_all_away();
    }

    /// Calls may wait for workers again.
    pub(crate) fn hope(&self) {
        self.state().hopeless = None;
    }

    /// What the slot's worker was last measured to use, in bytes.
    pub(crate) fn measured(
        &self,
        slot: usize,
        generation: u64,
        memory: u64,
        growth: Option<Growth>,
    ) {
        let mut state = self.state();
        let slot = &mut state.slots[slot];
        if slot.generation == generation {
            slot.memory = Some(memory);
            slot.growth = growth;
        }
    }

    /// Which of the slot's workers this one is.
    pub(crate) fn generation(&self, slot: usize) -> u64 {
        self.state().slots[slot].generation
    }

    /// Memory is not watched any more: what is known of it grows old.
    pub(crate) fn forget_memory(&self) {
        for slot in &mut self.state().slots {
            slot.memory = None;
            slot.growth = None;
        }
    }

    // What the pool asks.

    /// Waits until every slot has a worker; with the reason of the first that has none.
    pub(crate) async fn all_ready(&self) -> Result<(), String> {
        loop {
            let changed = self.slot_changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let state = self.state();
                if let Some(reason) = &state.start_failure {
                    return Err(reason.clone());
                }
                if state.slots.iter().all(|slot| slot.worker.is_some()) {
                    return Ok(());
                }
            }
            changed.await;
        }
    }

    /// Takes no new calls, and sends away those who wait. Answers the leases that are left, and how
    /// many have ended.
    pub(crate) fn close(&self) -> (usize, u64) {
        let mut state = self.state();
        state.draining = true;
        state.send_all_away();
        (state.leases, state.ended)
    }

    /// Every worker was stopped.
    pub(crate) fn stopped(&self) {
        let now = Instant::now();
        let mut state = self.state();
        state.retiring.clear();
        for index in 0..state.slots.len() {
            let slot = &mut state.slots[index];
            // A slot without a worker has nothing to say; one that was being started is cut off.
            let _ = slot
                .life
                .enter(WorkerState::Terminating, "the pool was stopped", now);
            let _ = slot
                .life
                .enter(WorkerState::Terminated, "the pool was stopped", now);
            slot.vacate();
            self.rank(&mut state, index);
        }
    }

    /// Waits until nothing is leased.
    pub(crate) async fn idle(&self) {
        loop {
            let ended = self.lease_ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.state().leases == 0 {
                return;
            }
            ended.await;
        }
    }

    /// Leases now, and those that have ended so far.
    pub(crate) fn leases(&self) -> (usize, u64) {
        let state = self.state();
        (state.leases, state.ended)
    }

    /// Every worker that there is, those on their way out too.
    pub(crate) fn workers(&self) -> Vec<Arc<W>> {
        let state = self.state();
        let seated = state.slots.iter().filter_map(|slot| slot.worker.clone());
        let retiring = state.retiring.iter().map(|old| Arc::clone(&old.worker));
        seated.chain(retiring).collect()
    }

    /// Whether sessions are kept near their workers from now on.
    pub(crate) fn set_affine(&self, affine: bool) {
        self.state().affine = affine;
    }

    pub(super) fn id(&self, slot: usize, generation: u64) -> Arc<str> {
        format!("{}-{slot}.{generation}", self.name).into()
    }

    /// Writes a slot's rank anew after anything about it has changed.
    pub(super) fn rank(&self, state: &mut State<W>, slot: usize) {
        state.ranks[slot] = state.slots[slot].rank(self.concurrency);
    }
}

impl<W: Handle> State<W> {
    pub(super) fn seat(
        &mut self,
        slot: usize,
        worker: Arc<W>,
        recycling: &RecyclingConfig,
        now: Instant,
    ) {
        let slot = &mut self.slots[slot];
        // Each worker has limits of its own, and chance enough in its name and its time.
        let seed = self.affinity.hash(&slot.id).bits();
        slot.limits = recycle::Limits::draw(recycling, seed);
        slot.seated = now;
        slot.summons = None;
        slot.replacing = false;
        slot.worker = Some(worker);
        slot.leases = 0;
        slot.shunned = false;
        slot.last_choice = false;
        slot.idle_since = now;
        slot.memory = None;
        slot.growth = None;
        if let Err(error) = slot.life.enter(WorkerState::Ready, "it is ready", now) {
            tracing::error!(%error, id = %slot.id, "a worker that is ready was somewhere else");
        }
    }

    fn send_all_away(&mut self) {
        for waiter in self.queue.clear() {
            self.limits.release(waiter.asked.counted);
        }
    }
}

impl<W: Handle> Slot<W> {
    /// Whether it takes calls by right, and not as the last choice.
    pub(super) fn serves(&self) -> bool {
        let serves = matches!(self.life.state(), WorkerState::Ready | WorkerState::Busy);
        self.worker.is_some() && serves && !self.shunned
    }

    pub(super) fn vacate(&mut self) {
        self.worker = None;
        self.generation += 1;
        self.leases = 0;
        self.shunned = false;
        self.last_choice = false;
        self.memory = None;
        self.growth = None;
        self.replacing = false;
    }
}
