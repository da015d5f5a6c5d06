//! One battery for every catalog, and what only a catalog on disk can get wrong.

use std::sync::Arc;

use dspex_pool::{Program, ProgramId, ProgramKey};
use dspex_router::catalog::VERSIONS;
use dspex_router::{Catalog, CatalogError, MemoryCatalog, RouterConfig, SqliteCatalog};
use jiff::Timestamp;
use serde_json::json;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};

use crate::support::{House, definition};

fn id(text: &str) -> ProgramId {
    text.parse().unwrap()
}

async fn keep(catalog: &dyn Catalog, name: &str) -> Result<Program, CatalogError> {
    let program = Program {
        key: ProgramKey {
            id: id(name),
            version: catalog.reserve().await?,
        },
        definition: definition(),
        repeatable: name.ends_with('0'),
        stateful: false,
        side_effects: true,
    };
    catalog.keep(&program, None, Timestamp::UNIX_EPOCH).await?;
    Ok(program)
}

async fn battery(catalog: Arc<dyn Catalog>) {
    what_is_kept_is_found(&*catalog).await;
    names_are_taken_once(&*catalog).await;
    versions_are_never_used_again(&*catalog).await;
    what_is_replaced_is_remembered(&*catalog).await;
    of_two_who_replace_one_wins(&*catalog).await;
    pages_hold_every_program_once(&*catalog).await;
    of_many_at_once_one_wins(catalog).await;
}

async fn what_is_kept_is_found(catalog: &dyn Catalog) {
    assert_eq!(catalog.get(&id("a")).await.unwrap(), None);
    assert_eq!(catalog.list(None, 10).await.unwrap().programs, []);
    let mut program = keep(catalog, "a").await.unwrap();
    assert_eq!(catalog.get(&id("a")).await.unwrap(), Some(program.clone()));
    assert_eq!(
        catalog.get(&id("A")).await.unwrap(),
        None,
        "names have a case"
    );
    program.key = ProgramKey {
        id: id("dspy"),
        version: catalog.reserve().await.unwrap(),
    };
    program.definition = serde_json::from_value(json!({
        "kind": "dspy",
        "signature": {
            "inputs": [{"name": "question", "type": "list[str]", "description": "ä'\"%_"}],
            "outputs": [{"name": "answer"}],
            "instructions": "line\nline"
        },
        "module": "react",
        "lm": "small",
        "tools": ["shop.tools:find"]
    }))
    .unwrap();
    catalog
        .keep(&program, None, Timestamp::UNIX_EPOCH)
        .await
        .unwrap();
    assert_eq!(catalog.get(&id("dspy")).await.unwrap(), Some(program));
    catalog.delete(&id("dspy")).await.unwrap().unwrap();
}

async fn names_are_taken_once(catalog: &dyn Catalog) {
    let first = catalog.get(&id("a")).await.unwrap();
    match keep(catalog, "a").await {
        Err(CatalogError::AlreadyExists { id }) => assert_eq!(id.as_str(), "a"),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        catalog.get(&id("a")).await.unwrap(),
        first,
        "the first one stays"
    );
}

async fn versions_are_never_used_again(catalog: &dyn Catalog) {
    let first = keep(catalog, "again").await.unwrap();
    assert_eq!(
        catalog.delete(&id("again")).await.unwrap(),
        Some(first.key.clone())
    );
    assert_eq!(catalog.delete(&id("again")).await.unwrap(), None);
    assert_eq!(catalog.get(&id("again")).await.unwrap(), None);
    let second = keep(catalog, "again").await.unwrap();
    assert!(second.key.version > first.key.version);
    catalog.delete(&id("again")).await.unwrap();
    catalog.delete(&id("a")).await.unwrap();
}

/// The next version of a program, not kept yet.
async fn next(catalog: &dyn Catalog, program: &Program) -> Program {
    let mut next = program.clone();
    next.key.version = catalog.reserve().await.unwrap();
    next.repeatable = !next.repeatable;
    next
}

async fn what_is_replaced_is_remembered(catalog: &dyn Catalog) {
    let mut served = keep(catalog, "many").await.unwrap();
    let first = served.key.version;
    let ages: Vec<Timestamp> = (1..=VERSIONS as i64 + 5)
        .map(|second| Timestamp::from_second(second).unwrap())
        .collect();
    for at in &ages {
        let new = next(catalog, &served).await;
        catalog
            .keep(&new, Some(served.key.version), *at)
            .await
            .unwrap();
        served = new;
    }
    assert_eq!(catalog.get(&id("many")).await.unwrap().unwrap(), served);
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let page = catalog.versions(&id("many"), before, 7).await.unwrap();
        assert!(page.versions.len() <= 7 && page.corrupt.is_empty());
        seen.extend(page.versions);
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), VERSIONS, "the oldest are forgotten");
    assert_eq!(
        (&*seen[0].program, seen[0].since),
        (&served, ages[ages.len() - 1])
    );
    assert!(
        seen.windows(2)
            .all(|two| two[0].program.key.version > two[1].program.key.version)
    );
    assert!(
        seen.iter()
            .all(|version| version.program.key.version > first)
    );
    catalog.delete(&id("many")).await.unwrap();
    let gone = catalog.versions(&id("many"), None, 7).await.unwrap();
    assert_eq!(
        gone.versions,
        [],
        "a program that is deleted leaves no history"
    );
}

async fn of_two_who_replace_one_wins(catalog: &dyn Catalog) {
    let served = keep(catalog, "two").await.unwrap();
    let (one, other) = (next(catalog, &served).await, next(catalog, &served).await);
    let replaces = Some(served.key.version);
    catalog
        .keep(&one, replaces, Timestamp::UNIX_EPOCH)
        .await
        .unwrap();
    match catalog.keep(&other, replaces, Timestamp::UNIX_EPOCH).await {
        Err(CatalogError::Changed {
            id,
            expected,
            served: now,
        }) => {
            assert_eq!((id.as_str(), expected), ("two", served.key.version));
            assert_eq!(now, Some(one.key.version));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(catalog.get(&id("two")).await.unwrap(), Some(one.clone()));
    catalog.delete(&id("two")).await.unwrap();
    let gone = catalog
        .keep(&other, Some(one.key.version), Timestamp::UNIX_EPOCH)
        .await;
    assert!(
        matches!(gone, Err(CatalogError::Changed { served: None, .. })),
        "{gone:?}"
    );
}

async fn pages_hold_every_program_once(catalog: &dyn Catalog) {
    let mut names: Vec<_> = (0..25).map(|n| format!("Page.{n}")).collect();
    for name in names.iter().rev() {
        keep(catalog, name).await.unwrap();
    }
    names.sort();
    for limit in [1, 7, 24, 25, 26] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = catalog.list(after.as_ref(), limit).await.unwrap();
            assert!(page.programs.len() <= limit);
            seen.extend(page.programs.iter().map(|p| p.key.id.as_str().to_owned()));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, names, "pages of {limit}");
    }
    // A name that was deleted between two pages does not stop the walk.
    let page = catalog.list(Some(&id("Page.10")), 3).await.unwrap();
    catalog.delete(&id("Page.10")).await.unwrap();
    assert_eq!(page, catalog.list(Some(&id("Page.10")), 3).await.unwrap());
}

async fn of_many_at_once_one_wins(catalog: Arc<dyn Catalog>) {
    let mut makers = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let catalog = catalog.clone();
        makers.spawn(async move { keep(&*catalog, "contested").await });
    }
    let ended = makers.join_all().await;
    let won: Vec<_> = ended.iter().flatten().collect();
    assert_eq!(won.len(), 1, "{ended:?}");
    let kept = catalog.get(&id("contested")).await.unwrap();
    assert_eq!(kept.as_ref(), Some(won[0]));
    let mut versions = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let catalog = catalog.clone();
        versions.spawn(async move { catalog.reserve().await.unwrap() });
    }
    let mut versions = versions.join_all().await;
    versions.sort_unstable();
    versions.dedup();
    assert_eq!(versions.len(), 64, "each version is given out once");
}

async fn open(file: &std::path::Path) -> (SqliteCatalog, SqlitePool) {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal);
    let pool = |connections| {
        SqlitePoolOptions::new()
            .max_connections(connections)
            .connect_with(options.clone())
    };
    let writer = pool(1).await.unwrap();
    let reader = pool(4).await.unwrap();
    (
        SqliteCatalog::open(writer.clone(), reader).await.unwrap(),
        writer,
    )
}

#[tokio::test]
async fn memory_passes_the_battery() {
    battery(Arc::new(MemoryCatalog::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_passes_the_battery() {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, _) = open(&folder.path().join("dspex.db")).await;
    battery(Arc::new(catalog)).await;
}

#[tokio::test]
async fn sqlite_keeps_programs_and_the_last_version_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dspex.db");
    let (catalog, writer) = open(&file).await;
    let kept = keep(&catalog, "kept").await.unwrap();
    let newest = keep(&catalog, "newest").await.unwrap();
    catalog.delete(&newest.key.id).await.unwrap();
    writer.close().await;
    drop(catalog);

    let (catalog, _) = open(&file).await;
    assert_eq!(catalog.get(&kept.key.id).await.unwrap(), Some(kept));
    assert!(catalog.reserve().await.unwrap() > newest.key.version);
}

#[tokio::test]
async fn rows_that_cannot_be_read_are_named_and_take_no_other_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, writer) = open(&folder.path().join("dspex.db")).await;
    for name in ["a", "b", "c", "d", "e"] {
        keep(&catalog, name).await.unwrap();
    }
    for broken in [
        "UPDATE programs SET definition = '{\"kind\":\"call' WHERE id = 'b'",
        "UPDATE programs SET version = -7 WHERE id = 'd'",
        "UPDATE programs SET id = 'not a name' WHERE id = 'e'",
    ] {
        sqlx::query(broken).execute(&writer).await.unwrap();
    }
    match catalog.get(&id("b")).await {
        Err(CatalogError::Corrupt(row)) => assert_eq!(row.id, "b"),
        other => panic!("{other:?}"),
    }
    let told = catalog.get(&id("b")).await.unwrap_err().to_string();
    assert!(told.contains("row \"b\" of table `programs`"), "{told}");

    let house = House::with(Arc::new(catalog), RouterConfig::default()).await;
    let loaded = house.router.load().await.unwrap();
    assert_eq!(loaded.programs, 2);
    let named: Vec<_> = loaded.corrupt.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(named, ["b", "d", "not a name"]);
    for name in ["a", "c"] {
        house.call(&id(name), "s").await.unwrap();
    }
    let failed = house.call(&id("b"), "s").await.unwrap_err();
    assert_eq!(failed.error.kind(), "catalog-failed");

    // Small pages see the same, each row once.
    let (mut programs, mut corrupt, mut after) = (0, 0, None);
    loop {
        let page = house.router.list(after.as_ref(), 1).await.unwrap();
        programs += page.programs.len();
        corrupt += page.corrupt.len();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!((programs, corrupt), (2, 3));

    // What cannot be read can be deleted, and made anew.
    house.router.delete(&id("b")).await.unwrap();
    house.program("b", true).await;
    house.call(&id("b"), "s").await.unwrap();
}

#[tokio::test]
async fn a_database_that_fails_is_told_and_known_programs_are_still_served() {
    let folder = tempfile::tempdir().unwrap();
    let (catalog, writer) = open(&folder.path().join("dspex.db")).await;
    let house = House::with(Arc::new(catalog), RouterConfig::default()).await;
    let program = house.program("p", true).await;
    sqlx::query("DROP TABLE programs")
        .execute(&writer)
        .await
        .unwrap();
    house.call(&program, "s").await.unwrap();
    let failed = house.call(&id("other"), "s").await.unwrap_err();
    assert_eq!(failed.error.kind(), "catalog-failed");
    assert!(
        failed.to_string().contains("while reading a program"),
        "{failed}"
    );
}

#[tokio::test]
async fn tables_of_a_newer_version_are_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dspex.db");
    let (_, writer) = open(&file).await;
    sqlx::query(
        "INSERT INTO _dspex_router_migrations
         (version, description, installed_on, success, checksum, execution_time)
         VALUES (99, 'from the future', CURRENT_TIMESTAMP, 1, x'00', 0)",
    )
    .execute(&writer)
    .await
    .unwrap();
    let again = SqliteCatalog::open(writer.clone(), writer).await;
    let error = again.unwrap_err();
    assert!(
        matches!(error, CatalogError::SchemaTooNew { found: 99, .. }),
        "{error:?}"
    );
    assert_eq!(
        error.to_string(),
        "the catalog has schema version 99, and this program knows up to 4: use the newer program, \
         or another database"
    );
}
