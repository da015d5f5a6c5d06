//! What `cargo xtask bench migrate` measures: how often equal lanes are told apart and unequal ones
//! are not, over whole plans in simulated time; what a look at a million calls costs; how long a long
//! journal takes to load. Prints one line of JSON for each result.
//!
//! `cargo run --release -p dspex-migration --example verdicts -- [RUNS] [CALLS A SECOND]`

#![expect(
    clippy::disallowed_methods,
    reason = "it measures real time, and nothing here is tested with a paused clock"
)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dspex_flags::Percent;
use dspex_migration::simulation::{Difference, Ended, Load, Traffic, Until, migrate};
use dspex_migration::{
    Append, Event, Journal, Ledger, MigrationId, Phase, Plan, Settings, SqliteJournal, Start,
    State, Windows, analyse,
};
use dspex_telemetry::{Blame, Config, Lane, Outcome, Telemetry};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

/// Entries of the journal that is loaded.
const ENTRIES: u64 = 100_000;

/// Calls in the window that is looked at.
const CALLS: u64 = 1_000_000;

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
    for (name, difference) in [
        ("equal", of(0.0, 0.0)),
        ("errors", of(0.05, 0.0)),
        ("latency", of(0.0, 0.2)),
    ] {
        println!("{}", simulated(name, &plan, per_second, difference, runs));
    }
    println!("{}", look(&plan));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    println!("{}", runtime.expect("a runtime").block_on(journal(&plan)));
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

/// A look with a million calls in the window: what is taken from telemetry, added up and judged.
fn look(plan: &Plan) -> Value {
    let start = tokio::time::Instant::now();
    let telemetry = Telemetry::new(Config::default());
    let mut cursor = telemetry.cursor(start);
    let (mut windows, mut ledger) = (Windows::default(), Ledger::default());
    let mut random = dspex_migration::simulation::Random::new(1);
    let programs: Vec<std::sync::Arc<str>> = ["classify", "answer", "summarize", "essay", "judge"]
        .map(Into::into)
        .to_vec();
    let looks = plan.window.as_secs() / plan.interval.as_secs();
    let mut took = Vec::new();
    let mut seen = 0;
    // Twice the window, so that the last looks are at one that is full and has older ones behind it.
    for number in 1..=2 * looks {
        let now = start + plan.interval * u32::try_from(number).expect("few");
        for _ in 0..CALLS / looks {
            let total = Duration::from_secs_f64((random.normal() * 0.6).exp());
            let fails = random.share() < 0.01;
            let lane = if random.share() < 0.5 {
                Lane::Candidate
            } else {
                Lane::Stable
            };
            let outcome = Outcome {
                lane,
                program: programs[usize::try_from(random.number(2.0).min(4)).expect("few")].clone(),
                blame: fails.then_some(Blame::Program),
                kind: if fails { "program-failed" } else { "ok" },
                total,
                program_time: Some(total.mul_f64(0.98)),
            };
            let back = plan.interval.mul_f64(random.share());
            telemetry.record(&outcome, now - back);
        }
        let began = Instant::now();
        let sample = dspex_migration::Sample {
            lanes: telemetry.take(&mut cursor, now),
            recorded: true,
            percent: Percent::from_basis_points(5_000).expect("a share"),
            counts: true,
            ..Default::default()
        };
        let judged = windows.add(plan, &ledger, 1, &sample);
        let analysis = analyse(&plan.thresholds, &judged.evidence);
        took.push(began.elapsed().as_secs_f64() * 1000.0);
        seen = analysis.stable.calls + analysis.candidate.calls;
        ledger = judged.evidence.ledger;
    }
    let mut last = took.split_off(took.len() / 2);
    last.sort_by(f64::total_cmp);
    json!({"name": "look", "calls": seen, "ms_p50": at(&last, 50), "ms_max": last.last()})
}

/// The load of a long journal, of entries as a migration writes them.
async fn journal(plan: &Plan) -> Value {
    let folder = tempfile::tempdir().expect("a folder");
    let options = SqliteConnectOptions::new()
        .filename(folder.path().join("dspex.db"))
        .create_if_missing(true)
        .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal);
    let pool = SqlitePool::connect_with(options).await.expect("connected");
    let journal = SqliteJournal::open(pool.clone(), pool)
        .await
        .expect("opened");
    let (id, at) = (MigrationId::generate(), jiff::Timestamp::UNIX_EPOCH);
    let (who, why) = ("bench", "measured");
    let start = Start { plan, who, why, at };
    journal.create(&id, start).await.expect("created");
    let ticks = ticks(plan);
    let mut seq = 1;
    while seq < ENTRIES {
        let events: Vec<Event> = ticks.iter().cycle().take(1_000).cloned().collect();
        let append = Append {
            expected_seq: seq,
            events: &events,
            at,
            phase: Phase::Rollout,
            outcome: None,
        };
        seq = journal.append(&id, append).await.expect("appended");
    }
    let began = Instant::now();
    let state = State::load(&journal, &id).await.expect("loaded");
    let took = began.elapsed();
    let all = ticks
        .iter()
        .map(|tick| serde_json::to_string(tick).map_or(0, |text| text.len()));
    let bytes = all.sum::<usize>() as u64 * ENTRIES / ticks.len() as u64;
    json!({
        "name": "journal", "entries": state.seq, "bytes": bytes,
        "seconds": took.as_secs_f64(),
    })
}

/// Ticks as looks at real traffic make them.
fn ticks(plan: &Plan) -> Vec<Event> {
    let mut traffic = Traffic::new(Load::typical(10.0), Difference::default(), 1);
    let (mut windows, mut ledger) = (Windows::default(), Ledger::default());
    (0..200)
        .map(|_| {
            let sample = traffic.sample(
                Percent::from_basis_points(2_500).expect("a share"),
                plan.interval,
            );
            let judged = windows.add(plan, &ledger, 1, &sample);
            let analysis = analyse(&plan.thresholds, &judged.evidence);
            ledger = judged.evidence.ledger;
            Event::Ticked {
                credit_ms: 5_000,
                calls_stable: sample.lanes[0].calls,
                calls_candidate: sample.lanes[1].calls,
                analysis,
                ledger: judged.change,
            }
        })
        .collect()
}
