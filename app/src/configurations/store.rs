//! The table `pool_configurations`: every version that a pool's configuration has had.
//!
//! Invariants: a version, once written, is never changed but for who vouches for it (its source) and
//! whether it is active; a unique index lets at most one row be active, whoever writes.

use jiff::Timestamp;
use serde::Serialize;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Row as _, SqlSafeStr as _};
use tokio_util::task::TaskTracker;

use crate::pools::{PoolVersion, Record};

const SCHEMA: &str = "
CREATE TABLE pool_configurations (
    id          INTEGER NOT NULL PRIMARY KEY,
    name        TEXT    NOT NULL,
    version     INTEGER NOT NULL CHECK (version > 0),
    config      TEXT    NOT NULL CHECK (json_valid(config)),
    active      INTEGER NOT NULL DEFAULT 0 CHECK (active IN (0, 1)),
    source      TEXT    NOT NULL CHECK (source IN ('file', 'put')),
    who         TEXT    NOT NULL,
    why         TEXT    NOT NULL,
    inserted_at TEXT    NOT NULL,
    updated_at  TEXT    NOT NULL,
    UNIQUE (name, version)
) STRICT;
CREATE UNIQUE INDEX pool_configurations_one_active ON pool_configurations (active) WHERE active = 1;
";

/// Where a version comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Source {
    /// The configuration file had it at a start.
    File,
    /// Somebody sent it to a running server.
    Put,
}

impl Source {
    fn label(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Put => "put",
        }
    }
}

/// One version.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    /// Which version of which pool.
    #[serde(flatten)]
    pub(crate) pool: PoolVersion,
    /// What it is; see [`Record`].
    pub(crate) config: Record,
    /// Whether it is the pool that serves as stable.
    pub(crate) active: bool,
    pub(crate) source: Source,
    pub(crate) who: String,
    pub(crate) why: String,
    pub(crate) inserted_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

/// Why versions cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database.
    #[error("the table pool_configurations cannot be used: {0}")]
    Database(#[from] sqlx::Error),
    /// Its tables.
    #[error("the table pool_configurations cannot be set up: {0}")]
    Schema(#[from] sqlx::migrate::MigrateError),
    /// A row that is not as it was written.
    #[error("version {pool} in the table pool_configurations cannot be read: {problem}")]
    Corrupt {
        /// Which row.
        pool: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// The table.
#[derive(Debug)]
pub(crate) struct Table {
    writer: SqlitePool,
    reader: SqlitePool,
    writes: TaskTracker,
}

impl Table {
    pub(crate) async fn open(writer: SqlitePool, reader: SqlitePool) -> Result<Self, StoreError> {
        let mut migrator = Migrator::with_migrations(vec![Migration::new(
            1,
            "pool configurations".into(),
            MigrationType::Simple,
            SCHEMA.into_sql_str(),
            false,
        )]);
        migrator.dangerous_set_table_name("_dspex_app_migrations");
        migrator.run(&writer).await?;
        Ok(Self {
            writer,
            reader,
            writes: TaskTracker::new(),
        })
    }

    /// Runs its writes on this tracker, so that who closes the database can wait for them.
    pub(crate) fn writing_on(&mut self, tracker: TaskTracker) {
        self.writes = tracker;
    }

    /// Every version, in order of name and version.
    pub(crate) async fn all(&self) -> Result<Vec<Row>, StoreError> {
        let rows = sqlx::query("SELECT * FROM pool_configurations ORDER BY name, version")
            .fetch_all(&self.reader)
            .await?;
        rows.iter().map(read).collect()
    }

    pub(crate) async fn insert(&self, row: &Row) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO pool_configurations \
             (name, version, config, active, source, who, why, inserted_at, updated_at) \
             VALUES (?, ?, ?, 0, ?, ?, ?, ?, ?)",
        )
        .bind(&row.pool.name)
        .bind(row.pool.version)
        .bind(serde_json::Value::Object(row.config.clone()).to_string())
        .bind(row.source.label())
        .bind(&row.who)
        .bind(&row.why)
        .bind(row.inserted_at.to_string())
        .bind(row.updated_at.to_string())
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// The file has this version too now.
    pub(crate) async fn adopt(&self, pool: &PoolVersion, at: Timestamp) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE pool_configurations SET source = 'file', updated_at = ? \
             WHERE name = ? AND version = ?",
        )
        .bind(at.to_string())
        .bind(&pool.name)
        .bind(pool.version)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// Makes this the active version, and no other. May be repeated.
    ///
    /// In a task of its own. A migration's act is not polled while its controller writes into the journal, and
    /// both have the one connection that writes: an act that stood still inside of a transaction would keep the
    /// journal waiting for it, and the journal the act.
    pub(crate) async fn activate(
        &self,
        pool: &PoolVersion,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let (writer, pool) = (self.writer.clone(), pool.clone());
        let written = self
            .writes
            .spawn(async move { activate(&writer, &pool, at).await });
        written
            .await
            .map_err(|died| sqlx::Error::Protocol(format!("the write died: {died}")))?
    }
}

async fn activate(
    writer: &SqlitePool,
    pool: &PoolVersion,
    at: Timestamp,
) -> Result<(), StoreError> {
    // An error before its commit rolls it back; a caller that leaves does not.
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    let at = at.to_string();
    sqlx::query(
        "UPDATE pool_configurations SET active = 0, updated_at = ? \
         WHERE active = 1 AND NOT (name = ? AND version = ?)",
    )
    .bind(&at)
    .bind(&pool.name)
    .bind(pool.version)
    .execute(&mut *transaction)
    .await?;
    let found = sqlx::query(
        "UPDATE pool_configurations SET active = 1, \
         updated_at = CASE active WHEN 1 THEN updated_at ELSE ? END \
         WHERE name = ? AND version = ?",
    )
    .bind(&at)
    .bind(&pool.name)
    .bind(pool.version)
    .execute(&mut *transaction)
    .await?;
    if found.rows_affected() == 0 {
        return Err(StoreError::Corrupt {
            pool: pool.to_string(),
            problem: "it is not there".to_owned(),
        });
    }
    transaction.commit().await?;
    Ok(())
}

fn read(row: &SqliteRow) -> Result<Row, StoreError> {
    let name: String = row.try_get("name")?;
    let pool = PoolVersion::new(name, row.try_get("version")?);
    let corrupt = |problem: String| StoreError::Corrupt {
        pool: pool.to_string(),
        problem,
    };
    let moment = |column: &str| -> Result<Timestamp, StoreError> {
        let text: String = row.try_get(column)?;
        text.parse()
            .map_err(|error| corrupt(format!("{column}: {error}")))
    };
    let config: String = row.try_get("config")?;
    let source: String = row.try_get("source")?;
    Ok(Row {
        config: serde_json::from_str(&config).map_err(|error| corrupt(error.to_string()))?,
        active: row.try_get("active")?,
        source: match source.as_str() {
            "file" => Source::File,
            _ => Source::Put,
        },
        who: row.try_get("who")?,
        why: row.try_get("why")?,
        inserted_at: moment("inserted_at")?,
        updated_at: moment("updated_at")?,
        pool,
    })
}
