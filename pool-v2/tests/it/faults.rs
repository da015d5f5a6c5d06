//! What callers see when workers fail.

use std::time::Duration;

use dspex_pool::testing::fixture_programs::call;
use dspex_pool::{Pool, PoolError, WorkerState};
use dspex_pool_v2::Config;
use serde_json::json;

use crate::sizes::until;
use crate::{LONG, start};

fn one_worker() -> Config {
    Config {
        workers: 1,
        concurrency: 4,
        ..Config::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_run_at_the_same_time_in_one_worker() {
    let folder = tempfile::tempdir().unwrap();
    let pool = start(one_worker(), folder.path()).await;
    let gate = folder.path().join("gate");
    let held = pool.execute(call("waits_for_file", json!({"path": gate}), LONG));
    tokio::pin!(held);
    tokio::select! {
        early = &mut held => panic!("the gate is shut: {early:?}"),
        reply = pool.execute(call("echo", json!({"text": "meanwhile"}), LONG)) => {
            assert_eq!(reply.unwrap().outputs["text"], "meanwhile");
        }
    }
    std::fs::write(&gate, "").unwrap();
    held.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_is_told_to_every_call_on_the_worker_and_the_slot_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let pool = start(one_worker(), folder.path()).await;
    let gate = folder.path().join("gate");
    let (held, crashed) = tokio::join!(
        pool.execute(call("waits_for_file", json!({"path": gate}), LONG)),
        pool.execute(call("crash", json!({}), LONG)),
    );
    for error in [held.unwrap_err(), crashed.unwrap_err()] {
        let PoolError::Crashed { reason, .. } = &error else {
            panic!("{error:?}")
        };
        assert!(reason.contains("exit code 17"), "{reason}");
    }
    pool.execute(call("echo", json!({"text": "again"}), LONG))
        .await
        .unwrap();
    assert_eq!((pool.status().starts, pool.status().failures), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_worker_is_hung_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let pool = start(one_worker(), folder.path()).await;
    // On a busy machine it takes a while until it has stopped itself: before, it is not hung.
    pool.execute(call("echo", json!({"text": "imported"}), LONG))
        .await
        .unwrap();
    let error = pool
        .execute(call("stall", json!({}), Duration::from_secs(5)))
        .await;
    assert!(matches!(error, Err(PoolError::Hung { .. })), "{error:?}");
    pool.execute(call("echo", json!({"text": "again"}), LONG))
        .await
        .unwrap();
    assert_eq!(pool.status().failures, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_worker_that_nobody_waits_for_is_found_by_its_health_checks() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        health_interval: Duration::from_millis(50),
        // Long enough for one that is well on a busy machine: its successor must not be condemned.
        health_timeout: Duration::from_secs(1),
        ..one_worker()
    };
    let pool = start(config, folder.path()).await;
    let error = pool
        .execute(call("stall", json!({}), LONG))
        .await
        .unwrap_err();
    let PoolError::Hung { reason, .. } = &error else {
        panic!("{error:?}")
    };
    assert!(reason.contains("health checks"), "{reason}");
    pool.execute(call("echo", json!({"text": "again"}), LONG))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_program_is_not_blamed_on_its_worker() {
    let folder = tempfile::tempdir().unwrap();
    let pool = start(one_worker(), folder.path()).await;
    let slow = call(
        "sleeper",
        json!({"seconds": 30.0}),
        Duration::from_millis(200),
    );
    let error = pool.execute(slow).await.unwrap_err();
    assert!(
        matches!(error, PoolError::ProgramTimeout { .. }),
        "{error:?}"
    );
    assert_eq!(pool.status().failures, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_keeps_a_call_that_was_given_up_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        give_up_after: Duration::from_millis(100),
        ..one_worker()
    };
    let pool = start(config, folder.path()).await;
    let gate = folder.path().join("never");
    // One whose time was over before it had begun never runs, and is not kept: so it is sent until
    // one is.
    let began = tokio::time::Instant::now();
    while pool.status().starts < 2 {
        assert!(began.elapsed() < LONG, "{:?}", pool.status());
        let short = Duration::from_millis(300);
        let held = call("waits_for_file", json!({"path": gate}), short);
        assert!(pool.execute(held).await.is_err());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    until(&pool, |status| status.ready >= 1).await;
    pool.execute(call("echo", json!({"text": "again"}), LONG))
        .await
        .unwrap();
    assert_eq!(
        pool.status().failures,
        0,
        "an impatient caller does not speak against the pool"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_call_that_has_not_begun_never_runs() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        concurrency: 1,
        ..one_worker()
    };
    let pool = start(config, folder.path()).await;
    let (gate, trace) = (folder.path().join("gate"), folder.path().join("trace"));
    let held = pool.execute(call("waits_for_file", json!({"path": gate}), LONG));
    tokio::pin!(held);
    tokio::select! {
        early = &mut held => panic!("the gate is shut: {early:?}"),
        () = async {
            while pool.status().workers[0].state != WorkerState::Busy {
                tokio::task::yield_now().await;
            }
        } => {}
    }
    {
        let left = pool.execute(call("writes_file", json!({"path": trace}), LONG));
        tokio::pin!(left);
        tokio::select! {
            early = &mut left => panic!("the worker is busy: {early:?}"),
            () = async {
                while pool.status().queued == 0 {
                    tokio::task::yield_now().await;
                }
            } => {}
        }
    }
    assert_eq!(pool.status().queued, 0, "whoever leaves leaves the queue");
    std::fs::write(&gate, "").unwrap();
    held.await.unwrap();
    pool.execute(call("echo", json!({"text": "next"}), LONG))
        .await
        .unwrap();
    assert!(!trace.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_and_a_long_wait_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        concurrency: 1,
        queue_limit: 1,
        queue_wait: Duration::from_millis(200),
        ..one_worker()
    };
    let pool = start(config, folder.path()).await;
    let gate = folder.path().join("gate");
    let held = pool.execute(call("waits_for_file", json!({"path": gate}), LONG));
    let refusals = async {
        while pool.status().in_flight == 0 {
            tokio::task::yield_now().await;
        }
        let echo = || pool.execute(call("echo", json!({"text": "x"}), LONG));
        let (first, second) = tokio::join!(echo(), echo());
        std::fs::write(&gate, "").unwrap();
        (first.unwrap_err(), second.unwrap_err())
    };
    let (held, (first, second)) = tokio::join!(held, refusals);
    held.unwrap();
    let PoolError::Exhausted { reason, .. } = &first else {
        panic!("{first:?}")
    };
    assert!(reason.contains("none came free within"), "{reason}");
    let PoolError::Exhausted { reason, .. } = &second else {
        panic!("{second:?}")
    };
    assert!(reason.contains("the limit"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_the_limit_is_the_callers_fault_and_costs_no_worker() {
    let folder = tempfile::tempdir().unwrap();
    let pool = start(one_worker(), folder.path()).await;
    let text = "x".repeat(2 * 1024 * 1024);
    let error = pool
        .execute(call("echo", json!({"text": text}), LONG))
        .await
        .unwrap_err();
    assert!(matches!(error, PoolError::InvalidInput { .. }), "{error:?}");
    let long = pool
        .execute(call("huge", json!({"bytes": 2 * 1024 * 1024}), LONG))
        .await;
    assert!(matches!(long, Err(PoolError::Program { .. })), "{long:?}");
    assert_eq!(pool.status().failures, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_program_prints_never_reaches_the_wire() {
    let folder = tempfile::tempdir().unwrap();
    let pool = start(one_worker(), folder.path()).await;
    let prints = || pool.execute(call("prints", json!({}), LONG));
    let (first, second) = tokio::join!(prints(), prints());
    assert_eq!(first.unwrap().outputs["lines"], 1000);
    assert_eq!(second.unwrap().outputs["lines"], 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let mut launch = dspex_pool::testing::real::launch(folder.path());
    let config = Config {
        preload: vec!["no_such_module".to_owned()],
        ..one_worker()
    };
    let error = crate::start_with(config, launch.clone()).await.unwrap_err();
    assert!(error.to_string().contains("no_such_module"), "{error}");
    launch.python = "/bin/false".into();
    let error = crate::start_with(one_worker(), launch).await.unwrap_err();
    assert!(error.to_string().contains("exit code 1"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_holds_the_interpreter_is_busy_and_not_hung() {
    let folder = tempfile::tempdir().unwrap();
    let pool = start(one_worker(), folder.path()).await;
    let pegged = json!({"turns": 200_000_000});
    let (pegged, sibling) = tokio::join!(
        pool.execute(call(
            "holds_the_interpreter",
            pegged,
            Duration::from_millis(300)
        )),
        pool.execute(call("sleeper", json!({"seconds": 0.1}), LONG)),
    );
    let error = pegged.unwrap_err();
    assert!(
        matches!(error, PoolError::ProgramTimeout { .. }),
        "{error:?}"
    );
    sibling.unwrap();
    assert_eq!(pool.status().failures, 0);
}
