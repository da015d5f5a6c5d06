//! Sessions and their workers.

use dspex_pool::testing::fixture_programs::call;
use dspex_pool::{Call, Pool, PoolError};
use dspex_pool_v2::{AffinityConfig, AffinityMode, Config};
use serde_json::json;

use crate::{LONG, start};

fn of_session(session: &str, attribute: &str, inputs: serde_json::Value) -> Call {
    Call {
        session: Some(session.into()),
        caller: Some("ann".into()),
        ..call(attribute, inputs, LONG)
    }
}

/// Two workers, one call at a time each.
fn config(mode: AffinityMode) -> Config {
    Config {
        workers: 2,
        concurrency: 1,
        affinity: AffinityConfig {
            mode,
            ..AffinityConfig::default()
        },
        ..Config::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_stays_with_its_worker_and_with_the_one_that_stands_in_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let pool = start(config(AffinityMode::StrictQueue), folder.path()).await;
    let echo = || of_session("s", "echo", json!({"text": "x"}));
    let home = pool.execute(echo()).await.unwrap().worker;
    for _ in 0..20 {
        assert_eq!(pool.execute(echo()).await.unwrap().worker, home);
    }
    let error = pool.execute(of_session("s", "crash", json!({}))).await;
    assert!(matches!(error, Err(PoolError::Crashed { .. })), "{error:?}");
    let next = pool.execute(echo()).await.unwrap().worker;
    let slot = |worker: &str| worker.rsplit_once('.').unwrap().0.to_owned();
    assert_eq!(slot(&next), slot(&home));
    assert_ne!(next, home, "another worker in the same slot");
    let affinity = &pool.status().details["affinity"];
    assert_eq!(affinity["hit_rate"], json!(1.0), "{affinity}");
    assert_eq!(affinity["sessions"], json!(1), "{affinity}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_fails_fast_is_refused_while_its_worker_is_busy() {
    let folder = tempfile::tempdir().unwrap();
    let pool = start(config(AffinityMode::StrictFailFast), folder.path()).await;
    let gate = folder.path().join("gate");
    let held = pool.execute(of_session("s", "waits_for_file", json!({"path": gate})));
    let refused = async {
        while pool.status().in_flight == 0 {
            tokio::task::yield_now().await;
        }
        let refused = pool
            .execute(of_session("s", "echo", json!({"text": "x"})))
            .await;
        let other = pool.execute(call("echo", json!({"text": "x"}), LONG)).await;
        std::fs::write(&gate, "").unwrap();
        other.unwrap();
        refused.unwrap_err()
    };
    let (held, refused) = tokio::join!(held, refused);
    held.unwrap();
    assert!(matches!(refused, PoolError::TooMany { .. }), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_with_too_many_calls_is_refused_and_others_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        concurrency: 4,
        calls_per_caller: 1,
        ..config(AffinityMode::Hint)
    };
    let pool = start(config, folder.path()).await;
    let gate = folder.path().join("gate");
    let held = pool.execute(of_session("s", "waits_for_file", json!({"path": gate})));
    let refused = async {
        while pool.status().in_flight == 0 {
            tokio::task::yield_now().await;
        }
        let echo = json!({"text": "x"});
        let refused = pool.execute(of_session("t", "echo", echo.clone())).await;
        let other = Call {
            caller: Some("bob".into()),
            ..of_session("s", "echo", echo)
        };
        pool.execute(other).await.unwrap();
        std::fs::write(&gate, "").unwrap();
        refused.unwrap_err()
    };
    let (held, refused) = tokio::join!(held, refused);
    held.unwrap();
    let PoolError::TooMany { reason, .. } = &refused else {
        panic!("{refused:?}")
    };
    assert!(reason.contains("this caller has 1"), "{reason}");
    pool.execute(of_session("t", "echo", json!({"text": "x"})))
        .await
        .unwrap();
}
