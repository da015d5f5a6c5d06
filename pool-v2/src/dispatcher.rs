//! Who gets which worker, and who waits.
//!
//! Invariants:
//! - A worker never has more leases than it may run calls at the same time.
//! - Of those who wait for the same thing, whoever came first is served first.
//! - A lease that is dropped, however it is dropped, frees its place; one of a worker that is gone
//!   or was replaced frees nothing in its successor.
//! - No lock is held while anything is sent or awaited.

mod doubts;
mod figures;
mod queue;
mod retire;
mod seat;
mod trial;
mod workers;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dspex_pool::PoolError;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

pub(crate) use self::queue::Ticket;
use self::queue::{Queue, Waiter};
pub(crate) use self::seat::Summons;
use self::seat::{Retiring, Slot};
pub(crate) use self::workers::Kind;
use crate::affinity::{Affinity, AffinityMode, SessionHash};
use crate::config::Config;
use crate::lease::{Lease, Place, Queued};
use crate::limits::{Counted, Limits};
use crate::optimizer::Meter;
use crate::recycle::RecyclingConfig;
use crate::seated::Seated;

/// What the dispatcher must know of a worker. Its tests, and the bench of its cost, have workers
/// without processes.
pub(crate) trait Handle: fmt::Debug + Send + Sync + 'static {
    /// The process, for people.
    fn pid(&self) -> Option<u32>;
    /// Calls answered so far.
    fn answered(&self) -> u64;
}

/// Who asks for a place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) session: Option<&'a str>,
    pub(crate) caller: Option<&'a str>,
    pub(crate) deadline: Instant,
}

/// The slots, the leases on them and the queue before them.
#[derive(Debug)]
pub(crate) struct Dispatcher<W: Handle = Seated> {
    name: String,
    concurrency: u32,
    queue_limit: usize,
    queue_wait: Duration,
    recycling: RecyclingConfig,
    state: Mutex<State<W>>,
    /// Signalled when a lease ends that somebody may wait for.
    lease_ended: Notify,
    /// Signalled whenever a slot's worker starts, fails to start, or goes.
    slot_changed: Notify,
}

#[derive(Debug)]
struct State<W: Handle> {
    slots: Vec<Slot<W>>,
    /// For each slot, how good a choice it is: the leases on it, more where it is only the last
    /// choice, [`seat::NO_ROOM`] where it takes no call. Apart from the slots, so that a look over
    /// all of them touches four bytes each.
    ranks: Vec<u32>,
    /// Workers that were replaced, or sent home, and still have calls.
    retiring: Vec<Retiring<W>>,
    queue: Queue<W>,
    affinity: Affinity,
    /// Whether sessions are kept near their workers at all.
    affine: bool,
    limits: Limits,
    meter: Meter,
    leases: usize,
    ended: u64,
    draining: bool,
    starts: u64,
    failures: u64,
    start_failure: Option<String>,
    /// Why it is no use to wait for a worker, where it is not.
    hopeless: Option<String>,
}

impl<W: Handle> Dispatcher<W> {
    pub(crate) fn new(name: &str, config: &Config) -> Arc<Self> {
        let now = Instant::now();
        Arc::new(Self {
            name: name.to_owned(),
            concurrency: u32::try_from(config.concurrency).unwrap_or(seat::MOST_LEASES),
            queue_limit: config.queue_limit,
            queue_wait: config.queue_wait,
            recycling: config.recycling.clone(),
            state: Mutex::new(State {
                slots: Vec::new(),
                ranks: Vec::new(),
                retiring: Vec::new(),
                queue: Queue::default(),
                affinity: Affinity::new(&config.affinity, now),
                affine: true,
                limits: Limits::new(config.calls_per_session, config.calls_per_caller),
                meter: Meter::new(config.optimizer.window),
                leases: 0,
                ended: 0,
                draining: false,
                starts: 0,
                failures: 0,
                start_failure: None,
                hopeless: None,
            }),
            lease_ended: Notify::new(),
            slot_changed: Notify::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place on a worker: the session's own where there is a session, as far as the mode says so.
    pub(crate) async fn lease(self: &Arc<Self>, ask: Ask<'_>) -> Result<Lease<W>, PoolError> {
        let waiting = match self.lease_now(&ask)? {
            Ok(lease) => return Ok(lease),
            Err(waiting) => waiting,
        };
        waiting
            .wait(ask.deadline.min(Instant::now() + self.queue_wait))
            .await
    }

    /// A place at once, or a place in the queue.
    fn lease_now(
        self: &Arc<Self>,
        ask: &Ask<'_>,
    ) -> Result<Result<Lease<W>, Queued<W>>, PoolError> {
        let now = Instant::now();
        let mut state = self.state();
        if state.draining {
            return Err(PoolError::Draining);
        }
        let counted = state.limits.admit(ask.session, ask.caller)?;
        let wish = state.wish(ask.session, now);
        let asked = Asked {
            wish,
            counted,
            since: now,
        };
        if let Some(slot) = state.free_slot(wish) {
            return Ok(Ok(self.grant(&mut state, slot, asked, now)));
        }
        let refused = if let Some(reason) = &state.hopeless {
            Some(PoolError::Unavailable {
                reason: reason.clone(),
            })
        } else if wish.is_some_and(|wish| wish.mode == AffinityMode::StrictFailFast) {
            // As configured, so it speaks against nobody.
            Some(PoolError::TooMany {
                reason: "the session's worker is busy, and its calls are to fail then".to_owned(),
                retry_after: self.queue_wait.min(Duration::from_secs(1)),
            })
        } else if state.queue.len() >= self.queue_limit {
            let limit = self.queue_limit;
            Some(PoolError::Exhausted {
                reason: format!("{limit} calls wait already, which is the limit"),
                retry_after: self.queue_wait,
            })
        } else {
            None
        };
        if let Some(error) = refused {
            state.limits.release(counted);
            return Err(error);
        }
        let (grant, granted) = oneshot::channel();
        let ticket = state.queue.push(Waiter { grant, asked });
        Ok(Err(Queued::new(self, ticket, granted)))
    }

    fn grant(
        self: &Arc<Self>,
        state: &mut State<W>,
        slot: usize,
        asked: Asked,
        now: Instant,
    ) -> Lease<W> {
        let Asked {
            wish,
            counted,
            since,
        } = asked;
        let chosen = &mut state.slots[slot];
        let Some(worker) = chosen.worker.clone() else {
            unreachable!("only slots that have a worker have a rank");
        };
        let generation = chosen.generation;
        chosen.leases += 1;
        chosen.life.work(true, now);
        state.ranks[slot] = chosen.rank(self.concurrency);
        state
            .meter
            .waited(now.saturating_duration_since(since), now);
        state.leases += 1;
        if let Some(wish) = wish {
            state.affinity.granted(wish.session, wish.slot, slot, now);
        }
        Lease {
            worker,
            slot,
            generation,
            place: Place::new(self, slot, generation, counted),
        }
    }

    /// Serves those who wait, as far as there is room.
    pub(crate) fn serve_queue(self: &Arc<Self>) {
        loop {
            let (grant, lease) = {
                let now = Instant::now();
                let mut state = self.state();
                let Some((slot, waiter)) = state.next_to_serve() else {
                    return;
                };
                let Waiter { grant, asked } = waiter;
                (grant, self.grant(&mut state, slot, asked, now))
            };
            // Where the waiter has left, the lease comes back and is dropped here, outside the
            // lock; its place goes to the next in the next round.
            if let Err(lease) = grant.send(lease) {
                lease.place.give_back_quietly();
            }
        }
    }

    /// Ends a lease. `true` where somebody waits for a place.
    pub(crate) fn free(&self, slot: usize, generation: u64, counted: Counted) -> bool {
        let now = Instant::now();
        let mut state = self.state();
        state.limits.release(counted);
        state.leases -= 1;
        state.ended += 1;
        let somebody_watches = state.draining || !state.retiring.is_empty();
        match state.slots.get_mut(slot) {
            Some(current) if current.generation == generation => {
                current.leases -= 1;
                current.idle_since = now;
                if current.leases == 0 {
                    current.life.work(false, now);
                }
                state.ranks[slot] = state.slots[slot].rank(self.concurrency);
            }
            _ => {
                let retiring = state.retiring.iter_mut();
                let mut of =
                    retiring.filter(|old| (old.slot, old.generation) == (slot, generation));
                if let Some(retiring) = of.next() {
                    retiring.leases -= 1;
                }
            }
        }
        let somebody_waits = state.queue.len() > 0;
        drop(state);
        if somebody_watches {
            self.lease_ended.notify_waiters();
        }
        somebody_waits
    }

    /// Takes whoever holds the ticket out of the queue, where they still wait.
    pub(crate) fn leave_queue(&self, ticket: Ticket) {
        let mut state = self.state();
        if let Some(left) = state.queue.remove(ticket) {
            state.limits.release(left.asked.counted);
            drop(state);
        }
    }

    /// A worker was over before a call reached it: nobody is sent there until its slot's task has
    /// seen it too.
    pub(crate) fn shun(&self, slot: usize, generation: u64) {
        let mut state = self.state();
        if state.slots[slot].generation == generation {
            state.slots[slot].shunned = true;
            state.ranks[slot] = seat::NO_ROOM;
        }
    }

    /// Why nobody was free in time.
    pub(crate) fn nobody_free(&self, waited: Duration) -> PoolError {
        let state = self.state();
        let none = state.slots.iter().all(|slot| slot.worker.is_none());
        match (&state.hopeless, &state.start_failure) {
            (Some(reason), _) | (None, Some(reason)) if none => PoolError::Unavailable {
                reason: reason.clone(),
            },
            _ => PoolError::Exhausted {
                reason: format!("none came free within {waited:.1?}"),
                retry_after: self.queue_wait,
            },
        }
    }

    /// Why somebody was sent away who waited.
    pub(crate) fn sent_away(&self) -> PoolError {
        let state = self.state();
        match &state.hopeless {
            Some(reason) if !state.draining => PoolError::Unavailable {
                reason: reason.clone(),
            },
            _ => PoolError::Draining,
        }
    }
}

/// A call that wants a place: where it wants to go, what it was counted under, and since when.
#[derive(Debug, Clone, Copy)]
struct Asked {
    wish: Option<Wish>,
    counted: Counted,
    since: Instant,
}

/// Where a call of a session wants to go.
#[derive(Debug, Clone, Copy)]
struct Wish {
    session: SessionHash,
    slot: usize,
    mode: AffinityMode,
}

impl Wish {
    /// The one slot that will do, where only one will.
    fn only(self) -> Option<usize> {
        (self.mode != AffinityMode::Hint).then_some(self.slot)
    }
}

impl<W: Handle> State<W> {
    fn wish(&mut self, session: Option<&str>, now: Instant) -> Option<Wish> {
        let session = self.affinity.hash(session.filter(|_| self.affine)?);
        let slots = &self.slots;
        let stays = |slot: usize| slots.get(slot).is_some_and(Slot::stays);
        let staying = || (0..slots.len()).filter(|slot| stays(*slot));
        let slot = self.affinity.slot(session, now, stays, staying())?;
        Some(Wish {
            session,
            slot,
            mode: self.affinity.mode(),
        })
    }

    /// A slot with room for a call with this wish, if it need not wait behind others.
    fn free_slot(&self, wish: Option<Wish>) -> Option<usize> {
        if let Some(only) = wish.and_then(Wish::only) {
            let first = !self.queue.anybody_for(only);
            return (first && self.ranks[only] != seat::NO_ROOM).then_some(only);
        }
        if self.queue.anybody_for_any() {
            return None;
        }
        wish.map(|wish| wish.slot)
            .filter(|slot| self.ranks[*slot] < seat::LAST_CHOICE)
            .or_else(|| self.best())
    }

    /// The slot with the fewest leases; of several the first, so that the last ones fall idle and
    /// can be given up.
    fn best(&self) -> Option<usize> {
        let (slot, rank) = self
            .ranks
            .iter()
            .enumerate()
            .min_by_key(|(_, rank)| **rank)?;
        (*rank != seat::NO_ROOM).then_some(slot)
    }

    /// Who is served next, and by which slot.
    fn next_to_serve(&mut self) -> Option<(usize, Waiter<W>)> {
        if self.queue.len() == 0 {
            return None;
        }
        let best = self.best()?;
        let ranks = &self.ranks;
        let has_room = |slot: usize| ranks[slot] != seat::NO_ROOM;
        let (only, waiter) = self.queue.pop(has_room)?;
        let wished = waiter.asked.wish.map(|wish| wish.slot);
        let near = wished.filter(|slot| self.ranks[*slot] < seat::LAST_CHOICE);
        Some((only.or(near).unwrap_or(best), waiter))
    }
}

#[cfg(test)]
mod tests;
