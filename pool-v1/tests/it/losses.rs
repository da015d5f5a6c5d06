//! Workers that are lost between calls, or given up: who notices, and what is counted.

use std::path::Path;
use std::time::Duration;

use dspex_pool::testing::fixture_programs::call;
use dspex_pool::testing::real;
use dspex_pool::{Pool, PoolError, PoolStatus};
use dspex_pool_v1::Config;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::{LONG, start, start_with, until};

fn pids(status: &PoolStatus) -> Vec<u32> {
    status.workers.iter().filter_map(|w| w.pid).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_workers_that_are_killed_are_noticed_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        workers: 3,
        ..Config::default()
    };
    let pool = start(config, folder.path()).await;
    let killed = pids(&pool.status());
    assert_eq!(killed.len(), 3);
    for pid in &killed {
        // Our own children, which nobody but the pool reaps.
        let pid = Pid::from_raw(i32::try_from(*pid).unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
    }
    let dead = until(&pool, |status| status.failures == 3).await;
    assert!(dead.workers.iter().all(|worker| {
        let why = worker.detail.as_deref().unwrap_or_default();
        why.contains("between calls") && why.contains("signal 9")
    }));
    // These may not be repeated; none may be sent to a worker that is gone.
    for _ in 0..4 {
        let reply = pool.execute(call("echo", json!({"text": "x"}), LONG)).await;
        assert!(reply.is_ok(), "{reply:?}");
    }
    let status = until(&pool, |status| status.ready == 3).await;
    assert_eq!((status.starts, status.failures), (6, 3));
    assert!(pids(&status).iter().all(|pid| !killed.contains(pid)));
    // As many seats as workers: all three work at the same time.
    let gate = folder.path().join("gate");
    let waits = || pool.execute(call("waits_for_file", json!({"path": gate}), LONG));
    let opened = async {
        until(&pool, |status| status.in_flight == 3).await;
        std::fs::write(&gate, "").unwrap();
    };
    let (a, b, c, ()) = tokio::join!(waits(), waits(), waits(), opened);
    assert!(a.is_ok() && b.is_ok() && c.is_ok(), "{a:?} {b:?} {c:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_program_costs_its_worker_but_is_no_failure_of_the_pool() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        workers: 1,
        give_up_after: Duration::from_millis(20),
        ..Config::default()
    };
    let pool = start(config, folder.path()).await;
    let short = Duration::from_millis(200);
    let slow = || json!({"seconds": 60.0});
    let error = pool.execute(call("sleeper", slow(), short)).await;
    assert!(
        matches!(error, Err(PoolError::ProgramTimeout { .. })),
        "{error:?}"
    );
    let status = until(&pool, |status| status.starts == 2 && status.ready == 1).await;
    assert_eq!(status.failures, 0);
    let why = status.workers[0].detail.clone().unwrap_or_default();
    assert!(why.contains("did not answer within"), "{why}");
    // A caller who leaves.
    let left = pool.execute(call("sleeper", slow(), LONG));
    tokio::select! {
        early = left => panic!("it sleeps: {early:?}"),
        _ = until(&pool, |status| status.in_flight == 1) => {}
    }
    let status = until(&pool, |status| status.starts == 3 && status.ready == 1).await;
    assert_eq!(status.failures, 0);
    // Nor does a drain that cuts a call off.
    let cut = pool.execute(call("sleeper", slow(), LONG));
    let drained = async {
        until(&pool, |status| status.in_flight == 1).await;
        pool.drain(Duration::ZERO).await
    };
    let (cut, drained) = tokio::join!(cut, drained);
    assert!(matches!(cut, Err(PoolError::Draining)), "{cut:?}");
    assert_eq!((drained.abandoned, pool.status().failures), (1, 0));
}

fn lives(pid: &str) -> bool {
    Path::new("/proc").join(pid.trim()).exists()
}

#[tokio::test]
async fn nothing_is_left_running_where_the_start_fails() {
    let folder = tempfile::tempdir().unwrap();
    // The first worker never answers; the second ends once the first is there.
    let script = r#"
import os, sys, time
pid = sys.argv[1] + "/pid"
if sys.argv[-1].endswith("-0.0"):
    with open(pid + ".part", "w") as file:
        file.write(str(os.getpid()))
    os.rename(pid + ".part", pid)
    time.sleep(3600)
while not os.path.exists(pid):
    time.sleep(0.005)
sys.exit(3)
"#;
    let config = Config {
        workers: 2,
        command: vec![
            real::python().display().to_string(),
            "-c".to_owned(),
            script.to_owned(),
            folder.path().display().to_string(),
        ],
        ..Config::default()
    };
    let error = start_with(config, real::launch(folder.path()))
        .await
        .unwrap_err();
    let pid = std::fs::read_to_string(folder.path().join("pid")).unwrap();
    assert!(!lives(&pid), "{pid} still runs after: {error}");
    assert!(error.to_string().contains("exit code 3"), "{error}");
}

#[tokio::test]
async fn a_pool_that_is_dropped_takes_its_workers_along() {
    let folder = tempfile::tempdir().unwrap();
    let pool = start(Config::default(), folder.path()).await;
    let running = pids(&pool.status());
    drop(pool);
    tokio::time::timeout(LONG, async {
        while running.iter().any(|pid| lives(&pid.to_string())) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
}
