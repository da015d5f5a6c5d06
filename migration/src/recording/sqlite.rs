//! Looks in SQLite, in the table `pool_metrics`: two rows for each, one for each pool.
//!
//! Invariants: looks are written in their order, by one task at a time; no more than [`WAITING`] wait, so
//! a store that does not answer costs looks and no memory. Each transaction is short, because the journal
//! waits while it lasts.

mod rows;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqlitePool, SqliteRow};
use tokio_util::task::TaskTracker;

use self::rows::{insert, pair_of, text};
use super::{Keep, Recorded, Recorder};
use crate::error::JournalError;
use crate::id::MigrationId;

/// Looks that wait to be written: five minutes at the default interval.
const WAITING: usize = 60;

/// Looks of one transaction, at most.
const BATCH: usize = 10;

/// So many looks are written between two times that old ones are deleted.
const SWEEP: u64 = 100;

/// Rows that one transaction deletes, at most: more than come between two sweeps, so it keeps up.
const SWEPT: i64 = 1_000;

/// Rows that one transaction deletes of a migration that is removed: a multiple of two, because a look
/// is two rows, and never gone by half.
const REMOVED: i64 = 500;

/// Between two of them, so that whoever waits for the database gets it.
const GIVE_WAY: Duration = Duration::from_millis(5);

const SCHEMA: &str = "
CREATE TABLE pool_metrics (
    id           INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    pool_name    TEXT    NOT NULL,
    timestamp    TEXT    NOT NULL,
    metrics      TEXT    NOT NULL,
    migration    TEXT    NOT NULL,
    seq          INTEGER NOT NULL,
    lane         TEXT    NOT NULL CHECK (lane IN ('stable', 'candidate')),
    look         TEXT,
    inserted_at  TEXT    NOT NULL,
    updated_at   TEXT    NOT NULL
) STRICT;
CREATE INDEX pool_metrics_pool_name_timestamp ON pool_metrics (pool_name, timestamp);
CREATE INDEX pool_metrics_migration ON pool_metrics (migration, id);
CREATE INDEX pool_metrics_timestamp ON pool_metrics (timestamp);
";

/// Looks from before it are taken for those of rollouts.
const WATCHED: &str = "
ALTER TABLE pool_metrics ADD COLUMN watched INTEGER NOT NULL DEFAULT 0 CHECK (watched IN (0, 1));
";

/// Looks in the table `pool_metrics`. Which schema it has is in `_dspex_recording_migrations`.
#[derive(Debug, Clone)]
pub struct SqliteRecorder {
    writer: SqlitePool,
    reader: SqlitePool,
    keep: Keep,
    queue: Arc<Mutex<Queue>>,
    writes: TaskTracker,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Recorded>,
    /// A task writes.
    writing: bool,
    /// Lost since the last one that was kept.
    missing: u64,
    lost: u64,
    since_swept: u64,
}

impl SqliteRecorder {
    /// Opens the table, and brings it up to date. `writer` should have one connection, and not that of a
    /// journal: an append of the journal would stand in the queue for it. `reader` may have many.
    ///
    /// # Errors
    ///
    /// [`JournalError::Store`] where the database cannot be written, or a newer version of dspex has
    /// written to it.
    pub async fn open(
        writer: SqlitePool,
        reader: SqlitePool,
        keep: Keep,
    ) -> Result<Self, JournalError> {
        let version = |number, what: &'static str, schema: &'static str| {
            let schema = schema.into_sql_str();
            Migration::new(number, what.into(), MigrationType::Simple, schema, false)
        };
        let mut migrator = Migrator::with_migrations(vec![
            version(1, "pool metrics", SCHEMA),
            version(2, "watched", WATCHED),
        ]);
        migrator.dangerous_set_table_name("_dspex_recording_migrations");
        migrator
            .run(&writer)
            .await
            .map_err(|error| JournalError::Store {
                problem: format!("the table of recorded looks cannot be set up: {error}"),
            })?;
        Ok(Self {
            writer,
            reader,
            keep,
            queue: Arc::default(),
            writes: TaskTracker::new(),
        })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Counts and whole rows: a panic elsewhere leaves nothing half-done.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what waits until nothing does.
    async fn write_all(self) {
        loop {
            let (batch, sweep) = {
                let mut queue = self.queue();
                let size = queue.waiting.len().min(BATCH);
                let batch: Vec<Recorded> = queue.waiting.drain(..size).collect();
                if batch.is_empty() {
                    queue.writing = false;
                    return;
                }
                queue.since_swept += batch.len() as u64;
                let sweep = queue.since_swept >= SWEEP || self.keep.looks < SWEEP;
                if sweep {
                    queue.since_swept = 0;
                }
                (batch, sweep)
            };
            if let Err(error) = self.write(&batch).await {
                let lost = batch.len() as u64;
                tracing::warn!(%error, lost, "looks could not be recorded");
                let mut queue = self.queue();
                queue.lost += lost;
                queue.missing += lost + batch.iter().map(|look| look.missing).sum::<u64>();
            }
            if let Some(newest) = batch.last().filter(|_| sweep)
                && let Err(error) = self.sweep(newest).await
            {
                tracing::warn!(%error, "old looks could not be deleted; the next sweep tries again");
            }
        }
    }

    async fn write(&self, batch: &[Recorded]) -> Result<(), sqlx::Error> {
        let mut tx = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        for look in batch {
            insert(&mut tx, look).await?;
        }
        tx.commit().await
    }

    /// Deletes what is too old, and what is too much.
    async fn sweep(&self, newest: &Recorded) -> Result<(), sqlx::Error> {
        let oldest = newest
            .at
            .checked_sub(self.keep.age)
            .unwrap_or(Timestamp::MIN);
        sqlx::query(
            "DELETE FROM pool_metrics WHERE id IN \
             (SELECT id FROM pool_metrics WHERE timestamp < ? ORDER BY id LIMIT ?)",
        )
        .bind(text(oldest))
        .bind(SWEPT)
        .execute(&self.writer)
        .await?;
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM pool_metrics")
            .fetch_one(&self.reader)
            .await?;
        let rows = i64::try_from(self.keep.looks.saturating_mul(2)).unwrap_or(i64::MAX);
        if count <= rows {
            return Ok(());
        }
        // Read first: what writes holds the journal up, and this sorts.
        let surplus: Vec<i64> = sqlx::query_scalar(
            "SELECT id FROM pool_metrics ORDER BY migration = ?, watched = 0 AND migration = ?, id LIMIT ?",
        )
        .bind(newest.migration.as_str())
        .bind(newest.migration.as_str())
        .bind((count - rows).min(SWEPT))
        .fetch_all(&self.reader)
        .await?;
        let mut tx = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        for id in surplus {
            sqlx::query("DELETE FROM pool_metrics WHERE id = ?")
                .bind(id)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await
    }
}

#[async_trait]
impl Recorder for SqliteRecorder {
    fn record(&self, mut look: Recorded) {
        let mut queue = self.queue();
        if queue.waiting.len() >= WAITING {
            queue.lost += 1;
            queue.missing += 1;
            return;
        }
        look.missing = std::mem::take(&mut queue.missing);
        queue.waiting.push_back(look);
        if !queue.writing {
            queue.writing = true;
            self.writes.spawn(self.clone().write_all());
        }
    }

    async fn looks(
        &self,
        migration: &MigrationId,
        skip: u64,
        limit: u64,
    ) -> Result<Vec<Recorded>, JournalError> {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let rows = sqlx::query(
            "SELECT pool_name, timestamp, metrics, seq, lane, look, watched FROM pool_metrics \
             WHERE migration = ? ORDER BY id LIMIT ? OFFSET ?",
        )
        .bind(migration.as_str())
        .bind(number(limit.saturating_mul(2)))
        .bind(number(skip.saturating_mul(2)))
        .fetch_all(&self.reader)
        .await
        .map_err(|error| JournalError::Store {
            problem: error.to_string(),
        })?;
        let read = |pair: &[SqliteRow]| {
            pair_of(migration, pair).map_err(|problem| JournalError::Corrupt {
                id: migration.clone(),
                problem: format!("a recorded look: {problem}"),
            })
        };
        rows.chunks(2).map(read).collect()
    }

    async fn remove(&self, migration: &MigrationId) -> Result<u64, JournalError> {
        // In a task of its own: an act is not polled while its controller writes into the journal, and both
        // have the one connection that writes.
        let removed = self
            .writes
            .spawn(remove(self.writer.clone(), migration.clone()));
        removed.await.unwrap_or_else(|died| {
            Err(JournalError::Store {
                problem: format!("the removal of recorded looks died: {died}"),
            })
        })
    }

    async fn settled(&self) {
        while self.queue().writing {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn lost(&self) -> u64 {
        self.queue().lost
    }
}

/// In small parts, between which others write.
async fn remove(writer: SqlitePool, migration: MigrationId) -> Result<u64, JournalError> {
    let mut rows = 0;
    loop {
        let deleted = sqlx::query(
            "DELETE FROM pool_metrics WHERE id IN \
             (SELECT id FROM pool_metrics WHERE migration = ? ORDER BY id LIMIT ?)",
        )
        .bind(migration.as_str())
        .bind(REMOVED)
        .execute(&writer)
        .await
        .map_err(|error| JournalError::Store {
            problem: format!("recorded looks cannot be removed: {error}"),
        })?;
        match deleted.rows_affected() {
            0 => return Ok(rows / 2),
            some => rows += some,
        }
        tokio::time::sleep(GIVE_WAY).await;
    }
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};

    use super::*;
    use crate::recording::conformance;

    /// Each lock of these tests is waited for in vain.
    const SHORT: Duration = Duration::from_millis(50);

    /// `patience` is how long a lock is waited for: one that lasts, or a connection that is slow to let go.
    async fn open(
        folder: &std::path::Path,
        keep: Keep,
        patience: Duration,
    ) -> (SqlitePool, SqliteRecorder) {
        let options = SqliteConnectOptions::new()
            .filename(folder.join("dspex.db"))
            .create_if_missing(true)
            // Hundreds of short writes, and nobody cuts the power: none of them waits for a slow disk.
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(patience);
        let pool = SqlitePool::connect_with(options).await.expect("connected");
        let recorder = SqliteRecorder::open(pool.clone(), pool.clone(), keep).await;
        (pool, recorder.expect("opened"))
    }

    #[tokio::test]
    async fn it_conforms() {
        let folders = Mutex::new(Vec::new());
        conformance::run(|keep| {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().to_owned();
            folders.lock().expect("unpoisoned").push(folder);
            async move {
                let (_, recorder) = open(&path, keep, Duration::from_secs(60)).await;
                Arc::new(recorder) as Arc<dyn Recorder>
            }
        })
        .await;
    }

    #[tokio::test]
    async fn what_a_store_does_not_take_is_counted_and_told_by_the_next_that_it_takes() {
        let folder = tempfile::tempdir().expect("a folder");
        let (pool, recorder) = open(folder.path(), Keep::default(), SHORT).await;
        let id = MigrationId::from_text("m-1");
        recorder.record(conformance::look(&id, 1));
        recorder.settled().await;
        let lock = pool.begin_with("BEGIN IMMEDIATE").await.expect("locked");
        for seq in 2..5 {
            recorder.record(conformance::look(&id, seq));
        }
        recorder.settled().await;
        assert_eq!(recorder.lost(), 3);
        lock.rollback().await.expect("unlocked");
        recorder.record(conformance::look(&id, 5));
        recorder.settled().await;
        let looks = recorder.looks(&id, 0, 10).await.expect("read");
        let seen: Vec<_> = looks.iter().map(|look| (look.seq, look.missing)).collect();
        assert_eq!(seen, [(1, 0), (5, 3)]);
    }

    #[tokio::test]
    async fn what_cannot_be_removed_is_told_and_stays_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let (pool, recorder) = open(folder.path(), Keep::default(), SHORT).await;
        let id = MigrationId::from_text("m-1");
        recorder.record(conformance::look(&id, 1));
        recorder.settled().await;
        let lock = pool.begin_with("BEGIN IMMEDIATE").await.expect("locked");
        let error = recorder.remove(&id).await.expect_err("it is locked");
        assert!(error.to_string().contains("cannot be removed"), "{error}");
        lock.rollback().await.expect("unlocked");
        assert_eq!(recorder.looks(&id, 0, 9).await.expect("read").len(), 1);
        assert_eq!(recorder.remove(&id).await.expect("removed"), 1);
    }
}
