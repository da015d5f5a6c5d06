//! Where flags live: the contract of a store.
//!
//! Every store passes the one battery in `testing::conformance`. Two rules carry the rest: a write is
//! all or nothing, and a write that expects a revision other than the newest is refused.

mod file;
mod memory;
mod sql;

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;

pub use file::FileStore;
pub use memory::MemoryStore;
#[cfg(feature = "postgres")]
pub use sql::PostgresStore;
pub use sql::{Dialect, SqlStore, SqliteStore};

use crate::audit::{Change, Write};
use crate::error::FlagError;
use crate::revision::Revision;
use crate::value::FlagValue;

/// A place that keeps the values of flags and every change of them.
///
/// A store knows nothing of declarations: it keeps flags that this program does not know, because
/// another version of it may.
#[async_trait]
pub trait FlagStore: Send + Sync {
    /// Everything that is set, and the revision of it, as of one moment.
    async fn load(&self) -> Result<Stored, FlagError>;

    /// Sets flags and records who did so and why: all of it or, with an error, none.
    ///
    /// Must be cancel-safe: a dropped future has written all of it or none.
    ///
    /// # Errors
    ///
    /// [`FlagError::Conflict`] if the store is not at the expected revision,
    /// [`FlagError::BadWrite`] as [`Write::check`] says, [`FlagError::Store`] if it cannot write.
    async fn write(&self, write: &Write, at: Timestamp) -> Result<Revision, FlagError>;

    /// The newest revision: what polling asks for, so it should be cheap.
    async fn revision(&self) -> Result<Revision, FlagError>;

    /// Returns when there may be a new revision: a hint to ask for it sooner than by polling. It may
    /// be late, missing or for nothing. A store that knows nothing of this never returns, which is
    /// what it does here.
    ///
    /// Must be cancel-safe, and must not return twice in a row without a pause.
    async fn changed(&self) {
        std::future::pending::<()>().await;
    }

    /// The newest changes first, at most `limit` of them.
    async fn history(&self, limit: usize) -> Result<Vec<Change>, FlagError>;
}

/// The contents of a store at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stored {
    /// The newest revision.
    pub revision: Revision,
    /// What has been set, by the flag's key.
    pub values: BTreeMap<String, StoredValue>,
}

/// One flag as a store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredValue {
    /// Its value.
    pub value: FlagValue,
    /// The revision in which it was set.
    pub revision: Revision,
    /// The rollout hash that it was set for; see [`crate::HASH_VERSION`].
    pub hash_version: u32,
}
