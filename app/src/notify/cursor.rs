//! What each receiver was told, durably.
//!
//! Invariant: a receiver that is new begins at the present: nobody wants to be told of last year.

use async_trait::async_trait;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{Row as _, SqlSafeStr as _, SqlitePool};

use super::Place;
use dspex_migration::MigrationId;

/// Why a cursor cannot be read or moved, in one line.
#[derive(Debug, thiserror::Error)]
#[error("what was delivered cannot be read or written: {0}")]
pub struct CursorError(#[from] sqlx::Error);

/// Where each receiver is in each migration's journal.
#[async_trait]
pub(crate) trait Cursors: Send + Sync + 'static {
    /// Where this receiver is; none where it was never seen before.
    async fn places(&self, hook: &str) -> Result<Option<Vec<Place>>, CursorError>;

    /// Makes a receiver known, at these places.
    async fn begin(&self, hook: &str, places: &[Place]) -> Result<(), CursorError>;

    /// Moves it on.
    async fn moved(&self, hook: &str, place: &Place) -> Result<(), CursorError>;
}

const SCHEMA: &str = "
CREATE TABLE notification_hooks (
    hook         TEXT    NOT NULL PRIMARY KEY
) STRICT;
CREATE TABLE notification_cursors (
    hook         TEXT    NOT NULL,
    migration    TEXT    NOT NULL,
    seq          INTEGER NOT NULL,
    PRIMARY KEY (hook, migration)
) STRICT, WITHOUT ROWID;
";

/// Cursors in the tables `notification_hooks` and `notification_cursors`. Which schema they have is in
/// `_dspex_notifications_migrations`.
#[derive(Debug, Clone)]
pub(crate) struct SqliteCursors {
    writer: SqlitePool,
    reader: SqlitePool,
}

impl SqliteCursors {
    /// Opens them, and brings their tables up to date.
    ///
    /// # Errors
    /// Where the database cannot be written, or a newer version of dspex has written to it.
    pub(crate) async fn open(writer: SqlitePool, reader: SqlitePool) -> Result<Self, CursorError> {
        let mut migrator = Migrator::with_migrations(vec![Migration::new(
            1,
            "receivers and cursors".into(),
            MigrationType::Simple,
            SCHEMA.into_sql_str(),
            false,
        )]);
        migrator.dangerous_set_table_name("_dspex_notifications_migrations");
        migrator
            .run(&writer)
            .await
            .map_err(|error| sqlx::Error::Migrate(Box::new(error)))?;
        Ok(Self { writer, reader })
    }
}

#[async_trait]
impl Cursors for SqliteCursors {
    async fn places(&self, hook: &str) -> Result<Option<Vec<Place>>, CursorError> {
        let known = sqlx::query("SELECT 1 FROM notification_hooks WHERE hook = ?")
            .bind(hook)
            .fetch_optional(&self.reader)
            .await?;
        if known.is_none() {
            return Ok(None);
        }
        let rows = sqlx::query("SELECT migration, seq FROM notification_cursors WHERE hook = ?")
            .bind(hook)
            .fetch_all(&self.reader)
            .await?;
        let places = rows.iter().map(|row| {
            Ok(Place {
                migration: MigrationId::from_text(row.try_get::<String, _>("migration")?),
                seq: u64::try_from(row.try_get::<i64, _>("seq")?).unwrap_or_default(),
            })
        });
        Ok(Some(places.collect::<Result<_, sqlx::Error>>()?))
    }

    async fn begin(&self, hook: &str, places: &[Place]) -> Result<(), CursorError> {
        // Known last: cut off in between, it begins again.
        for place in places {
            self.moved(hook, place).await?;
        }
        sqlx::query("INSERT INTO notification_hooks (hook) VALUES (?) ON CONFLICT DO NOTHING")
            .bind(hook)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    async fn moved(&self, hook: &str, place: &Place) -> Result<(), CursorError> {
        sqlx::query(
            "INSERT INTO notification_cursors (hook, migration, seq) VALUES (?1, ?2, ?3) \
             ON CONFLICT (hook, migration) DO UPDATE SET seq = max(seq, ?3)",
        )
        .bind(hook)
        .bind(place.migration.as_str())
        .bind(i64::try_from(place.seq).unwrap_or(i64::MAX))
        .execute(&self.writer)
        .await?;
        Ok(())
    }
}

/// By receiver and migration.
#[cfg(test)]
type Delivered = std::collections::BTreeMap<String, std::collections::BTreeMap<MigrationId, u64>>;

/// Cursors that are kept nowhere.
#[cfg(test)]
#[derive(Default)]
pub(crate) struct MemoryCursors(std::sync::Mutex<Delivered>);

#[cfg(test)]
impl MemoryCursors {
    fn lock(&self) -> std::sync::MutexGuard<'_, Delivered> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
#[async_trait]
impl Cursors for MemoryCursors {
    async fn places(&self, hook: &str) -> Result<Option<Vec<Place>>, CursorError> {
        let hooks = self.lock();
        Ok(hooks.get(hook).map(|places| {
            let places = places.iter();
            places
                .map(|(migration, seq)| Place {
                    migration: migration.clone(),
                    seq: *seq,
                })
                .collect()
        }))
    }

    async fn begin(&self, hook: &str, places: &[Place]) -> Result<(), CursorError> {
        self.lock().entry(hook.to_owned()).or_default();
        for place in places {
            self.moved(hook, place).await?;
        }
        Ok(())
    }

    async fn moved(&self, hook: &str, place: &Place) -> Result<(), CursorError> {
        let mut hooks = self.lock();
        let places = hooks.entry(hook.to_owned()).or_default();
        let seq = places.entry(place.migration.clone()).or_default();
        *seq = place.seq.max(*seq);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::SqliteConnectOptions;

    use super::*;

    #[tokio::test]
    async fn a_place_is_kept_and_never_goes_back() {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteConnectOptions::new()
            .filename(folder.path().join("dspex.db"))
            .create_if_missing(true);
        let pool = SqlitePool::connect_with(options).await.unwrap();
        let cursors = SqliteCursors::open(pool.clone(), pool.clone())
            .await
            .unwrap();
        assert_eq!(cursors.places("chat").await.unwrap(), None);
        let place = |seq| Place {
            migration: MigrationId::from_text("m-1"),
            seq,
        };
        cursors.begin("chat", &[place(3)]).await.unwrap();
        cursors.moved("chat", &place(5)).await.unwrap();
        cursors.moved("chat", &place(4)).await.unwrap();
        let again = SqliteCursors::open(pool.clone(), pool).await.unwrap();
        assert_eq!(again.places("chat").await.unwrap(), Some(vec![place(5)]));
        assert_eq!(again.places("other").await.unwrap(), None);
    }
}
