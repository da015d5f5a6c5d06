//! Calls that wait as for a language model, one for every place of every worker.

use std::time::{Duration, Instant};

use dspex_pool::Pool;
use dspex_pool_v2::Config;
use serde_json::{Value, json};

use crate::Outcome;
use crate::house::{self, House};
use crate::order::Waiting;

/// The share of the ideal rate. Every caller makes the same number of calls, so that the ideal is a
/// time and no call is cut off by a window's edge.
pub(crate) async fn measure(house: &House, load: Waiting) -> Outcome<Value> {
    let config = Config {
        workers: load.workers,
        concurrency: load.concurrency,
        ..Config::default()
    };
    let pool = house.pool(config).await?;
    let program = house::program("wait")?;
    round(house, &pool, &program, 1, 0.01).await?;
    let took = round(house, &pool, &program, load.calls, load.seconds).await?;
    pool.drain(Duration::from_secs(5)).await;
    let ideal = f64::from(load.calls) * load.seconds;
    let calls = load.workers * load.concurrency * load.calls as usize;
    Ok(json!({
        "calls": calls,
        "rate": calls as f64 / took.as_secs_f64(),
        "share": ideal / took.as_secs_f64(),
    }))
}

async fn round(
    house: &House,
    pool: &std::sync::Arc<dspex_pool_v2::PoolV2>,
    program: &std::sync::Arc<dspex_pool::Program>,
    calls: u32,
    seconds: f64,
) -> Outcome<Duration> {
    let inputs = house::input("seconds", seconds);
    let began = Instant::now();
    let callers = (0..pool.status().capacity).map(|_| {
        let (pool, program, inputs) = (pool.clone(), program.clone(), inputs.clone());
        house.tracker.spawn(async move {
            for number in 0..calls {
                pool.execute(house::call(&program, &inputs, number.into()))
                    .await?;
            }
            Ok::<_, dspex_pool::PoolError>(())
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await??;
    }
    Ok(began.elapsed())
}
