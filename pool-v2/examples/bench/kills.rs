//! How soon the slot of a killed worker serves again, and what its callers see of it.
//!
//! There are as many callers as the workers have places, so whenever a slot is down somebody waits
//! for it, and its next worker has a call the moment it is ready. That call's answer, less the time
//! that it spent in the program, is when the slot served again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dspex_pool::{Pool, PoolError, WorkerState};
use dspex_pool_v2::{Config, PoolV2};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::Outcome;
use crate::house::{self, House};
use crate::order::Kills;

const CONCURRENCY: usize = 8;
/// What each call waits in the program: a pool whose workers only wait has cores left to start one.
const CALL_SECONDS: f64 = 0.01;
/// Between a worker's return and the next kill.
const PAUSE: Duration = Duration::from_millis(50);
/// Between two kills of one slot: the pool starts no more than one worker a second in each, so that
/// one that crashes in a loop does not take the machine along.
const SPACING: Duration = Duration::from_millis(1_100);
/// A slot that is not back by then never comes back.
const LIMIT: Duration = Duration::from_secs(30);

/// When each slot's present worker first took a call.
type FirstServed = watch::Sender<Vec<Option<(Arc<str>, Instant)>>>;

#[derive(Default)]
struct Counts {
    calls: AtomicU64,
    lost: AtomicU64,
    failed: AtomicU64,
}

pub(crate) async fn measure(house: &House, load: Kills) -> Outcome<Value> {
    let config = Config {
        workers: load.workers,
        concurrency: CONCURRENCY,
        preload: load.dspy.then(|| "dspy".to_owned()).into_iter().collect(),
        queue_wait: LIMIT,
        ..Config::default()
    };
    let pool = house.pool(config).await?;
    let served = Arc::new(watch::Sender::new(vec![None; load.workers]));
    let counts = Arc::new(Counts::default());
    let over = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..load.workers * CONCURRENCY)
        .map(|_| {
            let caller = call_on(pool.clone(), served.clone(), counts.clone(), over.clone());
            house.tracker.spawn(caller)
        })
        .collect();
    let mut back = Vec::new();
    let mut started = vec![tokio::time::Instant::now(); load.workers];
    for number in 0..load.kills {
        let slot = number % load.workers;
        tokio::time::sleep(PAUSE).await;
        tokio::time::sleep_until(started[slot] + SPACING).await;
        back.push(kill(&pool, slot, &served).await?);
        started[slot] = tokio::time::Instant::now();
    }
    over.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await??;
    }
    pool.drain(Duration::from_secs(5)).await;
    Ok(json!({
        "back_ms": back.iter().map(|took| took.as_secs_f64() * 1e3).collect::<Vec<_>>(),
        "calls": counts.calls.load(Ordering::Relaxed),
        "lost": counts.lost.load(Ordering::Relaxed),
        "failed": counts.failed.load(Ordering::Relaxed),
    }))
}

/// Calls without pause, and repeats once what a worker took with it, as the router does.
async fn call_on(
    pool: Arc<PoolV2>,
    served: Arc<FirstServed>,
    counts: Arc<Counts>,
    over: Arc<AtomicBool>,
) -> Outcome<()> {
    let program = house::program("wait")?;
    let inputs = house::input("seconds", CALL_SECONDS);
    while !over.load(Ordering::Relaxed) {
        let number = counts.calls.fetch_add(1, Ordering::Relaxed);
        let mut answer = pool.execute(house::call(&program, &inputs, number)).await;
        if let Err(PoolError::Crashed { .. }) = answer {
            counts.lost.fetch_add(1, Ordering::Relaxed);
            answer = pool.execute(house::call(&program, &inputs, number)).await;
        }
        match answer {
            Ok(reply) => {
                let took_it = Instant::now() - reply.program_time.unwrap_or_default();
                note(&served, &reply.worker, took_it);
            }
            Err(error) => {
                counts.failed.fetch_add(1, Ordering::Relaxed);
                eprintln!("a call failed: {error}");
            }
        }
    }
    Ok(())
}

fn note(served: &FirstServed, worker: &Arc<str>, took_it: Instant) {
    let Some(slot) = slot_of(worker) else {
        return;
    };
    served.send_if_modified(|slots| match slots.get_mut(slot) {
        Some(Some((known, _))) if known == worker => false,
        Some(entry) => {
            *entry = Some((Arc::clone(worker), took_it));
            true
        }
        None => false,
    });
}

/// The slot in a worker's name, such as 3 in `bench-3.1`.
fn slot_of(worker: &str) -> Option<usize> {
    worker.rsplit_once('-')?.1.split_once('.')?.0.parse().ok()
}

/// Kills the slot's worker and waits until its successor has taken a call.
async fn kill(pool: &PoolV2, slot: usize, served: &FirstServed) -> Outcome<Duration> {
    let status = pool.status();
    let victim = &status.workers[slot];
    let pid = victim.pid.and_then(|pid| i32::try_from(pid).ok());
    let pid = pid
        .and_then(Pid::from_raw)
        .ok_or("the slot has no worker")?;
    if !matches!(victim.state, WorkerState::Ready | WorkerState::Busy) {
        return Err(format!("worker {} is {:?} already", victim.id, victim.state).into());
    }
    // What an earlier worker of the slot answered may still come in; only names that are neither
    // this worker's nor known are the successor's.
    let known = served.borrow()[slot].clone().map(|(name, _)| name);
    let is_new = |name: &str| name != victim.id && known.as_deref() != Some(name);
    let mut changes = served.subscribe();
    let killed = Instant::now();
    kill_process(pid, Signal::KILL)?;
    let successor =
        changes.wait_for(|slots| slots[slot].as_ref().is_some_and(|(name, _)| is_new(name)));
    let slots = tokio::time::timeout(LIMIT, successor)
        .await
        .map_err(|_| format!("slot {slot} did not serve within {LIMIT:?} after a kill"))??;
    let first = slots[slot].as_ref().map_or(killed, |(_, at)| *at);
    Ok(first.saturating_duration_since(killed))
}
