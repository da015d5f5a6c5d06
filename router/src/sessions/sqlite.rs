//! Session states kept in SQLite, in tables of their own.
//!
//! Invariants: an answered write is durable; writes that wait for the one connection are committed
//! together, so that many sessions share one sync to disk; the totals are kept by the database
//! itself, in the transaction that changes them, so no write counts rows.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use dspex_pool::ProgramKey;
use jiff::Timestamp;
use serde_json::value::RawValue;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{Row, SqlSafeStr, SqliteConnection, SqlitePool};
use tokio::sync::{Mutex as AsyncMutex, oneshot};
use tokio_util::task::TaskTracker;

use super::{Saved, SessionError, SessionKey, SessionStore, SessionTotals};

/// The tables' version.
const VERSION: i64 = 1;

/// With a rowid, because states may be long: the index stays small beside them.
const SCHEMA: &str = "
CREATE TABLE session_states (
    version INTEGER NOT NULL,
    session TEXT NOT NULL,
    state TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    used_at INTEGER NOT NULL,
    PRIMARY KEY (version, session)
) STRICT;
CREATE INDEX session_states_by_use ON session_states (used_at);
CREATE TABLE session_totals (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    sessions INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT;
INSERT INTO session_totals (one, sessions, bytes) VALUES (1, 0, 0);
CREATE TRIGGER session_states_added AFTER INSERT ON session_states BEGIN
    UPDATE session_totals SET sessions = sessions + 1, bytes = bytes + NEW.bytes;
END;
CREATE TRIGGER session_states_changed AFTER UPDATE OF bytes ON session_states BEGIN
    UPDATE session_totals SET bytes = bytes + NEW.bytes - OLD.bytes;
END;
CREATE TRIGGER session_states_removed AFTER DELETE ON session_states BEGIN
    UPDATE session_totals SET sessions = sessions - 1, bytes = bytes - OLD.bytes;
END;
";

/// Writes that one transaction takes at most: enough to share a sync, few enough to let other
/// writers of the database in between.
const BATCH: usize = 128;

/// Rows that one statement of a sweep removes, for the same reason.
const SWEEP: i64 = 1_000;

/// A [`SessionStore`] in an SQLite database that may hold other crates' tables too.
///
/// Its tables are `session_states` and `session_totals`; which migrations were applied is in
/// `_dspex_sessions_migrations`.
#[derive(Debug, Clone)]
pub struct SqliteSessions {
    writer: SqlitePool,
    reader: SqlitePool,
    waiting: Arc<Mutex<Vec<Write>>>,
    /// Held by the write that commits for all that wait.
    committing: Arc<AsyncMutex<()>>,
    writes: TaskTracker,
}

/// A state on its way to disk.
#[derive(Debug)]
struct Write {
    key: SessionKey,
    saved: Saved,
    keep: u64,
    done: oneshot::Sender<Result<Vec<SessionKey>, SessionError>>,
}

impl SqliteSessions {
    /// Opens the store and brings its tables to this version's form.
    ///
    /// `writer` should hold one connection: SQLite has one writer at a time. Commits run on
    /// `writes`, and outlive their callers: wait for it before the connections are closed.
    ///
    /// # Errors
    ///
    /// [`SessionError::SchemaTooNew`] where a newer program has made the tables, else where the
    /// database cannot be written.
    pub async fn open(
        writer: SqlitePool,
        reader: SqlitePool,
        writes: TaskTracker,
    ) -> Result<Self, SessionError> {
        let mut migrator = Migrator::with_migrations(vec![Migration::new(
            VERSION,
            "session states".into(),
            MigrationType::Simple,
            SCHEMA.into_sql_str(),
            false,
        )]);
        migrator.dangerous_set_table_name("_dspex_sessions_migrations");
        // SQLite gives sqlx no lock for migrations: within this transaction a second process waits.
        let opening = failed("preparing its tables");
        let mut transaction = writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(&opening)?;
        migrator
            .run_direct(None, &mut *transaction, false)
            .await
            .map_err(|error| match error {
                MigrateError::VersionMissing(found) => SessionError::SchemaTooNew {
                    found,
                    known: VERSION,
                },
                other => SessionError::Schema(Arc::new(other)),
            })?;
        transaction.commit().await.map_err(&opening)?;
        Ok(Self {
            writer,
            reader,
            waiting: Arc::default(),
            committing: Arc::default(),
            writes,
        })
    }

    /// Commits everything that waits, unless another write has taken this one along by then.
    async fn commit(self) {
        let _committing = self.committing.lock().await;
        let batch: Vec<Write> = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let take = waiting.len().min(BATCH);
            waiting.drain(..take).collect()
        };
        if batch.is_empty() {
            return;
        }
        let ended = transact(&self.writer, &batch).await;
        match ended {
            Ok(dropped) => {
                for (write, dropped) in batch.into_iter().zip(dropped) {
                    // Whoever waited may have left; the state is kept all the same.
                    let _ = write.done.send(Ok(dropped));
                }
            }
            Err(error) => {
                let error = failed("keeping a state")(error);
                for write in batch {
                    let _ = write.done.send(Err(error.clone()));
                }
            }
        }
    }
}

fn failed(doing: &'static str) -> impl Fn(sqlx::Error) -> SessionError {
    move |source| SessionError::Store {
        doing,
        source: Arc::new(source),
    }
}

async fn transact(
    writer: &SqlitePool,
    batch: &[Write],
) -> Result<Vec<Vec<SessionKey>>, sqlx::Error> {
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    let mut dropped = Vec::with_capacity(batch.len());
    for write in batch {
        put(&mut transaction, write).await?;
        dropped.push(drop_oldest(&mut transaction, write).await?);
    }
    transaction.commit().await?;
    Ok(dropped)
}

async fn put(connection: &mut SqliteConnection, write: &Write) -> Result<(), sqlx::Error> {
    let state = write.saved.state.as_json().get();
    sqlx::query(
        "INSERT INTO session_states (version, session, state, bytes, used_at)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (version, session) DO UPDATE SET state = ?3, bytes = ?4, used_at = ?5",
    )
    .bind(column(write.key.version)?)
    .bind(&*write.key.session)
    .bind(state)
    .bind(column(state.len() as u64)?)
    .bind(write.saved.used_at.as_millisecond())
    .execute(connection)
    .await
    .map(drop)
}

async fn drop_oldest(
    connection: &mut SqliteConnection,
    write: &Write,
) -> Result<Vec<SessionKey>, sqlx::Error> {
    let sessions: i64 = sqlx::query_scalar("SELECT sessions FROM session_totals")
        .fetch_one(&mut *connection)
        .await?;
    let over = sessions.saturating_sub(column(write.keep.max(1)).unwrap_or(i64::MAX));
    if over <= 0 {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(
        "DELETE FROM session_states WHERE rowid IN (
            SELECT rowid FROM session_states WHERE NOT (version = ?1 AND session = ?2)
            ORDER BY used_at, rowid LIMIT ?3)
         RETURNING version, session",
    )
    .bind(column(write.key.version)?)
    .bind(&*write.key.session)
    .bind(over)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(SessionKey {
                // What is negative was not written by us, and is nobody's key.
                version: u64::try_from(row.try_get::<i64, _>("version")?).unwrap_or(0),
                session: row.try_get::<String, _>("session")?.into(),
            })
        })
        .collect()
}

/// A count as SQLite's signed integer.
fn column(number: u64) -> Result<i64, sqlx::Error> {
    i64::try_from(number).map_err(|error| sqlx::Error::Encode(error.into()))
}

#[async_trait]
impl SessionStore for SqliteSessions {
    async fn get(&self, key: &SessionKey) -> Result<Option<Saved>, SessionError> {
        let reading = failed("reading a state");
        let row = sqlx::query(
            "SELECT state, used_at FROM session_states WHERE version = ? AND session = ?",
        )
        .bind(column(key.version).map_err(&reading)?)
        .bind(&*key.session)
        .fetch_optional(&self.reader)
        .await
        .map_err(&reading)?;
        let Some(row) = row else { return Ok(None) };
        let corrupt = |reason: String| SessionError::Corrupt {
            version: key.version,
            session: Arc::clone(&key.session),
            reason,
        };
        let state = row
            .try_get::<String, _>("state")
            .map_err(|error| corrupt(error.to_string()))?;
        let state =
            RawValue::from_string(state).map_err(|error| corrupt(format!("not JSON: {error}")))?;
        let used_at = row
            .try_get::<i64, _>("used_at")
            .map_err(|error| corrupt(error.to_string()))?;
        let used_at = Timestamp::from_millisecond(used_at)
            .map_err(|error| corrupt(format!("used_at: {error}")))?;
        Ok(Some(Saved {
            state: state.into(),
            used_at,
        }))
    }

    async fn put(
        &self,
        key: &SessionKey,
        saved: &Saved,
        keep: u64,
    ) -> Result<Vec<SessionKey>, SessionError> {
        let (done, ended) = oneshot::channel();
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Write {
                key: key.clone(),
                saved: saved.clone(),
                keep,
                done,
            });
        // In a task of its own: a caller that leaves must not take the others' commit with it.
        self.writes.spawn(self.clone().commit());
        ended.await.unwrap_or(Err(SessionError::Interrupted))
    }

    async fn forget(&self, program: &ProgramKey) -> Result<u64, SessionError> {
        let doing = failed("dropping a program's states");
        let version = column(program.version).map_err(&doing)?;
        sqlx::query("DELETE FROM session_states WHERE version = ?")
            .bind(version)
            .execute(&self.writer)
            .await
            .map(|ended| ended.rows_affected())
            .map_err(&doing)
    }

    async fn sweep(&self, before: Timestamp) -> Result<u64, SessionError> {
        let mut swept = 0;
        loop {
            let gone = sqlx::query(
                "DELETE FROM session_states WHERE rowid IN (
                    SELECT rowid FROM session_states WHERE used_at < ? LIMIT ?)",
            )
            .bind(before.as_millisecond())
            .bind(SWEEP)
            .execute(&self.writer)
            .await
            .map_err(failed("dropping expired states"))?
            .rows_affected();
            swept += gone;
            if i64::try_from(gone).unwrap_or(i64::MAX) < SWEEP {
                return Ok(swept);
            }
        }
    }

    async fn totals(&self) -> Result<SessionTotals, SessionError> {
        let doing = "counting sessions";
        let row = sqlx::query("SELECT sessions, bytes FROM session_totals")
            .fetch_one(&self.reader)
            .await
            .map_err(failed(doing))?;
        let number = |name: &str| {
            row.try_get::<i64, _>(name)
                .map(|number| u64::try_from(number).unwrap_or(0))
                .map_err(failed(doing))
        };
        Ok(SessionTotals {
            sessions: number("sessions")?,
            bytes: number("bytes")?,
        })
    }
}
