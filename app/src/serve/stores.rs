//! The tables of every part, brought to this version's form.

use std::sync::Arc;

use dspex_flags::{FlagStore, SqliteStore};
use dspex_migration::{Keep, MigrationError, SqliteJournal, SqliteRecorder};
use dspex_router::{RouterError, SqliteCatalog, SqliteSessions};
use tokio_util::task::TaskTracker;

use crate::assemble::AssembleError;
use crate::notify::SqliteCursors;
use crate::storage::Store;

/// The parts' stores, in one database; the flags where the configuration says.
pub(crate) struct Stores {
    pub(crate) flags: Arc<dyn FlagStore>,
    pub(crate) catalog: Arc<SqliteCatalog>,
    pub(crate) sessions: Arc<SqliteSessions>,
    pub(crate) journal: Arc<SqliteJournal>,
    pub(crate) recorder: Arc<SqliteRecorder>,
    pub(crate) cursors: Arc<SqliteCursors>,
}

impl Stores {
    /// Brings the tables of every part to this version's form, before workers are started: a
    /// database that cannot be used is told in milliseconds.
    pub(crate) async fn open(store: &Store, tracker: &TaskTracker) -> Result<Self, AssembleError> {
        let flags = SqliteStore::open(store.writer.clone(), store.reader.clone()).await?;
        Self::with(Arc::new(flags), Keep::default(), store, tracker).await
    }

    /// The same, with the flags in a store of their own, and as much of what was seen as is kept.
    pub(super) async fn with(
        flags: Arc<dyn FlagStore>,
        keep: Keep,
        store: &Store,
        tracker: &TaskTracker,
    ) -> Result<Self, AssembleError> {
        let (writer, reader) = (|| store.writer.clone(), || store.reader.clone());
        Ok(Self {
            flags,
            catalog: Arc::new(
                SqliteCatalog::open(writer(), reader())
                    .await
                    .map_err(RouterError::from)?,
            ),
            sessions: Arc::new(
                SqliteSessions::open(writer(), reader(), tracker.clone())
                    .await
                    .map_err(RouterError::from)?,
            ),
            journal: Arc::new(
                SqliteJournal::open(writer(), reader())
                    .await
                    .map_err(MigrationError::from)?,
            ),
            recorder: Arc::new(
                SqliteRecorder::open(store.background.clone(), reader(), keep)
                    .await
                    .map_err(MigrationError::from)?,
            ),
            cursors: Arc::new(SqliteCursors::open(writer(), reader()).await?),
        })
    }
}
