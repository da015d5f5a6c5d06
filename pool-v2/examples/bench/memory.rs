//! Workers with DSPy imported: how soon they are ready, and what each has for itself.
//!
//! Own memory is what the kernel would get back if the process ended (USS: private pages, clean
//! and dirty), read from `smaps_rollup`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use dspex_pool::Pool;
use dspex_pool_v2::{Config, PoolV2};
use serde_json::{Value, json};

use crate::Outcome;
use crate::house::{self, House};
use crate::order::Memory;

pub(crate) async fn measure(house: &House, load: Memory) -> Outcome<Value> {
    let config = Config {
        workers: load.workers,
        concurrency: 1,
        preload: vec!["dspy".to_owned()],
        ..Config::default()
    };
    let began = Instant::now();
    let pool = house.pool(config).await?;
    let ready = began.elapsed();
    let idle = own_memory(&pool)?;
    for session in sessions_of_each(&pool, load.workers).await? {
        let (predict, collect) = (house::program("predict")?, house::program("collect")?);
        let question = house::input("question", "What does a worker of its own cost?");
        for number in 0..load.predicts {
            on(
                &pool,
                &session,
                house::call(&predict, &question, number.into()),
            )
            .await?;
        }
        on(
            &pool,
            &session,
            house::call(&collect, &Default::default(), 0),
        )
        .await?;
    }
    let used = own_memory(&pool)?;
    pool.drain(Duration::from_secs(5)).await;
    Ok(json!({
        "ready_ms": ready.as_secs_f64() * 1e3,
        "idle_mb": idle,
        "used_mb": used,
    }))
}

/// One session for each worker, by trying: the pool says which worker answered.
async fn sessions_of_each(pool: &PoolV2, workers: usize) -> Outcome<Vec<String>> {
    let echo = house::program("echo")?;
    let text = house::input("text", "who is there?");
    let mut by_worker = HashMap::new();
    for number in 0..1000 {
        let session = format!("session-{number}");
        let worker = on(pool, &session, house::call(&echo, &text, number)).await?;
        by_worker.entry(worker).or_insert(session);
        if by_worker.len() == workers {
            return Ok(by_worker.into_values().collect());
        }
    }
    Err(format!(
        "1000 sessions reached {} workers of {workers}",
        by_worker.len()
    )
    .into())
}

async fn on(pool: &PoolV2, session: &str, mut call: dspex_pool::Call) -> Outcome<String> {
    call.session = Some(session.into());
    Ok(pool.execute(call).await?.worker.to_string())
}

/// Of each worker, in megabytes.
fn own_memory(pool: &PoolV2) -> Outcome<Vec<f64>> {
    let pids = pool
        .status()
        .workers
        .into_iter()
        .filter_map(|worker| worker.pid);
    pids.map(|pid| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let private = text.lines().filter(|line| line.starts_with("Private_"));
        let kilobytes =
            private.filter_map(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
        Ok(kilobytes.sum::<f64>() * 1024.0 / 1e6)
    })
    .collect()
}
