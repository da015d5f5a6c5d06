//! Lending: an idle seat goes to one call, and comes back or is lost.
//!
//! Invariants:
//! - The semaphore has as many permits as there are idle seats. A seat that is lost takes its
//!   permit with it; the slot's next worker brings a new one. Who has taken a permit and finds no
//!   living seat waits again.
//! - A call runs in a task of its own, so that a caller who leaves never leaves an answer behind
//!   in a worker's stream for the next caller to find.
//! - A call that never reached its worker takes another seat, whether it may be repeated or not.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dspex_pool::{PoolError, ProgramKey, Reply, WorkerState};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::pool::Inner;
use crate::seat::{Seat, Used, Work};
use crate::state::{Loss, Slot, State};

impl Inner {
    /// Lends seats to `work` until one of them has received it.
    pub(crate) async fn lend(
        self: &Arc<Self>,
        session: Option<&str>,
        deadline: Instant,
        work: Work,
    ) -> Result<Option<Reply>, PoolError> {
        let until = deadline.min(Instant::now() + self.config.queue_wait);
        loop {
            let (seat, forget) = self.take_seat(session, until).await?;
            let answered = self.use_seat(seat, forget, deadline, work.clone()).await;
            match answered {
                Err(PoolError::Unavailable { .. }) if Instant::now() < until => {}
                answered => return answered,
            }
        }
    }

    /// Does the work in a task of its own. [`PoolError::Unavailable`] where it was never sent.
    pub(crate) async fn use_seat(
        self: &Arc<Self>,
        mut seat: Seat,
        forget: BTreeSet<ProgramKey>,
        deadline: Instant,
        work: Work,
    ) -> Result<Option<Reply>, PoolError> {
        let (mut answer, answered) = oneshot::channel();
        let inner = Arc::clone(self);
        self.spawn(async move {
            let given_up = |error| Used {
                answer: Err(error),
                loss: Some(Loss::GivenUp),
            };
            let used = tokio::select! {
                used = seat.perform(&work, &forget, &inner.lms, deadline) => used,
                () = inner.cut.cancelled() => given_up(PoolError::Draining),
                after = inner.given_up(&mut answer) => given_up(PoolError::ProgramTimeout { after }),
            };
            match (&used.answer, used.loss) {
                (Err(error), Some(loss)) => inner.throw_away(seat, loss, error.to_string()),
                _ => inner.give_back(seat),
            }
            // Where the caller has left, nobody wants the answer.
            let _ = answer.send(used.answer);
        });
        answered.await.unwrap_or(Err(PoolError::Draining))
    }

    /// Waits for a seat; one that knows the session, where several are idle.
    async fn take_seat(
        &self,
        session: Option<&str>,
        until: Instant,
    ) -> Result<(Seat, BTreeSet<ProgramKey>), PoolError> {
        let waiting = Waiting::new(&self.queued);
        if waiting.ahead >= self.config.queue_limit && self.idle.available_permits() == 0 {
            return Err(PoolError::Exhausted {
                reason: format!("{} calls wait already, which is the limit", waiting.ahead),
                retry_after: self.config.queue_wait,
            });
        }
        loop {
            match tokio::time::timeout_at(until, self.idle.acquire()).await {
                Ok(Ok(permit)) => permit.forget(),
                Ok(Err(_closed)) => return Err(PoolError::Draining),
                Err(_) => return Err(self.nobody_free()),
            }
            if let Some(taken) = self.pick(session) {
                return Ok(taken);
            }
        }
    }

    /// Takes an idle seat; `None` where its worker turns out to have ended.
    fn pick(&self, session: Option<&str>) -> Option<(Seat, BTreeSet<ProgramKey>)> {
        let mut state = self.state();
        let best = state.seats.iter().rposition(|seat| seat.knows(session));
        let index = best.or(state.seats.len().checked_sub(1))?;
        Self::lend_out(&mut state, index)
    }

    /// Takes this idle seat; `None` where its worker turns out to have ended.
    pub(crate) fn lend_out(
        state: &mut State,
        index: usize,
    ) -> Option<(Seat, BTreeSet<ProgramKey>)> {
        let seat = state.seats.remove(index);
        if seat.has_ended() {
            let why = seat.last_words();
            state.lose(seat, Loss::Failed, why);
            return None;
        }
        state.in_flight += 1;
        let slot = &mut state.slots[seat.slot];
        slot.state = WorkerState::Busy;
        Some((seat, std::mem::take(&mut slot.forget)))
    }

    fn nobody_free(&self) -> PoolError {
        let state = self.state();
        let alive = state.slots.iter().any(Slot::lives);
        match (&state.last_failure, alive) {
            (Some(reason), false) => PoolError::Unavailable {
                reason: reason.clone(),
            },
            _ => PoolError::Exhausted {
                reason: format!("none came free within {:?}", self.config.queue_wait),
                retry_after: self.config.queue_wait,
            },
        }
    }

    fn give_back(&self, seat: Seat) {
        {
            let mut state = self.state();
            state.in_flight -= 1;
            state.finished += 1;
            let slot = &mut state.slots[seat.slot];
            slot.calls += 1;
            // Asked under the lock: a worker that ends after this is found idle by its slot's task.
            if seat.has_ended() {
                let why = seat.last_words();
                state.lose(seat, Loss::Failed, why);
            } else {
                slot.state = WorkerState::Ready;
                slot.forget.retain(|program| seat.holds(program));
                state.seats.push(seat);
                self.idle.add_permits(1);
            }
        }
        self.call_ended.notify_waiters();
    }

    pub(crate) fn throw_away(&self, seat: Seat, loss: Loss, why: String) {
        {
            let mut state = self.state();
            state.in_flight -= 1;
            state.lose(seat, loss, why);
        }
        self.call_ended.notify_waiters();
    }

    /// Ends when the caller has left and the call has had its time after that. The protocol has
    /// no way to cancel: short calls are let finish, long ones cost the worker.
    async fn given_up<T>(&self, answer: &mut oneshot::Sender<T>) -> Duration {
        answer.closed().await;
        tokio::time::sleep(self.config.give_up_after).await;
        self.config.give_up_after
    }
}

/// Counts a call that waits, for as long as it does.
struct Waiting<'a> {
    queued: &'a AtomicUsize,
    ahead: usize,
}

impl<'a> Waiting<'a> {
    fn new(queued: &'a AtomicUsize) -> Self {
        Self {
            queued,
            ahead: queued.fetch_add(1, Ordering::Relaxed),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.queued.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use dspex_pool::testing::fixture_programs::{call, program};
    use dspex_pool::testing::real;
    use dspex_pool::{Pool, Spawner};
    use serde_json::json;
    use tokio_util::task::TaskTracker;

    use crate::{Config, PoolV1};

    const LONG: std::time::Duration = std::time::Duration::from_secs(60);

    #[tokio::test]
    async fn programs_to_forget_are_remembered_only_where_they_are_held() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            workers: 2,
            ..Config::default()
        };
        let pool = PoolV1::start(
            "v1",
            config,
            real::launch(folder.path()),
            Spawner::start().unwrap(),
            &TaskTracker::new(),
        )
        .await
        .unwrap();
        let remembered = || -> usize {
            let state = pool.0.state();
            state.slots.iter().map(|slot| slot.forget.len()).sum()
        };
        for version in 0..100 {
            let never_run = program("never-run", version, "fixture_programs:echo");
            pool.forget(&never_run.key).await;
        }
        assert_eq!(remembered(), 0);
        let held = call("echo", json!({"text": "a"}), LONG);
        pool.execute(held.clone()).await.unwrap();
        for _ in 0..100 {
            pool.forget(&held.program.key).await;
        }
        assert_eq!(remembered(), 1, "one worker holds it");
        pool.execute(held).await.unwrap();
        assert_eq!(remembered(), 0, "it was dropped before the next call");
        pool.drain(LONG).await;
    }
}
