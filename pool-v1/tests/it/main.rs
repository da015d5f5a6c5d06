//! Pool V1 with real workers.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

mod conformance;
mod faults;
mod losses;
mod rogue;
mod scripts;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dspex_pool::testing::{fixture_programs, real};
use dspex_pool::{Definition, LaunchSpec, Pool, PoolError, PoolStatus, Program, Spawner};
use dspex_pool_v1::{Config, PoolV1};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// On a busy machine a worker's successor may be late: where a test says nothing of how long calls wait
/// for a worker, they wait for long.
async fn start_with(mut config: Config, launch: LaunchSpec) -> Result<Arc<PoolV1>, PoolError> {
    if config.queue_wait == Config::default().queue_wait {
        config.queue_wait = LONG;
    }
    let spawner = Spawner::start().unwrap();
    PoolV1::start("v1", config, launch, spawner, &TaskTracker::new()).await
}

async fn start(config: Config, folder: &Path) -> Arc<PoolV1> {
    start_with(config, real::launch(folder)).await.unwrap()
}

/// Waits until the pool's status is as wanted.
async fn until(pool: &PoolV1, wanted: impl Fn(&PoolStatus) -> bool) -> PoolStatus {
    let deadline = Instant::now() + LONG;
    loop {
        let status = pool.status();
        if wanted(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "it never came: {status:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn dspy_program(id: &str, signature: &str) -> Arc<Program> {
    let definition: Definition =
        serde_json::from_value(json!({"kind": "dspy", "signature": signature})).unwrap();
    let callable = fixture_programs::program(id, 1, "any:thing");
    Arc::new(Program {
        definition,
        ..(*callable).clone()
    })
}

fn script(name: &str) -> Vec<String> {
    let path = real::fixtures().join(name);
    vec![
        real::python().display().to_string(),
        path.display().to_string(),
    ]
}

const LONG: Duration = Duration::from_secs(60);
