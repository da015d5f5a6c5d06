//! Trying the pool: a call to each worker, and a fault done to one.
//!
//! Invariant: only idle seats are taken, and none while a call waits for one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dspex_pool::{Call, Injected, PoolError, Probed, ProgramKey, Reply, WorkerFault};
use tokio::sync::TryAcquireError;
use tokio::time::Instant;

use crate::pool::Inner;
use crate::seat::{Seat, Work};
use crate::state::Loss;

/// How soon a worker that is busy is asked again.
const ASK: Duration = Duration::from_millis(10);
/// How long a broken worker may take to show it.
const BROKEN_WITHIN: Duration = Duration::from_secs(1);

impl Inner {
    /// Sends the call to each worker, one after the other.
    pub(crate) async fn probe(self: &Arc<Self>, call: &Call, within: Duration) -> Vec<Probed> {
        let mut probed = Vec::new();
        for slot in 0..self.config.size() {
            let worker = {
                let state = self.state();
                let generation = state.slots[slot].generation.saturating_sub(1);
                format!("{}-{slot}.{generation}", self.name)
            };
            let call = Call {
                deadline: Instant::now() + within,
                ..call.clone()
            };
            let answer = self.ask(slot, call, within).await;
            probed.push(Probed { worker, answer });
        }
        probed
    }

    async fn ask(
        self: &Arc<Self>,
        slot: usize,
        call: Call,
        within: Duration,
    ) -> Result<Reply, PoolError> {
        let deadline = call.deadline;
        loop {
            if let Some((seat, forget)) = self.take_idle(Some(slot))? {
                let answer = self.use_seat(seat, forget, deadline, Work::Execute(call));
                return answer.await?.ok_or(PoolError::Draining);
            }
            if Instant::now() + ASK >= deadline {
                return Err(PoolError::Exhausted {
                    reason: format!("it was not idle within {within:?}"),
                    retry_after: within,
                });
            }
            tokio::time::sleep(ASK).await;
        }
    }

    /// Breaks an idle worker. It is asked something then, in place of the next call, which would
    /// find it broken.
    pub(crate) async fn inject(
        self: &Arc<Self>,
        fault: WorkerFault,
    ) -> Result<Injected, PoolError> {
        let Some((mut seat, _)) = self.take_idle(None)? else {
            return Err(PoolError::Exhausted {
                reason: "every worker has something to do".to_owned(),
                retry_after: self.config.queue_wait,
            });
        };
        let injected = Injected {
            fault,
            worker: seat.name.to_string(),
            pid: seat.worker.process().pid(),
        };
        tracing::warn!(worker = %seat.name, %fault, "a fault is done to a worker on purpose");
        let inner = Arc::clone(self);
        // In a task of its own: whoever asked for this may leave, and the seat must not be kept.
        let (done, told) = tokio::sync::oneshot::channel();
        self.spawn(async move {
            let why = tokio::select! {
                why = seat.suffer(fault, BROKEN_WITHIN) => why,
                () = inner.cut.cancelled() => "the pool stops".to_owned(),
            };
            inner.throw_away(seat, Loss::Failed, why);
            let _ = done.send(());
        });
        let _ = told.await;
        Ok(injected)
    }

    /// An idle seat, of this slot where one is named, unless a call waits for one.
    fn take_idle(
        &self,
        slot: Option<usize>,
    ) -> Result<Option<(Seat, BTreeSet<ProgramKey>)>, PoolError> {
        if self.queued.load(Ordering::Relaxed) > 0 {
            return Ok(None);
        }
        let permit = match self.idle.try_acquire() {
            Ok(permit) => permit,
            Err(TryAcquireError::NoPermits) => return Ok(None),
            Err(TryAcquireError::Closed) => return Err(PoolError::Draining),
        };
        let mut state = self.state();
        let wanted = |seat: &Seat| slot.is_none_or(|slot| seat.slot == slot);
        // The first has been idle the longest: calls go to the last.
        let Some(index) = state.seats.iter().position(wanted) else {
            return Ok(None);
        };
        permit.forget();
        Ok(Self::lend_out(&mut state, index))
    }
}
