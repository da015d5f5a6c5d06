//! Journals in SQLite, beside the tables of other crates.
//!
//! Invariants: a unique index lets at most one row of `migration_status` be live, whoever writes;
//! every write is one `BEGIN IMMEDIATE` transaction in a task of its own, so a caller that leaves
//! leaves no half of it.

mod pieces;
mod rows;

use std::future::Future;

use async_trait::async_trait;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::SqlitePool;
use sqlx::{Row, SqlSafeStr, Sqlite, Transaction};
use tokio_util::task::TaskTracker;

use super::{Append, Inbox, Journal, Post, Start, Summary};
use crate::command::CommandRow;
use crate::error::JournalError;
use crate::event::{Entry, Event};
use crate::id::MigrationId;
use crate::phase::Phase;
use rows::{from_json, json, number, parsed, signed, sql, store, summary};

/// Journals in the tables `migration_status`, `migration_journal` and `migration_commands`. Which
/// schema they have is in `_dspex_migration_migrations`.
#[derive(Debug)]
pub struct SqliteJournal {
    writer: SqlitePool,
    reader: SqlitePool,
    writes: TaskTracker,
}

const SCHEMA: &str = "
CREATE TABLE migration_status (
    id           TEXT    NOT NULL PRIMARY KEY,
    phase        TEXT    NOT NULL,
    status       TEXT    NOT NULL CHECK (status IN ('live', 'ended')),
    candidate    TEXT    NOT NULL,
    stable       TEXT    NOT NULL,
    who          TEXT    NOT NULL,
    why          TEXT    NOT NULL,
    outcome      TEXT,
    last_seq     INTEGER NOT NULL,
    metadata     TEXT    NOT NULL,
    started_at   TEXT    NOT NULL,
    completed_at TEXT,
    updated_at   TEXT    NOT NULL
) STRICT;
CREATE UNIQUE INDEX migration_status_one_live ON migration_status (status) WHERE status = 'live';
CREATE TABLE migration_journal (
    migration    TEXT    NOT NULL REFERENCES migration_status (id),
    seq          INTEGER NOT NULL,
    at           TEXT    NOT NULL,
    event        TEXT    NOT NULL,
    PRIMARY KEY (migration, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE migration_commands (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    migration    TEXT    NOT NULL REFERENCES migration_status (id),
    command      TEXT    NOT NULL,
    who          TEXT    NOT NULL,
    why          TEXT    NOT NULL,
    at           TEXT    NOT NULL
) STRICT;
CREATE INDEX migration_commands_of ON migration_commands (migration, id);
";

impl SqliteJournal {
    /// Opens the journals, and brings their tables up to date. `writer` should have one connection;
    /// `reader` may have many.
    ///
    /// # Errors
    ///
    /// [`JournalError::Store`] where the database cannot be written, or a newer version of dspex
    /// has written to it.
    pub async fn open(writer: SqlitePool, reader: SqlitePool) -> Result<Self, JournalError> {
        let mut migrator = Migrator::with_migrations(vec![Migration::new(
            1,
            "status, journal and commands".into(),
            MigrationType::Simple,
            SCHEMA.into_sql_str(),
            false,
        )]);
        migrator.dangerous_set_table_name("_dspex_migration_migrations");
        let failed = |error| store(format!("its tables cannot be set up: {error}"));
        migrator.run(&writer).await.map_err(failed)?;
        Ok(Self {
            writer,
            reader,
            writes: TaskTracker::new(),
        })
    }

    /// Runs one transaction in a task of its own: all of it or nothing, whether or not the caller
    /// stays.
    async fn write<T, W, F>(&self, work: W) -> Result<T, JournalError>
    where
        T: Send + 'static,
        W: FnOnce(Transaction<'static, Sqlite>) -> F + Send + 'static,
        F: Future<Output = Result<(Transaction<'static, Sqlite>, T), JournalError>> + Send,
    {
        let writer = self.writer.clone();
        let task = self.writes.spawn(async move {
            let transaction = writer.begin_with("BEGIN IMMEDIATE").await.map_err(sql)?;
            let (transaction, answer) = work(transaction).await?;
            transaction.commit().await.map_err(sql)?;
            Ok(answer)
        });
        task.await
            .map_err(|died| store(format!("the write died: {died}")))?
    }
}

#[async_trait]
impl Journal for SqliteJournal {
    async fn create(&self, id: &MigrationId, start: Start<'_>) -> Result<(), JournalError> {
        let (id, at) = (id.clone(), start.at.to_string());
        let (who, why) = (start.who.to_owned(), start.why.to_owned());
        let (candidate, stable) = (start.plan.candidate.clone(), start.plan.stable.clone());
        let metadata = json(&id, &serde_json::json!({ "plan": start.plan }))?;
        let event = Event::Started {
            plan: start.plan.clone(),
            who: who.clone(),
            why: why.clone(),
        };
        let event = json(&id, &event)?;
        self.write(move |mut tx| async move {
            let created = sqlx::query(
                "INSERT INTO migration_status (id, phase, status, candidate, stable, who, why, \
                 last_seq, metadata, started_at, updated_at) \
                 VALUES (?, ?, 'live', ?, ?, ?, ?, 1, ?, ?, ?)",
            )
            .bind(id.as_str())
            .bind(Phase::Prepare.label())
            .bind(candidate)
            .bind(stable)
            .bind(who)
            .bind(why)
            .bind(metadata)
            .bind(&at)
            .bind(&at)
            .execute(&mut *tx)
            .await;
            if let Err(error) = created {
                return Err(refused(&mut tx, error).await);
            }
            insert(&mut tx, &id, 1, &at, &event).await?;
            Ok((tx, ()))
        })
        .await
    }

    async fn append(&self, id: &MigrationId, append: Append<'_>) -> Result<u64, JournalError> {
        let (id, at, phase) = (id.clone(), append.at.to_string(), append.phase);
        let (expected, outcome) = (append.expected_seq, append.outcome.map(str::to_owned));
        let events: Vec<String> = append
            .events
            .iter()
            .map(|event| json(&id, event))
            .collect::<Result<_, _>>()?;
        self.write(move |mut tx| async move {
            let row = sqlx::query("SELECT last_seq FROM migration_status WHERE id = ?")
                .bind(id.as_str())
                .fetch_optional(&mut *tx)
                .await
                .map_err(sql)?
                .ok_or_else(|| JournalError::Unknown { id: id.clone() })?;
            let actual = number(&id, &row, "last_seq")?;
            if actual != expected {
                return Err(JournalError::Conflict {
                    id,
                    expected,
                    actual,
                });
            }
            let mut seq = actual;
            for event in &events {
                seq += 1;
                insert(&mut tx, &id, seq, &at, event).await?;
            }
            let status = if phase.is_live() { "live" } else { "ended" };
            let updated = sqlx::query(
                "UPDATE migration_status SET phase = ?1, status = ?2, outcome = ?3, last_seq = ?4, \
                 updated_at = ?5, completed_at = \
                 CASE WHEN ?2 = 'live' THEN NULL ELSE coalesce(completed_at, ?5) END WHERE id = ?6",
            )
            .bind(phase.label())
            .bind(status)
            .bind(outcome)
            .bind(signed(seq))
            .bind(&at)
            .bind(id.as_str())
            .execute(&mut *tx)
            .await;
            if let Err(error) = updated {
                return Err(refused(&mut tx, error).await);
            }
            Ok((tx, seq))
        })
        .await
    }

    async fn entries(
        &self,
        id: &MigrationId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, JournalError> {
        let mut reader = self.reader.acquire().await.map_err(sql)?;
        let entries = pieces::read(&mut reader, id, after, limit).await?;
        drop(reader);
        if entries.is_empty() {
            known(&self.reader, id).await?;
        }
        Ok(entries)
    }

    async fn history(&self, limit: usize) -> Result<Vec<Summary>, JournalError> {
        let rows = sqlx::query(
            "SELECT id, phase, candidate, stable, who, why, outcome, started_at, completed_at, \
             last_seq FROM migration_status ORDER BY rowid DESC LIMIT ?",
        )
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&self.reader)
        .await
        .map_err(sql)?;
        rows.iter().map(summary).collect()
    }
}

#[async_trait]
impl Inbox for SqliteJournal {
    async fn post(&self, id: &MigrationId, post: Post<'_>) -> Result<u64, JournalError> {
        let (id, at) = (id.clone(), post.at.to_string());
        let (who, why) = (post.who.to_owned(), post.why.to_owned());
        let command = json(&id, &post.command)?;
        self.write(move |mut tx| async move {
            let known = sqlx::query("SELECT 1 FROM migration_status WHERE id = ?")
                .bind(id.as_str())
                .fetch_optional(&mut *tx)
                .await
                .map_err(sql)?;
            if known.is_none() {
                return Err(JournalError::Unknown { id });
            }
            let inserted = sqlx::query(
                "INSERT INTO migration_commands (migration, command, who, why, at) \
                 VALUES (?, ?, ?, ?, ?)",
            )
            .bind(id.as_str())
            .bind(command)
            .bind(who)
            .bind(why)
            .bind(at)
            .execute(&mut *tx)
            .await
            .map_err(sql)?;
            let number = u64::try_from(inserted.last_insert_rowid()).unwrap_or_default();
            Ok((tx, number))
        })
        .await
    }

    async fn commands(
        &self,
        id: &MigrationId,
        after: u64,
    ) -> Result<Vec<CommandRow>, JournalError> {
        let rows = sqlx::query(
            "SELECT id, command, who, why, at FROM migration_commands \
             WHERE migration = ? AND id > ? ORDER BY id",
        )
        .bind(id.as_str())
        .bind(signed(after))
        .fetch_all(&self.reader)
        .await
        .map_err(sql)?;
        if rows.is_empty() {
            known(&self.reader, id).await?;
        }
        rows.iter()
            .map(|row| {
                Ok(CommandRow {
                    id: number(id, row, "id")?,
                    command: from_json(id, row, "command")?,
                    who: row.try_get("who").map_err(sql)?,
                    why: row.try_get("why").map_err(sql)?,
                    at: parsed(id, row, "at")?,
                })
            })
            .collect()
    }

    async fn last_command(&self, id: &MigrationId) -> Result<u64, JournalError> {
        let row = sqlx::query(
            "SELECT coalesce(max(id), 0) AS last FROM migration_commands WHERE migration = ?",
        )
        .bind(id.as_str())
        .fetch_one(&self.reader)
        .await
        .map_err(sql)?;
        number(id, &row, "last")
    }
}

async fn insert(
    tx: &mut Transaction<'static, Sqlite>,
    id: &MigrationId,
    seq: u64,
    at: &str,
    event: &str,
) -> Result<(), JournalError> {
    sqlx::query("INSERT INTO migration_journal (migration, seq, at, event) VALUES (?, ?, ?, ?)")
        .bind(id.as_str())
        .bind(signed(seq))
        .bind(at)
        .bind(event)
        .execute(&mut **tx)
        .await
        .map(|_| ())
        .map_err(sql)
}

/// Why a row could not be made live: the unique index says that another one is.
async fn refused(tx: &mut Transaction<'static, Sqlite>, error: sqlx::Error) -> JournalError {
    let unique = error
        .as_database_error()
        .is_some_and(|error| error.is_unique_violation());
    if !unique {
        return sql(error);
    }
    let live = sqlx::query("SELECT id FROM migration_status WHERE status = 'live'")
        .fetch_optional(&mut **tx)
        .await;
    match live.map(|row| row.and_then(|row| row.try_get::<String, _>("id").ok())) {
        Ok(Some(id)) => JournalError::AlreadyRunning {
            id: MigrationId::from_text(id),
        },
        Ok(None) => sql(error),
        Err(error) => sql(error),
    }
}

async fn known(reader: &SqlitePool, id: &MigrationId) -> Result<(), JournalError> {
    let row = sqlx::query("SELECT 1 FROM migration_status WHERE id = ?")
        .bind(id.as_str())
        .fetch_optional(reader)
        .await
        .map_err(sql)?;
    row.map(|_| ())
        .ok_or_else(|| JournalError::Unknown { id: id.clone() })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use sqlx::sqlite::SqliteConnectOptions;

    use super::*;
    use crate::journal::conformance;

    #[tokio::test]
    async fn it_conforms() {
        let folders = Mutex::new(Vec::new());
        conformance::run(|| async {
            let folder = tempfile::tempdir().expect("a folder");
            let options = SqliteConnectOptions::new()
                .filename(folder.path().join("dspex.db"))
                .create_if_missing(true)
                .busy_timeout(std::time::Duration::from_secs(60));
            let pool = SqlitePool::connect_with(options).await.expect("connected");
            folders.lock().expect("unpoisoned").push(folder);
            let journal = SqliteJournal::open(pool.clone(), pool)
                .await
                .expect("opened");
            Arc::new(journal) as Arc<dyn Journal>
        })
        .await;
    }
}
