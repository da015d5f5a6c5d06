//! The ground under a migration on a real machine: what is measured before it begins.
//!
//! Invariant: what could not be measured fails. A migration that begins on a guess ends on one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dspex_migration::{Check, Event, Journal, MigrationId, Plan, Saved, Summary, Validate};
use dspex_pool::PoolStatus;
use sqlx::sqlite::SqlitePool;

use super::ground::{Ground, Survey};
use crate::archive::Written;
use crate::backup::{self, Live, Subject};
use crate::checks::clock::Witness;
use crate::checks::memory::{self, PerWorker};
use crate::checks::{self, clock, disk, environment, lever, limits, port, schema};
use crate::clock::now;
use crate::config::Config;
use crate::configurations::Configurations;
use crate::paths::DataDir;
use crate::pools::{ConfiguredPools, PoolVersion};

/// How many migrations are looked at to find those that are live. There is at most one, and it is
/// among the newest.
const NEWEST: usize = 100;

/// See the module.
pub(crate) struct Machine {
    pub(crate) config: Arc<Config>,
    pub(crate) configurations: Arc<Configurations>,
    pub(crate) pools: Arc<ConfiguredPools>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) writer: SqlitePool,
    pub(crate) reader: SqlitePool,
    /// Both clocks at the server's start.
    pub(crate) started: Witness,
}

impl Machine {
    /// Asks the candidate's own interpreter, with its own settings.
    async fn environment(&self, survey: &Survey<'_>) -> (Vec<checks::Check>, Option<PerWorker>) {
        let pool = survey.candidate.to_string();
        let name = format!("modules of {pool}");
        let settings = match self.configurations.settings(survey.candidate) {
            Ok(settings) => settings,
            Err(why) => {
                let hint = "see `dspex pools configurations`";
                let limit = "a version of a pool's configuration";
                return (vec![checks::Check::unknown(name, why, limit, hint)], None);
            }
        };
        let programs = match &survey.programs {
            Ok(programs) => programs,
            Err(why) => {
                let hint = "look at the server's log for the database's words";
                let limit = "the catalog's programs";
                return (vec![checks::Check::unknown(name, why, limit, hint)], None);
            }
        };
        let programs = programs.iter().map(|program| &**program);
        let allowed = &self.config.python.allow_modules;
        let modules = environment::modules_of(programs, allowed, false);
        let found = self.pools.inspect(&settings, &modules).await;
        environment::judge(&pool, found)
    }

    /// What there is room for.
    async fn room(&self, survey: &Survey<'_>, imported: Option<PerWorker>) -> Vec<checks::Check> {
        let Ok(settings) = self.configurations.settings(survey.candidate) else {
            return Vec::new();
        };
        let (workers, each) = settings.load();
        // Before it is complete two rehearsal pools stand beside the two that serve.
        let rehearsed = match survey.plan.validation.run {
            Validate::None => 0,
            Validate::Quick | Validate::Full => 2 * self.config.validation.workers,
        };
        let workers = workers.saturating_add(u64::try_from(rehearsed).unwrap_or(u64::MAX));
        let running = weigh(&survey.stable).await;
        let worker = memory::larger(running, imported);
        let connections = u64::try_from(self.config.server.max_connections).unwrap_or(u64::MAX);
        let dir = DataDir::new(&self.config.server.data_dir);
        let need = disk::Need::measure(&dir.database(), lasts(survey.plan), now());
        vec![
            memory::side_by_side(workers, worker.as_ref(), memory::available()),
            limits::files(workers, connections),
            limits::processes(workers, each),
            disk::room(dir.path(), need),
        ]
    }

    /// What the database says, and the clock by it.
    async fn written(&self, survey: &Survey<'_>) -> Vec<checks::Check> {
        let mut found = vec![
            schema::writable(&self.writer).await,
            schema::migrated(&self.reader).await,
            clock::steady(self.started),
        ];
        found.extend(lever::writable(&self.config.flags.store).await);
        let history = match self.journal.history(NEWEST).await {
            Ok(history) => history,
            Err(error) => {
                let name = "no other migration is under way";
                found.push(checks::Check::unknown(
                    name,
                    error,
                    "this one alone",
                    BROKEN,
                ));
                return found;
            }
        };
        let begun = history.iter().map(|summary| summary.started_at).max();
        found.push(clock::not_before(
            begun.map(|at| (at, "the newest migration began")),
        ));
        found.push(self.alone(&history, survey.plan).await);
        found
    }

    /// Whether no migration is live but the one of this very plan.
    async fn alone(&self, history: &[Summary], plan: &Plan) -> checks::Check {
        let (name, limit) = ("no other migration is under way", "this one alone");
        let live: Vec<_> = history
            .iter()
            .filter(|summary| summary.phase.is_live())
            .collect();
        let mut others = Vec::new();
        for summary in &live {
            let begun = self.journal.entries(&summary.id, 0, 1).await;
            let begun = match begun.as_deref() {
                Ok([entry, ..]) => &entry.event,
                Ok([]) => return checks::Check::unknown(name, "an empty journal", limit, BROKEN),
                Err(error) => return checks::Check::unknown(name, error, limit, BROKEN),
            };
            // By version, too: another one of the same pool is another candidate.
            let same = matches!(begun, Event::Started { plan: begun, .. }
                if begun.candidate_name() == plan.candidate_name()
                    && begun.stable_name() == plan.stable_name());
            if !same {
                others.push(format!("{} to {}", summary.id, summary.candidate));
            }
        }
        let value = match others.as_slice() {
            [] => format!("{} under way", live.len()),
            others => others.join(", "),
        };
        checks::Check::ok(name, value, limit).only_if(
            live.len() <= 1 && others.is_empty(),
            "end the other first: `dspex migrate status`",
        )
    }
}

/// What to do where the journal cannot be read.
const BROKEN: &str = "look at the server's log for the database's words";

/// How long the plan takes at the least.
fn lasts(plan: &Plan) -> Duration {
    plan.stages.iter().map(|stage| stage.hold).sum()
}

/// What stable's heaviest worker weighs now.
async fn weigh(stable: &PoolStatus) -> Option<PerWorker> {
    let pids: Vec<u32> = stable
        .workers
        .iter()
        .filter_map(|worker| worker.pid)
        .collect();
    let name = stable.name.clone();
    // The kernel walks each one's memory for it.
    let weighed = tokio::task::spawn_blocking(move || memory::of_workers(&name, &pids));
    weighed.await.ok().flatten()
}

#[async_trait]
impl Ground for Machine {
    async fn survey(&self, survey: Survey<'_>) -> Vec<Check> {
        let (mut found, weight) = self.environment(&survey).await;
        found.extend(self.room(&survey, weight).await);
        found.push(port::taken(self.config.server.bind).await);
        found.extend(self.written(&survey).await);
        found.into_iter().map(Check::from).collect()
    }

    async fn back_up(&self, reason: &str, live: Live) -> Result<Saved, String> {
        let written = backup::create(&self.config, reason, Some(live)).await;
        written.map(saved).map_err(|error| error.to_string())
    }

    async fn archive(&self, reason: &str, subject: Subject) -> Result<Saved, String> {
        let written = backup::archive_pool(&self.config, reason, subject).await;
        written.map(saved).map_err(|error| error.to_string())
    }

    fn settings(&self, pool: &PoolVersion) -> serde_json::Value {
        self.configurations
            .settings(pool)
            .map_or_else(serde_json::Value::from, |settings| {
                settings.record(&pool.name, &self.config).into()
            })
    }
}

fn saved(written: Written) -> Saved {
    Saved {
        place: written.path.display().to_string(),
        bytes: written.bytes,
        sha256: written.sha256,
    }
}

/// Why a file was written, as its manifest says it.
pub(super) fn reason(what: &str, id: &MigrationId, plan: &Plan) -> String {
    format!(
        "{what} migration {id}, {} to {}",
        plan.stable_name(),
        plan.candidate_name()
    )
}
