//! The stores of a data directory, without the server that owns it.
//!
//! Invariant: the directory's lock is looked at and never held: a server that runs, hangs or starts in
//! this moment is not disturbed. What is written here and there is kept apart by the database itself.

use std::time::Duration;

use dspex_flags::SqliteStore;
use dspex_migration::SqliteJournal;
use rustix::fs::{FlockOperation, flock};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

use crate::paths::DataDir;

/// The stores.
pub(crate) struct Offline {
    pub(crate) flags: SqliteStore,
    pub(crate) journal: SqliteJournal,
    pool: SqlitePool,
}

/// Why they cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OfflineError {
    /// There is no database.
    #[error("there is no database {}", .0.database().display())]
    NoDatabase(DataDir),
    /// It cannot be opened, read or written.
    #[error("the database {} cannot be used: {reason}", dir.database().display())]
    Database {
        /// Where it lies.
        dir: DataDir,
        /// The database's words.
        reason: String,
    },
}

impl OfflineError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::NoDatabase(_) => {
                "give the server's data directory with --data-dir, or its configuration with --config"
            }
            Self::Database { .. } => {
                "run it as the user that the server runs as; where another process keeps the database \
                 locked, end that process"
            }
        }
    }
}

impl Offline {
    /// Opens the stores of a directory in which a server has run before. `busy` is how long another
    /// process's lock is waited for.
    pub(crate) async fn open(dir: &DataDir, busy: Duration) -> Result<Self, OfflineError> {
        if !dir.database().is_file() {
            return Err(OfflineError::NoDatabase(dir.clone()));
        }
        let failed = |reason: String| OfflineError::Database {
            dir: dir.clone(),
            reason,
        };
        let options = SqliteConnectOptions::new()
            .filename(dir.database())
            .foreign_keys(true)
            .busy_timeout(busy)
            // As the server: what is said to be written is on the disk.
            .synchronous(SqliteSynchronous::Full);
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options)
            .await
            .map_err(|error| failed(error.to_string()))?;
        let flags = SqliteStore::open(pool.clone(), pool.clone()).await;
        let flags = flags.map_err(|error| failed(error.to_string()))?;
        let journal = SqliteJournal::open(pool.clone(), pool.clone()).await;
        let journal = journal.map_err(|error| failed(error.to_string()))?;
        Ok(Self {
            flags,
            journal,
            pool,
        })
    }

    /// Closes the database.
    pub(crate) async fn close(self) {
        self.pool.close().await;
    }
}

/// Who holds a data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Nobody: no server runs on it.
    Nobody,
    /// A server, whose pid is known where it said so.
    Server(Option<u32>),
}

/// Looks who holds it. A shared lock is asked for and let go at once, so two who look do not see each
/// other.
pub(crate) fn holder(dir: &DataDir) -> Holder {
    let Ok(file) = std::fs::File::open(dir.lock()) else {
        return Holder::Nobody;
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let pid = std::fs::read_to_string(dir.lock()).unwrap_or_default();
            Holder::Server(pid.trim().parse().ok())
        }
        _ => Holder::Nobody,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Store;

    #[tokio::test]
    async fn it_opens_beside_a_server_and_sees_that_there_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::new(folder.path());
        let none = Offline::open(&dir, Duration::from_secs(1)).await;
        assert!(matches!(none, Err(OfflineError::NoDatabase(_))));
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            0,
            "nothing is made"
        );
        assert_eq!(holder(&dir), Holder::Nobody);
        let server = Store::open(dir.clone(), 1, Duration::from_secs(1))
            .await
            .unwrap();
        let offline = Offline::open(&dir, Duration::from_secs(1)).await.unwrap();
        assert_eq!(holder(&dir), Holder::Server(Some(std::process::id())));
        offline.close().await;
        server.close().await;
        drop(server);
        assert_eq!(holder(&dir), Holder::Nobody);
    }
}
