//! Changes of programs whose caller leaves, or that another server made: what is written is what is
//! served.

use std::sync::Arc;

use async_trait::async_trait;
use dspex_pool::{Program, ProgramId, ProgramKey};
use dspex_router::{
    Catalog, CatalogError, Draft, MemoryCatalog, Page, Put, RouterConfig, Versions,
};
use jiff::Timestamp;
use tokio::sync::Semaphore;

use crate::support::{House, draft};

/// A catalog whose writes are done at once, and answered when a test says so.
struct Slow {
    catalog: MemoryCatalog,
    written: Semaphore,
    answered: Semaphore,
}

impl Slow {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            catalog: MemoryCatalog::new(),
            written: Semaphore::new(0),
            answered: Semaphore::new(0),
        })
    }

    async fn answer(&self) {
        self.written.add_permits(1);
        self.answered.acquire().await.unwrap().forget();
    }

    async fn wait_for_write(&self) {
        self.written.acquire().await.unwrap().forget();
    }
}

#[async_trait]
impl Catalog for Slow {
    async fn reserve(&self) -> Result<u64, CatalogError> {
        self.catalog.reserve().await
    }

    async fn keep(
        &self,
        program: &Program,
        in_place_of: Option<u64>,
        at: Timestamp,
    ) -> Result<(), CatalogError> {
        let kept = self.catalog.keep(program, in_place_of, at).await;
        self.answer().await;
        kept
    }

    async fn versions(
        &self,
        id: &ProgramId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Versions, CatalogError> {
        self.catalog.versions(id, before, limit).await
    }

    async fn get(&self, id: &ProgramId) -> Result<Option<Program>, CatalogError> {
        self.catalog.get(id).await
    }

    async fn list(&self, after: Option<&ProgramId>, limit: usize) -> Result<Page, CatalogError> {
        self.catalog.list(after, limit).await
    }

    async fn delete(&self, id: &ProgramId) -> Result<Option<ProgramKey>, CatalogError> {
        let deleted = self.catalog.delete(id).await;
        self.answer().await;
        deleted
    }
}

fn draft_of(repeatable: bool) -> Draft {
    Draft {
        repeatable: Some(repeatable),
        ..draft("p")
    }
}

#[tokio::test]
async fn a_change_whose_caller_leaves_while_it_is_written_is_served() {
    let catalog = Slow::new();
    let house = House::with(catalog.clone(), RouterConfig::default()).await;
    catalog.answered.add_permits(1);
    let first = house.router.create_program(draft_of(true)).await.unwrap();
    catalog.wait_for_write().await;
    let id = &first.key.id;
    assert_eq!(*house.router.get(id).await.unwrap(), *first);

    tokio::select! {
        put = house.router.put_program(id, draft_of(false), None) => panic!("{put:?}"),
        () = catalog.wait_for_write() => {}
    }
    catalog.answered.add_permits(1);
    house.settle().await;
    let second = house.router.get(id).await.unwrap();
    assert!(second.key.version > first.key.version, "{second:?}");
    assert_eq!(house.stable.forgotten(), std::slice::from_ref(&first.key));

    tokio::select! {
        deleted = house.router.delete(id) => panic!("{deleted:?}"),
        () = catalog.wait_for_write() => {}
    }
    catalog.answered.add_permits(1);
    house.settle().await;
    let failed = house.call(id, "s").await.unwrap_err();
    assert_eq!(failed.error.kind(), "unknown-program");
    assert!(house.stable.forgotten().contains(&second.key));
}

#[tokio::test]
async fn whoever_is_told_that_a_program_is_unchanged_finds_it_served() {
    let catalog = Arc::new(MemoryCatalog::new());
    let house = House::with(catalog.clone(), RouterConfig::default()).await;
    let first = house.router.create_program(draft_of(true)).await.unwrap();
    let id = &first.key.id;
    // By another server on the same catalog.
    let elsewhere = House::with(catalog, RouterConfig::default()).await;
    let put = elsewhere
        .router
        .put_program(id, draft_of(false), None)
        .await;
    let Put::Replaced(second) = put.unwrap() else {
        panic!("it says something else");
    };
    let again = house.router.put_program(id, draft_of(false), None).await;
    assert_eq!(again.unwrap(), Put::Unchanged(second.clone()));
    assert_eq!(*house.router.get(id).await.unwrap(), *second);
}
