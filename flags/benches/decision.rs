//! What a decision costs: with a key, among few and many flags, with few and many lists, alone and
//! with other threads beside it.
//!
//! `cargo bench -p dspex-flags --bench decision`. Before anything is timed it is checked that no
//! decision allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use dspex_flags::{
    Declaration, Flag, FlagValue, Flags, MemoryStore, Percent, Rules, Snapshot, Write, rules_key,
};

/// Counts what this thread allocates.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

#[expect(
    unsafe_code,
    reason = "an allocator is unsafe to implement; this one only counts and passes on"
)]
// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SHARE: Flag<Percent> = Flag {
    key: "gradual_rollout_percentage",
    default: Percent::ZERO,
    description: "the share that is asked for",
    owner: "bench",
};
const SWITCH: Flag<bool> = Flag {
    key: "switch",
    default: true,
    description: "the switch that is asked for",
    owner: "bench",
};
const KEY: &str = "session-0123456789";

/// Flags among others, with that many keys on the share's allow list.
fn flags(others: usize, allowed: usize) -> Arc<Flags> {
    let mut declarations = vec![SHARE.declaration(), SWITCH.declaration()];
    declarations.extend((0..others).map(|number| Declaration {
        key: format!("other_{number}").into(),
        ..SWITCH.declaration()
    }));
    let mut set: Vec<(String, FlagValue)> = vec![(
        SHARE.key.to_owned(),
        Percent::from_basis_points(5_000).expect("a share").into(),
    )];
    if allowed > 0 {
        let rules = Rules {
            allow: (0..allowed)
                .map(|number| format!("allowed-{number}"))
                .collect(),
            ..Rules::default()
        };
        set.push((rules_key(SHARE.key), rules.into()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let store = Arc::new(MemoryStore::new());
        let flags = Flags::open(store, declarations).await.expect("flags");
        let write = Write {
            expected: None,
            set,
            who: "bench".to_owned(),
            why: "to be measured".to_owned(),
        };
        flags.write(write).await.expect("a revision");
        flags
    })
}

fn no_decision_allocates(snapshot: &Snapshot) {
    let before = ALLOCATIONS.with(Cell::get);
    for key in [KEY, "allowed-1", ""] {
        black_box(snapshot.rollout(&SHARE, black_box(key)));
        black_box(snapshot.enabled(&SWITCH));
        black_box(snapshot.enabled_for(&SWITCH, key));
    }
    let made = ALLOCATIONS.with(Cell::get) - before;
    assert_eq!(made, 0, "a decision allocated");
}

fn decisions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decision");
    for (name, others, allowed) in [
        ("10 flags", 8, 0),
        ("100,000 flags", 99_998, 0),
        ("10 overrides", 8, 10),
        ("10,000 overrides", 8, 10_000),
    ] {
        let flags = flags(others, allowed);
        let snapshot = flags.snapshot();
        no_decision_allocates(&snapshot);
        group.bench_function(BenchmarkId::new("with key", name), |bencher| {
            bencher.iter(|| snapshot.rollout(&SHARE, black_box(KEY)));
        });
        // With the live handle's load in it: what somebody pays who holds no snapshot.
        group.bench_function(BenchmarkId::new("live, with key", name), |bencher| {
            bencher.iter(|| flags.snapshot().rollout(&SHARE, black_box(KEY)));
        });
    }
    let flags = flags(8, 10);
    group.bench_function("switch", |bencher| {
        let snapshot = flags.snapshot();
        bencher.iter(|| black_box(&snapshot).enabled(&SWITCH));
    });
    group.finish();
}

/// One thread is timed while others decide beside it. Beyond the machine's cores they take turns, so
/// compare the time of a decision on the processor, which is what this counts: each of `n` threads
/// makes as many decisions, and the whole is divided by what the cores can do at once.
fn contention(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decision beside others");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for threads in [1, 2, 4, 8] {
        let flags = flags(8, 0);
        group.bench_function(BenchmarkId::from_parameter(threads), |bencher| {
            bencher.iter_custom(|each| {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "a bench measures the time that passes"
                )]
                let began = std::time::Instant::now();
                std::thread::scope(|scope| {
                    for _ in 0..threads {
                        scope.spawn(|| {
                            for _ in 0..each {
                                black_box(flags.snapshot().rollout(&SHARE, black_box(KEY)));
                            }
                        });
                    }
                });
                let at_once = threads.min(cores);
                began.elapsed().mul_f64(at_once as f64 / threads as f64)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decisions, contention);
criterion_main!(benches);
