//! The database: whether it can be written, and whether every part's tables are at this release.

use sqlx::sqlite::SqlitePool;
use sqlx::{AssertSqlSafe, Row as _};
use tokio::time::Instant;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::Check;

/// A write that waits longer than this says that somebody holds the database.
const SLOWEST: std::time::Duration = std::time::Duration::from_secs(2);

/// Writes a row, and takes it back.
pub(crate) async fn writable(writer: &SqlitePool) -> Check {
    let name = "the database can be written";
    let limit = format!(
        "a row, written and taken back within {} s",
        SLOWEST.as_secs()
    );
    let hint =
        "see who holds it locked, whether its disk is full, and whether this user may write it";
    let began = Instant::now();
    // In a task of its own: a preflight is not polled while its migration's controller writes into the
    // journal, which has the same connection. It ends with the preflight: a row that nobody asks for any more
    // is rolled back, and does not outlive the database.
    let writer = writer.clone();
    let tried = TaskTracker::new().spawn(async move { write_and_take_back(&writer).await });
    let tried = AbortOnDropHandle::new(tried)
        .await
        .unwrap_or_else(|died| Err(sqlx::Error::Protocol(format!("the write died: {died}"))));
    match tried {
        Ok(()) => {
            let took = began.elapsed();
            let value = format!("in {:.1} ms", took.as_secs_f64() * 1000.0);
            Check::ok(name, value, &limit).only_if(took <= SLOWEST, hint)
        }
        Err(error) => Check::ok(name, error.to_string(), &limit).only_if(false, hint),
    }
}

async fn write_and_take_back(writer: &SqlitePool) -> Result<(), sqlx::Error> {
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query("CREATE TABLE _dspex_preflight (row TEXT NOT NULL) STRICT")
        .execute(&mut *transaction)
        .await?;
    sqlx::query("INSERT INTO _dspex_preflight (row) VALUES (?)")
        .bind("x".repeat(64 << 10))
        .execute(&mut *transaction)
        .await?;
    transaction.rollback().await
}

/// Every part keeps the versions of its tables in a table of its own, whose name ends so.
const VERSIONS: &str = "\\_migrations";

/// Whether all tables were brought up to date, to their end.
///
/// Each part refuses a database of a later release when it opens it, so what is looked at here is
/// whether every step was finished.
pub(crate) async fn migrated(reader: &SqlitePool) -> Check {
    let name = "the database is migrated";
    let limit = "each part's tables at their newest version, no step unfinished";
    let hint = "start the server again: it finishes them, or says why it cannot";
    match versions(reader).await {
        Err(error) => Check::unknown(name, error, limit, hint),
        Ok(parts) => {
            let unfinished = parts.iter().any(|part| !part.finished);
            let told: Vec<String> = parts
                .iter()
                .map(|part| {
                    let state = if part.finished { "" } else { " (unfinished)" };
                    format!("{} {}{state}", part.name, part.version)
                })
                .collect();
            let value = if told.is_empty() {
                "no tables".to_owned()
            } else {
                told.join(", ")
            };
            Check::ok(name, value, limit).only_if(!unfinished && !parts.is_empty(), hint)
        }
    }
}

struct Part {
    name: String,
    version: i64,
    finished: bool,
}

async fn versions(reader: &SqlitePool) -> Result<Vec<Part>, sqlx::Error> {
    let tables = sqlx::query(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE ? ESCAPE '\\' \
         ORDER BY name",
    )
    .bind(format!("\\_dspex\\_%{VERSIONS}"))
    .fetch_all(reader)
    .await?;
    let mut parts = Vec::new();
    for table in tables {
        let table: String = table.try_get(0)?;
        // A table's name cannot be bound; it is quoted, and is our own.
        let quoted = table.replace('"', "\"\"");
        let row = sqlx::query(AssertSqlSafe(format!(
            "SELECT coalesce(max(version), 0), coalesce(min(success), 0) FROM \"{quoted}\""
        )))
        .fetch_one(reader)
        .await?;
        let name = table.strip_prefix("_dspex_").unwrap_or(&table);
        parts.push(Part {
            name: name.strip_suffix("_migrations").unwrap_or(name).to_owned(),
            version: row.try_get(0)?,
            finished: row.try_get::<i64, _>(1)? == 1,
        });
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Verdict;
    use super::*;
    use crate::paths::DataDir;
    use crate::serve::Stores;
    use crate::storage::Store;

    #[tokio::test]
    async fn every_parts_tables_are_seen_and_an_unfinished_step_too() {
        let dir = tempfile::tempdir().unwrap();
        let dir = DataDir::new(dir.path());
        let store = Store::open(dir, 1, Duration::from_millis(100))
            .await
            .unwrap();
        let empty = migrated(&store.reader).await;
        assert_eq!(empty.verdict, Verdict::Unfit, "{empty:?}");
        let tracker = TaskTracker::new();
        Stores::open(&store, &tracker).await.unwrap();
        let check = migrated(&store.reader).await;
        assert_eq!(check.verdict, Verdict::Ok, "{check:?}");
        for part in ["flags 1", "migration ", "router ", "sessions "] {
            assert!(check.value.contains(part), "{check:?}");
        }
        sqlx::query("UPDATE _dspex_flags_migrations SET success = 0")
            .execute(&store.writer)
            .await
            .unwrap();
        let check = migrated(&store.reader).await;
        assert_eq!(check.verdict, Verdict::Unfit, "{check:?}");
        assert!(check.value.contains("unfinished"), "{check:?}");
    }

    #[tokio::test]
    async fn a_row_is_written_and_nothing_of_it_stays() {
        let dir = tempfile::tempdir().unwrap();
        let dir = DataDir::new(dir.path());
        let store = Store::open(dir, 1, Duration::from_millis(100))
            .await
            .unwrap();
        for _ in 0..2 {
            let check = writable(&store.writer).await;
            assert_eq!(check.verdict, Verdict::Ok, "{check:?}");
        }
        let read_only = writable(&store.reader).await;
        assert_eq!(read_only.verdict, Verdict::Unfit, "{read_only:?}");
    }
}
