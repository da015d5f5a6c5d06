//! Where a migration puts things aside: the backup before it, the archive of the old pool after it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dspex_migration::{Journal, MigrationId, Plan, Saved, Vault};
use dspex_router::Router;
use dspex_telemetry::{Lane, Prometheus, Telemetry};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::ground::Ground;
use super::preflight::reason;
use crate::backup::{Live, Subject};
use crate::configurations::Configurations;
use crate::pools::PoolVersion;

/// Entries of a journal that are read at once.
const PAGE: usize = 1000;

/// See the module.
pub(crate) struct Archives {
    pub(crate) ground: Arc<dyn Ground>,
    pub(crate) configurations: Arc<Configurations>,
    pub(crate) router: Arc<Router>,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) prometheus: Prometheus,
    pub(crate) journal: Arc<dyn Journal>,
    /// How far back the lanes' windows reach.
    pub(crate) span: Duration,
}

impl Archives {
    /// What this process knows, and no file does.
    fn live(&self) -> Live {
        let now = Instant::now();
        let since = now.checked_sub(self.span).unwrap_or(now);
        let window = |lane| json!(self.telemetry.window(lane, since, now));
        let statuses = json!({
            "stable": self.router.stable().status(),
            "candidate": self.router.candidate().map(|pool| pool.status()),
        });
        Live {
            metrics: self.prometheus.render(),
            windows: Some(json!({
                "stable": window(Lane::Stable),
                "candidate": window(Lane::Candidate),
            })),
            pools: Some(statuses),
        }
    }

    async fn journal(&self, id: &MigrationId) -> Result<Value, String> {
        let mut all = Vec::new();
        let mut after = 0;
        loop {
            let page = self.journal.entries(id, after, PAGE).await;
            let page = page.map_err(|error| error.to_string())?;
            let ended = page.len() < PAGE;
            after = page.last().map_or(after, |entry| entry.seq);
            all.extend(page);
            if ended {
                return Ok(json!(all));
            }
        }
    }

    /// The version of stable's pool that the plan names.
    fn stable_of(&self, plan: &Plan) -> Result<PoolVersion, String> {
        self.configurations.find(&plan.stable, plan.stable_version)
    }
}

#[async_trait]
impl Vault for Archives {
    async fn backup(&self, id: &MigrationId, plan: &Plan) -> Result<Saved, String> {
        let reason = reason("before", id, plan);
        self.ground.back_up(&reason, self.live()).await
    }

    async fn archive(&self, id: &MigrationId, plan: &Plan) -> Result<Saved, String> {
        let pool = self.stable_of(plan)?;
        let subject = Subject {
            settings: self.ground.settings(&pool),
            pool: pool.to_string(),
            status: self.router.stable().status(),
            live: self.live(),
            journal: self.journal(id).await?,
        };
        let reason = reason("the old pool of", id, plan);
        self.ground.archive(&reason, subject).await
    }
}
