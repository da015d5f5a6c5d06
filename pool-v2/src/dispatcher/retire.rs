//! Workers that go on purpose: replaced by one that is ready, or sent home.
//!
//! Invariant: whoever retires takes no new calls and keeps those it has; its leases count for it and
//! never for its successor.

use std::sync::Arc;
use std::time::Duration;

use dspex_pool::WorkerState;
use tokio::time::Instant;

use super::seat::{Retiring, Slot};
use super::{Dispatcher, Handle, Kind, State};
use crate::recycle;

/// A worker that may be recycled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recyclable {
    pub(crate) slot: usize,
    pub(crate) generation: u64,
    pub(crate) limits: recycle::Limits,
    pub(crate) worker: recycle::Worker,
}

impl<W: Handle> Dispatcher<W> {
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
                if self
                    .state()
                    .retiring
                    .iter()
                    .find(of)
                    .is_none_or(|old| old.leases == 0)
                {
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

    /// The workers that may be recycled: those of the pool's size that take calls. None while one is
    /// being replaced, or has still calls to end: one goes at a time.
    pub(crate) fn recyclable(&self, now: Instant) -> Vec<Recyclable> {
        let state = self.state();
        if !state.retiring.is_empty() || state.slots.iter().any(|slot| slot.replacing) {
            return Vec::new();
        }
        let last = state.slots.iter().rposition(Slot::stays);
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
                    // A pool shrinks from its end, so only the last one can be let go.
                    idle: if slot.leases == 0 && Some(index) == last {
                        now.saturating_duration_since(slot.idle_since)
                    } else {
                        Duration::ZERO
                    },
                    memory: slot.memory,
                    in_flight: slot.leases as usize,
                },
            })
            .collect()
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
}
