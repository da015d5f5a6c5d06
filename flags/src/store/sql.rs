//! A store in an SQL database that others share: other crates' tables, other processes. The
//! statements are the same for SQLite and PostgreSQL; what differs is in a [`Dialect`].
//!
//! Invariants: every write is one transaction that holds the row of the revision from its first
//! statement on, so the revision it compares is the revision it replaces, also between processes.
//! Reads are single statements: one moment each. The tables and their migrations are this crate's own.

#[cfg(feature = "postgres")]
mod postgres;
mod sqlite;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator};
use sqlx::{
    ColumnIndex, Database, Decode, Encode, Executor, IntoArguments, Pool, Row, SqlSafeStr, Type,
};
use tokio::sync::Notify;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::{FlagStore, Stored, StoredValue};
use crate::audit::{Change, Write};
use crate::error::{FlagError, shown};
use crate::revision::Revision;
use crate::rollout::HASH_VERSION;
use crate::value::{FlagValue, Kind};

#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
pub use sqlite::SqliteStore;

/// What one kind of database does otherwise than the other.
pub trait Dialect: Database {
    /// Begins a transaction that writes.
    #[doc(hidden)]
    const BEGIN: &'static str;
    /// Keeps other processes from migrating meanwhile.
    #[doc(hidden)]
    const LOCK_MIGRATIONS: Option<&'static str>;
    /// Creates the tables.
    #[doc(hidden)]
    const TABLES: &'static str;
    /// Reads the revision, and keeps others from writing until the transaction's end.
    #[doc(hidden)]
    const HOLD_REVISION: &'static str;
    /// Tells others of a write, within its transaction.
    #[doc(hidden)]
    const ANNOUNCE: Option<&'static str>;

    /// Wakes whoever waits when others have written, for as long as it is polled.
    #[doc(hidden)]
    fn listen(pool: Pool<Self>, wake: Arc<Notify>) -> impl Future<Output = ()> + Send;
}

/// A [`FlagStore`] in an SQL database: see [`SqliteStore`] and, with the feature `postgres`,
/// `PostgresStore`.
///
/// Its tables are `flags`, `flag_changes` and `flag_revision`; which migrations were applied is in
/// `_dspex_flags_migrations`.
#[derive(Debug, Clone)]
pub struct SqlStore<DB: Dialect> {
    writer: Pool<DB>,
    reader: Pool<DB>,
    tasks: TaskTracker,
    wake: Arc<Notify>,
    listener: Arc<OnceLock<AbortOnDropHandle<()>>>,
}

/// Everything below is for a database whose driver does what sqlx's drivers do with the few types
/// that the tables have. The list is here once, and at the trait's implementation.
impl<DB> SqlStore<DB>
where
    DB: Dialect,
    DB::Connection: Migrate,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'v> i64: Type<DB> + Encode<'v, DB> + Decode<'v, DB>,
    for<'v> String: Type<DB> + Encode<'v, DB> + Decode<'v, DB>,
    for<'v> Option<String>: Encode<'v, DB>,
    for<'n> &'n str: ColumnIndex<DB::Row>,
{
    async fn open_with(writer: Pool<DB>, reader: Pool<DB>) -> Result<Self, FlagError> {
        let tasks = TaskTracker::new();
        let pool = writer.clone();
        // In a task of its own, as `write` does: a transaction must not be dropped while it begins.
        let migrated = tasks.spawn(async move { Self::migrate(&pool).await });
        migrated
            .await
            .map_err(|died| FlagError::store(OPENING, died))??;
        Ok(Self {
            writer,
            reader,
            tasks,
            wake: Arc::default(),
            listener: Arc::default(),
        })
    }

    async fn migrate(writer: &Pool<DB>) -> Result<(), FlagError> {
        let migration = Migration::new(
            SCHEMA,
            "flags".into(),
            MigrationType::Simple,
            DB::TABLES.into_sql_str(),
            false,
        );
        let mut migrator = Migrator::with_migrations(vec![migration]);
        migrator.dangerous_set_table_name("_dspex_flags_migrations");
        // Not sqlx's own lock, which SQLite does not have: within this transaction a second process waits.
        migrator.set_locking(false);
        let failed = |error: sqlx::Error| FlagError::store(OPENING, error);
        let mut transaction = writer.begin_with(DB::BEGIN).await.map_err(failed)?;
        if let Some(lock) = DB::LOCK_MIGRATIONS {
            sqlx::query(lock)
                .execute(&mut *transaction)
                .await
                .map_err(failed)?;
        }
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
        writer: &Pool<DB>,
        write: &Write,
        at: Timestamp,
    ) -> Result<Revision, FlagError> {
        let failed = |error: sqlx::Error| FlagError::store(WRITING, error);
        let mut transaction = writer.begin_with(DB::BEGIN).await.map_err(failed)?;
        let actual = Self::newest_revision(&mut transaction, DB::HOLD_REVISION, WRITING).await?;
        write.check_expected(actual)?;
        let revision = actual.next();
        for (key, value) in &write.set {
            Self::set(&mut transaction, key, value, revision, write, at).await?;
        }
        sqlx::query("UPDATE flag_revision SET revision = $1 WHERE id = 1")
            .bind(column(revision)?)
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        if let Some(announce) = DB::ANNOUNCE {
            sqlx::query(announce)
                .execute(&mut *transaction)
                .await
                .map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)?;
        Ok(revision)
    }

    async fn newest_revision(
        connection: &mut DB::Connection,
        statement: &'static str,
        doing: &'static str,
    ) -> Result<Revision, FlagError> {
        let row = sqlx::query(statement)
            .fetch_optional(connection)
            .await
            .map_err(|error| FlagError::store(doing, error))?;
        match row {
            Some(row) => revision_of(row.try_get("revision"), doing),
            None => Err(FlagError::store(doing, NO_REVISION)),
        }
    }

    async fn set(
        connection: &mut DB::Connection,
        key: &str,
        value: &FlagValue,
        revision: Revision,
        write: &Write,
        at: Timestamp,
    ) -> Result<(), FlagError> {
        let failed = |error: sqlx::Error| FlagError::store(WRITING, error);
        let before = sqlx::query("SELECT kind, value FROM flags WHERE key = $1")
            .bind(key.to_owned())
            .fetch_optional(&mut *connection)
            .await
            .map_err(failed)?;
        // What cannot be read may be written over: a rollback may not wait for a repair.
        let before = before.and_then(|row| match Self::read(&row, key, "kind", "value") {
            Ok(before) => Some(before),
            Err(error) => {
                tracing::warn!(%error, "an unreadable flag is written over");
                None
            }
        });
        let after = text(value)?;
        sqlx::query(
        "INSERT INTO flags (key, kind, value, revision, hash_version) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (key) DO UPDATE
         SET kind = $2, value = $3, revision = $4, hash_version = $5",
    )
    .bind(key.to_owned())
    .bind(value.kind().as_str().to_owned())
    .bind(after.clone())
    .bind(column(revision)?)
    .bind(i64::from(HASH_VERSION))
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
        sqlx::query(
            "INSERT INTO flag_changes (revision, key, before_kind, before_value, after_kind,
                                   after_value, who, why, at, hash_version)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(column(revision)?)
        .bind(key.to_owned())
        .bind(
            before
                .as_ref()
                .map(|before| before.kind().as_str().to_owned()),
        )
        .bind(before.as_ref().map(text).transpose()?)
        .bind(value.kind().as_str().to_owned())
        .bind(after.clone())
        .bind(write.who.clone())
        .bind(write.why.clone())
        .bind(at.to_string())
        .bind(i64::from(HASH_VERSION))
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
        Ok(())
    }

    fn stored_value(row: &DB::Row, key: &str) -> Result<StoredValue, FlagError> {
        Ok(StoredValue {
            value: Self::read(row, key, "kind", "value")?,
            revision: revision_of(row.try_get("revision"), LOADING)?,
            hash_version: Self::hash_version(row, LOADING)?,
        })
    }

    fn change(row: &DB::Row) -> Result<Change, FlagError> {
        let failed = |error: sqlx::Error| FlagError::store(HISTORY, error);
        let key: String = row.try_get("key").map_err(failed)?;
        let had_value: Option<String> = row.try_get("before_value").map_err(failed)?;
        let before = match had_value {
            Some(_) => Some(Self::read(row, &key, "before_kind", "before_value")?),
            None => None,
        };
        let at: String = row.try_get("at").map_err(failed)?;
        let at = at
            .parse()
            .map_err(|error: jiff::Error| FlagError::Corrupt {
                key: key.clone(),
                text: shown(&at),
                problem: format!("it is not a time: {error}"),
            })?;
        Ok(Change {
            revision: revision_of(row.try_get("revision"), HISTORY)?,
            before,
            after: Self::read(row, &key, "after_kind", "after_value")?,
            who: row.try_get("who").map_err(failed)?,
            why: row.try_get("why").map_err(failed)?,
            at,
            hash_version: Self::hash_version(row, HISTORY)?,
            key,
        })
    }

    /// The value in two columns of a row: its kind, and its JSON.
    fn read(row: &DB::Row, key: &str, kind: &str, value: &str) -> Result<FlagValue, FlagError> {
        let failed = |error: sqlx::Error| FlagError::store(LOADING, error);
        let word: String = row.try_get(kind).map_err(failed)?;
        let text: String = row.try_get(value).map_err(failed)?;
        let corrupt = |problem: String| FlagError::Corrupt {
            key: key.to_owned(),
            text: shown(&text),
            problem,
        };
        let kind = Kind::from_word(&word).ok_or_else(|| {
            corrupt(format!(
                "this program knows no flags of kind `{}`",
                shown(&word)
            ))
        })?;
        let json =
            serde_json::from_str(&text).map_err(|error| corrupt(format!("not JSON: {error}")))?;
        kind.read(&json).map_err(corrupt)
    }

    fn hash_version(row: &DB::Row, doing: &'static str) -> Result<u32, FlagError> {
        let number: i64 = row
            .try_get("hash_version")
            .map_err(|error| FlagError::store(doing, error))?;
        u32::try_from(number).map_err(|error| FlagError::store(doing, error))
    }
}

#[async_trait]
impl<DB> FlagStore for SqlStore<DB>
where
    DB: Dialect,
    DB::Connection: Migrate,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'v> i64: Type<DB> + Encode<'v, DB> + Decode<'v, DB>,
    for<'v> String: Type<DB> + Encode<'v, DB> + Decode<'v, DB>,
    for<'v> Option<String>: Encode<'v, DB>,
    for<'n> &'n str: ColumnIndex<DB::Row>,
{
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
                let stored = Self::stored_value(row, &key)?;
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
            .tasks
            .spawn(async move { Self::transact(&writer, &write, at).await });
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
        Self::newest_revision(&mut connection, REVISION, POLLING).await
    }

    async fn changed(&self) {
        self.listener.get_or_init(|| {
            let listening = DB::listen(self.reader.clone(), self.wake.clone());
            AbortOnDropHandle::new(self.tasks.spawn(listening))
        });
        self.wake.notified().await;
    }

    async fn history(&self, limit: usize) -> Result<Vec<Change>, FlagError> {
        let rows = sqlx::query(
            "SELECT revision, key, before_kind, before_value, after_kind, after_value, who, why,
                    at, hash_version
             FROM flag_changes ORDER BY revision DESC, key LIMIT $1",
        )
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&self.reader)
        .await
        .map_err(|error| FlagError::store(HISTORY, error))?;
        rows.iter().map(Self::change).collect()
    }
}

const OPENING: &str = "preparing its tables";
const LOADING: &str = "reading the flags";
const WRITING: &str = "writing a change";
const POLLING: &str = "asking for the newest revision";
const HISTORY: &str = "reading the history";
const REVISION: &str = "SELECT revision FROM flag_revision WHERE id = 1";
const NO_REVISION: &str = "the table `flag_revision` has lost its row";

/// The version of the newest migration below.
const SCHEMA: i64 = 1;

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
