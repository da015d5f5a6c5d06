//! The lever: whether the store of the flags can be written, where that is not the database.

use std::io::Write as _;
use std::path::Path;

use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Executor as _};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::Check;
use crate::config::StoreAt;

/// A store that takes longer than this is not one that a rollback can rely on.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// Writes, and takes it back; [`None`] where the flags are in the database, which has its own check.
pub(crate) async fn writable(at: &StoreAt) -> Option<Check> {
    let tried = match at {
        StoreAt::Database => return None,
        StoreAt::File(path) => {
            let path = path.clone();
            let tried = tokio::task::spawn_blocking(move || beside(&path));
            tokio::time::timeout(PATIENCE, async {
                match tried.await {
                    Ok(tried) => tried.map_err(|error| error.to_string()),
                    Err(died) => Err(died.to_string()),
                }
            })
            .await
        }
        StoreAt::Postgres(url) => {
            // In a task of its own: a preflight is not polled while its migration's controller takes its
            // turn, and would keep the row locked for as long. It ends with the preflight.
            let url = url.clone();
            let tried = async move { tokio::time::timeout(PATIENCE, row(&url)).await };
            let tried = AbortOnDropHandle::new(TaskTracker::new().spawn(tried));
            match tried.await {
                Ok(tried) => tried.map(|tried| tried.map_err(|error| error.to_string())),
                Err(died) => Ok(Err(died.to_string())),
            }
        }
    };
    let tried = tried.unwrap_or_else(|_| Err(format!("no answer in {} s", PATIENCE.as_secs())));
    let value = match &tried {
        Ok(()) => at.to_string(),
        Err(why) => format!("{at}: {why}"),
    };
    let limit = "written and taken back: without it traffic can be moved neither way";
    let check = Check::ok("the flags' store can be written", value, limit);
    Some(check.only_if(
        tried.is_ok(),
        "give this user the right to write it, and see whether it is full or read-only",
    ))
}

/// Makes a file beside it, as a write of the flags does, and takes it away.
fn beside(path: &Path) -> std::io::Result<()> {
    let mut name = path.to_owned().into_os_string();
    name.push(".preflight");
    let made = std::fs::File::create(&name).and_then(|mut file| {
        file.write_all(&[b' '; 4096])?;
        file.sync_all()
    });
    let gone = std::fs::remove_file(&name);
    made.and(gone)
}

/// Writes the revision as it is, and rolls back.
async fn row(url: &str) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    let mut transaction = connection.begin().await?;
    transaction
        .execute("UPDATE flag_revision SET revision = revision")
        .await?;
    transaction.rollback().await?;
    connection.close().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_store_that_cannot_be_written_is_found_before_it_is_needed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flags.json");
        assert!(writable(&StoreAt::Database).await.is_none());
        let good = writable(&StoreAt::File(path)).await.unwrap();
        assert_eq!(good.verdict, super::super::Verdict::Ok, "{}", good.value);
        let left = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 0, "nothing is left");
        let nowhere = StoreAt::File(folder.path().join("nowhere/flags.json"));
        let server = StoreAt::Postgres("postgres://ada:s3cret@127.0.0.1:1/dspex".to_owned());
        for at in [nowhere, server] {
            let bad = writable(&at).await.unwrap();
            assert_ne!(bad.verdict, super::super::Verdict::Ok, "{}", bad.value);
            assert!(!bad.value.contains("s3cret"), "{}", bad.value);
        }
    }
}
