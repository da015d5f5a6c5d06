//! A change of the catalog with all that follows from it, as one.
//!
//! Invariants: what was begun is ended, also where the caller has left by then: a catalog that says
//! one thing while calls are served by another would stay so; what is known is never older than what
//! was written last.

use std::sync::Arc;

use dspex_pool::{Program, ProgramId, ProgramKey, SharedPool};
use tokio_util::task::TaskTracker;

use crate::catalog::Catalog;
use crate::catalog::cache::Cache;
use crate::clock;
use crate::error::CatalogError;
use crate::router::Router;
use crate::sessions::states::States;
use crate::shadow::Shadow;

/// What a change is made with.
pub(super) struct Change {
    catalog: Arc<dyn Catalog>,
    known: Arc<Cache>,
    sessions: Arc<States>,
    shadow: Arc<Shadow>,
    /// Who may hold instances of programs.
    pools: Vec<SharedPool>,
    tasks: TaskTracker,
}

impl Change {
    pub(super) fn of(router: &Router) -> Self {
        Self {
            catalog: Arc::clone(&router.catalog),
            known: Arc::clone(&router.known),
            sessions: Arc::clone(&router.sessions),
            shadow: Arc::clone(&router.shadow),
            pools: [Some(router.stable()), router.candidate()]
                .into_iter()
                .flatten()
                .collect(),
            tasks: router.tracker.clone(),
        }
    }

    /// Keeps a program that was built: as a new one, or in the place of the version that is served.
    pub(super) async fn keep(
        self,
        program: Arc<Program>,
        in_place_of: Option<ProgramKey>,
    ) -> Result<(), CatalogError> {
        let tasks = self.tasks.clone();
        let kept = tasks.spawn(async move { self.write(program, in_place_of).await });
        kept.await.unwrap_or(Err(CatalogError::Interrupted))
    }

    async fn write(
        self,
        program: Arc<Program>,
        in_place_of: Option<ProgramKey>,
    ) -> Result<(), CatalogError> {
        let key = &program.key;
        // Before the write: whatever moves it from then on may be newer than what is written here.
        let before = self.known.generation(&key.id);
        let replaced = in_place_of.as_ref().map(|served| served.version);
        let kept = self.catalog.keep(&program, replaced, clock::wall()).await;
        if let Err(error) = kept {
            // Whether it was written is not known; the catalog is asked by the next call.
            self.known.remove(&key.id);
            self.forget(key).await;
            return Err(error);
        }
        let Some(served) = in_place_of else {
            self.known.file(Arc::clone(&program), before);
            tracing::info!(program = %key, "program created");
            return Ok(());
        };
        // From here on new calls find the new version: what was read of the old one is not filed.
        self.known.supersede(Arc::clone(&program), before);
        tracing::info!(program = %key, before = served.version, "program replaced");
        self.forget(&served).await;
        self.sessions.forget(&served).await;
        Ok(())
    }

    /// Removes a program, and says which version was served.
    pub(super) async fn delete(self, id: ProgramId) -> Result<Option<ProgramKey>, CatalogError> {
        let tasks = self.tasks.clone();
        let deleted = tasks.spawn(async move { self.remove(&id).await });
        deleted.await.unwrap_or(Err(CatalogError::Interrupted))
    }

    async fn remove(self, id: &ProgramId) -> Result<Option<ProgramKey>, CatalogError> {
        let removed = self.catalog.delete(id).await;
        // Also where that failed: whether it is gone is not known then.
        self.known.remove(id);
        let Some(key) = removed? else {
            return Ok(None);
        };
        tracing::info!(program = %key, "program deleted");
        self.forget(&key).await;
        self.sessions.forget(&key).await;
        self.shadow.forget(id);
        Ok(Some(key))
    }

    async fn forget(&self, key: &ProgramKey) {
        for pool in &self.pools {
            pool.forget(key).await;
        }
    }
}
