//! Pool V1 with real workers.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

mod conformance;
mod faults;
mod scripts;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dspex_pool::testing::real;
use dspex_pool::{LaunchSpec, PoolError, Spawner};
use dspex_pool_v1::{Config, PoolV1};
use tokio_util::task::TaskTracker;

async fn start_with(config: Config, launch: LaunchSpec) -> Result<Arc<PoolV1>, PoolError> {
    let spawner = Spawner::start().unwrap();
    PoolV1::start("v1", config, launch, spawner, &TaskTracker::new()).await
}

async fn start(config: Config, folder: &Path) -> Arc<PoolV1> {
    start_with(config, real::launch(folder)).await.unwrap()
}

fn script(name: &str) -> Vec<String> {
    let path = real::fixtures().join(name);
    vec![
        real::python().display().to_string(),
        path.display().to_string(),
    ]
}

const LONG: Duration = Duration::from_secs(20);
