//! The battery that every pool runs.

use std::sync::Arc;

use dspex_pool::SharedPool;
use dspex_pool::testing::conformance::{self, Harness};
use dspex_pool_v2::Config;

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_at_once_per_worker_pass_the_battery() {
    passes(Config {
        workers: 2,
        concurrency: 4,
        ..Config::default()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_call_at_a_time_passes_the_battery() {
    passes(Config {
        workers: 1,
        concurrency: 1,
        ..Config::default()
    })
    .await;
}

async fn passes(config: Config) {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let harness = Harness::new("pool-v2", move || {
        let (folder, config) = (Arc::clone(&folder), config.clone());
        async move { crate::start(config, folder.path()).await as SharedPool }
    });
    conformance::run(&harness.streaming()).await;
}
