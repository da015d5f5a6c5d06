//! Scripts that were written for the bridge protocol by somebody else.

use std::sync::Arc;

use dspex_pool::testing::{fixture_programs, real};
use dspex_pool::{Pool, PoolError};
use dspex_pool_v1::Config;
use serde_json::json;

use crate::{LONG, dspy_program, script, start_with};

#[tokio::test(flavor = "multi_thread")]
async fn a_script_older_than_dspex_runs_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        workers: 2,
        command: script("legacy_bridge.py"),
        ..Config::default()
    };
    let pool = start_with(config, real::launch(folder.path()))
        .await
        .unwrap();
    let program = dspy_program("qa", "question -> answer");
    pool.check(&program).await.unwrap();
    for session in [None, Some("a"), Some("b"), Some("a")] {
        let mut call =
            fixture_programs::call_of(Arc::clone(&program), json!({"question": "why?"}), LONG);
        call.session = session.map(Into::into);
        let reply = pool.execute(call).await.unwrap();
        assert!(reply.outputs.contains_key("answer"), "{reply:?}");
        assert_eq!(reply.program_time, None, "an older script reports no time");
    }
    let callable = fixture_programs::program("echo", 1, "fixture_programs:echo");
    let refused = pool.check(&callable).await;
    assert!(
        matches!(refused, Err(PoolError::Rejected { .. })),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_keeps_no_state_is_told_so_and_costs_no_worker() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        workers: 1,
        command: script("legacy_bridge.py"),
        ..Config::default()
    };
    let pool = start_with(config, real::launch(folder.path()))
        .await
        .unwrap();
    let program = dspy_program("qa", "question -> answer");
    let stateful = Arc::new(dspex_pool::Program {
        stateful: true,
        ..(*program).clone()
    });
    let call = |program| fixture_programs::call_of(program, json!({"question": "why?"}), LONG);
    match pool.execute(call(stateful)).await {
        Err(PoolError::Rejected { message }) => {
            assert!(message.contains("qa@1 is stateful"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    let reply = pool.execute(call(program)).await.unwrap();
    assert_eq!(reply.state, None);
    assert_eq!(pool.status().failures, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_sessions_than_are_kept_still_get_answers() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        workers: 1,
        sessions_per_worker: 2,
        command: script("legacy_bridge.py"),
        ..Config::default()
    };
    let pool = start_with(config, real::launch(folder.path()))
        .await
        .unwrap();
    let program = dspy_program("qa", "question -> answer");
    for session in ["a", "b", "c", "d", "a", "c"] {
        let mut call =
            fixture_programs::call_of(Arc::clone(&program), json!({"question": "why?"}), LONG);
        call.session = Some(session.into());
        pool.execute(call).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_exits_at_once_is_told_with_its_last_words() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        workers: 1,
        command: script("exits_at_once.py"),
        ..Config::default()
    };
    let error = start_with(config, real::launch(folder.path()))
        .await
        .unwrap_err();
    let PoolError::Unavailable { reason } = &error else {
        panic!("{error:?}")
    };
    assert!(
        reason.contains("exit code 3") && reason.contains("last words"),
        "{reason}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_prints_junk_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        workers: 1,
        command: script("prints_junk.py"),
        ..Config::default()
    };
    let error = start_with(config, real::launch(folder.path()))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("print to its standard output"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_does_not_exist_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        command: vec!["no-such-python".to_owned()],
        ..Config::default()
    };
    let error = start_with(config, real::launch(folder.path()))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no-such-python"), "{error}");
}
