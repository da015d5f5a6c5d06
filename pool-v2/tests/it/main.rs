//! Pool V2 with real workers.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

mod conformance;
mod faults;
mod imports;
mod replacements;
mod restarts;
mod rogues;
mod sessions;
mod sizes;
mod starts;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dspex_pool::testing::real;
use dspex_pool::{LaunchSpec, PoolError, Spawner};
use dspex_pool_v2::{Config, PoolV2, Switches};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

async fn start_with(config: Config, launch: LaunchSpec) -> Result<Arc<PoolV2>, PoolError> {
    start_switched(config, launch, Switches::default().unchanging()).await
}

/// On a busy machine a worker's successor may be late: where a test says nothing of how long calls wait
/// for a worker, they wait for long.
async fn start_switched(
    mut config: Config,
    launch: LaunchSpec,
    switches: watch::Receiver<Switches>,
) -> Result<Arc<PoolV2>, PoolError> {
    if config.queue_wait == Config::default().queue_wait {
        config.queue_wait = LONG;
    }
    let spawner = Spawner::start().unwrap();
    let tracker = TaskTracker::new();
    PoolV2::start("v2", config, launch, spawner, &tracker, switches).await
}

async fn start(config: Config, folder: &Path) -> Arc<PoolV2> {
    start_with(config, real::launch(folder)).await.unwrap()
}

const LONG: Duration = Duration::from_secs(60);
