//! Where programs are kept so that they survive restarts.
//!
//! Invariants: a version is never given out twice, not after a deletion and not after a restart;
//! the newest version of a program is the one that is served, and the ones before it are remembered
//! as long as the program is there, up to [`VERSIONS`] of them; of two writers that replace the same
//! version one wins and the other is told; a name is taken by one program at a time, and the store itself enforces it; a row that cannot
//! be read is reported by name and takes no other row with it.

pub(crate) mod cache;
mod memory;
mod sqlite;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use dspex_pool::{Program, ProgramId, ProgramKey};
use jiff::Timestamp;
use serde::Serialize;

pub use self::memory::MemoryCatalog;
pub use self::sqlite::SqliteCatalog;
use crate::error::CatalogError;

/// How many versions of one program are remembered; beyond it the oldest is forgotten.
pub const VERSIONS: usize = 100;

/// A store of programs.
#[async_trait]
pub trait Catalog: Send + Sync + 'static {
    /// A version that no program has, had or will have but the one it is used for.
    async fn reserve(&self) -> Result<u64, CatalogError>;

    /// Keeps a program under its own name and a version from [`Catalog::reserve`]: as a new one, or
    /// in the place of an older version of it.
    ///
    /// # Errors
    ///
    /// [`CatalogError::AlreadyExists`] where a new program's name is taken;
    /// [`CatalogError::Changed`] where the older version is no longer the one that is served.
    async fn keep(
        &self,
        program: &Program,
        in_place_of: Option<u64>,
        at: Timestamp,
    ) -> Result<(), CatalogError>;

    /// The program of this name.
    ///
    /// # Errors
    ///
    /// [`CatalogError::Corrupt`] where its row cannot be read.
    async fn get(&self, id: &ProgramId) -> Result<Option<Program>, CatalogError>;

    /// At most `limit` programs whose names come after `after`, in the order of their names.
    async fn list(&self, after: Option<&ProgramId>, limit: usize) -> Result<Page, CatalogError>;

    /// At most `limit` versions of a program that are older than `before`, the newest first.
    async fn versions(
        &self,
        id: &ProgramId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Versions, CatalogError>;

    /// Removes a program with all its versions, and says which one was served. Works for rows that
    /// cannot be read.
    async fn delete(&self, id: &ProgramId) -> Result<Option<ProgramKey>, CatalogError>;
}

/// Some versions of one program, the newest first.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Versions {
    /// The versions.
    pub versions: Vec<Version>,
    /// The next page has those older than this; none where this page is the last.
    pub next: Option<u64>,
    /// Rows between these that cannot be read.
    pub corrupt: Vec<CorruptRow>,
}

/// One version of a program.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Version {
    /// The program as it was at this version.
    pub program: Arc<Program>,
    /// Since when it was served.
    pub since: Timestamp,
}

/// Some programs, in the order of their names.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Page {
    /// The programs.
    pub programs: Vec<Arc<Program>>,
    /// Where the next page begins after; none where this page is the last.
    pub next: Option<ProgramId>,
    /// Rows between these programs that cannot be read.
    pub corrupt: Vec<CorruptRow>,
}

/// A row that cannot be read as a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CorruptRow {
    /// The row's name, as it stands there.
    pub id: String,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for CorruptRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "row {:?} of table `programs` cannot be read: {}. Delete the program and create it anew",
            self.id, self.reason
        )
    }
}
