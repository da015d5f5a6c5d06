//! What a decision costs: with a key, among few and many flags, with few and many lists, alone and
//! with other threads beside it.
//!
//! Decisions are made on the live handle, by [`Flags::current`], unless the name says otherwise: that is
//! what somebody pays who serves whatever is newest. Beside criterion's times it prints lines
//! `allocations <name> <number>`.

#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use dspex_flags::{
    Declaration, Flag, FlagValue, Flags, MemoryStore, Percent, Rules, Write, rules_key,
};
use rustix::time::{ClockId, clock_gettime};

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
const MANY: usize = 100_000;

/// The handles of so many shares that nobody has written.
fn others(number: usize) -> Vec<Flag<Percent>> {
    let other = |number: usize| Flag {
        // A handle's key is compiled in; here it is made up, once in the life of the process.
        key: format!("other_{number}").leak(),
        ..SHARE
    };
    (0..number).map(other).collect()
}

/// Flags with these others among them, and with that many keys on the share's allow list.
fn flags(others: &[Flag<Percent>], allowed: usize) -> Arc<Flags> {
    let mut declarations: Vec<Declaration> = vec![SHARE.declaration(), SWITCH.declaration()];
    declarations.extend(others.iter().map(Flag::declaration));
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

fn decisions(criterion: &mut Criterion) {
    let eight = others(8);
    let many = others(MANY - 2);
    let mut group = criterion.benchmark_group("flags");
    for (name, others, allowed) in [
        ("decision with key", &eight, 0),
        ("decision with key, 100,000 flags", &many, 0),
        ("decision with key, 10 overrides", &eight, 10),
        ("decision with key, 10,000 overrides", &eight, 10_000),
    ] {
        let flags = flags(others, allowed);
        let counted = allocation_counter::measure(|| {
            for key in [KEY, "allowed-1", ""] {
                black_box(flags.current().rollout(&SHARE, black_box(key)));
            }
        });
        println!("allocations flags/{name} {}", counted.count_total);
        group.bench_function(name, |bencher| {
            bencher.iter(|| flags.current().rollout(&SHARE, black_box(KEY)));
        });
    }
    let among_many = flags(&many, 0);
    group.bench_function(
        "decision with key, each of 100,000 flags in turn",
        |bencher| {
            let mut next = 0_usize;
            bencher.iter(|| {
                // A step that has no common divisor with the number of flags: no cache helps.
                next = (next + 7_919) % many.len();
                among_many.current().rollout(&many[next], black_box(KEY))
            });
        },
    );
    let flags = flags(&eight, 10);
    let snapshot = flags.snapshot();
    group.bench_function("decision with key, on a snapshot that is held", |bencher| {
        bencher.iter(|| black_box(&snapshot).rollout(&SHARE, black_box(KEY)));
    });
    group.bench_function("switch", |bencher| {
        bencher.iter(|| flags.current().enabled(&SWITCH));
    });
    group.finish();
}

/// What each of `threads` threads needs of its processor for `each` decisions, on average.
///
/// Time on the processor, and not the time that passes: beyond the machine's cores threads take turns,
/// and what they wait for one another's cache lines counts either way.
fn beside(threads: u32, each: u64, decide: impl Fn() -> bool + Sync) -> Duration {
    let used = || {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        Duration::try_from(now).expect("a thread's time is not negative")
    };
    let one = || {
        let before = used();
        for _ in 0..each {
            black_box(decide());
        }
        used() - before
    };
    let all: Duration = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        let ended = running.into_iter().map(|thread| thread.join());
        ended.map(|took| took.expect("it does not panic")).sum()
    });
    all / threads
}

fn contention(criterion: &mut Criterion) {
    let flags = flags(&others(8), 0);
    let mut group = criterion.benchmark_group("flags");
    for threads in [1, 2, 4, 8] {
        group.bench_function(
            format!("decision with key, threads: {threads}"),
            |bencher| {
                let decide = || flags.current().rollout(&SHARE, black_box(KEY));
                bencher.iter_custom(|each| beside(threads, each, decide));
            },
        );
    }
    // What a handle costs where a look would do: its count is one cache line for all threads.
    for threads in [1, 8] {
        let name = format!("decision with key, by a handle of its own, threads: {threads}");
        group.bench_function(name, |bencher| {
            let decide = || flags.snapshot().rollout(&SHARE, black_box(KEY));
            bencher.iter_custom(|each| beside(threads, each, decide));
        });
    }
    group.finish();
}

criterion_group!(benches, decisions, contention);
criterion_main!(benches);
