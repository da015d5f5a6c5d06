//! What the slots' tasks tell the dispatcher: workers that come, go, are doubted and replaced.

use std::sync::Arc;
use std::time::Duration;

use dspex_pool::{Growth, WorkerState};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::seat::{NO_ROOM, Retiring, Slot, Summons};
use super::{Dispatcher, Handle, State};
use crate::recovery::{WorkerAct, Workers};
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

/// A worker that may be recycled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recyclable {
    pub(crate) slot: usize,
    pub(crate) generation: u64,
    pub(crate) limits: recycle::Limits,
    pub(crate) worker: recycle::Worker,
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

    /// A successor could not be started; the worker that it was for serves on.
    pub(crate) fn successor_failed(&self) {
        self.state().failures += 1;
    }

    /// Another worker, which is ready, takes the slot. The one that was there takes no new calls;
    /// `failed` says that it is replaced for a fault of its own.
    pub(crate) fn replace(
        self: &Arc<Self>,
        slot: usize,
        successor: Arc<W>,
        why: &str,
        failed: bool,
    ) {
        {
            let now = Instant::now();
            let mut state = self.state();
            state.failures += u64::from(failed);
            self.retire(&mut state, slot, why, now);
            state.seat(slot, successor, &self.recycling, now);
            self.rank(&mut state, slot);
        }
        self.serve_queue();
    }

    /// Withdraws the worker of a slot that is not wanted. `false` while somebody waits for it.
    pub(crate) fn dismiss(&self, slot: usize, why: &str) -> bool {
        let now = Instant::now();
        let mut state = self.state();
        state.slots[slot].kind = Kind::Leaving;
        if state.queue.anybody_for(slot) {
            return false;
        }
        self.retire(&mut state, slot, why, now);
        self.rank(&mut state, slot);
        true
    }

    /// Waits until a worker that was retired has no calls left, for at most `limit`.
    pub(crate) async fn emptied(&self, slot: usize, generation: u64, limit: Duration) -> bool {
        let emptied = async {
            loop {
                let ended = self.lease_ended.notified();
                tokio::pin!(ended);
                ended.as_mut().enable();
                let of = |old: &&Retiring<W>| (old.slot, old.generation) == (slot, generation);
                if self.state().retiring.iter().find(of).is_none_or(|old| old.leases == 0) {
                    return;
                }
                ended.await;
            }
        };
        tokio::time::timeout(limit, emptied).await.is_ok()
    }

    /// A worker that was retired has ended.
    pub(crate) fn retired(&self, slot: usize, generation: u64, how: &str) {
        let now = Instant::now();
        let mut state = self.state();
        let of = |old: &Retiring<W>| (old.slot, old.generation) == (slot, generation);
        let Some(index) = state.retiring.iter().position(of) else {
            return;
        };
        let mut old = state.retiring.swap_remove(index);
        // Its leases, if there are any, free nothing any more, but they still count until then.
        if old.life.enter(WorkerState::Terminated, how, now).is_ok()
            && let Some(change) = old.life.history().pop()
        {
            state.slots[slot].life.remember(change);
        }
    }

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
            doubted.last_choice =
                matches!(act, WorkerAct::LastChoice | WorkerAct::ReplaceWhenWarm);
            if doubted.life.enter(WorkerState::Degraded, why, now).is_err() {
                doubted.life.checked(false);
            }
            self.rank(&mut state, slot);
        }
        self.serve_queue();
    }

    /// A call found its worker silent: it gets no new ones until the slot's task has looked closer,
    /// which takes half a second. Not even as the last choice: a call would only share its fate.
    pub(crate) fn suspect(self: &Arc<Self>, slot: usize, generation: u64) {
        let doubted = |slot: &Slot<W>| slot.life.state() == WorkerState::Degraded;
        if self.summon(slot, generation, Summons::Suspect, |slot| !doubted(slot)) {
            let why = "a call was not answered, nor a ping after it";
            self.doubt(slot, WorkerAct::Degrade, why);
        }
    }

    /// The slot's worker is to be replaced, once another is ready.
    pub(crate) fn ask_replacement(&self, slot: usize, generation: u64, why: &str) {
        let replace = Summons::Replace(why.to_owned());
        self.summon(slot, generation, replace, |slot| slot.summons.is_none());
    }

    fn summon(
        &self,
        slot: usize,
        generation: u64,
        summons: Summons,
        when: impl Fn(&Slot<W>) -> bool,
    ) -> bool {
        let mut state = self.state();
        let slot = &mut state.slots[slot];
        let summoned = slot.generation == generation && slot.worker.is_some() && when(slot);
        if summoned {
            slot.summons = Some(summons);
            slot.summoned.notify_one();
        }
        summoned
    }

    /// Signalled when the slot's task is called to its worker.
    pub(crate) fn bell(&self, slot: usize) -> Arc<Notify> {
        Arc::clone(&self.state().slots[slot].summoned)
    }

    /// What the slot's task was called for, where it was.
    pub(crate) fn summons(&self, slot: usize) -> Option<Summons> {
        self.state().slots[slot].summons.take()
    }

    /// The workers that may be recycled: those of the pool's size that take calls.
    pub(crate) fn recyclable(&self, now: Instant) -> Vec<Recyclable> {
        let state = self.state();
        let slots = state.slots.iter().enumerate();
        let recyclable = slots.filter(|(_, slot)| slot.stays() && slot.serves());
        recyclable
            .map(|(index, slot)| Recyclable {
                slot: index,
                generation: slot.generation,
                limits: slot.limits,
                worker: recycle::Worker {
                    age: now.saturating_duration_since(slot.seated),
                    calls: slot.worker.as_ref().map_or(0, |worker| worker.answered()),
                    idle: match slot.leases {
                        0 => now.saturating_duration_since(slot.idle_since),
                        _ => Duration::ZERO,
                    },
                    memory: slot.memory,
                    in_flight: slot.leases as usize,
                },
            })
            .collect()
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
            let _ = slot.life.enter(WorkerState::Terminating, "the pool was stopped", now);
            let _ = slot.life.enter(WorkerState::Terminated, "the pool was stopped", now);
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

    fn id(&self, slot: usize, generation: u64) -> Arc<str> {
        format!("{}-{slot}.{generation}", self.name).into()
    }

    /// Takes the slot's worker out, where there is one, and leaves the slot to its successor.
    fn retire(&self, state: &mut State<W>, slot: usize, why: &str, now: Instant) {
        let old = &mut state.slots[slot];
        let Some(worker) = old.worker.clone() else {
            return;
        };
        if let Err(error) = old.life.enter(WorkerState::Terminating, why, now) {
            tracing::error!(%error, slot, "a worker that retires was somewhere else");
        }
        let (generation, leases, id) = (old.generation, old.leases, Arc::clone(&old.id));
        old.vacate();
        let next = self.id(slot, old.generation);
        let life = old.life.hand_over(Arc::clone(&next), now);
        old.id = next;
        state.retiring.push(Retiring {
            slot,
            id,
            generation,
            worker,
            leases,
            life,
        });
    }

    /// Writes a slot's rank anew after anything about it has changed.
    fn rank(&self, state: &mut State<W>, slot: usize) {
        state.ranks[slot] = state.slots[slot].rank(self.concurrency);
    }
}

impl<W: Handle> State<W> {
    fn seat(&mut self, slot: usize, worker: Arc<W>, recycling: &RecyclingConfig, now: Instant) {
        let slot = &mut self.slots[slot];
        // Each worker has limits of its own, and chance enough in its name and its time.
        let seed = self.affinity.hash(&slot.id).bits();
        slot.limits = recycle::Limits::draw(recycling, seed);
        slot.seated = now;
        slot.summons = None;
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
    fn serves(&self) -> bool {
        let serves = matches!(self.life.state(), WorkerState::Ready | WorkerState::Busy);
        self.worker.is_some() && serves && !self.shunned
    }

    fn vacate(&mut self) {
        self.worker = None;
        self.generation += 1;
        self.leases = 0;
        self.shunned = false;
        self.last_choice = false;
        self.memory = None;
        self.growth = None;
    }
}
