//! What callers see when workers fail.

use std::time::Duration;

use dspex_pool::testing::fixture_programs::call;
use dspex_pool::{Pool, PoolError, WorkerState};
use dspex_pool_v1::Config;
use serde_json::json;

use crate::{LONG, start, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_nobody_serves_in_time_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        workers: 1,
        queue_wait: Duration::from_millis(50),
        ..Config::default()
    };
    let pool = start(config, folder.path()).await;
    let gate = folder.path().join("gate");
    let busy = pool.execute(call("waits_for_file", json!({"path": gate}), LONG));
    tokio::pin!(busy);
    let refused = tokio::select! {
        early = &mut busy => panic!("the gate is shut: {early:?}"),
        refused = async {
            // The first call must have the worker: it would not wait for long either.
            until(&pool, |status| status.in_flight == 1).await;
            pool.execute(call("echo", json!({"text": "x"}), LONG)).await
        } => refused.unwrap_err(),
    };
    assert!(
        matches!(refused, PoolError::Exhausted { .. }),
        "{refused:?}"
    );
    assert!(!refused.may_have_started());
    std::fs::write(&gate, "").unwrap();
    busy.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_leaves_leaves_no_answer_behind() {
    let folder = tempfile::tempdir().unwrap();
    let pool = start(
        Config {
            workers: 1,
            give_up_after: LONG,
            ..Config::default()
        },
        folder.path(),
    )
    .await;
    let gate = folder.path().join("gate");
    {
        let left = pool.execute(call("waits_for_file", json!({"path": gate}), LONG));
        tokio::pin!(left);
        tokio::select! {
            early = &mut left => panic!("the gate is shut: {early:?}"),
            () = async {
                while pool.status().workers[0].state != WorkerState::Busy {
                    tokio::task::yield_now().await;
                }
            } => {}
        }
    }
    std::fs::write(&gate, "").unwrap();
    let reply = pool
        .execute(call("echo", json!({"text": "mine"}), LONG))
        .await
        .unwrap();
    assert_eq!(reply.outputs["text"], "mine");
    assert_eq!(pool.status().starts, 1, "the worker was kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_is_told_once_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let pool = start(
        Config {
            workers: 1,
            ..Config::default()
        },
        folder.path(),
    )
    .await;
    let error = pool
        .execute(call("crash", json!({}), LONG))
        .await
        .unwrap_err();
    let PoolError::Crashed { reason, .. } = &error else {
        panic!("{error:?}")
    };
    assert!(reason.contains("exit code 17"), "{reason}");
    let reply = pool
        .execute(call("echo", json!({"text": "again"}), LONG))
        .await
        .unwrap();
    assert_eq!(reply.outputs["text"], "again");
    let status = pool.status();
    assert_eq!((status.starts, status.failures), (2, 1));
}
