//! Programs kept in memory: for tests, and for servers that may forget.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use dspex_pool::{Program, ProgramId, ProgramKey};
use jiff::Timestamp;

use super::{Catalog, Page, VERSIONS, Version, Versions};
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
    /// Oldest first.
    history: BTreeMap<ProgramId, VecDeque<Version>>,
}

impl MemoryCatalog {
    /// An empty catalog.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        // No change below can panic half-way, so a poisoned lock still guards whole rows.
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

    async fn keep(
        &self,
        program: &Program,
        in_place_of: Option<u64>,
        at: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut rows = self.rows();
        let id = &program.key.id;
        let served = rows.programs.get(id).map(|program| program.key.version);
        match (in_place_of, served) {
            (None, Some(_)) => return Err(CatalogError::AlreadyExists { id: id.clone() }),
            (Some(expected), served) if served != Some(expected) => {
                return Err(CatalogError::Changed {
                    id: id.clone(),
                    expected,
                    served,
                });
            }
            _ => {}
        }
        let program = Arc::new(program.clone());
        let history = rows.history.entry(id.clone()).or_default();
        history.push_back(Version {
            program: Arc::clone(&program),
            since: at,
        });
        while history.len() > VERSIONS {
            history.pop_front();
        }
        rows.programs.insert(id.clone(), program);
        Ok(())
    }

    async fn versions(
        &self,
        id: &ProgramId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Versions, CatalogError> {
        let rows = self.rows();
        let mut older = rows
            .history
            .get(id)
            .into_iter()
            .flatten()
            .rev()
            .filter(|version| before.is_none_or(|before| version.program.key.version < before));
        let versions: Vec<_> = older.by_ref().take(limit).cloned().collect();
        let more = older.next().is_some();
        let last = versions.last().filter(|_| more);
        Ok(Versions {
            next: last.map(|version| version.program.key.version),
            versions,
            corrupt: Vec::new(),
        })
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
        let mut rows = self.rows();
        rows.history.remove(id);
        let removed = rows.programs.remove(id);
        Ok(removed.map(|program| program.key.clone()))
    }
}
