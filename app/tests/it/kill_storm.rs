//! Workers killed one after the other while callers call: nobody who may be asked again pays, and
//! everybody else is told once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::fleet::{pool, signal, spread, until, whole, whole_length, workers};
use crate::house::{House, v2_alone};

const WORKERS: usize = 8;
/// Between two calls: 200 a second.
const CALL_EVERY: Duration = Duration::from_millis(5);
/// Calls that are under way at most. A machine that is busy with other things gets fewer calls a
/// second: what is shown is what kills do, and not what too many calls do.
const UNDER_WAY: usize = 24;
/// Between two kills: 100 in a minute. Each slot has its turn every 4.8 s.
const KILL_EVERY: Duration = Duration::from_millis(600);

type Placed = Result<OwnedSemaphorePermit, AcquireError>;

/// How one call ended.
struct Ended {
    mark: String,
    repeatable: bool,
    took: Duration,
    status: u16,
    /// The problem's type, or the mark that came back.
    said: String,
}

async fn call(house: Arc<House>, number: usize) -> Ended {
    let repeatable = number.is_multiple_of(2);
    let program = if repeatable { "sturdy" } else { "fragile" };
    let mark = format!("{program}-{number}");
    let inputs = json!({"path": house.path(program), "mark": mark, "seconds": 0.03});
    // Sessions spread the calls over all workers.
    let session = format!("session-{}", number % 97);
    let began = Instant::now();
    let answer = house.execute(program, &session, inputs).await;
    let said = match answer.status {
        200 => &answer.body["outputs"]["mark"],
        _ => &answer.body["type"],
    };
    Ended {
        repeatable,
        took: began.elapsed(),
        status: answer.status,
        said: said.as_str().unwrap_or_default().to_owned(),
        mark,
    }
}

fn calls_a_second() -> Interval {
    let mut ticks = tokio::time::interval(CALL_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Keeps the place until the call has ended.
async fn placed(call: impl Future<Output = Ended>, place: Placed) -> Ended {
    let _place = place.unwrap();
    call.await
}

/// Kills this many workers, slot by slot; answers how long each slot was without one that serves.
async fn kill(house: &House, kills: usize) -> Vec<Duration> {
    // A slot starts one worker a second, and has just started its first.
    let first = Instant::now() + 2 * KILL_EVERY;
    let mut ticks = tokio::time::interval_at(first, KILL_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut times = Vec::new();
    for number in 0..kills {
        ticks.tick().await;
        let slot = number % WORKERS;
        let there = |pool: &serde_json::Value| workers(pool)[slot].pid.is_some();
        let (before, _) = until(house, "v2", "a worker in its slot", there).await;
        let victim = workers(&before)[slot].clone();
        let killed = Instant::now();
        signal(victim.pid.unwrap(), Signal::KILL);
        until(house, "v2", "a slot that serves again", |pool| {
            let now = &workers(pool)[slot];
            now.pid.is_some() && now.id != victim.id
        })
        .await;
        times.push(killed.elapsed());
    }
    times
}

/// A quarter of it in the ordinary run: 25 kills in 15 s. All of it, 100 in 60 s, where
/// `DSPEX_TEST_LONG` is set.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_killed_under_load_fail_no_call_that_may_be_repeated() {
    let kills = if whole_length() { 100 } else { 25 };
    let mut house = House::with(&v2_alone(&format!("workers = {WORKERS}\nconcurrency = 4")));
    house.open().await;
    house
        .create_as("sturdy", "storm_programs:notes", true)
        .await;
    house
        .create_as("fragile", "storm_programs:notes", false)
        .await;
    let house = Arc::new(house);

    let mut calls = JoinSet::new();
    let storm = kill(&house, kills);
    tokio::pin!(storm);
    let places = Arc::new(Semaphore::new(UNDER_WAY));
    let mut ticks = calls_a_second();
    let began = Instant::now();
    let mut sent = 0;
    let back = loop {
        tokio::select! {
            back = &mut storm => break back,
            (_, place) = async { (ticks.tick().await, Arc::clone(&places).acquire_owned().await) } => {
                calls.spawn(placed(call(Arc::clone(&house), sent), place));
                sent += 1;
            }
        }
    };
    let lasted = began.elapsed();
    let (_, whole_after) = until(&house, "v2", "whole again", whole).await;
    let ended = calls.join_all().await;

    let noted = std::fs::read_to_string(house.path("fragile")).unwrap();
    let mut runs = HashMap::new();
    for mark in noted.lines() {
        *runs.entry(mark.to_owned()).or_insert(0) += 1;
    }
    let (sturdy, fragile): (Vec<_>, Vec<_>) = ended.iter().partition(|ended| ended.repeatable);
    let failed = |ended: &[&Ended]| {
        let failed = ended.iter().filter(|ended| ended.status != 200);
        failed
            .map(|ended| format!("{} {} {}", ended.mark, ended.status, ended.said))
            .collect::<Vec<_>>()
    };
    let told = failed(&fragile);
    eprintln!(
        "{sent} calls in {lasted:.1?}, {kills} workers killed under them: of {} that may be repeated \
         {} failed, of {} others {} were told; latency {}; a slot served again after {}; \
         whole {whole_after:.1?} after the last",
        sturdy.len(),
        failed(&sturdy).len(),
        fragile.len(),
        told.len(),
        spread(ended.iter().map(|ended| ended.took).collect()),
        spread(back),
    );
    assert_eq!(ended.len(), sent, "each call has one answer");
    assert_eq!(failed(&sturdy), Vec::<String>::new(), "{}", house.log());
    for ended in &fragile {
        let ran = runs.get(&ended.mark).copied().unwrap_or(0);
        match ended.status {
            200 => assert_eq!((ran, &ended.said), (1, &ended.mark)),
            status => {
                assert_eq!(status, 502, "{}: {}", ended.mark, ended.said);
                assert_eq!(ended.said, "urn:dspex:problem:worker-crashed");
                assert!(ran <= 1, "{} ran {ran} times", ended.mark);
            }
        }
    }
    assert!(
        !told.is_empty(),
        "no call was hit: the storm has shown nothing"
    );
    let pool = pool(&house, "v2").await;
    assert_eq!(pool["failures"], kills, "{pool:#}");
}

/// The fork server's end is the end of all workers at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_server_killed_under_load_fails_no_call_that_may_be_repeated() {
    // Calls wait for a worker until there is another fork server, however long this machine takes for it.
    let settings = format!("workers = {WORKERS}\nconcurrency = 4\nqueue_wait = \"30s\"");
    let mut house = House::with(&v2_alone(&settings));
    house.open().await;
    house
        .create_as("sturdy", "storm_programs:notes", true)
        .await;
    let house = Arc::new(house);
    let (before, _) = until(&house, "v2", "whole", whole).await;
    let server = before["details"]["fork_server"]["pid"].as_i64().unwrap();
    let mut calls = JoinSet::new();
    let places = Arc::new(Semaphore::new(UNDER_WAY));
    let mut ticks = calls_a_second();
    let mut killed = None;
    for number in 0..400 {
        ticks.tick().await;
        let place = Arc::clone(&places).acquire_owned().await;
        // Even numbers are the calls that may be repeated.
        calls.spawn(placed(call(Arc::clone(&house), 2 * number), place));
        if number == 100 {
            signal(i32::try_from(server).unwrap(), Signal::KILL);
            killed = Some(Instant::now());
        }
    }
    let ended = calls.join_all().await;
    until(&house, "v2", "whole", whole).await;
    let failed: Vec<String> = ended
        .iter()
        .filter(|ended| ended.status != 200)
        .map(|ended| format!("{} {} {}", ended.mark, ended.status, ended.said))
        .collect();
    eprintln!(
        "{} calls, the fork server killed under them with {WORKERS} workers: {} failed; latency {}; \
         whole within {:.1?}",
        ended.len(),
        failed.len(),
        spread(ended.iter().map(|ended| ended.took).collect()),
        killed.unwrap().elapsed(),
    );
    assert_eq!(failed, Vec::<String>::new(), "{}", house.log());
}
