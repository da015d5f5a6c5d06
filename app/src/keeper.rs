//! Brings the candidate up again after a restart, and goes on trying until it is up; and wakes a stable pool
//! that rests as soon as no candidate is wanted beside it.
//!
//! Invariants:
//! - It only ever begins what a migration wants at that moment: whether it does is asked under the
//!   same lock under which a withdrawal marks the candidate, so a rollback in between wins.
//! - It never takes a candidate away and never moves traffic. While the candidate is not up, its
//!   calls are answered by stable.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dspex_migration::Migrations;
use tokio_util::sync::CancellationToken;

use crate::candidate::Deployer;

/// The first wait between two tries; each is twice the one before.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest. A candidate that was mended should not wait for minutes.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// See the module.
pub(crate) struct Keeper {
    deployer: Arc<Deployer>,
    migrations: Arc<Migrations>,
    trouble: Mutex<Option<String>>,
}

impl Keeper {
    pub(crate) fn new(deployer: Arc<Deployer>, migrations: Arc<Migrations>) -> Self {
        Self {
            deployer,
            migrations,
            trouble: Mutex::new(None),
        }
    }

    /// Why the candidate that a migration wants is not up; [`None`] where it is, or none is wanted.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.migrations.candidate_wanted()?;
        self.lock().clone()
    }

    /// Brings up the candidate that is wanted, where one is. Whether all is well now.
    pub(crate) async fn bring_up(&self) -> bool {
        let wanted = || {
            let plan = self.migrations.candidate_wanted();
            plan.map(|plan| self.deployer.candidate_of(&plan))
                .transpose()
        };
        let failed = self.deployer.bring_up_if(wanted).await.err();
        if self.migrations.candidate_wanted().is_none() {
            // All calls are stable's: it should not wait for the first of them.
            self.deployer.stable().wake();
        }
        let mut trouble = self.lock();
        if *trouble != failed {
            match &failed {
                Some(why) => tracing::error!(why, "the candidate does not come up; trying on"),
                None => tracing::info!("the candidate is as the migration wants it again"),
            }
            trouble.clone_from(&failed);
        }
        failed.is_none()
    }

    /// Keeps it up until `stop`.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        stop.run_until_cancelled(self.keep_up()).await;
    }

    async fn keep_up(&self) {
        let mut migration = self.migrations.watch();
        let mut wait = FIRST_WAIT;
        loop {
            if self.lock().is_none() {
                wait = FIRST_WAIT;
                // Only a migration's step changes what is wanted; a pool that is up restarts its
                // own workers.
                if migration.changed().await.is_err() {
                    return;
                }
            } else {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
            self.bring_up().await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
