//! One deployment of a candidate: its start, which goes on in a task of its own, and its end.
//!
//! Invariant: every change of the candidate's lane is made here or in [`succession`](super::succession),
//! under the one lock of the lanes.

use std::sync::Arc;
use std::time::Duration;

use dspex_pool::{Drained, Pool as _, SharedPool};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Deployer;
use crate::pools::PoolVersion;
use crate::resting::RestingPool;

/// How often stable is looked at while a candidate waits to be taken away.
const LOOK: Duration = Duration::from_millis(50);

/// How one deployment stands.
#[derive(Clone)]
pub(super) enum Stand {
    Starting,
    Up(Arc<RestingPool>),
    Failed(String),
}

/// One start of one candidate.
#[derive(Clone)]
pub(super) struct Deployment {
    pub(super) pool: PoolVersion,
    pub(super) stand: watch::Receiver<Stand>,
    /// Set once it is to be taken away; it never comes back.
    pub(super) withdrawing: bool,
}

impl Deployment {
    /// One whose pool is up already.
    pub(super) fn of(up: Arc<RestingPool>) -> Self {
        let pool = up.version().clone();
        Self {
            pool,
            // Its sender is gone: where the pool is up, nobody waits for more.
            stand: watch::channel(Stand::Up(up)).1,
            withdrawing: false,
        }
    }
}

impl Deployer {
    /// Brings this pool up and shows it to the router.
    ///
    /// # Errors
    /// Why it did not come up, in one line.
    pub(crate) async fn bring_up(&self, pool: &PoolVersion) -> Result<(), String> {
        self.bring_up_if(|| Ok(Some(pool.clone()))).await
    }

    /// Brings up the pool that `wanted` names, where it names one.
    ///
    /// It is asked under the lock: a withdrawal that follows finds what was begun, and one that came
    /// before has made the answer [`None`]. A pool that is stable by now is up, and none is begun.
    ///
    /// # Errors
    /// Why it did not come up, in one line.
    pub(crate) async fn bring_up_if(
        &self,
        wanted: impl Fn() -> Result<Option<PoolVersion>, String>,
    ) -> Result<(), String> {
        let Some(mut stand) = self.join_or_begin(wanted)? else {
            return Ok(());
        };
        match ended(&mut stand).await {
            Stand::Failed(why) => {
                // Forgotten, so that the next try is a new one.
                self.forget(&stand);
                Err(why)
            }
            Stand::Starting | Stand::Up(_) => Ok(()),
        }
    }

    /// Takes the candidate away: out of the router, then drained for at most `limit`.
    pub(crate) async fn take_down(&self, limit: Duration) -> Result<Drained, String> {
        let nothing = Drained {
            finished: 0,
            abandoned: 0,
        };
        let Some(mut deployment) = self.mark_withdrawing() else {
            self.router.set_candidate(None);
            return Ok(nothing);
        };
        let stand = ended(&mut deployment.stand).await;
        // After the start has ended, whichever way: it shows the candidate to the router first.
        self.router.set_candidate(None);
        let drained = match stand {
            Stand::Up(pool) => pool.drain(limit).await,
            Stand::Starting | Stand::Failed(_) => nothing,
        };
        self.lock().candidate = None;
        Ok(drained)
    }

    /// Waits until stable has a worker: a candidate that has one is not taken away before. Wakes stable
    /// as often as it takes.
    ///
    /// # Errors
    /// Why stable has none within this time.
    pub(super) async fn stable_is_ready(&self, within: Duration) -> Result<(), String> {
        let until = Instant::now() + within;
        loop {
            let stable = self.stable();
            stable.wake();
            let status = stable.status();
            let candidate = self.router.candidate();
            let serves = candidate.is_some_and(|candidate| candidate.status().ready > 0);
            if status.ready > 0 || !serves {
                return Ok(());
            }
            if Instant::now() >= until {
                let rest = status.details.get("rest").and_then(|rest| rest.as_str());
                let rest = rest.map(|rest| format!(" ({rest})")).unwrap_or_default();
                return Err(format!(
                    "stable {} has no worker after {within:?}{rest}, so the candidate, which has, stays: \
                     see the server's log for why stable does not start",
                    stable.version()
                ));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(super) fn join_or_begin(
        &self,
        wanted: impl Fn() -> Result<Option<PoolVersion>, String>,
    ) -> Result<Option<watch::Receiver<Stand>>, String> {
        let mut lanes = self.lock();
        let Some(pool) = wanted()? else {
            return Ok(None);
        };
        if *lanes.stable.version() == pool {
            return Ok(None);
        }
        if let Some(there) = &lanes.candidate {
            if there.withdrawing {
                return Err(format!("the candidate {} is being taken away", there.pool));
            }
            if there.pool != pool {
                return Err(format!("another candidate, {}, is up already", there.pool));
            }
            return Ok(Some(there.stand.clone()));
        }
        let (tell, stand) = watch::channel(Stand::Starting);
        lanes.candidate = Some(Deployment {
            pool: pool.clone(),
            stand: stand.clone(),
            withdrawing: false,
        });
        let (pools, router) = (Arc::clone(&self.pools), Arc::clone(&self.router));
        let tracker = self.tracker.clone();
        self.tracker.spawn(async move {
            tell.send_replace(match pools.start(&pool).await {
                Ok(running) => {
                    let up = RestingPool::up(pool, running, pools, tracker);
                    router.set_candidate(Some(Arc::clone(&up) as SharedPool));
                    tracing::info!(pool = %up.version(), "the candidate is up");
                    Stand::Up(up)
                }
                Err(error) => Stand::Failed(error.to_string()),
            });
        });
        Ok(Some(stand))
    }

    fn mark_withdrawing(&self) -> Option<Deployment> {
        let mut lanes = self.lock();
        let deployment = lanes.candidate.as_mut()?;
        deployment.withdrawing = true;
        Some(deployment.clone())
    }

    /// Forgets a deployment that failed, unless it is being withdrawn or is another one by now.
    fn forget(&self, failed: &watch::Receiver<Stand>) {
        let mut lanes = self.lock();
        let still_there = lanes
            .candidate
            .as_ref()
            .is_some_and(|there| !there.withdrawing && there.stand.same_channel(failed));
        if still_there {
            lanes.candidate = None;
        }
    }
}

/// How a start ended, once it has. One whose task is gone without a word (it panicked, or the
/// runtime ends) has failed.
async fn ended(stand: &mut watch::Receiver<Stand>) -> Stand {
    match stand
        .wait_for(|stand| !matches!(stand, Stand::Starting))
        .await
    {
        Ok(stand) => stand.clone(),
        Err(_) => Stand::Failed("its start broke off".to_owned()),
    }
}
