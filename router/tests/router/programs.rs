//! Programs: made, called, listed, deleted; and what the catalog is asked on the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use async_trait::async_trait;
use dspex_pool::{PoolError, Program, ProgramId, ProgramKey};
use dspex_router::{
    Adapter, Catalog, CatalogError, Draft, MemoryCatalog, Page, RouterConfig, RouterError, Versions,
};
use dspex_telemetry::Lane;
use jiff::Timestamp;

use crate::support::{House, crashed, definition, draft, inputs, request};

fn rejected() -> PoolError {
    PoolError::Rejected {
        message: "module `shop` is not on the allow-list".to_owned(),
    }
}

#[tokio::test]
async fn a_program_is_built_before_it_is_kept() {
    let house = House::new().await;
    let program = house.router.create_program(draft("p")).await.unwrap();
    let built = std::slice::from_ref(&program.key);
    assert_eq!(house.stable.checked(), built);
    assert_eq!(house.candidate.checked(), built);
    assert!(
        !program.repeatable,
        "a callable may have acted on the world"
    );
    assert_eq!(*house.router.get(&program.key.id).await.unwrap(), *program);
}

#[tokio::test]
async fn what_stable_cannot_build_is_not_kept() {
    let house = House::new().await;
    house.stable.fail_checks(rejected());
    let error = house.router.create_program(draft("p")).await.unwrap_err();
    assert!(
        matches!(&error, RouterError::Pool(PoolError::Rejected { .. })),
        "{error:?}"
    );
    assert!(house.router.programs().await.unwrap().is_empty());
    assert_eq!(
        house.candidate.forgotten().len(),
        1,
        "nothing stays in workers"
    );
    house.stable.check_with(|_| Ok(()));
    house.router.create_program(draft("p")).await.unwrap();
}

#[tokio::test]
async fn what_the_candidate_cannot_build_is_answered_by_stable() {
    let house = House::all_on_candidate().await;
    house
        .candidate
        .fail_checks(rejected())
        .fail_with(rejected());
    let program = house.program("p", false).await;
    let answer = house.call(&program, "s").await.unwrap();
    assert_eq!((answer.lane, answer.failed_over), (Lane::Stable, true));
    assert_eq!(house.recorded(Lane::Candidate, "program-rejected"), 1);
}

#[tokio::test]
async fn a_name_is_taken_once_and_versions_are_never_used_again() {
    let house = House::new().await;
    let first = house.router.create_program(draft("p")).await.unwrap();
    let again = house.router.create_program(draft("p")).await.unwrap_err();
    assert!(matches!(&again, RouterError::AlreadyExists { id } if id.as_str() == "p"));
    assert!(
        again.to_string().contains("a program p is there already"),
        "{again}"
    );

    house.router.delete(&first.key.id).await.unwrap();
    for pool in [&house.stable, &house.candidate] {
        assert!(pool.forgotten().contains(&first.key));
    }
    let second = house.router.create_program(draft("p")).await.unwrap();
    assert!(second.key.version > first.key.version);
    assert_eq!(
        house.router.get(&first.key.id).await.unwrap().key,
        second.key
    );
}

#[tokio::test]
async fn of_many_who_take_one_name_one_has_it() {
    let house = House::new().await;
    let (a, b) = tokio::join!(
        house.router.create_program(draft("p")),
        house.router.create_program(draft("p")),
    );
    let kept: Vec<_> = [&a, &b].into_iter().flatten().collect();
    assert_eq!(kept.len(), 1, "{a:?} {b:?}");
    let served = house.router.get(&"p".parse().unwrap()).await.unwrap();
    assert_eq!(served.key, kept[0].key);
    assert!(!house.stable.forgotten().contains(&served.key));
}

#[tokio::test]
async fn a_program_without_a_name_gets_one() {
    let house = House::new().await;
    let nameless = || Draft {
        id: None,
        ..draft("unused")
    };
    let first = house.router.create_program(nameless()).await.unwrap();
    let second = house.router.create_program(nameless()).await.unwrap();
    assert!(first.key.id.as_str().starts_with("p-"), "{}", first.key);
    assert_ne!(first.key.id, second.key.id);
}

#[tokio::test]
async fn an_unknown_program_is_told_with_the_nearest_name() {
    let house = House::new().await;
    house.program("summarise", true).await;
    let unknown: ProgramId = "sumarise".parse().unwrap();
    let failed = house.call(&unknown, "s").await.unwrap_err();
    assert_eq!(failed.lane, None);
    assert_eq!(
        failed.to_string(),
        "there is no program sumarise: did you mean summarise?"
    );
    let far: ProgramId = "translate".parse().unwrap();
    let error = house.router.get(&far).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no program translate");
    let error = house.router.delete(&far).await.unwrap_err();
    assert_eq!(error.kind(), "unknown-program");
    for lane in Lane::ALL {
        assert_eq!(house.window(lane).calls, 0, "no lane was asked");
    }
}

#[tokio::test]
async fn a_deleted_program_is_answered_by_nobody() {
    let house = House::new().await;
    let program = house.program("p", true).await;
    house.call(&program, "s").await.unwrap();
    house.router.delete(&program).await.unwrap();
    let failed = house.call(&program, "s").await.unwrap_err();
    assert_eq!(failed.error.kind(), "unknown-program");
    assert_eq!(house.stable.calls(), 1);
}

#[tokio::test]
async fn requests_that_cannot_be_are_refused_before_any_pool_is_asked() {
    let config = RouterConfig {
        max_inputs_bytes: 100,
        ..RouterConfig::default()
    };
    let house = House::with(Arc::new(MemoryCatalog::new()), config).await;
    let program = house.program("p", true).await;

    let mut large = request(&program, "s");
    large
        .inputs
        .insert("text".to_owned(), "x".repeat(100).into());
    let failed = house.router.execute(large.clone()).await.unwrap_err();
    assert!(matches!(
        failed.error,
        RouterError::InputsTooLarge { limit: 100 }
    ));
    // `{"text":"…"}` takes eleven bytes beside the text.
    large
        .inputs
        .insert("text".to_owned(), "x".repeat(89).into());
    house.router.execute(large).await.unwrap();

    for seconds in [0, 601] {
        let mut request = request(&program, "s");
        request.timeout = Some(std::time::Duration::from_secs(seconds));
        let failed = house.router.execute(request).await.unwrap_err();
        assert_eq!(failed.error.kind(), "invalid-input", "{seconds} s");
    }
    assert_eq!(house.stable.calls(), 1);
}

/// Counts what is read from a catalog.
#[derive(Default)]
struct Counted {
    catalog: MemoryCatalog,
    reads: AtomicU64,
}

#[async_trait]
impl Catalog for Counted {
    async fn reserve(&self) -> Result<u64, CatalogError> {
        self.catalog.reserve().await
    }

    async fn keep(
        &self,
        program: &Program,
        in_place_of: Option<u64>,
        at: Timestamp,
    ) -> Result<(), CatalogError> {
        self.catalog.keep(program, in_place_of, at).await
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
        self.reads.fetch_add(1, SeqCst);
        self.catalog.get(id).await
    }

    async fn list(&self, after: Option<&ProgramId>, limit: usize) -> Result<Page, CatalogError> {
        self.reads.fetch_add(1, SeqCst);
        self.catalog.list(after, limit).await
    }

    async fn delete(&self, id: &ProgramId) -> Result<Option<ProgramKey>, CatalogError> {
        self.catalog.delete(id).await
    }
}

#[tokio::test]
async fn the_way_of_a_call_reads_no_catalog() {
    let catalog = Arc::new(Counted::default());
    let house = House::with(catalog.clone(), RouterConfig::default()).await;
    let program = house.program("made-here", true).await;
    let after_creation = catalog.reads.load(SeqCst);
    for _ in 0..100 {
        house.call(&program, "s").await.unwrap();
    }
    assert_eq!(catalog.reads.load(SeqCst), after_creation);

    // A program that another way brought into the catalog is read once.
    let elsewhere = Program {
        key: ProgramKey {
            id: "made-elsewhere".parse().unwrap(),
            version: catalog.reserve().await.unwrap(),
        },
        definition: definition(),
        repeatable: true,
        stateful: false,
        side_effects: true,
    };
    catalog
        .keep(&elsewhere, None, Timestamp::UNIX_EPOCH)
        .await
        .unwrap();
    for _ in 0..100 {
        house.call(&elsewhere.key.id, "s").await.unwrap();
    }
    assert_eq!(catalog.reads.load(SeqCst), after_creation + 1);
}

#[tokio::test]
async fn after_a_restart_programs_are_loaded_before_they_are_called() {
    let catalog = Arc::new(Counted::default());
    let before = House::with(catalog.clone(), RouterConfig::default()).await;
    for number in 0..2_500 {
        before.program(&format!("p{number}"), true).await;
    }
    let house = House::with(catalog.clone(), RouterConfig::default()).await;
    let loaded = house.router.load().await.unwrap();
    assert_eq!((loaded.programs, loaded.corrupt.len()), (2_500, 0));
    let reads = catalog.reads.load(SeqCst);
    for number in (0..2_500).step_by(100) {
        let id = format!("p{number}").parse().unwrap();
        house.call(&id, "s").await.unwrap();
    }
    assert_eq!(catalog.reads.load(SeqCst), reads);
    assert_eq!(house.router.programs().await.unwrap().len(), 2_500);
    let page = house.router.list(None, usize::MAX).await.unwrap();
    assert_eq!(page.programs.len(), 1_000, "a page is bounded");
    assert!(house.router.list(None, 0).await.is_err());
}

#[tokio::test]
async fn the_older_adapters_five_operations_keep_their_meaning() {
    let house = House::new().await;
    let adapter: &dyn Adapter = &*house.router;
    let id = adapter.create_program(draft("p")).await.unwrap();
    assert_eq!(
        adapter.execute(&id, inputs(), Some("s")).await.unwrap(),
        inputs()
    );
    assert_eq!(
        adapter.list_programs().await.unwrap(),
        std::slice::from_ref(&id)
    );
    adapter.delete_program(&id).await.unwrap();
    assert!(adapter.list_programs().await.unwrap().is_empty());
    let error = adapter.execute(&id, inputs(), None).await.unwrap_err();
    assert_eq!(error.kind(), "unknown-program");

    adapter.health_check().await.unwrap();
    house.stable.set_ready(0);
    let error = adapter.health_check().await.unwrap_err();
    assert_eq!(error.kind(), "pool-unavailable");
}

#[tokio::test]
async fn health_shows_both_lanes() {
    let house = House::all_on_candidate().await;
    let program = house.program("p", true).await;
    house.candidate.fail_with(crashed());
    for _ in 0..5 {
        house.call(&program, "s").await.unwrap();
    }
    let health = house.router.health();
    assert_eq!(health.stable.name, "v1");
    assert_eq!(health.candidate.as_ref().unwrap().failures, 5);
    assert_eq!(health.flag_revision.get(), 1);
    assert!(health.ready());
    let json = serde_json::to_value(&health).unwrap();
    assert_eq!(json["circuits"][0]["lane"], "stable");
    assert_eq!(json["circuits"][1]["state"], "open");
    assert!(json["circuits"][1]["retry_after_ms"].is_u64());
}
