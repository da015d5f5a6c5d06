//! How workers are started.

use std::time::Duration;

use dspex_pool::testing::fixture_programs::call;
use dspex_pool::testing::real;
use dspex_pool::{LaunchSpec, Pool, WorkerLimits};
use dspex_pool_v2::{Config, Strategy, Switches, WarmConfig};
use serde_json::json;

use crate::sizes::{echo, until};
use crate::{LONG, start_switched, start_with};

#[tokio::test(flavor = "multi_thread")]
async fn every_strategy_brings_up_every_worker() {
    for strategy in [Strategy::Parallel, Strategy::Staged, Strategy::Sequential] {
        for enhanced_workers in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let config = Config {
                workers: 3,
                warm: WarmConfig {
                    strategy,
                    at_once: 2,
                    ..WarmConfig::default()
                },
                ..Config::default()
            };
            let switches = Switches {
                enhanced_workers,
                ..Switches::default()
            };
            let launch = real::launch(folder.path());
            let pool = start_switched(config, launch, switches.unchanging())
                .await
                .unwrap();
            let status = pool.status();
            assert_eq!((status.ready, status.failures), (3, 0), "{strategy:?}");
            let server = &status.details["fork_server"]["state"];
            let expected = if enhanced_workers { "warm" } else { "absent" };
            assert_eq!(server, &json!(expected));
        }
    }
}

/// What was written down by workers that import `meets_others`: who began and who ended, in order.
async fn met(strategy: Strategy, at_once: usize, together: usize) -> String {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        workers: 4,
        preload: vec!["meets_others".to_owned()],
        warm: WarmConfig {
            strategy,
            at_once,
            ..WarmConfig::default()
        },
        ..Config::default()
    };
    // Plain processes: a fork server would import for all of them.
    let switches = Switches {
        enhanced_workers: false,
        ..Switches::default()
    };
    let record = folder.path().join("record");
    let mut launch = real::launch(folder.path());
    let path = record.display().to_string();
    launch.env.insert("MEETS_IN".to_owned(), path);
    launch
        .env
        .insert("MEETS_UNTIL".to_owned(), together.to_string());
    let pool = start_switched(config, launch, switches.unchanging())
        .await
        .unwrap();
    assert_eq!(pool.status().ready, 4, "{strategy:?}");
    std::fs::read_to_string(record).unwrap()
}

/// How many had begun and not ended at once, at most.
fn most_at_once(record: &str) -> usize {
    let (mut now, mut most) = (0_usize, 0);
    for what in record.chars() {
        now = if what == 'b' { now + 1 } else { now - 1 };
        most = most.max(now);
    }
    most
}

#[tokio::test(flavor = "multi_thread")]
async fn strategies_differ_in_how_many_initialize_at_once() {
    // Nobody goes on before so many have met, so a strategy that allowed fewer would not come up.
    for (strategy, at_once, together) in [
        (Strategy::Sequential, 4, 1),
        (Strategy::Staged, 2, 2),
        (Strategy::Parallel, 1, 4),
    ] {
        let record = met(strategy, at_once, together).await;
        assert_eq!(record.len(), 8, "{strategy:?}: {record}");
        assert_eq!(most_at_once(&record), together, "{strategy:?}: {record}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_be_forked_is_started_plainly_and_the_culprit_is_named() {
    for (module, culprit) in [("leaves_thread", "thread"), ("leaves_socket", "socket")] {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            workers: 2,
            preload: vec![module.to_owned()],
            ..Config::default()
        };
        let pool = start_with(config, real::launch(folder.path()))
            .await
            .unwrap();
        let server = pool.status().details["fork_server"].clone();
        assert_eq!(server["state"], json!("unsafe"), "{server}");
        let reason = server["reason"].as_str().unwrap();
        assert!(
            reason.contains(module) && reason.contains(culprit),
            "{reason}"
        );
        echo(&pool).await;
        assert_eq!(pool.status().failures, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_server_that_dies_is_replaced_with_its_workers() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        workers: 2,
        ..Config::default()
    };
    let pool = start_with(config, real::launch(folder.path()))
        .await
        .unwrap();
    let pid = |pool: &dspex_pool_v2::PoolV2| pool.status().details["fork_server"]["pid"].clone();
    let first = pid(&pool);
    echo(&pool).await;
    let process = rustix::process::Pid::from_raw(i32::try_from(first.as_i64().unwrap()).unwrap());
    rustix::process::kill_process(process.unwrap(), rustix::process::Signal::KILL).unwrap();
    let status = until(&pool, |status| {
        // One slot may have its next worker before the other has seen the end of its own.
        let second = &status.details["fork_server"]["pid"];
        let lost = status.failures >= 2;
        lost && status.ready == 2 && second.is_number() && *second != first
    })
    .await;
    assert_eq!(status.failures, 2, "both workers died with it");
    echo(&pool).await;
}

fn hungry(folder: &std::path::Path, bytes: u64) -> LaunchSpec {
    LaunchSpec {
        limits: WorkerLimits {
            address_space: Some(bytes),
            ..WorkerLimits::default()
        },
        ..real::launch(folder)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_ran_out_of_memory_is_told_of_and_replaced_by_one_that_is_ready() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        workers: 1,
        ..Config::default()
    };
    let pool = start_with(config, hungry(folder.path(), 1 << 30))
        .await
        .unwrap();
    let before = echo(&pool).await;
    let error = pool
        .execute(call("hoards", json!({"bytes": 2_u64 << 30}), LONG))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("MemoryError"), "{error}");
    let began = tokio::time::Instant::now();
    while echo(&pool).await == before {
        assert!(began.elapsed() < LONG, "{:#?}", pool.status());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        pool.status().failures,
        0,
        "a program's hunger is no fault of the pool"
    );
}
