//! What a call costs this process while thousands are queued: in the dispatcher alone, and in all.
//!
//! For the whole, the workers are stand-ins that cost next to nothing, and what is measured is the
//! processor time of *this* process: leases, queue, frames and wake-ups, and none of a worker's
//! work. For the dispatcher alone there are no workers, and no tasks either.

use std::time::Duration;

use dspex_pool::{LaunchSpec, Pool};
use dspex_pool_v2::Config;
use dspex_pool_v2::bench::Dispatching;
use serde_json::{Value, json};

use crate::Outcome;
use crate::house::{self, House};
use crate::order::Dispatch;
use crate::processor::own_time;

pub(crate) async fn measure(house: &House, load: Dispatch) -> Outcome<Value> {
    let alone = median(load.repeats, load.calls, dispatching(load))?;
    let config = Config {
        workers: load.workers,
        concurrency: 1,
        queue_limit: load.calls,
        queue_wait: Duration::from_secs(60),
        ..Config::default()
    };
    let launch = LaunchSpec {
        python: std::env::current_exe()?,
        ..house.launch()
    };
    let pool = house.pool_of(config, launch).await?;
    let program = house::program("echo")?;
    let inputs = house::input("text", "x".repeat(100));
    let mut costs = Vec::new();
    // The first round warms up: the programs are defined, the memory is there.
    for _ in 0..=load.repeats {
        let before = own_time();
        let callers = (0..load.calls as u64).map(|number| {
            let (pool, call) = (pool.clone(), house::call(&program, &inputs, number));
            house.tracker.spawn(async move { pool.execute(call).await })
        });
        for caller in callers.collect::<Vec<_>>() {
            caller.await??;
        }
        let spent = own_time().saturating_sub(before);
        costs.push(spent.as_secs_f64() * 1e6 / load.calls as f64);
    }
    pool.drain(Duration::from_secs(5)).await;
    costs.remove(0);
    costs.sort_unstable_by(f64::total_cmp);
    Ok(json!({ "cost_us": costs[costs.len() / 2], "dispatch_us": alone }))
}

/// Serves the calls once.
fn dispatching(load: Dispatch) -> impl FnMut() -> Outcome<()> {
    let dispatching = Dispatching::new(load.workers, load.calls);
    move || Ok(dispatching.serve(load.calls)?)
}

/// Processor time of one call in microseconds, the median of the repeats after a warm-up.
fn median(repeats: usize, calls: usize, mut run: impl FnMut() -> Outcome<()>) -> Outcome<f64> {
    run()?;
    let mut costs = Vec::new();
    for _ in 0..repeats.max(1) {
        let before = own_time();
        run()?;
        costs.push(own_time().saturating_sub(before).as_secs_f64() * 1e6 / calls as f64);
    }
    costs.sort_unstable_by(f64::total_cmp);
    Ok(costs[costs.len() / 2])
}
