//! How many workers there are, and how they come and go while the pool serves.

use std::time::Duration;

use dspex_pool::testing::fixture_programs::call;
use dspex_pool::testing::real;
use dspex_pool::{Pool, PoolStatus, WorkerState};
use dspex_pool_v2::{Config, OptimizerConfig, PoolV2, RecyclingConfig, Switches};
use serde_json::json;
use tokio::sync::watch;

use crate::{LONG, start, start_switched};

pub(crate) async fn until(pool: &PoolV2, wanted: impl Fn(&PoolStatus) -> bool) -> PoolStatus {
    let began = tokio::time::Instant::now();
    loop {
        let status = pool.status();
        if wanted(&status) {
            return status;
        }
        assert!(began.elapsed() < LONG, "{status:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn echo(pool: &PoolV2) -> String {
    let call = call("echo", json!({"text": "x"}), LONG);
    pool.execute(call).await.unwrap().worker.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_has_run_its_calls_is_replaced_by_one_that_is_ready() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        workers: 1,
        recycling: RecyclingConfig {
            max_calls: Some(20),
            jitter: 0.0,
            spacing: Duration::from_millis(1),
            ..RecyclingConfig::default()
        },
        ..Config::default()
    };
    let pool = start(config, folder.path()).await;
    // It is called all the time, and never refused: the next one is there before it goes.
    let mut workers = std::collections::BTreeSet::new();
    let began = tokio::time::Instant::now();
    while workers.len() < 3 {
        workers.insert(echo(&pool).await);
        assert!(began.elapsed() < LONG, "{workers:?}");
    }
    let status = until(&pool, |status| status.workers.len() == 1).await;
    assert_eq!(status.failures, 0, "{status:#?}");
    let history = &status.workers[0].history;
    let reasons: Vec<&str> = history.iter().map(|c| c.reason.as_str()).collect();
    assert!(
        reasons
            .iter()
            .any(|reason| reason.contains("it has answered")),
        "{reasons:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn overflow_workers_come_with_a_queue_and_go_again() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        workers: 1,
        concurrency: 1,
        queue_wait: LONG,
        optimizer: OptimizerConfig {
            min: 1,
            overflow: 2,
            overflow_rest: Duration::from_millis(100),
            ..OptimizerConfig::default()
        },
        ..Config::default()
    };
    let (switch, switches) = watch::channel(Switches {
        pool_optimizer: true,
        ..Switches::default()
    });
    let launch = real::launch(folder.path());
    let pool = start_switched(config, launch, switches).await.unwrap();
    let gate = folder.path().join("gate");
    let held = || pool.execute(call("waits_for_file", json!({"path": gate}), LONG));
    let watch = async {
        // Why the pool grows is said until it decides again.
        let said = std::cell::RefCell::new(std::collections::BTreeSet::new());
        let status = until(&pool, |status| {
            let reason = status.details["optimizer"]["reason"].as_str();
            said.borrow_mut().extend(reason.map(str::to_owned));
            status.in_flight == 3
        })
        .await;
        let optimizer = &status.details["optimizer"];
        assert_eq!(optimizer["overflow"], json!(2), "{optimizer}");
        let said = said.into_inner();
        assert!(
            said.iter().any(|reason| reason.contains("wait")),
            "{said:?}"
        );
        std::fs::write(&gate, "").unwrap();
    };
    let (a, b, c, ()) = tokio::join!(held(), held(), held(), watch);
    for answer in [a, b, c] {
        answer.unwrap();
    }
    let status = until(&pool, |status| status.workers.len() == 1).await;
    assert_eq!((status.size, status.failures), (1, 0), "{status:#?}");
    echo(&pool).await;
    drop(switch);
}

#[tokio::test(flavor = "multi_thread")]
async fn switches_take_effect_while_the_pool_runs() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        workers: 1,
        optimizer: OptimizerConfig {
            min: 2,
            ..OptimizerConfig::default()
        },
        ..Config::default()
    };
    let (switch, switches) = watch::channel(Switches {
        enhanced_workers: false,
        ..Switches::default()
    });
    let launch = real::launch(folder.path());
    let pool = start_switched(config, launch, switches).await.unwrap();
    let details = pool.status().details;
    assert_eq!(details["switches"]["enhanced_workers"], json!(false));
    assert_eq!(details["fork_server"]["state"], json!("absent"));
    // On: the optimizer brings the pool to its minimum, with a worker from the fork server.
    switch.send_replace(Switches {
        pool_optimizer: true,
        ..Switches::default()
    });
    let status = until(&pool, |status| status.ready == 2).await;
    assert_eq!(status.details["fork_server"]["state"], json!("warm"));
    // Off: back to the configured size, and nobody is cut off.
    switch.send_replace(Switches::default());
    let status = until(&pool, |status| status.workers.len() == 1).await;
    assert_eq!((status.size, status.failures), (1, 0), "{status:#?}");
    echo(&pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_die_at_once_are_started_less_and_less_and_callers_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config {
        workers: 1,
        ..Config::default()
    };
    config.recovery.start.failures = 1;
    config.recovery.start.open_for = LONG;
    // However long it lives before it is called.
    config.recovery.start.settled_after = 2 * LONG;
    let pool = start(config, folder.path()).await;
    // It dies before it has answered anything.
    let error = pool.execute(call("crash", json!({}), LONG)).await;
    error.unwrap_err();
    let status = until(&pool, |status| {
        status.details["start_circuit"]["state"] == json!("open") && status.ready == 0
    })
    .await;
    assert_eq!(status.workers[0].state, WorkerState::Terminated);
    let error = pool.execute(call("echo", json!({"text": "x"}), LONG)).await;
    let told = error.unwrap_err().to_string();
    assert!(told.contains("as soon as they are started"), "{told}");
    assert_eq!(pool.status().starts, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_has_grown_too_large_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config {
        workers: 1,
        recycling: RecyclingConfig {
            max_memory: Some(64 << 20),
            spacing: Duration::from_millis(1),
            ..RecyclingConfig::default()
        },
        ..Config::default()
    };
    config.leak.sample_every = Duration::from_secs(1);
    config.leak.minimum_span = Duration::from_secs(60);
    let pool = start(config, folder.path()).await;
    let before = echo(&pool).await;
    let status = until(&pool, |status| status.workers[0].memory.is_some()).await;
    assert!(status.workers[0].memory < Some(64 << 20), "{status:#?}");
    let hoards = call("hoards", json!({"bytes": 96 << 20}), LONG);
    pool.execute(hoards).await.unwrap();
    let status = until(&pool, |status| {
        status.workers[0].id != before && status.workers.len() == 1
    })
    .await;
    let history = &status.workers[0].history;
    assert!(
        history
            .iter()
            .any(|change| change.reason.contains("its memory is")),
        "{history:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_nobody_calls_is_let_go_down_to_the_least_size() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        workers: 3,
        recycling: RecyclingConfig {
            idle_ttl: Some(Duration::from_secs(1)),
            spacing: Duration::from_millis(1),
            ..RecyclingConfig::default()
        },
        optimizer: OptimizerConfig {
            min: 1,
            ..OptimizerConfig::default()
        },
        ..Config::default()
    };
    let switches = Switches {
        pool_optimizer: true,
        ..Switches::default()
    };
    let launch = real::launch(folder.path());
    let pool = start_switched(config, launch, switches.unchanging())
        .await
        .unwrap();
    let status = until(&pool, |status| status.workers.len() == 1).await;
    assert_eq!((status.size, status.failures), (1, 0), "{status:#?}");
    echo(&pool).await;
}
