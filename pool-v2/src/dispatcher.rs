//! Who gets which worker, and who waits.
//!
//! Invariants:
//! - A worker never has more leases than it may run calls at the same time.
//! - Whoever waits is served before whoever comes later.
//! - A lease that is dropped, however it is dropped, frees its place; one of a worker that is gone
//!   frees nothing in its successor.

mod figures;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dspex_pool::{PoolError, Worker, WorkerState};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::affinity;
use crate::lease::{Lease, Place, Queued, Waiter};

/// The slots, the leases on them and the queue before them.
#[derive(Debug)]
pub(crate) struct Dispatcher {
    concurrency: usize,
    queue_limit: usize,
    queue_wait: Duration,
    state: Mutex<State>,
    /// Signalled, for each slot, when a call found its worker silent.
    suspects: Vec<Notify>,
    /// Signalled whenever a lease ends.
    lease_ended: Notify,
    /// Signalled whenever a slot's worker starts, fails to start, or goes.
    slot_changed: Notify,
}

#[derive(Debug)]
struct State {
    slots: Vec<Slot>,
    queue: VecDeque<Waiter>,
    last_ticket: u64,
    leases: usize,
    ended: u64,
    draining: bool,
    starts: u64,
    failures: u64,
    start_failure: Option<String>,
}

#[derive(Debug)]
struct Slot {
    id: String,
    generation: u64,
    worker: Option<Arc<Worker>>,
    /// Leases on the worker of this generation.
    leases: usize,
    state: WorkerState,
    detail: Option<String>,
}

impl Dispatcher {
    pub(crate) fn new(
        name: &str,
        workers: usize,
        concurrency: usize,
        queue_limit: usize,
        queue_wait: Duration,
    ) -> Arc<Self> {
        let slot = |index| Slot {
            id: format!("{name}-{index}.0"),
            generation: 0,
            worker: None,
            leases: 0,
            state: WorkerState::Initializing,
            detail: None,
        };
        Arc::new(Self {
            concurrency,
            queue_limit,
            queue_wait,
            state: Mutex::new(State {
                slots: (0..workers).map(slot).collect(),
                queue: VecDeque::new(),
                last_ticket: 0,
                leases: 0,
                ended: 0,
                draining: false,
                starts: 0,
                failures: 0,
                start_failure: None,
            }),
            suspects: (0..workers).map(|_| Notify::new()).collect(),
            lease_ended: Notify::new(),
            slot_changed: Notify::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place on a worker, the session's preferred one where it has room.
    pub(crate) async fn lease(
        self: &Arc<Self>,
        session: Option<&str>,
        deadline: Instant,
    ) -> Result<Lease, PoolError> {
        let waiting = {
            let mut state = self.state();
            if state.draining {
                return Err(PoolError::Draining);
            }
            if state.queue.is_empty()
                && let Some(slot) = self.choose(&state, session)
            {
                return Ok(self.grant(&mut state, slot));
            }
            if state.queue.len() >= self.queue_limit {
                return Err(PoolError::Exhausted {
                    reason: format!(
                        "{} calls wait already, which is the limit",
                        self.queue_limit
                    ),
                    retry_after: self.queue_wait,
                });
            }
            state.last_ticket += 1;
            let ticket = state.last_ticket;
            let (grant, granted) = oneshot::channel();
            state.queue.push_back(Waiter { ticket, grant });
            Queued::new(self, ticket, granted)
        };
        waiting
            .wait(deadline.min(Instant::now() + self.queue_wait))
            .await
    }

    /// The slot to use, where one has room.
    fn choose(&self, state: &State, session: Option<&str>) -> Option<usize> {
        let takes_calls = |slot: &Slot| {
            matches!(slot.state, WorkerState::Ready | WorkerState::Busy)
                && slot.worker.as_ref().is_some_and(|worker| !worker.is_over())
        };
        let alive = || (0..state.slots.len()).filter(|slot| takes_calls(&state.slots[*slot]));
        let has_room = |slot: &usize| state.slots[*slot].leases < self.concurrency;
        session
            .and_then(|session| affinity::preferred(session, alive()))
            .filter(has_room)
            .or_else(|| {
                alive()
                    .filter(has_room)
                    .min_by_key(|slot| state.slots[*slot].leases)
            })
    }

    fn grant(self: &Arc<Self>, state: &mut State, slot: usize) -> Lease {
        let chosen = &mut state.slots[slot];
        let (Some(worker), generation) = (chosen.worker.clone(), chosen.generation) else {
            unreachable!("`choose` names only slots that have a worker");
        };
        chosen.leases += 1;
        chosen.state = WorkerState::Busy;
        state.leases += 1;
        let place = Place::new(self, slot, generation);
        Lease {
            worker,
            slot,
            generation,
            place,
        }
    }

    /// Serves those who wait, as far as there is room.
    pub(crate) fn serve_queue(self: &Arc<Self>) {
        loop {
            let (waiter, lease) = {
                let mut state = self.state();
                if state.queue.is_empty() {
                    return;
                }
                let Some(slot) = self.choose(&state, None) else {
                    return;
                };
                let Some(waiter) = state.queue.pop_front() else {
                    return;
                };
                (waiter, self.grant(&mut state, slot))
            };
            // Where the waiter has left, the lease comes back and is dropped here, outside the
            // lock; its place goes to the next in the next round.
            if let Err(lease) = waiter.grant.send(lease) {
                lease.place.give_back_quietly();
            }
        }
    }

    /// Ends a lease.
    pub(crate) fn free(&self, slot: usize, generation: u64) {
        {
            let mut state = self.state();
            state.leases -= 1;
            state.ended += 1;
            let slot = &mut state.slots[slot];
            if slot.generation == generation {
                slot.leases -= 1;
                if slot.leases == 0 && slot.state == WorkerState::Busy {
                    slot.state = WorkerState::Ready;
                }
            }
        }
        self.lease_ended.notify_waiters();
    }

    /// Takes whoever holds the ticket out of the queue, where they still wait.
    pub(crate) fn leave_queue(&self, ticket: u64) {
        let queue = &mut self.state().queue;
        // Tickets only grow. One that is not there has been granted.
        if let Ok(index) = queue.binary_search_by_key(&ticket, |waiter| waiter.ticket) {
            queue.remove(index);
        }
    }

    /// A call found its worker silent: it gets no new ones until the slot's task has looked closer.
    pub(crate) fn suspect(&self, slot: usize, generation: u64) {
        let mut state = self.state();
        let suspected = &mut state.slots[slot];
        if suspected.generation == generation && suspected.state == WorkerState::Busy {
            suspected.state = WorkerState::Degraded;
            suspected.detail = Some("a call was not answered, nor a ping after it".to_owned());
            self.suspects[slot].notify_one();
        }
    }

    /// Waits until the slot's worker is under suspicion.
    pub(crate) async fn suspected(&self, slot: usize) {
        self.suspects[slot].notified().await;
    }

    // What the slots' tasks say.

    /// A worker is about to be started; answers its name.
    pub(crate) fn starting(&self, name: &str, slot: usize) -> String {
        let mut state = self.state();
        state.starts += 1;
        let slot_state = &mut state.slots[slot];
        slot_state.state = WorkerState::Initializing;
        slot_state.id = format!("{name}-{slot}.{}", slot_state.generation);
        slot_state.id.clone()
    }

    /// A worker takes calls from now on.
    pub(crate) fn started(self: &Arc<Self>, slot: usize, worker: Arc<Worker>) {
        {
            let mut state = self.state();
            state.start_failure = None;
            let slot = &mut state.slots[slot];
            slot.worker = Some(worker);
            slot.state = WorkerState::Ready;
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
            state.slots[slot].detail = Some(reason.to_owned());
            state.slots[slot].state = WorkerState::Terminated;
        }
        self.slot_changed.notify_waiters();
    }

    /// A worker takes no new calls for now, or takes them again.
    pub(crate) fn set_degraded(self: &Arc<Self>, slot: usize, why: Option<String>) {
        {
            let mut state = self.state();
            let slot = &mut state.slots[slot];
            slot.state = match why {
                Some(_) => WorkerState::Degraded,
                None if slot.leases > 0 => WorkerState::Busy,
                None => WorkerState::Ready,
            };
            slot.detail = why;
        }
        self.serve_queue();
    }

    /// A worker is gone. Its leases free nothing any more.
    pub(crate) fn gone(&self, slot: usize, why: &str, failed: bool) {
        {
            let mut state = self.state();
            state.failures += u64::from(failed);
            let slot = &mut state.slots[slot];
            slot.worker = None;
            slot.generation += 1;
            slot.leases = 0;
            slot.state = WorkerState::Terminated;
            slot.detail = Some(why.to_owned());
        }
        self.slot_changed.notify_waiters();
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

    /// Takes no new calls, and sends away those who wait. Answers the leases that are left.
    pub(crate) fn close(&self) -> (usize, u64) {
        let mut state = self.state();
        state.draining = true;
        state.queue.clear();
        (state.leases, state.ended)
    }

    /// Every worker was stopped.
    pub(crate) fn stopped(&self) {
        for slot in &mut self.state().slots {
            slot.worker = None;
            slot.generation += 1;
            slot.leases = 0;
            slot.state = WorkerState::Terminated;
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

    /// Every worker that there is.
    pub(crate) fn workers(&self) -> Vec<Arc<Worker>> {
        self.state()
            .slots
            .iter()
            .filter_map(|slot| slot.worker.clone())
            .collect()
    }

    /// Why nobody was free in time.
    pub(crate) fn nobody_free(&self) -> PoolError {
        let state = self.state();
        let none = state.slots.iter().all(|slot| slot.worker.is_none());
        match &state.start_failure {
            Some(reason) if none => PoolError::Unavailable {
                reason: reason.clone(),
            },
            _ => PoolError::Exhausted {
                reason: format!("none came free within {:?}", self.queue_wait),
                retry_after: self.queue_wait,
            },
        }
    }
}
