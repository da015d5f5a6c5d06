//! A place on one worker, and one worker for nobody: for whoever tries the pool.
//!
//! Invariant: nobody who waits for a place is passed by, and a worker that is to be broken has no call
//! and gets none.

use std::sync::Arc;

use dspex_pool::{PoolError, WorkerState};
use tokio::time::Instant;

use super::seat::{NO_ROOM, Slot};
use super::{Asked, Dispatcher, Handle, Kind};
use crate::lease::Lease;

/// A worker that gets no more calls.
#[derive(Debug)]
pub(crate) struct Isolated<W> {
    pub(crate) worker: Arc<W>,
    pub(crate) id: Arc<str>,
    pub(crate) slot: usize,
    pub(crate) generation: u64,
}

impl<W: Handle> Dispatcher<W> {
    /// The slots of the pool's size, with the names of who stands in them.
    pub(crate) fn regulars(&self) -> Vec<(usize, Arc<str>)> {
        let state = self.state();
        let slots = state.slots.iter().enumerate();
        slots
            .filter(|(_, slot)| slot.kind == Kind::Regular)
            .map(|(index, slot)| (index, Arc::clone(&slot.id)))
            .collect()
    }

    /// A place on the slot's worker, where it has one now and nobody waits for it.
    pub(crate) fn lease_on(self: &Arc<Self>, slot: usize) -> Result<Option<Lease<W>>, PoolError> {
        let now = Instant::now();
        let mut state = self.state();
        if state.draining {
            return Err(PoolError::Draining);
        }
        let has_room = state.ranks.get(slot).is_some_and(|rank| *rank != NO_ROOM);
        if !has_room || state.queue.len() > 0 {
            return Ok(None);
        }
        let asked = Asked {
            wish: None,
            counted: state.limits.admit(None, None)?,
            since: now,
        };
        Ok(Some(self.grant(&mut state, slot, asked, now)))
    }

    /// Sends no more calls to a worker that has none; the last such one, since calls go to the first.
    pub(crate) fn isolate(&self) -> Result<Isolated<W>, PoolError> {
        let mut state = self.state();
        if state.draining {
            return Err(PoolError::Draining);
        }
        let idle = |slot: &Slot<W>| {
            let ready = slot.life.state() == WorkerState::Ready && slot.serves();
            ready && slot.leases == 0 && !slot.replacing && slot.kind == Kind::Regular
        };
        let slot = match state.slots.iter().rposition(idle) {
            Some(slot) if state.queue.len() == 0 => slot,
            _ => {
                return Err(PoolError::Exhausted {
                    reason: "every worker has something to do".to_owned(),
                    retry_after: self.queue_wait,
                });
            }
        };
        let chosen = &mut state.slots[slot];
        let Some(worker) = chosen.worker.clone() else {
            unreachable!("only a slot that has a worker serves");
        };
        chosen.shunned = true;
        let isolated = Isolated {
            worker,
            id: Arc::clone(&chosen.id),
            slot,
            generation: chosen.generation,
        };
        self.rank(&mut state, slot);
        Ok(isolated)
    }

    /// An isolated worker is as it was: it gets calls again.
    pub(crate) fn readmit(self: &Arc<Self>, isolated: &Isolated<W>) {
        {
            let mut state = self.state();
            let slot = &mut state.slots[isolated.slot];
            if slot.generation != isolated.generation {
                return;
            }
            slot.shunned = false;
            self.rank(&mut state, isolated.slot);
        }
        self.serve_queue();
    }
}
