//! Whether a call costs more where there are many programs: the same call with ten programs and with a
//! hundred thousand in the catalog, on a pool that answers at once.
//!
//! `ten of many` calls ten programs of the hundred thousand, so that it differs from `ten` in the size of
//! the catalog alone; `all of many` calls each in turn, so that no cache of the processor helps.

#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use dspex_flags::{Flags, MemoryStore, dspex};
use dspex_pool::{
    Call, Drained, Pool, PoolError, PoolStatus, Program, ProgramId, ProgramKey, Reply,
};
use dspex_router::{
    Catalog as _, Execute, MemoryCatalog, MemorySessions, Router, RouterConfig, RouterParts,
};
use dspex_telemetry::Telemetry;
use serde_json::{Map, json};

const MANY: usize = 100_000;

/// Answers at once, with nothing.
struct Ready {
    worker: Arc<str>,
}

#[async_trait]
impl Pool for Ready {
    async fn execute(&self, call: Call) -> Result<Reply, PoolError> {
        drop(call);
        Ok(Reply {
            outputs: Map::new(),
            program_time: Some(Duration::ZERO),
            worker: Arc::clone(&self.worker),
            state: None,
        })
    }

    async fn check(&self, _: &Program) -> Result<(), PoolError> {
        Ok(())
    }

    async fn forget(&self, _: &ProgramKey) {}

    fn status(&self) -> PoolStatus {
        PoolStatus {
            ready: 1,
            ..PoolStatus::default()
        }
    }

    async fn drain(&self, _: Duration) -> Drained {
        Drained {
            finished: 0,
            abandoned: 0,
        }
    }
}

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
    let router = Router::new(RouterParts {
        stable: Arc::new(Ready {
            worker: "w-0.0".into(),
        }),
        flags: flags.await.expect("flags"),
        telemetry: Telemetry::new(dspex_telemetry::Config::default()),
        catalog,
        sessions: Arc::new(MemorySessions::new()),
        config: RouterConfig::default(),
        tracker: tokio_util::task::TaskTracker::new(),
    })
    .expect("the defaults are valid");
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
    let mut context = Context::from_waker(Waker::noop());
    match pin!(router.execute(request)).poll(&mut context) {
        Poll::Ready(answer) => {
            black_box(answer.expect("answered"));
        }
        Poll::Pending => unreachable!("the pool answers at once"),
    }
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
    let mut group = criterion.benchmark_group("programs");
    for (name, router, called) in [
        ("ten", &few, &ten),
        ("ten_of_many", &many, &ten_of_many),
        ("all_of_many", &many, &all),
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
