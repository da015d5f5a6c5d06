//! Where a migration puts things aside: the backup before it, the archive of the old pool after it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dspex_migration::{Event, Journal, JournalError, MigrationId, Plan, Recorder, Saved, Vault};
use dspex_router::Router;
use dspex_telemetry::{Lane, Prometheus, Telemetry};
use serde_json::json;
use tokio::time::Instant;

use super::ground::Ground;
use super::preflight::reason;
use crate::backup::{Live, Subject};
use crate::configurations::Configurations;
use crate::pools::PoolVersion;

/// More migrations than any server has.
const ALL: usize = usize::MAX >> 1;

/// See the module.
pub(crate) struct Archives {
    pub(crate) ground: Arc<dyn Ground>,
    pub(crate) configurations: Arc<Configurations>,
    pub(crate) router: Arc<Router>,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) prometheus: Prometheus,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) recorder: Arc<dyn Recorder>,
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

    /// The version of stable's pool that the plan names.
    fn stable_of(&self, plan: &Plan) -> Result<PoolVersion, String> {
        self.configurations.find(&plan.stable, plan.stable_version)
    }

    /// The migrations in which this version was stable or the candidate, the newest first.
    async fn took_part(&self, pool: &PoolVersion) -> Result<Vec<MigrationId>, String> {
        let unread = |error: JournalError| format!("the journal cannot be read: {error}");
        let all = self.journal.history(ALL).await.map_err(unread)?;
        let mut found = Vec::new();
        for summary in all {
            let first = self.journal.entries(&summary.id, 0, 1).await;
            let first = first.map_err(unread)?;
            let Some(Event::Started { plan, .. }) = first.first().map(|entry| &entry.event) else {
                continue;
            };
            // Plans from before there were versions name the pool alone.
            let is = |name: &str, version: Option<u32>| {
                name == pool.name && version.is_none_or(|version| version == pool.version)
            };
            if is(&plan.stable, plan.stable_version) || is(&plan.candidate, plan.candidate_version)
            {
                found.push(summary.id);
            }
        }
        Ok(found)
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
            migration: id.clone(),
            journal: Arc::clone(&self.journal),
            took_part: self.took_part(&pool).await?,
            recorder: Arc::clone(&self.recorder),
        };
        let reason = reason("the old pool of", id, plan);
        self.ground.archive(&reason, subject).await
    }
}
