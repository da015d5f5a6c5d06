//! The pools of the two lanes: brings the candidate's up and takes it away, for a migration and after a
//! restart, and knows which stands where.
//!
//! Invariants:
//! - At most one candidate is up or coming up. What was begun is always ended: a start whose caller
//!   has left goes on in its own task, and a withdrawal waits for it before it drains.
//! - A withdrawal leaves a candidate that can serve in its place for as long as stable cannot. The end of
//!   the server waits for nobody.
//! - Nothing here moves traffic. The router only learns that there is a candidate, or none.

mod cleaning;
mod deployment;
pub(crate) mod gatekeeper;
pub(crate) mod ground;
pub(crate) mod preflight;
mod succession;
pub(crate) mod validator;
pub(crate) mod vault;
mod verify;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use dspex_flags::Flags;
use dspex_migration::{Candidate, Check, Differences, Plan, Recorder};
use dspex_pool::{Drained, PoolStatus, SharedPool};
use dspex_router::Router;
use dspex_telemetry::{Prometheus, Telemetry};
use futures_util::StreamExt as _;
use tokio_util::task::TaskTracker;

use self::deployment::Deployment;
use self::ground::{Ground, Survey};
use self::verify::Verification;
use crate::configurations::Configurations;
use crate::paths::DataDir;
use crate::pools::{PoolSource, PoolVersion};
use crate::resting::RestingPool;

/// Programs built at once while the candidate is verified. A few, so that one slow build does not
/// make the others wait, and callers of stable keep the machine.
const BUILDS_AT_ONCE: usize = 4;

/// How long a withdrawal waits for stable to have a worker before it says why it has none. It is
/// tried again.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// See the module.
pub(crate) struct Deployer {
    router: Arc<Router>,
    pools: Arc<dyn PoolSource>,
    configurations: Arc<Configurations>,
    flags: Arc<Flags>,
    data_dir: DataDir,
    ground: Arc<dyn Ground>,
    telemetry: Arc<Telemetry>,
    prometheus: Prometheus,
    recorder: Arc<dyn Recorder>,
    tracker: TaskTracker,
    lanes: Mutex<Lanes>,
}

/// Which pool stands where.
struct Lanes {
    stable: Arc<RestingPool>,
    candidate: Option<Deployment>,
    /// The pool that was stable before the candidate was promoted, until it is retired.
    former: Option<Arc<RestingPool>>,
}

/// What a deployer is made from.
pub(crate) struct DeployerParts {
    pub(crate) router: Arc<Router>,
    pub(crate) pools: Arc<dyn PoolSource>,
    pub(crate) configurations: Arc<Configurations>,
    pub(crate) flags: Arc<Flags>,
    pub(crate) data_dir: DataDir,
    pub(crate) ground: Arc<dyn Ground>,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) prometheus: Prometheus,
    /// Where looks at migrations are kept.
    pub(crate) recorder: Arc<dyn Recorder>,
    /// The pool in the router's stable lane.
    pub(crate) stable: Arc<RestingPool>,
    pub(crate) tracker: TaskTracker,
}

impl Deployer {
    pub(crate) fn new(parts: DeployerParts) -> Self {
        Self {
            router: parts.router,
            pools: parts.pools,
            configurations: parts.configurations,
            flags: parts.flags,
            data_dir: parts.data_dir,
            ground: parts.ground,
            telemetry: parts.telemetry,
            prometheus: parts.prometheus,
            recorder: parts.recorder,
            tracker: parts.tracker,
            lanes: Mutex::new(Lanes {
                stable: parts.stable,
                candidate: None,
                former: None,
            }),
        }
    }

    /// The pool in the stable lane.
    pub(crate) fn stable(&self) -> Arc<RestingPool> {
        Arc::clone(&self.lock().stable)
    }

    /// Which version stands in the candidate lane, or comes up there.
    pub(crate) fn candidate_version(&self) -> Option<PoolVersion> {
        let lanes = self.lock();
        lanes.candidate.as_ref().map(|there| there.pool.clone())
    }

    /// The version that a plan brings in.
    ///
    /// # Errors
    /// What to say where there is none.
    pub(crate) fn candidate_of(&self, plan: &Plan) -> Result<PoolVersion, String> {
        self.pools.find(&plan.candidate, plan.candidate_version)
    }

    /// The version that serves before a plan is carried out.
    fn stable_of(&self, plan: &Plan) -> Result<PoolVersion, String> {
        match (plan.stable_version, self.configurations.active()) {
            // A plan from before there were versions.
            (None, Some(active)) if active.name == plan.stable => Ok(active),
            (version, _) => self.pools.find(&plan.stable, version),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
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

#[async_trait]
impl Candidate for Deployer {
    async fn preflight(&self, plan: &Plan) -> Vec<Check> {
        let found = self.candidate_of(plan);
        let mut checks = vec![Check {
            name: "the candidate is configured".to_owned(),
            ok: found.is_ok(),
            value: found
                .as_ref()
                .map_or_else(String::clone, PoolVersion::to_string),
            limit: "a version of a pool's configuration".to_owned(),
            hint: found.is_err().then(|| {
                "see `dspex pools configurations`; `dspex pools put` makes one".to_owned()
            }),
        }];
        let serves = self.stable().version().clone();
        let stable = self.stable_of(plan);
        let ok = stable.as_ref() == Ok(&serves);
        checks.push(Check {
            name: "the plan's stable pool is the one that serves".to_owned(),
            ok,
            value: serves.to_string(),
            limit: stable.map_or_else(|why| why, |stable| stable.to_string()),
            hint: (!ok).then(|| "roll this migration back and start a new one".to_owned()),
        });
        if let Ok(candidate) = &found {
            let interpreter = self.pools.interpreter(candidate).await;
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
        if let Ok(candidate) = &found {
            let programs = self.router.programs().await;
            let survey = Survey {
                plan,
                candidate,
                stable,
                programs: programs.map_err(|error| error.to_string()),
            };
            checks.extend(self.ground.survey(survey).await);
        }
        checks
    }

    async fn deploy(&self, plan: &Plan) -> Result<(), String> {
        self.bring_up(&self.candidate_of(plan)?).await
    }

    async fn verify(&self, plan: &Plan) -> Vec<Check> {
        let Some(candidate) = self.router.candidate() else {
            return vec![Check {
                name: "the candidate is up".to_owned(),
                ok: false,
                value: "no candidate".to_owned(),
                limit: "a pool that answers".to_owned(),
                hint: None,
            }];
        };
        let mut checks = vec![
            all_ready("the candidate", &candidate.status()),
            self.programs_build(&candidate).await,
        ];
        let verification = Verification {
            candidate,
            router: &self.router,
            telemetry: &self.telemetry,
            prometheus: &self.prometheus,
            speed: verify::Speed::of(&plan.thresholds),
        };
        checks.extend(verification.run().await);
        checks
    }

    fn wake_stable(&self) {
        self.stable().wake();
    }

    async fn withdraw(&self, drain: Duration) -> Result<Drained, String> {
        self.stable_is_ready(READY_WITHIN).await?;
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
                hidden_by_noise: seen.hidden_by_noise,
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
