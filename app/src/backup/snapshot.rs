//! The database as it was at one moment, in a file of its own.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};

use super::BackupError;

fn failed(what: &'static str) -> impl Fn(sqlx::Error) -> BackupError {
    move |error| BackupError::Database {
        what,
        reason: error
            .as_database_error()
            .map_or_else(|| error.to_string(), |told| told.message().to_owned()),
    }
}

/// Copies the database into a new file, and answers how many rows each of its tables has.
///
/// SQLite itself makes the copy, in one read transaction: whoever writes meanwhile is not held up,
/// and is not in it.
pub(super) async fn take(
    database: &Path,
    copy: &Path,
    busy_timeout: Duration,
) -> Result<BTreeMap<String, u64>, BackupError> {
    let copying = failed("cannot be copied");
    let mut connection = SqliteConnectOptions::new()
        .filename(database)
        .read_only(true)
        .busy_timeout(busy_timeout)
        .connect()
        .await
        .map_err(&copying)?;
    let copied = sqlx::query("VACUUM INTO ?")
        .bind(copy.to_string_lossy().into_owned())
        .execute(&mut connection)
        .await;
    connection.close().await.map_err(&copying)?;
    copied.map_err(&copying)?;
    rows(copy).await
}

/// How many rows each table has. The copy is whole, or this fails.
pub(super) async fn rows(database: &Path) -> Result<BTreeMap<String, u64>, BackupError> {
    let reading = failed("cannot be read");
    let mut connection = SqliteConnectOptions::new()
        .filename(database)
        .read_only(true)
        // Nobody else has it: nothing is written beside it.
        .immutable(true)
        .connect()
        .await
        .map_err(&reading)?;
    let counted = count(&mut connection).await;
    connection.close().await.map_err(&reading)?;
    match counted.map_err(&reading)? {
        Ok(rows) => Ok(rows),
        Err(reason) => Err(BackupError::Database {
            what: "is damaged",
            reason,
        }),
    }
}

async fn count(
    connection: &mut SqliteConnection,
) -> Result<Result<BTreeMap<String, u64>, String>, sqlx::Error> {
    let sound: String = sqlx::query_scalar("PRAGMA integrity_check(1)")
        .fetch_one(&mut *connection)
        .await?;
    if sound != "ok" {
        return Ok(Err(sound));
    }
    let tables = sqlx::query(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' \
         ESCAPE '\\' ORDER BY name",
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut rows = BTreeMap::new();
    for table in tables {
        let name: String = table.try_get(0)?;
        let quoted = name.replace('"', "\"\"");
        // A table's name cannot be bound; it is quoted, and is our own.
        let count: i64 =
            sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM \"{quoted}\"")))
                .fetch_one(&mut *connection)
                .await?;
        rows.insert(name, u64::try_from(count).unwrap_or_default());
    }
    Ok(Ok(rows))
}
