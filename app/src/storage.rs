//! The data directory: its lock, and the database in it.
//!
//! Invariants:
//! - One server to a data directory: the lock is held for as long as [`Store`] lives, and the kernel
//!   lets go of it however the process ends.
//! - One connection writes. SQLite has one write lock; a second writer would only wait for it, and
//!   could be refused by it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use sqlx::Connection as _;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use crate::paths::DataDir;

/// Why the storage cannot be used. Each is one line for people.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The folder, or a file in it, cannot be made or opened.
    #[error("the data directory {} cannot be used: {what}: {source}", path.display())]
    Directory {
        /// The data directory.
        path: PathBuf,
        /// What failed.
        what: &'static str,
        /// The system's words.
        source: std::io::Error,
    },
    /// Another server holds the data directory.
    #[error("the data directory {} is in use by another server{}", path.display(), holder(*pid))]
    Locked {
        /// The data directory.
        path: PathBuf,
        /// The process that holds it, where it said so.
        pid: Option<u32>,
    },
    /// The database cannot be opened, read or written.
    #[error("the database {} cannot be used: {reason}", path.display())]
    Database {
        /// The database file.
        path: PathBuf,
        /// Why, in words.
        reason: String,
        /// The database's words.
        source: sqlx::Error,
    },
}

impl StorageError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Directory { .. } => {
                "give server.data_dir a folder that this user may write".to_owned()
            }
            Self::Locked { .. } => {
                "stop that server, or give this one its own server.data_dir".to_owned()
            }
            Self::Database { source, .. } => match primary_code(source) {
                Some(26 | 11) => {
                    "restore the file from a backup, or move it away to begin with an empty one"
                }
                Some(5 | 6) => "end the process that keeps it locked, then start again",
                Some(13) => "make room on the disk that holds server.data_dir",
                _ => "make the file and its folder readable and writable for this user",
            }
            .to_owned(),
        }
    }
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or(String::new(), |pid| format!(" (pid {pid})"))
}

/// The open database, with the data directory locked.
#[derive(Debug)]
pub struct Store {
    /// The data directory.
    pub dir: DataDir,
    /// The one connection that writes what somebody waits for.
    pub writer: SqlitePool,
    /// Another one, for what nobody waits for: a journal's append does not stand in its queue, but at
    /// the lock of the database at most, for the one short transaction that is under way.
    pub background: SqlitePool,
    /// Connections that read.
    pub reader: SqlitePool,
    /// Held for as long as the store lives.
    _lock: File,
}

impl Store {
    /// Makes the data directory where it is missing, locks it and opens the database.
    ///
    /// # Errors
    /// See [`StorageError`].
    pub async fn open(
        dir: DataDir,
        readers: u32,
        busy_timeout: Duration,
    ) -> Result<Self, StorageError> {
        let lock = lock(&dir)?;
        let path = dir.database();
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .foreign_keys(true)
            .busy_timeout(busy_timeout)
            .journal_mode(SqliteJournalMode::Wal)
            // FULL, not NORMAL: in WAL mode NORMAL may lose the last commits at a power cut, and a
            // migration acts on the word of its journal. Writes are a few a second at most, so the
            // sync of each is not felt.
            .synchronous(SqliteSynchronous::Full);
        let failed = |source: sqlx::Error| StorageError::Database {
            path: path.clone(),
            reason: in_words(&path, &source),
            source,
        };
        let writer = one_writer()
            .connect_with(options.clone())
            .await
            .map_err(failed)?;
        prove_writable(&writer).await.map_err(failed)?;
        let background = one_writer()
            .connect_with(options.clone())
            .await
            .map_err(failed)?;
        let reader = SqlitePoolOptions::new()
            .max_connections(readers)
            .connect_with(options.read_only(true).create_if_missing(false))
            .await
            .map_err(failed)?;
        Ok(Self {
            dir,
            writer,
            background,
            reader,
            _lock: lock,
        })
    }

    /// Closes the database: waits for statements in flight, then folds the log into the file.
    pub async fn close(&self) {
        // Readers first, so that the writer is the last one out and can remove the log.
        self.reader.close().await;
        self.background.close().await;
        self.writer.close().await;
    }
}

/// A connection that writes.
fn one_writer() -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(1)
        .min_connections(1)
        // SQLite ends a transaction by itself where the disk is full; sqlx then takes the
        // connection to be inside of it for ever, and refuses to begin another.
        .before_acquire(|connection, _| {
            let usable = !connection.is_in_transaction();
            Box::pin(std::future::ready(Ok(usable)))
        })
}

/// A read-only file opens well enough; only a write lock tells.
async fn prove_writable(writer: &SqlitePool) -> Result<(), sqlx::Error> {
    let mut connection = writer.acquire().await?;
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut *connection)
        .await?;
    // The schema's version is a page that a file which is no database does not have.
    sqlx::query("PRAGMA schema_version")
        .execute(&mut *connection)
        .await?;
    sqlx::query("ROLLBACK").execute(&mut *connection).await?;
    Ok(())
}

/// SQLite's primary result code.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    match error {
        sqlx::Error::Database(error) => error
            .code()
            .and_then(|code| code.parse::<u32>().ok())
            // Extended codes keep the primary one in their low byte.
            .map(|code| code & 0xff),
        _ => None,
    }
}

fn in_words(path: &Path, error: &sqlx::Error) -> String {
    match primary_code(error) {
        Some(26) => "the file is not a SQLite database".to_owned(),
        Some(11) => "the file is damaged".to_owned(),
        Some(8) => "the file, or its folder, is read-only".to_owned(),
        Some(14) if path.is_dir() => "it is a folder, not a file".to_owned(),
        Some(14) => "it cannot be opened; may this user read and write it?".to_owned(),
        Some(5 | 6) => "another process keeps it locked".to_owned(),
        Some(13) => "the disk is full".to_owned(),
        _ => error.to_string(),
    }
}

/// Takes the lock. Whoever looks for the holder takes it for an instant too, so it is asked for a few
/// times: a server keeps it for good.
fn take(file: &File) -> Result<(), rustix::io::Errno> {
    let mut tried = flock(file, FlockOperation::NonBlockingLockExclusive);
    for _ in 0..LOCK_TRIES {
        if tried != Err(rustix::io::Errno::WOULDBLOCK) {
            break;
        }
        std::thread::sleep(LOCK_AGAIN);
        tried = flock(file, FlockOperation::NonBlockingLockExclusive);
    }
    tried
}

/// 300 ms together: far longer than a look takes, and nobody's wait at a start.
const LOCK_TRIES: u32 = 30;
const LOCK_AGAIN: Duration = Duration::from_millis(10);

fn lock(dir: &DataDir) -> Result<File, StorageError> {
    let failed = |what| {
        let path = dir.path().to_owned();
        move |source| StorageError::Directory { path, what, source }
    };
    if !dir.path().is_dir() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir.path())
            .map_err(failed("it cannot be made"))?;
    }
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(dir.lock())
        .map_err(failed("its lock file cannot be opened"))?;
    match take(&file) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut text = String::new();
            // The pid is a courtesy; a lock file that cannot be read is locked all the same.
            let _ = file.read_to_string(&mut text);
            return Err(StorageError::Locked {
                path: dir.path().to_owned(),
                pid: text.trim().parse().ok(),
            });
        }
        Err(errno) => return Err(failed("its lock cannot be taken")(errno.into())),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(failed("its lock file cannot be written"))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn open(dir: &Path) -> Result<Store, StorageError> {
        Store::open(DataDir::new(dir), 2, Duration::from_millis(200)).await
    }

    #[tokio::test]
    async fn a_second_server_is_refused_by_name_and_pid_until_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(dir.path()).await.unwrap();
        let line = open(dir.path()).await.unwrap_err().to_string();
        assert!(line.contains(dir.path().to_str().unwrap()), "{line}");
        assert!(
            line.contains(&format!("(pid {})", std::process::id())),
            "{line}"
        );
        first.close().await;
        drop(first);
        open(dir.path()).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_said_to_be_none_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = DataDir::new(dir.path()).database();
        let junk = "dear diary, ".repeat(1000);
        std::fs::write(&file, &junk).unwrap();
        let line = open(dir.path()).await.unwrap_err().to_string();
        assert!(line.contains("not a SQLite database"), "{line}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), junk);
    }

    #[tokio::test]
    async fn a_folder_in_the_databases_place_is_one_clear_line() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(DataDir::new(dir.path()).database()).unwrap();
        let line = open(dir.path()).await.unwrap_err().to_string();
        assert!(line.contains("it is a folder"), "{line}");
    }

    #[tokio::test]
    async fn a_full_disk_costs_what_it_refuses_and_nothing_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).await.unwrap();
        sqlx::query("CREATE TABLE t (x BLOB)")
            .execute(&store.writer)
            .await
            .unwrap();
        let write = async |bytes: i64| {
            let mut transaction = store.writer.begin_with("BEGIN IMMEDIATE").await?;
            sqlx::query("INSERT INTO t VALUES (zeroblob(?))")
                .bind(bytes)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await
        };
        // As full as a disk can be for one connection: no page more than there are.
        sqlx::query("PRAGMA max_page_count = 1")
            .execute(&store.writer)
            .await
            .unwrap();
        let full = write(1 << 20).await.unwrap_err();
        assert_eq!(in_words(Path::new("db"), &full), "the disk is full");
        write(1).await.unwrap();
    }

    #[tokio::test]
    async fn the_reader_cannot_write_and_the_writer_can() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).await.unwrap();
        sqlx::query("CREATE TABLE t (x INTEGER)")
            .execute(&store.writer)
            .await
            .unwrap();
        let refused = sqlx::query("INSERT INTO t VALUES (1)")
            .execute(&store.reader)
            .await
            .unwrap_err();
        assert!(
            in_words(Path::new("db"), &refused).contains("read-only"),
            "{refused}"
        );
    }
}
