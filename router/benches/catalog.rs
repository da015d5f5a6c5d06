//! Whether a call costs more where there are many programs: the same call with ten programs and with a
//! hundred thousand in the catalog, in memory and in SQLite, on a pool that answers at once.
//!
//! The calls are polled once, so one that asked the database would end the benchmark: what is known is
//! known without it.
//!
//! Ten programs of the hundred thousand are called, so that it differs from ten alone in the size of the
//! catalog alone; then each in turn, so that no cache of the processor helps.

#![allow(missing_docs, reason = "criterion's macros make public items")]

mod at_once;

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use dspex_flags::{Flags, MemoryStore, dspex};
use dspex_pool::{Program, ProgramId, ProgramKey};
use dspex_router::{Catalog as _, Execute, MemoryCatalog, Router, SqliteCatalog};
use serde_json::{Map, json};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous};

use self::at_once::now_or_never;

const MANY: usize = 100_000;

/// A router over so many programs, and their names.
async fn router(programs: usize) -> (Arc<Router>, Vec<ProgramId>) {
    let catalog = Arc::new(MemoryCatalog::new());
    let mut names = Vec::with_capacity(programs);
    for number in 0..programs {
        let id: ProgramId = format!("program-{number}").parse().expect("a name");
        let program = Program {
            key: ProgramKey {
                id: id.clone(),
                version: catalog.reserve().await.expect("a version"),
            },
            definition: serde_json::from_value(json!({"kind": "callable", "target": "m:f"}))
                .expect("a definition"),
            repeatable: true,
            stateful: false,
            side_effects: false,
        };
        let kept = catalog.keep(&program, None, jiff::Timestamp::UNIX_EPOCH);
        kept.await.expect("kept");
        names.push(id);
    }
    let flags = Flags::open(Arc::new(MemoryStore::new()), dspex::declarations());
    let router = at_once::router(flags.await.expect("flags"), catalog);
    router.load().await.expect("loaded");
    (router, names)
}

/// As [`router`], with the programs in a file of SQLite.
async fn router_on_sqlite(programs: usize, file: &Path) -> (Arc<Router>, Vec<ProgramId>) {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .synchronous(SqliteSynchronous::Off);
    let pool = SqlitePoolOptions::new().max_connections(1);
    let pool = pool.connect_with(options).await.expect("a database");
    let catalog = SqliteCatalog::open(pool.clone(), pool.clone()).await;
    let catalog = catalog.expect("its tables");
    // By the database itself: one by one they would take longer than all that is measured.
    let many = i64::try_from(programs).expect("so many numbers");
    sqlx::query(
        "INSERT INTO programs
         (id, version, definition, repeatable, stateful, side_effects, created_at)
         WITH RECURSIVE numbers (n) AS
             (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < ?)
         SELECT 'program-' || n, n + 1, '{\"kind\":\"callable\",\"target\":\"m:f\"}', 1, 0, 0,
             '2026-01-01T00:00:00Z' FROM numbers",
    )
    .bind(many)
    .execute(&pool)
    .await
    .expect("kept");
    let names = (0..programs).map(|n| format!("program-{n}").parse().expect("a name"));
    let flags = Flags::open(Arc::new(MemoryStore::new()), dspex::declarations());
    let router = at_once::router(flags.await.expect("flags"), Arc::new(catalog));
    let loaded = router.load().await.expect("loaded");
    assert_eq!((loaded.programs, loaded.corrupt.len()), (programs, 0));
    (router, names.collect())
}

fn request(program: &ProgramId) -> Execute {
    Execute {
        program: program.clone(),
        inputs: Map::new(),
        session: None,
        request_id: "r-1".into(),
        timeout: None,
        caller: None,
        chunks: None,
        lane: None,
    }
}

fn call(router: &Router, request: Execute) {
    black_box(now_or_never(router.execute(request)).expect("answered"));
}

fn programs(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let _in_it = runtime.enter();
    let (few, ten) = runtime.block_on(router(10));
    let (many, all) = runtime.block_on(router(MANY));
    // Spread over the catalog, and over the shards.
    let ten_of_many: Vec<_> = all.iter().step_by(MANY / 10).cloned().collect();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("catalog.db");
    let (kept, all_kept) = runtime.block_on(router_on_sqlite(MANY, &file));
    let ten_of_kept: Vec<_> = all_kept.iter().step_by(MANY / 10).cloned().collect();
    let mut group = criterion.benchmark_group("router");
    for (name, router, called) in [
        ("execute, ten programs", &few, &ten),
        ("execute, ten of 100,000 programs", &many, &ten_of_many),
        ("execute, each of 100,000 programs in turn", &many, &all),
        (
            "execute, ten of 100,000 programs in SQLite",
            &kept,
            &ten_of_kept,
        ),
        (
            "execute, each of 100,000 programs in SQLite in turn",
            &kept,
            &all_kept,
        ),
    ] {
        let mut next = 0_usize;
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || {
                    // A step that has no common divisor with the number of programs.
                    next = (next + 7_919) % called.len();
                    request(&called[next])
                },
                |request| call(router, request),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, programs);
criterion_main!(benches);
