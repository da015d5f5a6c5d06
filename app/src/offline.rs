//! The stores of a server, without the server that owns them: the journal in its data directory, and the
//! flags where its configuration keeps them.
//!
//! Invariants: each is opened when it is needed, so that trouble with one keeps nobody from the other: flags
//! that are kept elsewhere are there also where the data directory is gone. The directory's lock is looked at and never held: a server that runs, hangs or starts in
//! this moment is not disturbed. What is written here and there is kept apart by the database itself.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use dspex_flags::{FlagError, FlagStore};
use dspex_migration::SqliteJournal;
use rustix::fs::{FlockOperation, flock};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

use crate::config::{Config, StoreAt};
use crate::flag_store;
use crate::paths::DataDir;

/// The stores.
pub(crate) struct Offline {
    dir: DataDir,
    flags_at: StoreAt,
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
    /// The stores of a server with this configuration, which has run before. Without its database, where
    /// the flags are kept elsewhere: [`Self::journal`] says then that there is none.
    pub(crate) fn of(config: &Config) -> Result<Self, OfflineError> {
        let dir = DataDir::new(&config.server.data_dir);
        Self::at(dir, config.flags.store.clone(), config.storage.busy_timeout)
    }

    /// `busy` is how long another process's lock is waited for.
    fn at(dir: DataDir, flags_at: StoreAt, busy: Duration) -> Result<Self, OfflineError> {
        // Everything would be in it.
        if flags_at == StoreAt::Database {
            there(&dir)?;
        }
        let options = SqliteConnectOptions::new()
            .filename(dir.database())
            .foreign_keys(true)
            .busy_timeout(busy)
            // As the server: what is said to be written is on the disk.
            .synchronous(SqliteSynchronous::Full);
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_lazy_with(options);
        Ok(Self {
            dir,
            flags_at,
            pool,
        })
    }

    /// The data directory.
    pub(crate) fn dir(&self) -> &DataDir {
        &self.dir
    }

    /// Opens the flags: in the database, or wherever else the server keeps them.
    pub(crate) async fn flags(&self) -> Result<Arc<dyn FlagStore>, FlagError> {
        flag_store::open(&self.flags_at, &self.pool, &self.pool).await
    }

    /// Whether the flags are in the database too, so that its trouble is theirs.
    pub(crate) fn has_the_flags(&self) -> bool {
        self.flags_at == StoreAt::Database
    }

    /// Opens the journals.
    pub(crate) async fn journal(&self) -> Result<SqliteJournal, OfflineError> {
        there(&self.dir)?;
        let opened = SqliteJournal::open(self.pool.clone(), self.pool.clone()).await;
        opened.map_err(|error| OfflineError::Database {
            dir: self.dir.clone(),
            reason: error.to_string(),
        })
    }

    /// Closes the database.
    pub(crate) async fn close(self) {
        self.pool.close().await;
    }
}

/// Asks for the database's file: opening one that is not there says less of where it was looked for.
fn there(dir: &DataDir) -> Result<(), OfflineError> {
    if dir.database().is_file() {
        Ok(())
    } else {
        Err(OfflineError::NoDatabase(dir.clone()))
    }
}

/// Who holds a data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Nobody: no server runs on it.
    Nobody,
    /// A server, whose pid is known where it said so.
    Server(Option<u32>),
    /// It cannot be seen: the directory is gone, or empty as a disk that is not mounted leaves it, or may not
    /// be read.
    Unseen,
}

/// Looks who holds it. A shared lock is asked for and let go at once, so two who look do not see each
/// other.
pub(crate) fn holder(dir: &DataDir) -> Holder {
    let file = match std::fs::File::open(dir.lock()) {
        Ok(file) => file,
        // A server makes the lock before anything else, and never removes it: a database without one was
        // brought here.
        Err(error) if error.kind() == ErrorKind::NotFound && there(dir).is_ok() => {
            return Holder::Nobody;
        }
        Err(_) => return Holder::Unseen,
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
    use dspex_flags::dspex::{self, GRADUAL_ROLLOUT_PERCENTAGE, POOL_V2_ENABLED};
    use dspex_flags::{FlagValue, Flags, Percent, Write};
    use dspex_migration::emergency;

    use super::*;
    use crate::storage::Store;

    const BUSY: Duration = Duration::from_secs(1);

    async fn server(dir: &DataDir) -> Store {
        Store::open(dir.clone(), 1, BUSY).await.unwrap()
    }

    #[tokio::test]
    async fn it_opens_beside_a_server_and_sees_that_there_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::new(folder.path());
        let none = Offline::at(dir.clone(), StoreAt::Database, BUSY);
        assert!(matches!(none, Err(OfflineError::NoDatabase(_))));
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            0,
            "nothing is made"
        );
        assert_eq!(holder(&dir), Holder::Unseen);
        let server = server(&dir).await;
        let offline = Offline::at(dir.clone(), StoreAt::Database, BUSY).unwrap();
        offline.journal().await.unwrap();
        assert_eq!(holder(&dir), Holder::Server(Some(std::process::id())));
        offline.close().await;
        server.close().await;
        drop(server);
        assert_eq!(holder(&dir), Holder::Nobody);
    }

    #[tokio::test]
    async fn traffic_is_lowered_where_the_server_keeps_its_flags_also_without_its_database() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::new(folder.path());
        let at = StoreAt::File(folder.path().join("flags.json"));
        let server = server(&dir).await;
        let open = async |at: &StoreAt| {
            let store = flag_store::open(at, &server.writer, &server.reader).await;
            Flags::open(store.unwrap(), dspex::declarations())
                .await
                .unwrap()
        };
        let share = FlagValue::Percent("25%".parse::<Percent>().unwrap());
        let write = Write {
            expected: None,
            set: vec![
                (POOL_V2_ENABLED.key.to_owned(), true.into()),
                (GRADUAL_ROLLOUT_PERCENTAGE.key.to_owned(), share),
            ],
            who: "ada".to_owned(),
            why: "a test".to_owned(),
        };
        open(&StoreAt::Database)
            .await
            .write(write.clone())
            .await
            .unwrap();

        // Whatever has become of the database.
        let damaged = DataDir::new(folder.path().join("damaged"));
        std::fs::create_dir(damaged.path()).unwrap();
        std::fs::write(damaged.database(), "dear diary, ".repeat(1000)).unwrap();
        let gone = DataDir::new(folder.path().join("gone"));
        let enabled = async |at| open(at).await.snapshot().enabled(&POOL_V2_ENABLED);
        for (dir, missing) in [(damaged, false), (gone, true)] {
            open(&at).await.write(write.clone()).await.unwrap();
            let there = if missing {
                Holder::Unseen
            } else {
                Holder::Nobody
            };
            assert_eq!(holder(&dir), there);
            let offline = Offline::at(dir, at.clone(), BUSY).unwrap();
            let trouble = offline.journal().await.err().unwrap();
            assert_eq!(matches!(trouble, OfflineError::NoDatabase(_)), missing);
            let flags = offline.flags().await.unwrap();
            emergency::lower(&*flags, "grace", "it burns")
                .await
                .unwrap();
            assert!(!enabled(&at).await);
        }
        assert!(
            enabled(&StoreAt::Database).await,
            "nobody reads the flags there"
        );
    }
}
