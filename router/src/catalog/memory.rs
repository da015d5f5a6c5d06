//! Programs kept in memory: for tests, and for servers that may forget.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use dspex_pool::{Program, ProgramId, ProgramKey};
use jiff::Timestamp;

use super::{Catalog, Page};
use crate::error::CatalogError;

/// A catalog that ends with the process.
#[derive(Debug, Default)]
pub struct MemoryCatalog {
    rows: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    last_version: u64,
    programs: BTreeMap<ProgramId, Arc<Program>>,
}

impl MemoryCatalog {
    /// An empty catalog.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        // Every change below is one assignment, so a poisoned lock still guards whole rows.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Catalog for MemoryCatalog {
    async fn reserve(&self) -> Result<u64, CatalogError> {
        let mut rows = self.rows();
        rows.last_version += 1;
        Ok(rows.last_version)
    }

    async fn create(&self, program: &Program, _at: Timestamp) -> Result<(), CatalogError> {
        let mut rows = self.rows();
        let id = &program.key.id;
        if rows.programs.contains_key(id) {
            return Err(CatalogError::AlreadyExists { id: id.clone() });
        }
        rows.programs.insert(id.clone(), Arc::new(program.clone()));
        Ok(())
    }

    async fn get(&self, id: &ProgramId) -> Result<Option<Program>, CatalogError> {
        Ok(self
            .rows()
            .programs
            .get(id)
            .map(|program| (**program).clone()))
    }

    async fn list(&self, after: Option<&ProgramId>, limit: usize) -> Result<Page, CatalogError> {
        let rows = self.rows();
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = rows
            .programs
            .range::<ProgramId, _>((begin, Bound::Unbounded));
        let programs: Vec<_> = rest
            .by_ref()
            .take(limit)
            .map(|(_, program)| Arc::clone(program))
            .collect();
        let more = rest.next().is_some();
        Ok(Page {
            next: programs
                .last()
                .filter(|_| more)
                .map(|program| program.key.id.clone()),
            programs,
            corrupt: Vec::new(),
        })
    }

    async fn delete(&self, id: &ProgramId) -> Result<Option<ProgramKey>, CatalogError> {
        let removed = self.rows().programs.remove(id);
        Ok(removed.map(|program| program.key.clone()))
    }
}
