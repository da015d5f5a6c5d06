//! What the router costs a call: the flags' snapshot, the route, the circuit's permit, the dispatch
//! to a pool that answers at once, the record in the telemetry.
//!
//! Everything is there but a pool: the one here gives back what it was given and allocates
//! nothing. What a caller hands over (names, inputs) is made outside what is measured. The future is
//! polled by hand: it never waits, and a runtime would cost more than what is measured.
//!
//! Beside criterion's times it prints lines `allocations <name> <number>`.

#![allow(missing_docs, reason = "criterion's macros make public items")]

mod at_once;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use dspex_flags::{FlagValue, Flags, MemoryStore, Percent, Write, dspex};
use dspex_router::{Draft, Execute, MemoryCatalog, Router};
use serde_json::{Map, Value, json};

use self::at_once::now_or_never;

/// A router with this share of its traffic on the candidate, and one program.
async fn router(candidate: &str) -> Arc<Router> {
    let flags = Flags::open(Arc::new(MemoryStore::new()), dspex::declarations())
        .await
        .expect("an empty store opens");
    let share: Percent = candidate.parse().expect("a percentage");
    let set = [
        (dspex::POOL_V2_ENABLED.key, FlagValue::Bool(true)),
        (
            dspex::GRADUAL_ROLLOUT_PERCENTAGE.key,
            FlagValue::Percent(share),
        ),
    ];
    let write = Write {
        expected: None,
        set: set.map(|(key, value)| (key.to_owned(), value)).into(),
        who: "bench".to_owned(),
        why: "bench".to_owned(),
    };
    flags.write(write).await.expect("the flags are declared");
    let router = at_once::router(flags, Arc::new(MemoryCatalog::new()));
    router.set_candidate(Some(at_once::pool()));
    let draft = Draft {
        id: Some("p-0".parse().expect("a name")),
        definition: serde_json::from_value(json!({
            "kind": "callable", "target": "programs:echo"
        }))
        .expect("a definition"),
        repeatable: Some(true),
        stateful: false,
        side_effects: None,
    };
    router.create_program(draft).await.expect("it is new");
    router
}

fn request(session: bool) -> Execute {
    Execute {
        program: "p-0".parse().expect("a name"),
        inputs: Map::from_iter([("text".to_owned(), Value::from("hello"))]),
        session: session.then(|| "a-session".into()),
        request_id: "r-019a".into(),
        timeout: None,
        caller: None,
        chunks: None,
        lane: None,
    }
}

fn execute(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    // Timers need one, though none is ever waited for.
    let _entered = runtime.enter();
    let mut group = criterion.benchmark_group("router");
    for (name, share, session) in [
        ("execute on stable", "0", false),
        ("execute on the candidate", "100", false),
        ("execute on stable, in a session", "0", true),
    ] {
        let router = runtime.block_on(router(share));
        let run = |request| {
            let answered = now_or_never(router.execute(request));
            black_box(answered).expect("the pool answers");
        };
        // The first call of a program is filed in the telemetry under its name.
        run(request(session));
        let asked = request(session);
        let counted = allocation_counter::measure(move || run(asked));
        println!("allocations router/{name} {}", counted.count_total);
        group.bench_function(name, |bencher| {
            bencher.iter_batched(|| request(session), run, BatchSize::SmallInput);
        });
    }
    group.finish();
}

criterion_group!(benches, execute);
criterion_main!(benches);
