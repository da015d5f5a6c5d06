//! What `cargo xtask bench migrate` measures: how often equal lanes are told apart and unequal ones
//! are not, over whole plans in simulated time; what a look at a million calls costs, and a whole tick;
//! how long a long journal takes to load. Costs are measured five times. Prints one line of JSON for each
//! result.
//!
//! `cargo run --release -p dspex-migration --example verdicts -- [RUNS] [CALLS A SECOND]`; with no RUNS (0),
//! the costs alone.

#![expect(
    clippy::disallowed_methods,
    reason = "it measures real time, and nothing here is tested with a paused clock"
)]

mod journals;
mod looks;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use dspex_migration::simulation::{Difference, Ended, Load, Until, migrate};
use dspex_migration::{Plan, Settings};
use serde_json::{Value, json};

use looks::Times;

/// How often each cost is measured.
const ROUNDS: u64 = 5;

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench");
    let runs = arguments
        .next()
        .map_or(1_000, |text| text.parse().expect("a number of runs"));
    let rate = arguments
        .next()
        .map(|text| text.parse().expect("a number of calls"));
    let per_second = rate.unwrap_or(10.0);
    let plan = Settings::default().plan("v1", "v2", None).expect("valid");
    let of = |failing, slower| Difference { failing, slower };
    let kinds = [
        ("equal", of(0.0, 0.0)),
        ("errors", of(0.05, 0.0)),
        ("latency", of(0.0, 0.2)),
    ];
    for (name, difference) in kinds.into_iter().filter(|_| runs > 0) {
        println!("{}", simulated(name, &plan, per_second, difference, runs));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(costs(&plan));
}

/// All costs once in each round, so that what else the machine does hits them alike.
async fn costs(plan: &Plan) {
    let (mut looks, mut ticks) = (Times::default(), Times::default());
    let mut loads = Vec::new();
    for round in 0..ROUNDS {
        looks::look(plan, round, &mut looks);
        looks::tick(plan, round, &mut ticks).await;
        loads.push(journals::load(plan).await);
    }
    println!("{}", looks.told("look"));
    println!("{}", ticks.told("tick"));
    let seconds = Vec::from_iter(loads.iter().map(|load| load["seconds"].clone()));
    let last = loads.last().expect("a round");
    println!(
        "{}",
        json!({
            "name": "journal", "entries": last["entries"], "bytes": last["bytes"],
            "seconds": seconds,
        })
    );
}

/// Runs whole plans on all cores.
fn simulated(name: &str, plan: &Plan, per_second: f64, difference: Difference, runs: u64) -> Value {
    let load = Load::typical(per_second);
    let began = Instant::now();
    let next = AtomicU64::new(0);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let ended: Vec<Ended> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores)
            .map(|_| {
                scope.spawn(|| {
                    let mut ended = Vec::new();
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= runs {
                            return ended;
                        }
                        ended.push(migrate(plan, &load, &difference, seed, Until::Told));
                    }
                })
            })
            .collect();
        let ended = threads
            .into_iter()
            .map(|thread| thread.join().expect("ended"));
        ended.flatten().collect()
    });
    let took = began.elapsed().as_secs_f64();
    let told = || ended.iter().filter_map(|ended| ended.told.as_ref());
    let mut times: Vec<f64> = told().map(|told| told.after.as_secs_f64()).collect();
    let mut calls: Vec<u64> = told().map(|told| told.calls.1).collect();
    times.sort_by(f64::total_cmp);
    calls.sort_unstable();
    let mut rules = serde_json::Map::new();
    let mut first_stage = 0;
    for told in told() {
        let count = rules.entry(told.rule.clone()).or_insert(json!(0));
        *count = json!(count.as_u64().unwrap_or(0) + 1);
        first_stage += u64::from(told.stage == 0);
    }
    json!({
        "name": name,
        "runs": runs,
        "calls_per_second": per_second,
        "told": told().count(),
        "by_rule": rules,
        "in_the_first_stage": first_stage,
        "passed": ended.iter().filter(|ended| ended.passed).count(),
        "looks": ended.iter().map(|ended| ended.looks).sum::<u64>(),
        "after_p50_s": at(&times, 50),
        "after_p95_s": at(&times, 95),
        "calls_p50": at(&calls, 50),
        "calls_p95": at(&calls, 95),
        "ms_each": took * 1000.0 * cores as f64 / runs as f64,
    })
}

fn at<T: Copy>(sorted: &[T], percent: usize) -> Option<T> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get(last * percent / 100).copied()
}
