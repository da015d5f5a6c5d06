//! Whether a call costs more where there are many programs: the same call with ten programs and with a
//! hundred thousand in the catalog, on a pool that answers at once.
//!
//! Ten programs of the hundred thousand are called, so that it differs from ten alone in the size of the
//! catalog alone; then each in turn, so that no cache of the processor helps.

#![allow(missing_docs, reason = "criterion's macros make public items")]

mod at_once;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use dspex_flags::{Flags, MemoryStore, dspex};
use dspex_pool::{Program, ProgramId, ProgramKey};
use dspex_router::{Catalog as _, Execute, MemoryCatalog, Router};
use serde_json::{Map, json};

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

fn request(program: &ProgramId) -> Execute {
    Execute {
        program: program.clone(),
        inputs: Map::new(),
        session: None,
        request_id: "r-1".to_owned(),
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
    let mut group = criterion.benchmark_group("router");
    for (name, router, called) in [
        ("execute, ten programs", &few, &ten),
        ("execute, ten of 100,000 programs", &many, &ten_of_many),
        ("execute, each of 100,000 programs in turn", &many, &all),
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
