//! How soon workers with DSPy are ready that are forked from a server which is warm already.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dspex_pool::{ForkServer, ForkServerOptions, Worker, WorkerOptions};
use serde_json::{Value, json};

use crate::Outcome;
use crate::house::House;
use crate::order::Forks;

const LIMIT: Duration = Duration::from_secs(60);

/// From the first request to the last worker that says it is ready, all asked for at once.
pub(crate) async fn measure(house: &House, load: Forks) -> Outcome<Value> {
    let launch = Arc::new(house.launch());
    let options = ForkServerOptions {
        name: "bench-fork-server".to_owned(),
        imports: vec!["dspy".to_owned()],
        warmup: Vec::new(),
        start_timeout: LIMIT,
    };
    let began = Instant::now();
    let server = ForkServer::start(options, &launch, &house.spawner, &house.tracker).await?;
    let server = Arc::new(server);
    let warm = began.elapsed();
    let mut ready = Vec::new();
    for _ in 0..load.repeats {
        let began = Instant::now();
        let forks = (0..load.workers).map(|number| {
            let options = WorkerOptions {
                name: format!("bench-{number}"),
                concurrency: 1,
                preload: vec!["dspy".to_owned()],
                start_timeout: LIMIT,
            };
            let (launch, server) = (Arc::clone(&launch), Arc::clone(&server));
            let tracker = house.tracker.clone();
            async move { Worker::fork(options, &launch, &server, &tracker).await }
        });
        let forks: Vec<_> = forks.map(|fork| house.tracker.spawn(fork)).collect();
        let mut workers = Vec::new();
        for fork in forks {
            workers.push(fork.await??);
        }
        ready.push(began.elapsed());
        for worker in &workers {
            worker.shutdown(Duration::from_secs(5)).await;
        }
    }
    ready.sort_unstable();
    Ok(json!({
        "warm_ms": warm.as_secs_f64() * 1e3,
        "ready_ms": ready[ready.len() / 2].as_secs_f64() * 1e3,
    }))
}
