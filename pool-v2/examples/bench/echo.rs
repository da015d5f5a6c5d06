//! Echo calls through the pool: a fixed number in flight, the next sent when one is answered.

use std::time::Duration;

use dspex_pool::Pool;
use dspex_pool_v2::Config;
use serde_json::Value;
use tokio::time::Instant;

use crate::Outcome;
use crate::house::{self, House};
use crate::latency::Latencies;
use crate::order::Load;
use crate::processor::Meter;

pub(crate) async fn measure(house: &House, load: Load) -> Outcome<Value> {
    let config = Config {
        workers: load.workers,
        concurrency: load.in_flight.div_ceil(load.workers),
        ..Config::default()
    };
    let pool = house.pool(config).await?;
    let program = house::program("echo")?;
    let text = "x".repeat(load.bytes);
    let inputs = house::input("text", text.as_str());

    let workers = pool.status().workers;
    let meter = Meter::start(workers.iter().filter_map(|worker| worker.pid).collect());
    let window = Duration::from_secs_f64(load.seconds);
    let begin = Instant::now() + window / 4;
    let end = begin + window;
    let callers = (0..load.in_flight).map(|_| {
        let (pool, program, inputs) = (pool.clone(), program.clone(), inputs.clone());
        house.tracker.spawn(async move {
            let mut latencies = Latencies::default();
            let mut number = 0;
            loop {
                number += 1;
                let call = house::call(&program, &inputs, number);
                let sent = Instant::now();
                if sent >= end {
                    return Ok(latencies);
                }
                let reply = pool.execute(call).await?;
                if reply.outputs != *inputs {
                    return Err(format!("an answer was {:?}", reply.outputs).into());
                }
                let now = Instant::now();
                latencies.note(now - sent, begin <= now && now < end);
            }
        })
    });
    let mut all = Latencies::default();
    for caller in callers.collect::<Vec<_>>() {
        let answered: Outcome<Latencies> = caller.await?;
        all.add(answered?);
    }
    let calls = all.answered();
    let mut result = all.figures(window);
    meter.stop(calls, &mut result);
    pool.drain(Duration::from_secs(5)).await;
    Ok(result)
}
