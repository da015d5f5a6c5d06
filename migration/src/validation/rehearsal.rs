//! The two rehearsal pools, and that nothing is left of them.
//!
//! Invariant: a pool that was begun is drained, however the validation ends: at its end, where it is cut
//! off, and where it is cut off while the pool still starts. The start and the drain run on the tracker,
//! so they outlive the future that asked for them.

use std::future::Future;
use std::time::Duration;

use dspex_pool::SharedPool;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

/// Starts one rehearsal pool; answers when its workers are ready, or with why they are not.
pub type Factory = Box<dyn FnOnce() -> BoxFuture<'static, Result<SharedPool, String>> + Send>;

/// How long calls in flight may take when a rehearsal ends: nobody waits for them.
const DRAIN: Duration = Duration::from_secs(1);

/// One pool, drained when it is dropped.
pub(super) struct Rehearsed {
    pool: SharedPool,
    tracker: TaskTracker,
    /// Drained already.
    ended: bool,
}

/// Both pools.
pub(super) struct Pair {
    pub(super) stable: SharedPool,
    pub(super) candidate: SharedPool,
    owned: [Rehearsed; 2],
}

/// Why there is no pair: whose start failed, in words.
pub(super) struct NoPair {
    pub(super) stable: Option<String>,
    pub(super) candidate: Option<String>,
}

impl Pair {
    /// Starts both at once.
    pub(super) async fn start(
        stable: Factory,
        candidate: Factory,
        tracker: &TaskTracker,
    ) -> Result<Self, NoPair> {
        let (stable, candidate) =
            tokio::join!(start(stable(), tracker), start(candidate(), tracker));
        match (stable, candidate) {
            (Ok(stable), Ok(candidate)) => Ok(Self {
                stable: SharedPool::clone(&stable.pool),
                candidate: SharedPool::clone(&candidate.pool),
                owned: [stable, candidate],
            }),
            (stable, candidate) => {
                let no_pair = NoPair {
                    stable: stable.as_ref().err().cloned(),
                    candidate: candidate.as_ref().err().cloned(),
                };
                for started in [stable, candidate].into_iter().flatten() {
                    started.end().await;
                }
                Err(no_pair)
            }
        }
    }

    /// Ends both, and waits until nothing is left of them.
    pub(super) async fn end(self) {
        let [stable, candidate] = self.owned;
        tokio::join!(stable.end(), candidate.end());
    }
}

async fn start(
    starting: impl Future<Output = Result<SharedPool, String>> + Send + 'static,
    tracker: &TaskTracker,
) -> Result<Rehearsed, String> {
    let (tell, told) = oneshot::channel();
    let owner = tracker.clone();
    tracker.spawn(async move {
        let started = starting.await.map(|pool| Rehearsed {
            pool,
            tracker: owner,
            ended: false,
        });
        // Where nobody waits any more, what comes back is dropped, and so drained.
        drop(tell.send(started));
    });
    told.await
        .unwrap_or_else(|_| Err("its start broke off".to_owned()))
}

impl Rehearsed {
    async fn end(mut self) {
        // In a task of its own: a caller who leaves now must not leave half a drain.
        let pool = SharedPool::clone(&self.pool);
        let drained = self.tracker.spawn(async move { pool.drain(DRAIN).await });
        self.ended = true;
        if let Err(error) = drained.await {
            tracing::error!(%error, "a rehearsal pool was not drained");
        }
    }
}

impl Drop for Rehearsed {
    fn drop(&mut self) {
        // Without a runtime the process ends, and its workers with it.
        if self.ended || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let pool = SharedPool::clone(&self.pool);
        self.tracker.spawn(async move {
            pool.drain(DRAIN).await;
        });
    }
}
