//! Scripts that break the protocol in the middle of their work, or forget what they were told.

use std::sync::Arc;

use dspex_pool::testing::{fixture_programs, real};
use dspex_pool::{Pool, PoolError, Reply};
use dspex_pool_v1::{Config, PoolV1};
use serde_json::json;
use tempfile::TempDir;

use crate::{LONG, dspy_program, script, start_with, until};

async fn rogue() -> (Arc<PoolV1>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        workers: 1,
        command: script("rogue_bridge.py"),
        ..Config::default()
    };
    let pool = start_with(config, real::launch(folder.path())).await;
    (pool.unwrap(), folder)
}

async fn ask(pool: &PoolV1, question: &str) -> Result<Reply, PoolError> {
    let program = dspy_program("qa", "question -> answer");
    let inputs = json!({ "question": question });
    pool.execute(fixture_programs::call_of(program, inputs, LONG))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_breaks_the_protocol_is_replaced_and_the_next_call_answered() {
    let (pool, _folder) = rogue().await;
    for (failures, (how, said)) in (1..).zip([
        ("!long", "is the limit"),
        ("!junk", "not what the protocol allows"),
        ("!id", "was asked"),
        ("!short", "ended inside a frame"),
        ("!nan", "allow_nan=False"),
    ]) {
        let error = ask(&pool, how).await.unwrap_err();
        let PoolError::Protocol { worker, reason } = &error else {
            panic!("{how}: {error:?}")
        };
        assert!(reason.contains(said), "{how}: {reason}");
        assert!(worker.starts_with("v1-0."), "{worker}");
        let reply = ask(&pool, "why?").await.unwrap();
        assert_eq!(reply.outputs["answer"], "answer of question=why?");
        let status = until(&pool, |status| status.ready == 1).await;
        assert_eq!((status.starts, status.failures), (failures + 1, failures));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_in_odd_words_costs_nobody_a_worker() {
    let (pool, _folder) = rogue().await;
    for how in ["!raise", "!odd"] {
        let error = ask(&pool, how).await.unwrap_err();
        let PoolError::Program { message, .. } = &error else {
            panic!("{how}: {error:?}")
        };
        assert!(message.contains("asked to fail"), "{how}: {message}");
        // The script still holds the program, and refuses to create it twice.
        ask(&pool, "why?").await.unwrap();
        ask(&pool, "why?").await.unwrap();
    }
    let status = pool.status();
    assert_eq!((status.starts, status.failures), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_lost_a_program_and_says_so_is_told_it_again_at_once() {
    let (pool, _folder) = rogue().await;
    for _ in 0..2 {
        ask(&pool, "!lose-told").await.unwrap();
        ask(&pool, "why?").await.unwrap();
    }
    assert_eq!(pool.status().starts, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_lost_a_program_fails_one_call_and_no_more() {
    let (pool, _folder) = rogue().await;
    for _ in 0..2 {
        ask(&pool, "!lose").await.unwrap();
        // In its words this may be anything that a program can say.
        let error = ask(&pool, "why?").await.unwrap_err();
        assert!(matches!(error, PoolError::Program { .. }), "{error:?}");
        ask(&pool, "why?").await.unwrap();
    }
    assert_eq!(pool.status().starts, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_could_not_be_sent_goes_to_another_worker() {
    let (pool, _folder) = rogue().await;
    ask(&pool, "!deaf").await.unwrap();
    // It lives and looks idle, but no longer reads. The program may not be repeated, and need not
    // be: it never began.
    let reply = ask(&pool, "why?").await.unwrap();
    assert_eq!(reply.outputs["answer"], "answer of question=why?");
    let status = pool.status();
    assert_eq!((status.starts, status.failures), (2, 1));
}
