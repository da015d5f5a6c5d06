//! The data directory and the database in it: whether they can be used, without using them.

use std::path::Path;

use super::disk::{SPARE, free};
use super::{Check, Verdict, mib};
use crate::config::Config;
use crate::paths::DataDir;

pub(crate) async fn examine(config: &Config) -> Vec<Check> {
    let folder = DataDir::new(&config.server.data_dir);
    vec![
        writable(folder.path()),
        lock(&folder.lock()),
        space(folder.path()),
        database(&folder.database()).await,
    ]
}

/// The folder itself, or the nearest one above it that is there.
fn nearest_existing(folder: &Path) -> &Path {
    let found = folder
        .ancestors()
        .find(|ancestor| !ancestor.as_os_str().is_empty() && ancestor.exists());
    found.unwrap_or(Path::new("."))
}

fn writable(folder: &Path) -> Check {
    let existing = nearest_existing(folder);
    let shown = folder.display();
    let check = |value: String| Check::ok("data directory", value, "a folder that can be written");
    let hint = "choose another with --data-dir, or give this user the right to write there";
    if !existing.is_dir() {
        let value = format!("{} is not a folder", existing.display());
        return check(value).but(Verdict::Unfit, "choose another with --data-dir");
    }
    // Asked of the kernel and not tried: looking must not leave anything behind.
    match rustix::fs::access(
        existing,
        rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK,
    ) {
        Ok(()) if existing == folder => check(format!("{shown} can be written")),
        Ok(()) => check(format!("{shown} will be made at the first start")),
        Err(error) => {
            let value = format!("{} cannot be written: {error}", existing.display());
            check(value).but(Verdict::Unfit, hint)
        }
    }
}

fn space(folder: &Path) -> Check {
    let hint = "make room, or choose another folder with --data-dir";
    let limit = format!("{} or more", mib(SPARE));
    match free(nearest_existing(folder)) {
        Ok(free) => Check::ok("free space", mib(free), &limit).only_if(free >= SPARE, hint),
        Err(error) => Check::unknown("free space", error, &limit, hint),
    }
}

/// Whether another server holds the data directory.
fn lock(path: &Path) -> Check {
    let check = |value: String| Check::ok("lock", value, "not held by another server");
    // Read and write: a lock over some network file systems asks for both.
    match std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
    {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            check("never held".to_owned())
        }
        Err(error) => check(format!("{} cannot be opened: {error}", path.display())).but(
            Verdict::Unfit,
            "give this user the right to read and write it",
        ),
        // Let go again when the file is closed, at the end of this function.
        Ok(file) => match file.try_lock() {
            Ok(()) => check("free".to_owned()),
            Err(std::fs::TryLockError::WouldBlock) => {
                let pid = std::fs::read_to_string(path).unwrap_or_default();
                let holder = match pid.trim() {
                    "" => "held by another server".to_owned(),
                    pid => format!("held by process {pid}"),
                };
                check(holder).but(
                    Verdict::Unfit,
                    "a server runs on this folder: stop it, or choose another with --data-dir",
                )
            }
            Err(std::fs::TryLockError::Error(error)) => {
                check(format!("{} cannot be locked: {error}", path.display())).but(
                    Verdict::Unfit,
                    "choose a folder on a local disk with --data-dir",
                )
            }
        },
    }
}

async fn database(path: &Path) -> Check {
    let limit = "absent, or a sound SQLite database that can be written";
    if !path.exists() {
        return Check::ok("database", "made at the first start", limit);
    }
    let check = |value: String| Check::ok("database", value, limit);
    let lost = "restore it from a backup, or move it away to begin with an empty one";
    let shown = path.display();
    match sound(path).await {
        Ok(answer) if answer == "ok" => {
            match rustix::fs::access(path, rustix::fs::Access::WRITE_OK) {
                Ok(()) => check(format!("{shown} is sound")),
                Err(error) => check(format!("{shown} cannot be written: {error}")).but(
                    Verdict::Unfit,
                    "give this user the right to write it and its folder",
                ),
            }
        }
        Ok(answer) => check(format!("{shown} is damaged: {answer}")).but(Verdict::Unfit, lost),
        Err(error) => {
            let words = error.as_database_error().map_or_else(
                || error.to_string(),
                |database| database.message().to_owned(),
            );
            check(format!("{shown} cannot be read: {words}")).but(Verdict::Unfit, lost)
        }
    }
}

/// SQLite's own answer: `ok`, or the first thing that is wrong.
async fn sound(path: &Path) -> Result<String, sqlx::Error> {
    use sqlx::{ConnectOptions, Connection};
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(path)
        .read_only(true);
    let mut connection = options.connect().await?;
    let answer = sqlx::query_scalar("PRAGMA quick_check(1)")
        .fetch_one(&mut connection)
        .await;
    connection.close().await?;
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_not_there_yet_is_fit_and_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::new(folder.path().join("a/b"));
        assert_eq!(writable(data.path()).verdict, Verdict::Ok);
        assert_eq!(lock(&data.lock()).verdict, Verdict::Ok);
        assert_eq!(database(&data.database()).await.verdict, Verdict::Ok);
        assert_eq!(space(data.path()).verdict, Verdict::Ok);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_unfit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dspex.db");
        std::fs::write(
            &path,
            "this is a letter to my aunt, and not a database".repeat(50),
        )
        .unwrap();
        let check = database(&path).await;
        assert_eq!(check.verdict, Verdict::Unfit, "{check:?}");
        assert!(check.value.contains("not a database"), "{}", check.value);
    }

    #[test]
    fn a_file_in_place_of_the_folder_is_unfit() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("data");
        std::fs::write(&file, "").unwrap();
        assert_eq!(writable(&file).verdict, Verdict::Unfit);
    }

    #[test]
    fn a_held_lock_is_seen_with_its_holder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        std::fs::write(&path, "4711\n").unwrap();
        assert_eq!(lock(&path).verdict, Verdict::Ok);
        let holder = std::fs::File::open(&path).unwrap();
        holder.lock().unwrap();
        let held = lock(&path);
        assert_eq!(held.verdict, Verdict::Unfit);
        assert_eq!(held.value, "held by process 4711");
    }
}
