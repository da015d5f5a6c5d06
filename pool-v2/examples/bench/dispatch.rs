//! What a call costs this process while thousands are queued.
//!
//! The workers are stand-ins that cost next to nothing, and what is measured is the processor time
//! of *this* process: leases, queue, frames and wake-ups, and none of a worker's work.

use std::time::Duration;

use dspex_pool::{LaunchSpec, Pool};
use dspex_pool_v2::Config;
use serde_json::{Value, json};

use crate::Outcome;
use crate::house::{self, House};
use crate::order::Dispatch;
use crate::processor::own_time;

pub(crate) async fn measure(house: &House, load: Dispatch) -> Outcome<Value> {
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
    Ok(json!({ "cost_us": costs[costs.len() / 2] }))
}
