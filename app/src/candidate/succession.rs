//! The old pool's end: the candidate's pool takes its place, and it goes.
//!
//! Invariants:
//! - The active row moves before the router does. A crash in between starts the candidate's pool as
//!   stable, and where the flags still send calls to the candidate lane, they find none there and are
//!   stable's: both lanes are that pool.
//! - A pool that was promoted is in nobody's hands any more but the stable lane's: no withdrawal finds
//!   it, and only the pool that was stable before is ever drained here.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dspex_flags::Percent;
use dspex_flags::dspex::{GRADUAL_ROLLOUT_PERCENTAGE, POOL_V2_ENABLED};
use dspex_migration::{Check, Leaving, Plan, Removed, Succession};
use dspex_pool::{Drained, Pool as _};
use tokio::time::Instant;

use super::deployment::{Deployment, Stand};
use super::{Deployer, all_ready};
use crate::leftovers::PROBE;
use crate::pools::PoolVersion;
use crate::resting::{Idle, RestingPool};

/// How long stable is watched for a moment without a call: those that fail over to it are short.
const QUIET_WITHIN: Duration = Duration::from_secs(5);

/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(20);

/// How long routers may take to acknowledge what is served already.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(5);

const NOTHING: Drained = Drained {
    finished: 0,
    abandoned: 0,
};

impl Deployer {
    /// Stops the pool that was stable before, where one is left.
    pub(crate) async fn drain_former(&self, limit: Duration) -> Drained {
        let former = self.lock().former.clone();
        match former {
            Some(former) => former.drain(limit).await,
            None => NOTHING,
        }
    }

    /// Whether this version serves as stable here, and is the one that a restart brings up.
    fn is_stable(&self, pool: &PoolVersion) -> bool {
        self.stable().version() == pool && self.configurations.active().as_ref() == Some(pool)
    }

    async fn all_traffic(&self) -> Check {
        let flags = self.flags.snapshot();
        let percent = match flags.enabled(&POOL_V2_ENABLED) {
            true => flags.percent(&GRADUAL_ROLLOUT_PERCENTAGE),
            false => Percent::ZERO,
        };
        let acknowledged = self
            .flags
            .wait_acknowledged(flags.revision(), ACKNOWLEDGED_WITHIN)
            .await;
        let share = percent.percent();
        let ok = percent == Percent::HUNDRED && acknowledged.is_ok();
        Check {
            name: "all traffic goes to the candidate".to_owned(),
            ok,
            value: match acknowledged {
                Ok(()) => format!("{share} %, acknowledged"),
                Err(error) => format!("{share} %, {error}"),
            },
            limit: "100 %, acknowledged by every router".to_owned(),
            hint: (!ok).then(|| {
                "somebody has moved the flags; promote to the end again, or roll back".to_owned()
            }),
        }
    }

    async fn stable_is_quiet(&self) -> Check {
        let stable = self.stable();
        let until = Instant::now() + QUIET_WITHIN;
        let left = loop {
            let status = stable.status();
            let left = status.in_flight + status.queued;
            if left == 0 || Instant::now() >= until {
                break left;
            }
            tokio::time::sleep(LOOK).await;
        };
        Check {
            name: "no call is in flight on the old pool".to_owned(),
            ok: left == 0,
            value: match stable.rests() {
                true => "none: it rests".to_owned(),
                false => format!("{left} in flight"),
            },
            limit: format!("none, within {QUIET_WITHIN:?}"),
            hint: (left > 0).then(|| {
                "wait for long calls to end, and see under /admin/v1/pools which worker has them"
                    .to_owned()
            }),
        }
    }

    /// Puts the candidate's pool into the stable lane, and remembers the one that stood there.
    fn take_over(&self, pool: &PoolVersion) -> Result<(), String> {
        let mut lanes = self.lock();
        if lanes.stable.version() == pool {
            return Ok(());
        }
        let up = match &lanes.candidate {
            Some(there) if there.pool == *pool && !there.withdrawing => {
                match &*there.stand.borrow() {
                    Stand::Up(up) => Some(Arc::clone(up)),
                    Stand::Starting | Stand::Failed(_) => None,
                }
            }
            _ => None,
        };
        // What is not up cannot serve: stable stays, and a later try may find it up.
        let up = up.ok_or_else(|| format!("the candidate {pool} is not up"))?;
        if self.router.promote().is_none() {
            return Err(format!("the candidate {pool} is not in its lane"));
        }
        lanes.candidate = None;
        lanes.former = Some(std::mem::replace(&mut lanes.stable, up));
        Ok(())
    }

    /// The other way round: the pool that was stable takes its lane back, the promoted one is the
    /// candidate again.
    fn hand_back(&self, pool: &PoolVersion) -> Result<(), String> {
        let kind = self.configurations.settings(pool)?.kind();
        let mut lanes = self.lock();
        if lanes.stable.version() == pool {
            return Ok(());
        }
        let former = lanes.former.take_if(|former| former.version() == pool);
        // Where the server was started since, it is not there: it wakes.
        let former = former.unwrap_or_else(|| {
            let (source, tracker) = (Arc::clone(&self.pools), self.tracker.clone());
            RestingPool::cold(pool.clone(), kind, None, source, tracker)
        });
        former.wake();
        self.router.demote(Arc::clone(&former) as _);
        let promoted = std::mem::replace(&mut lanes.stable, former);
        lanes.candidate = Some(Deployment::of(promoted));
        Ok(())
    }
}

/// Whether the old pool's archive can be written where it is to be: a file is, and taken away.
fn writable(folder: &Path) -> Check {
    let probe = folder.join(format!("{PROBE}{}", std::process::id()));
    let tried = DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .and_then(|()| std::fs::write(&probe, b"a probe"))
        .and_then(|()| std::fs::remove_file(&probe));
    Check {
        name: "the archive can be written".to_owned(),
        ok: tried.is_ok(),
        hint: tried
            .is_err()
            .then(|| "make room there, and let this user write to the folder".to_owned()),
        value: match tried {
            Ok(()) => format!("{} is writable", folder.display()),
            Err(error) => format!("{}: {error}", folder.display()),
        },
        limit: "a file can be written and removed".to_owned(),
    }
}

#[async_trait]
impl Succession for Deployer {
    async fn confirm(&self, plan: &Plan) -> Vec<Check> {
        let candidate = match self.candidate_of(plan) {
            Ok(candidate) => candidate,
            Err(why) => {
                return vec![Check {
                    name: "the candidate is configured".to_owned(),
                    ok: false,
                    value: why,
                    limit: plan.candidate_name(),
                    hint: Some("see `dspex pools configurations`".to_owned()),
                }];
            }
        };
        if self.is_stable(&candidate) {
            // Asked again after it was done: there is nothing left that could be lost.
            return vec![Check {
                name: "the candidate is stable already".to_owned(),
                ok: true,
                value: candidate.to_string(),
                limit: candidate.to_string(),
                hint: None,
            }];
        }
        let up = self.candidate_version().as_ref() == Some(&candidate);
        let mut checks = vec![
            self.all_traffic().await,
            match self.router.candidate().filter(|_| up) {
                Some(pool) => all_ready("the candidate", &pool.status()),
                None => Check {
                    name: "the candidate is up".to_owned(),
                    ok: false,
                    value: "it is not".to_owned(),
                    limit: candidate.to_string(),
                    hint: Some("see the server's log for why it does not start".to_owned()),
                },
            },
            self.stable_is_quiet().await,
        ];
        checks.push(writable(&self.data_dir.archives()));
        checks
    }

    async fn promote(&self, plan: &Plan) -> Result<(), String> {
        let candidate = self.candidate_of(plan)?;
        if self.is_stable(&candidate) {
            return Ok(());
        }
        let serves = self.candidate_version().as_ref() == Some(&candidate);
        if !serves && *self.stable().version() != candidate {
            return Err(format!("the candidate {candidate} is not up"));
        }
        self.configurations
            .activate(&candidate)
            .await
            .map_err(|error| error.to_string())?;
        self.take_over(&candidate)?;
        tracing::info!(pool = %candidate, "the candidate's pool is stable");
        Ok(())
    }

    async fn demote(&self, plan: &Plan) -> Result<(), String> {
        let stable = self.stable_of(plan)?;
        self.configurations
            .activate(&stable)
            .await
            .map_err(|error| error.to_string())?;
        self.hand_back(&stable)?;
        tracing::info!(pool = %stable, "the pool from before is stable again");
        Ok(())
    }

    async fn retire(&self, leaving: Leaving<'_>, drain: Duration) -> Result<Removed, String> {
        let plan = leaving.plan;
        let candidate = self.candidate_of(plan)?;
        if !self.is_stable(&candidate) {
            return Err(format!(
                "{candidate} is not stable, so the pool before it stays"
            ));
        }
        let former = self.lock().former.clone();
        match former {
            Some(former) => {
                let began = former.status();
                let drained = former.drain(drain).await;
                self.lock().former = None;
                tracing::info!(
                    pool = %former.version(),
                    workers = began.workers.len(),
                    finished = drained.finished,
                    abandoned = drained.abandoned,
                    "the old pool is gone: its workers have ended; its versions are kept as history"
                );
            }
            // Not started since the last start of the server, or drained at an earlier try.
            None => tracing::info!(pool = %plan.stable_name(), "the old pool has no worker"),
        }
        let removed = self.clean(&leaving).await?;
        tracing::info!(
            pool = %plan.stable_name(),
            looks = removed.looks,
            files = removed.files,
            "what the old pool left behind is cleaned away"
        );
        Ok(removed)
    }

    async fn rest(&self, plan: &Plan, drain: Duration) -> Result<Drained, String> {
        let old = self.stable_of(plan)?;
        let stable = self.stable();
        if *stable.version() != old {
            return Err(format!("{} is stable, and not {old}", stable.version()));
        }
        let after = plan.retention.warm;
        Ok(stable.rest(Idle { after, drain }).await)
    }
}
