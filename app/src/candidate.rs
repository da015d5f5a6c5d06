//! Brings the candidate's pool up and takes it away, for a migration and after a restart.
//!
//! Invariants:
//! - At most one candidate is up or coming up. What was begun is always ended: a start whose caller
//!   has left goes on in its own task, and a withdrawal waits for it before it drains.
//! - Nothing here moves traffic. The router only learns that there is a candidate, or none.

pub(crate) mod gatekeeper;
pub(crate) mod succession;
pub(crate) mod validator;
pub(crate) mod vault;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use dspex_migration::{Candidate, Check, Differences, Plan};
use dspex_pool::{Drained, PoolStatus, SharedPool};
use dspex_router::Router;
use futures_util::StreamExt as _;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::pools::PoolSource;

/// Programs built at once while the candidate is verified. A few, so that one slow build does not
/// make the others wait, and callers of stable keep the machine.
const BUILDS_AT_ONCE: usize = 4;

/// How one deployment stands.
#[derive(Clone)]
enum Stand {
    Starting,
    Up(SharedPool),
    Failed(String),
}

/// One start of one candidate.
#[derive(Clone)]
struct Deployment {
    pool: String,
    stand: watch::Receiver<Stand>,
    /// Set once it is to be taken away; it never comes back.
    withdrawing: bool,
}

/// See the module.
pub(crate) struct Deployer {
    router: Arc<Router>,
    pools: Arc<dyn PoolSource>,
    tracker: TaskTracker,
    /// The stable pool's name.
    stable: String,
    current: Mutex<Option<Deployment>>,
}

impl Deployer {
    pub(crate) fn new(
        router: Arc<Router>,
        pools: Arc<dyn PoolSource>,
        stable: String,
        tracker: TaskTracker,
    ) -> Self {
        Self {
            router,
            pools,
            tracker,
            stable,
            current: Mutex::new(None),
        }
    }

    /// Brings the pool of this name up and shows it to the router.
    ///
    /// # Errors
    /// Why it did not come up, in one line.
    pub(crate) async fn bring_up(&self, pool: &str) -> Result<(), String> {
        self.bring_up_if(|| Some(pool.to_owned())).await
    }

    /// Brings up the pool that `wanted` names, where it names one.
    ///
    /// It is asked under the lock: a withdrawal that follows finds what was begun, and one that came
    /// before has made the answer [`None`].
    ///
    /// # Errors
    /// Why it did not come up, in one line.
    pub(crate) async fn bring_up_if(
        &self,
        wanted: impl Fn() -> Option<String>,
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
        *self.lock() = None;
        Ok(drained)
    }

    fn join_or_begin(
        &self,
        wanted: impl Fn() -> Option<String>,
    ) -> Result<Option<watch::Receiver<Stand>>, String> {
        let mut current = self.lock();
        let Some(pool) = wanted() else {
            return Ok(None);
        };
        if let Some(there) = &*current {
            if there.withdrawing {
                return Err(format!("the candidate {} is being taken away", there.pool));
            }
            if there.pool != pool {
                return Err(format!("another candidate, {}, is up already", there.pool));
            }
            return Ok(Some(there.stand.clone()));
        }
        let (tell, stand) = watch::channel(Stand::Starting);
        *current = Some(Deployment {
            pool: pool.clone(),
            stand: stand.clone(),
            withdrawing: false,
        });
        let (name, pools, router) = (pool, Arc::clone(&self.pools), Arc::clone(&self.router));
        self.tracker.spawn(async move {
            tell.send_replace(match pools.start(&name).await {
                Ok(pool) => {
                    router.set_candidate(Some(Arc::clone(&pool)));
                    tracing::info!(pool = name, "the candidate is up");
                    Stand::Up(pool)
                }
                Err(error) => Stand::Failed(error.to_string()),
            });
        });
        Ok(Some(stand))
    }

    fn mark_withdrawing(&self) -> Option<Deployment> {
        let mut current = self.lock();
        let deployment = current.as_mut()?;
        deployment.withdrawing = true;
        Some(deployment.clone())
    }

    /// Forgets a deployment that failed, unless it is being withdrawn or is another one by now.
    fn forget(&self, failed: &watch::Receiver<Stand>) {
        let mut current = self.lock();
        let still_there = current
            .as_ref()
            .is_some_and(|there| !there.withdrawing && there.stand.same_channel(failed));
        if still_there {
            *current = None;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Deployment>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn programs_build(&self, candidate: &SharedPool) -> Check {
        let name = "programs can be built by the candidate".to_owned();
        let limit = "every program".to_owned();
        let programs = match self.router.programs().await {
            Ok(programs) => programs,
            Err(error) => {
                return Check {
                    name,
                    ok: false,
                    value: format!("the catalog cannot be read: {error}"),
                    limit,
                    hint: Some("look at the server's log for the database's words".to_owned()),
                };
            }
        };
        let all = programs.len();
        let failed: Vec<String> = futures_util::stream::iter(programs)
            .map(|program| async move {
                let checked = candidate.check(&program).await;
                checked
                    .err()
                    .map(|error| format!("{}: {error}", program.key.id))
            })
            .buffer_unordered(BUILDS_AT_ONCE)
            .filter_map(std::future::ready)
            .collect()
            .await;
        Check {
            ok: failed.is_empty(),
            value: match failed.first() {
                None => format!("{all} of {all}"),
                Some(first) => format!("{} of {all}; {first}", all - failed.len()),
            },
            hint: (!failed.is_empty()).then(|| {
                "delete these programs, or give the candidate the modules and profiles they need"
                    .to_owned()
            }),
            name,
            limit,
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

#[async_trait]
impl Candidate for Deployer {
    async fn preflight(&self, plan: &Plan) -> Vec<Check> {
        let found = self.pools.find(&plan.candidate);
        let mut checks = vec![Check {
            name: "the candidate is configured".to_owned(),
            ok: found.is_ok(),
            value: found
                .clone()
                .err()
                .unwrap_or_else(|| plan.candidate.clone()),
            limit: "a pool under [pools]".to_owned(),
            hint: found.is_err().then(|| {
                "name it under [pools] of the configuration and start the server again".to_owned()
            }),
        }];
        checks.push(Check {
            name: "the plan's stable pool is the one that serves".to_owned(),
            ok: plan.stable == self.stable,
            value: self.stable.clone(),
            limit: plan.stable.clone(),
            hint: (plan.stable != self.stable)
                .then(|| "roll this migration back and start a new one".to_owned()),
        });
        if found.is_ok() {
            let interpreter = self.pools.interpreter(&plan.candidate).await;
            checks.push(Check {
                name: "the candidate's interpreter works".to_owned(),
                ok: interpreter.is_ok(),
                hint: interpreter
                    .is_err()
                    .then(|| "`dspex doctor` looks at it more closely".to_owned()),
                value: interpreter.unwrap_or_else(|error| error),
                limit: "Python 3.10 or newer".to_owned(),
            });
        }
        let stable = self.router.stable().status();
        checks.push(all_ready("stable", &stable));
        checks
    }

    async fn deploy(&self, plan: &Plan) -> Result<(), String> {
        self.bring_up(&plan.candidate).await
    }

    async fn verify(&self, _: &Plan) -> Vec<Check> {
        let Some(candidate) = self.router.candidate() else {
            return vec![Check {
                name: "the candidate is up".to_owned(),
                ok: false,
                value: "no candidate".to_owned(),
                limit: "a pool that answers".to_owned(),
                hint: None,
            }];
        };
        vec![
            all_ready("the candidate", &candidate.status()),
            self.programs_build(&candidate).await,
        ]
    }

    async fn withdraw(&self, drain: Duration) -> Result<Drained, String> {
        self.take_down(drain).await
    }

    fn statuses(&self) -> (PoolStatus, Option<PoolStatus>) {
        (
            self.router.stable().status(),
            self.router.candidate().map(|candidate| candidate.status()),
        )
    }

    fn differences(&self) -> Vec<Differences> {
        let shadow = self.router.shadow();
        let programs = shadow.programs.into_iter();
        programs
            .map(|seen| Differences {
                program: seen.program.to_string(),
                compared: seen.compared,
                different: seen.different,
                not_compared: seen.failed + seen.unjudged,
                trouble: seen.trouble,
            })
            .collect()
    }
}

fn all_ready(whose: &str, status: &PoolStatus) -> Check {
    let ok = status.ready >= status.size.max(1);
    Check {
        name: format!("workers of {whose} are ready"),
        ok,
        value: format!("{} of {}", status.ready, status.size),
        limit: "all of them".to_owned(),
        hint: (!ok).then(|| "see why under /admin/v1/pools, or in the server's log".to_owned()),
    }
}

#[cfg(test)]
mod tests;
