//! Back to rest: a pool that one stray call has woken must not keep its workers for good.
//!
//! Invariant: whether it is still to rest is looked at in the same step that lets it: a wake that comes
//! in between, such as a rollback's, wins.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use dspex_pool::{Drained, SharedPool};
use tokio::time::Instant;

use super::{Inner, NOTHING, Rest, Stand};

/// A pool that is needed twice within this time need not start twice.
const SHORTEST: Duration = Duration::from_secs(60);

/// When a pool that was put to rest goes there again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Idle {
    /// How long nobody must have called. As long as a pool is kept warm at first: a call that comes here
    /// says that the other pool is in trouble, and then this one is the way back.
    pub(crate) after: Duration,
    /// How long calls in flight may take to finish.
    pub(crate) drain: Duration,
}

impl Inner {
    /// Somebody calls.
    pub(super) fn called(&self) {
        *self.called.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Waits until this pool, which a call has woken, was idle for long, and lets it rest. Ends early
    /// where it is to stay awake, or gone.
    pub(super) async fn rest_when_idle(&self, woken: &SharedPool) {
        let mut stand = self.stand.subscribe();
        loop {
            let idle = match &*stand.borrow_and_update() {
                Stand::Up(pool, Some(idle)) if Arc::ptr_eq(pool, woken) => *idle,
                _ => return,
            };
            let called = *self.called.lock().unwrap_or_else(PoisonError::into_inner);
            let until = called + idle.after.max(SHORTEST);
            let status = woken.status();
            let busy = status.in_flight + status.queued > 0;
            if Instant::now() >= until && !busy {
                let still = |pool: &SharedPool, again: Option<Idle>| {
                    Arc::ptr_eq(pool, woken) && again.is_some()
                };
                self.rest(idle, still).await;
                return;
            }
            if busy {
                // Its end is what counts, and nobody tells it.
                self.called();
            }
            let until = until.max(Instant::now() + SHORTEST);
            // Where it changes there is nothing to wait for any more.
            let _changed = tokio::time::timeout_at(until, stand.changed()).await;
        }
    }

    /// Stops the workers, where `which` says so of the pool that runs and of when it rests again.
    pub(super) async fn rest(
        &self,
        idle: Idle,
        which: impl FnOnce(&SharedPool, Option<Idle>) -> bool,
    ) -> Drained {
        let mut running = None;
        self.stand.send_if_modified(|stand| {
            let Stand::Up(pool, again) = stand else {
                return false;
            };
            if !which(pool, *again) {
                return false;
            }
            running = Some(Arc::clone(pool));
            *stand = Stand::Resting(Rest::of(&pool.status(), Some(idle)));
            true
        });
        let Some(running) = running else {
            return NOTHING;
        };
        tracing::info!(pool = %self.pool, "the pool goes to rest; a call wakes it");
        // In a task of its own: whoever waits may leave, and the workers must end all the same.
        let draining = self
            .tracker
            .spawn(async move { running.drain(idle.drain).await });
        draining.await.unwrap_or(NOTHING)
    }
}
