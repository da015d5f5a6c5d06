//! The battery that every pool runs.

use std::sync::Arc;

use dspex_pool::SharedPool;
use dspex_pool::testing::conformance::{self, Harness};
use dspex_pool_v1::{Config, Mode};

#[tokio::test(flavor = "multi_thread")]
async fn pool_worker_mode_passes_the_battery() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let harness = Harness::new("pool-v1", move || {
        let folder = Arc::clone(&folder);
        async move {
            let config = Config {
                workers: 2,
                ..Config::default()
            };
            crate::start(config, folder.path()).await as SharedPool
        }
    });
    conformance::run(&harness).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn standalone_mode_passes_the_battery() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let harness = Harness::new("pool-v1 standalone", move || {
        let folder = Arc::clone(&folder);
        async move {
            let config = Config {
                mode: Mode::Standalone,
                ..Config::default()
            };
            crate::start(config, folder.path()).await as SharedPool
        }
    });
    conformance::run(&harness).await;
}
