//! Workers that are replaced, and what may come in between.

use std::sync::Arc;
use std::time::Duration;

use dspex_pool::testing::fixture_programs::call;
use dspex_pool::testing::real;
use dspex_pool::{Pool, PoolStatus};
use dspex_pool_v2::{Config, PoolV2, RecyclingConfig};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio_util::task::TaskTracker;

use crate::sizes::{echo, until};
use crate::{LONG, start, start_with};

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    // One that has ended meanwhile needs no signal.
    let _ = kill_process(pid, signal);
}

fn pids(status: &PoolStatus) -> Vec<u32> {
    status.workers.iter().filter_map(|one| one.pid).collect()
}

/// A worker that is due after its first call, and a next one that may be started after `spacing`.
fn due_after_one_call(spacing: Duration) -> Config {
    let mut config = Config {
        workers: 1,
        recycling: RecyclingConfig {
            max_calls: Some(1),
            jitter: 0.0,
            spacing: Duration::from_secs(600),
            ..RecyclingConfig::default()
        },
        ..Config::default()
    };
    config.recovery.start.spacing = spacing;
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_lost_before_its_successor_is_there_leaves_it_the_slot() {
    let folder = tempfile::tempdir().unwrap();
    let pool = start(due_after_one_call(Duration::from_secs(20)), folder.path()).await;
    echo(&pool).await;
    let pid = pids(&pool.status())[0];
    // The tuner looks once a second; its successor may be started many seconds later.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    signal(pid, Signal::KILL);
    let status = until(&pool, |status| {
        status.ready == 1 && pids(status).first().is_some_and(|now| *now != pid)
    })
    .await;
    assert_eq!((status.starts, status.failures), (2, 1), "{status:#?}");
    echo(&pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_runs_when_its_worker_is_recycled_has_all_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        shutdown_timeout: Duration::from_millis(200),
        ..due_after_one_call(Duration::from_millis(100))
    };
    let pool = start(config, folder.path()).await;
    let gate = folder.path().join("gate");
    let held = pool.execute(call("waits_for_file", json!({"path": gate}), LONG));
    let replaced = async {
        // The worker is due once it has answered, which is after the held call has reached it.
        until(&pool, |status| status.in_flight == 1).await;
        echo(&pool).await;
        let status = until(&pool, |status| status.workers.len() == 2).await;
        // Longer than the worker would have, were it only asked to end.
        tokio::time::sleep(Duration::from_secs(1)).await;
        std::fs::write(&gate, "").unwrap();
        status
    };
    let (held, status) = tokio::join!(held, replaced);
    held.unwrap();
    assert_eq!(status.failures, 0);
    until(&pool, |status| status.workers.len() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_server_that_does_not_answer_costs_no_worker() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        workers: 1,
        start_timeout: Duration::from_secs(10),
        ..Config::default()
    };
    let pool = start_with(config, real::launch(folder.path()))
        .await
        .unwrap();
    echo(&pool).await;
    let status = pool.status();
    let server = status.details["fork_server"]["pid"].as_u64().unwrap();
    let server = u32::try_from(server).unwrap();
    let pid = pids(&status)[0];
    signal(server, Signal::STOP);
    signal(pid, Signal::KILL);
    let status = until(&pool, |status| {
        status.ready == 1 && pids(status).first().is_some_and(|now| *now != pid)
    })
    .await;
    signal(server, Signal::CONT);
    assert_eq!(status.failures, 1, "the killed one alone: {status:#?}");
    echo(&pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_of_the_workers_stay_although_calls_find_all_of_them_silent() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config {
        workers: 4,
        concurrency: 1,
        ..Config::default()
    };
    // No successor comes before each of them was looked at: whether one may go depends on who is there.
    config.recovery.start.spacing = Duration::from_secs(10);
    let pool = start_with(config, real::launch(folder.path()))
        .await
        .unwrap();
    let before = pids(&pool.status());
    for pid in &before {
        signal(*pid, Signal::STOP);
    }
    let tracker = TaskTracker::new();
    let short = Duration::from_millis(300);
    for _ in 0..4 {
        let pool: Arc<PoolV2> = Arc::clone(&pool);
        tracker.spawn(async move {
            let echo = call("echo", json!({"text": "x"}), short);
            pool.execute(echo).await.unwrap_err();
        });
    }
    tracker.close();
    tracker.wait().await;
    // Two are condemned at once; the other two go as their successors come.
    until(&pool, |status| status.failures >= 4 && status.ready == 4).await;
    let history: Vec<String> = pool
        .status()
        .workers
        .iter()
        .flat_map(|worker| worker.history.iter().map(|change| change.reason.clone()))
        .collect();
    let kept = |reason: &&String| reason.contains("when nobody else can");
    assert!(history.iter().filter(kept).count() >= 2, "{history:#?}");
    for pid in &before {
        signal(*pid, Signal::CONT);
    }
    echo(&pool).await;
}
