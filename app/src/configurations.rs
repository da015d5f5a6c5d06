//! The configurations of pools, version by version, and which of them serves as stable.
//!
//! Invariants:
//! - What stands in the database is what is known here: this process is the only one that writes, and
//!   it writes before it knows.
//! - A version is never changed. Another configuration is another version, so that a migration and a
//!   restart bring up exactly what was asked for.

mod known;
mod store;
mod sync;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use dspex_migration::Plan;
use serde_json::{Map, Value};
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqlitePool};
use tokio_util::task::TaskTracker;

pub(crate) use self::known::Known;
pub use self::store::StoreError;
use self::store::Table;
pub(crate) use self::store::{Row, Source};
use self::sync::Change;
use crate::clock;
use crate::config::{Config, ConfigError};
use crate::pools::{PoolSettings, PoolVersion, Record};

/// Who writes what the file says.
const FILE: &str = "configuration file";

/// The longest name of a pool: it is a part of the names of workers and of metrics.
const LONGEST_NAME: usize = 64;

/// See the module.
pub(crate) struct Configurations {
    table: Table,
    config: Arc<Config>,
    rows: Mutex<Vec<Row>>,
    /// Held while something is written, so that two writers take two versions.
    writing: tokio::sync::Mutex<()>,
}

/// Why a configuration was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PutError {
    /// It cannot be used.
    #[error(transparent)]
    Invalid(#[from] ConfigError),
    /// It cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What became of a configuration that was put.
pub(crate) struct Put {
    pub(crate) row: Row,
    /// Whether it says something that the version before did not.
    pub(crate) new: bool,
}

impl Configurations {
    /// Opens the table, and brings it up to what the file says. `unfinished` is the plan of a
    /// migration that has not ended: what it names stays as it is.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn open(
        writer: SqlitePool,
        reader: SqlitePool,
        config: Arc<Config>,
        unfinished: Option<&Plan>,
    ) -> Result<Self, StoreError> {
        let table = Table::open(writer, reader).await?;
        let rows = table.all().await?;
        let opened = Self {
            table,
            config,
            rows: Mutex::new(rows),
            writing: tokio::sync::Mutex::new(()),
        };
        opened.follow_file(unfinished).await?;
        opened.tell();
        Ok(opened)
    }

    /// The same, with its later writes on this tracker; see [`Table::writing_on`].
    pub(crate) fn writing_on(mut self, tracker: TaskTracker) -> Self {
        self.table.writing_on(tracker);
        self
    }

    async fn follow_file(&self, unfinished: Option<&Plan>) -> Result<(), StoreError> {
        let sections: BTreeMap<String, Record> = self
            .config
            .pools
            .iter()
            .map(|(name, settings)| (name.clone(), settings.record(name, &self.config)))
            .collect();
        let named: Vec<&str> = unfinished
            .iter()
            .flat_map(|plan| [plan.stable.as_str(), plan.candidate.as_str()])
            .collect();
        let changes = sync::changes(&self.rows(), &sections, &self.config.lanes.stable, &named);
        for change in changes {
            match change {
                Change::Insert(pool) => {
                    let section = sections.get(&pool.name).cloned().unwrap_or_default();
                    let why = match pool.version {
                        1 => "it is there",
                        _ => "it has changed",
                    };
                    self.insert(&pool, section, Source::File, FILE, why).await?;
                    tracing::info!(%pool, "the file has a new version of a pool's configuration");
                }
                Change::Adopt(pool) => {
                    self.table.adopt(&pool, clock::now()).await?;
                    self.reread().await?;
                }
                Change::Activate(pool) => {
                    self.activate(&pool).await?;
                    tracing::info!(%pool, "this is the stable pool from now on: the file says so");
                }
                Change::Held(pool) => tracing::warn!(
                    pool,
                    "the section of this pool has changed, and waits: a migration that names it has not ended"
                ),
            }
        }
        Ok(())
    }

    /// Says what is stable, where the file says another.
    fn tell(&self) {
        let configured = &self.config.lanes.stable;
        if let Some(active) = self.active().filter(|active| active.name != *configured) {
            tracing::info!(
                stable = %active,
                "stable is {active}, as a migration left it; lanes.stable = {configured:?} is for the first start alone"
            );
        }
    }

    /// The version that serves as stable.
    pub(crate) fn active(&self) -> Option<PoolVersion> {
        let rows = self.rows();
        rows.into_iter().find(|row| row.active).map(|row| row.pool)
    }

    /// Makes this version the one that serves as stable. Durable when it answers; may be repeated.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn activate(&self, pool: &PoolVersion) -> Result<(), StoreError> {
        let _writing = self.writing.lock().await;
        self.table.activate(pool, clock::now()).await?;
        self.reread().await
    }

    /// Which version of this name is meant: this one, or the newest.
    ///
    /// # Errors
    /// What to say where there is none.
    pub(crate) fn find(&self, name: &str, version: Option<u32>) -> Result<PoolVersion, String> {
        let rows = self.rows();
        known::find(rows.iter().map(|row| &row.pool), name, version)
    }

    /// The settings of a version, ready to be started from.
    ///
    /// # Errors
    /// Why this build, or this configuration, cannot use them.
    pub(crate) fn settings(&self, pool: &PoolVersion) -> Result<PoolSettings, String> {
        let row = self.rows().into_iter().find(|row| row.pool == *pool);
        let row = row.ok_or_else(|| format!("there is no version {pool}"))?;
        let restored = PoolSettings::of_record(&pool.name, &row.config, &self.config)
            .map_err(|error| format!("the version {pool}: {error}"))?;
        for variable in restored.changed_env {
            tracing::warn!(
                %pool, variable,
                "an environment variable has another value than when this version was written down"
            );
        }
        Ok(restored.settings)
    }

    /// Keeps a section as the newest version of this pool. One that says what the newest version says
    /// makes none.
    ///
    /// # Errors
    /// See [`PutError`].
    pub(crate) async fn put(
        &self,
        name: &str,
        section: Map<String, Value>,
        who: &str,
        why: &str,
    ) -> Result<Put, PutError> {
        check_name(name)?;
        let _writing = self.writing.lock().await;
        // A writer whose caller has left may have written without knowing.
        self.reread().await?;
        let newest = self.newest(name);
        let kind = newest.as_ref().and_then(|row| row.config.get("kind"));
        let kind = kind.and_then(Value::as_str);
        let settings = PoolSettings::of_sent(name, section, kind, &self.config)?;
        let record = settings.record(name, &self.config);
        if let Some(row) = newest.clone().filter(|row| row.config == record) {
            return Ok(Put { row, new: false });
        }
        let version = newest.map_or(0, |row| row.pool.version) + 1;
        let pool = PoolVersion::new(name, version);
        self.insert(&pool, record, Source::Put, who, why).await?;
        tracing::info!(%pool, who, why, "a new version of a pool's configuration");
        let row = self.newest(name).filter(|row| row.pool == pool);
        row.map(|row| Put { row, new: true }).ok_or_else(|| {
            PutError::Store(StoreError::Corrupt {
                pool: pool.to_string(),
                problem: "it was written, and is not there".to_owned(),
            })
        })
    }

    /// Every version of this pool, or of all, the newest first.
    pub(crate) fn versions(&self, name: Option<&str>) -> Vec<Row> {
        let mut rows = self.rows();
        rows.retain(|row| name.is_none_or(|name| row.pool.name == name));
        rows.sort_by(|a, b| {
            let version = b.pool.version.cmp(&a.pool.version);
            a.pool.name.cmp(&b.pool.name).then(version)
        });
        rows
    }

    /// The newest version of every pool, in the order of names.
    pub(crate) fn all_newest(&self) -> Vec<Row> {
        let mut rows = self.versions(None);
        rows.dedup_by(|later, first| later.pool.name == first.pool.name);
        rows
    }

    fn newest(&self, name: &str) -> Option<Row> {
        self.versions(Some(name)).into_iter().next()
    }

    async fn insert(
        &self,
        pool: &PoolVersion,
        config: Record,
        source: Source,
        who: &str,
        why: &str,
    ) -> Result<(), StoreError> {
        let at = clock::now();
        let row = Row {
            pool: pool.clone(),
            config,
            active: false,
            source,
            who: who.to_owned(),
            why: why.to_owned(),
            inserted_at: at,
            updated_at: at,
        };
        self.table.insert(&row).await?;
        self.reread().await
    }

    async fn reread(&self) -> Result<(), StoreError> {
        let rows = self.table.all().await?;
        *self.rows.lock().unwrap_or_else(PoisonError::into_inner) = rows;
        Ok(())
    }

    fn rows(&self) -> Vec<Row> {
        let rows = self.rows.lock();
        rows.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The version that serves as stable by this database, which a server may have open; none where there is
/// no database, or nothing is known of versions in it.
pub(crate) async fn active_in(database: &Path) -> Option<String> {
    let options = SqliteConnectOptions::new()
        .filename(database)
        .read_only(true);
    let mut connection = SqliteConnection::connect_with(&options).await.ok()?;
    let active = sqlx::query_scalar(
        "SELECT name || '@' || version FROM pool_configurations WHERE active = 1",
    )
    .fetch_optional(&mut connection)
    .await;
    // It was only looked at: how it closes is nobody's concern.
    let _ = connection.close().await;
    active.ok().flatten()
}

fn check_name(name: &str) -> Result<(), ConfigError> {
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(fine) {
        return Err(ConfigError::general(format!(
            "{name:?} cannot be a pool's name: use letters, digits, - and _, {LONGEST_NAME} at most"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
