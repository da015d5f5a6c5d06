//! A store in an SQLite database that others share: other crates' tables, other processes.
//!
//! Invariants: every write is one `BEGIN IMMEDIATE` transaction, so the revision it compares is the
//! revision it replaces, also between processes. Reads are single statements: one moment each. The
//! tables and their migrations are this crate's own.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Row, SqlSafeStr, SqliteConnection};
use tokio_util::task::TaskTracker;

use super::{FlagStore, Stored, StoredValue};
use crate::audit::{Change, Write};
use crate::error::{FlagError, shown};
use crate::revision::Revision;
use crate::rollout::HASH_VERSION;
use crate::value::{FlagValue, Kind};

/// A [`FlagStore`] in an SQLite database.
///
/// Its tables are `flags`, `flag_changes` and `flag_revision`; which migrations were applied is in
/// `_dspex_flags_migrations`.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    writer: SqlitePool,
    reader: SqlitePool,
    writes: TaskTracker,
}

impl SqliteStore {
    /// Opens the store, and brings its tables up to date.
    ///
    /// `writer` should have one connection, so that writers of this process queue here and not at
    /// the file's lock; `reader` may have several, and may be the same pool. Both should be in WAL
    /// mode with a busy timeout.
    ///
    /// # Errors
    ///
    /// [`FlagError::SchemaTooNew`] if a newer program has set the tables up, [`FlagError::Store`] if
    /// the database cannot be read or written.
    pub async fn open(writer: SqlitePool, reader: SqlitePool) -> Result<Self, FlagError> {
        migrate(&writer).await?;
        let writes = TaskTracker::new();
        Ok(Self {
            writer,
            reader,
            writes,
        })
    }
}

#[async_trait]
impl FlagStore for SqliteStore {
    async fn load(&self) -> Result<Stored, FlagError> {
        // One statement and not two: the revision and the values are of one moment.
        let rows = sqlx::query(
            "SELECT r.revision AS newest, f.key, f.kind, f.value, f.revision, f.hash_version
             FROM flag_revision AS r LEFT JOIN flags AS f ON TRUE ORDER BY f.key",
        )
        .fetch_all(&self.reader)
        .await
        .map_err(|error| FlagError::store(LOADING, error))?;
        let Some(first) = rows.first() else {
            return Err(FlagError::store(LOADING, NO_REVISION));
        };
        let revision = revision_of(first.try_get("newest"), LOADING)?;
        let mut values = BTreeMap::new();
        for row in &rows {
            let key: Option<String> = row
                .try_get("key")
                .map_err(|error| FlagError::store(LOADING, error))?;
            if let Some(key) = key {
                let stored = stored_value(row, &key)?;
                values.insert(key, stored);
            }
        }
        Ok(Stored { revision, values })
    }

    /// In a task of its own: a caller that leaves, or is not polled for a while, would otherwise
    /// keep the one writing connection from everybody else.
    async fn write(&self, write: &Write, at: Timestamp) -> Result<Revision, FlagError> {
        write.check()?;
        let (writer, write) = (self.writer.clone(), write.clone());
        let written = self
            .writes
            .spawn(async move { transact(&writer, &write, at).await });
        written
            .await
            .map_err(|died| FlagError::store(WRITING, died))?
    }

    async fn revision(&self) -> Result<Revision, FlagError> {
        let mut connection = self
            .reader
            .acquire()
            .await
            .map_err(|error| FlagError::store(POLLING, error))?;
        newest_revision(&mut connection, POLLING).await
    }

    async fn history(&self, limit: usize) -> Result<Vec<Change>, FlagError> {
        let rows = sqlx::query(
            "SELECT revision, key, before_kind, before_value, after_kind, after_value, who, why,
                    at, hash_version
             FROM flag_changes ORDER BY revision DESC, key LIMIT ?",
        )
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&self.reader)
        .await
        .map_err(|error| FlagError::store(HISTORY, error))?;
        rows.iter().map(change).collect()
    }
}

const OPENING: &str = "preparing its tables";
const LOADING: &str = "reading the flags";
const WRITING: &str = "writing a change";
const POLLING: &str = "asking for the newest revision";
const HISTORY: &str = "reading the history";
const NO_REVISION: &str = "the table `flag_revision` has lost its row";

/// The version of the newest migration below.
const SCHEMA: i64 = 1;

async fn migrate(writer: &SqlitePool) -> Result<(), FlagError> {
    let migration = Migration::new(
        SCHEMA,
        "flags".into(),
        MigrationType::Simple,
        include_str!("../../migrations/1_flags.sql").into_sql_str(),
        false,
    );
    let mut migrator = Migrator::with_migrations(vec![migration]);
    migrator.dangerous_set_table_name("_dspex_flags_migrations");
    // SQLite gives sqlx no lock for migrations: within this transaction a second process waits.
    let failed = |error: sqlx::Error| FlagError::store(OPENING, error);
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    let migrated = migrator.run_direct(None, &mut *transaction, false).await;
    migrated.map_err(|error| match error {
        MigrateError::VersionMissing(found) => FlagError::SchemaTooNew {
            found,
            known: SCHEMA,
        },
        other => FlagError::store(OPENING, other),
    })?;
    // On a database that may not be written, SQLite lets even an immediate transaction begin: this
    // has the refusal come here and not at the first rollback.
    sqlx::query("UPDATE flag_revision SET revision = revision")
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    transaction.commit().await.map_err(failed)
}

async fn transact(
    writer: &SqlitePool,
    write: &Write,
    at: Timestamp,
) -> Result<Revision, FlagError> {
    let failed = |error: sqlx::Error| FlagError::store(WRITING, error);
    // A deferred transaction would take its lock at the first write, after the comparison, and
    // would be answered "busy" at once if somebody else had written in between.
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    let actual = newest_revision(&mut transaction, WRITING).await?;
    write.check_expected(actual)?;
    let revision = actual.next();
    for (key, value) in &write.set {
        set(&mut transaction, key, value, revision, write, at).await?;
    }
    sqlx::query("UPDATE flag_revision SET revision = ? WHERE id = 1")
        .bind(column(revision)?)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    Ok(revision)
}

async fn newest_revision(
    connection: &mut SqliteConnection,
    doing: &'static str,
) -> Result<Revision, FlagError> {
    let revision = sqlx::query_scalar("SELECT revision FROM flag_revision WHERE id = 1")
        .fetch_optional(connection)
        .await
        .map_err(|error| FlagError::store(doing, error))?;
    match revision {
        Some(revision) => revision_of(Ok(revision), doing),
        None => Err(FlagError::store(doing, NO_REVISION)),
    }
}

async fn set(
    connection: &mut SqliteConnection,
    key: &str,
    value: &FlagValue,
    revision: Revision,
    write: &Write,
    at: Timestamp,
) -> Result<(), FlagError> {
    let failed = |error: sqlx::Error| FlagError::store(WRITING, error);
    let before = sqlx::query("SELECT kind, value FROM flags WHERE key = ?")
        .bind(key)
        .fetch_optional(&mut *connection)
        .await
        .map_err(failed)?;
    // What cannot be read may be written over: a rollback may not wait for a repair.
    let before = before.and_then(|row| match read(&row, key, "kind", "value") {
        Ok(before) => Some(before),
        Err(error) => {
            tracing::warn!(%error, "an unreadable flag is written over");
            None
        }
    });
    let after = text(value)?;
    sqlx::query(
        "INSERT INTO flags (key, kind, value, revision, hash_version) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (key) DO UPDATE
         SET kind = ?2, value = ?3, revision = ?4, hash_version = ?5",
    )
    .bind(key)
    .bind(value.kind().as_str())
    .bind(&after)
    .bind(column(revision)?)
    .bind(HASH_VERSION)
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    sqlx::query(
        "INSERT INTO flag_changes (revision, key, before_kind, before_value, after_kind,
                                   after_value, who, why, at, hash_version)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(column(revision)?)
    .bind(key)
    .bind(before.as_ref().map(|before| before.kind().as_str()))
    .bind(before.as_ref().map(text).transpose()?)
    .bind(value.kind().as_str())
    .bind(&after)
    .bind(&write.who)
    .bind(&write.why)
    .bind(at.to_string())
    .bind(HASH_VERSION)
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    Ok(())
}

fn stored_value(row: &SqliteRow, key: &str) -> Result<StoredValue, FlagError> {
    let failed = |error: sqlx::Error| FlagError::store(LOADING, error);
    Ok(StoredValue {
        value: read(row, key, "kind", "value")?,
        revision: revision_of(row.try_get("revision"), LOADING)?,
        hash_version: row.try_get("hash_version").map_err(failed)?,
    })
}

fn change(row: &SqliteRow) -> Result<Change, FlagError> {
    let failed = |error: sqlx::Error| FlagError::store(HISTORY, error);
    let key: String = row.try_get("key").map_err(failed)?;
    let had_value: Option<&str> = row.try_get("before_value").map_err(failed)?;
    let before = match had_value {
        Some(_) => Some(read(row, &key, "before_kind", "before_value")?),
        None => None,
    };
    let at: &str = row.try_get("at").map_err(failed)?;
    let at = at
        .parse()
        .map_err(|error: jiff::Error| FlagError::Corrupt {
            key: key.clone(),
            text: shown(at),
            problem: format!("it is not a time: {error}"),
        })?;
    Ok(Change {
        revision: revision_of(row.try_get("revision"), HISTORY)?,
        before,
        after: read(row, &key, "after_kind", "after_value")?,
        who: row.try_get("who").map_err(failed)?,
        why: row.try_get("why").map_err(failed)?,
        at,
        hash_version: row.try_get("hash_version").map_err(failed)?,
        key,
    })
}

/// The value in two columns of a row: its kind, and its JSON.
fn read(row: &SqliteRow, key: &str, kind: &str, value: &str) -> Result<FlagValue, FlagError> {
    let failed = |error: sqlx::Error| FlagError::store(LOADING, error);
    let word: &str = row.try_get(kind).map_err(failed)?;
    let text: &str = row.try_get(value).map_err(failed)?;
    let corrupt = |problem: String| FlagError::Corrupt {
        key: key.to_owned(),
        text: shown(text),
        problem,
    };
    let kind = Kind::from_word(word).ok_or_else(|| {
        corrupt(format!(
            "this program knows no flags of kind `{}`",
            shown(word)
        ))
    })?;
    let json = serde_json::from_str(text).map_err(|error| corrupt(format!("not JSON: {error}")))?;
    kind.read(&json).map_err(corrupt)
}

fn text(value: &FlagValue) -> Result<String, FlagError> {
    serde_json::to_string(value).map_err(|error| FlagError::store(WRITING, error))
}

/// A revision as SQLite's signed integer.
fn column(revision: Revision) -> Result<i64, FlagError> {
    i64::try_from(revision.get()).map_err(|error| FlagError::store(WRITING, error))
}

fn revision_of(
    column: Result<i64, sqlx::Error>,
    doing: &'static str,
) -> Result<Revision, FlagError> {
    let number = column.map_err(|error| FlagError::store(doing, error))?;
    let number = u64::try_from(number).map_err(|error| FlagError::store(doing, error))?;
    Ok(Revision::new(number))
}

#[cfg(test)]
mod tests;
