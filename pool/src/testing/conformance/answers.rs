//! Calls that are answered, and what is refused before it runs.
//!
//! Invariant: expected outputs stand here as JSON, so two pools that pass give equal outputs.

use serde_json::json;
use tokio::task::JoinSet;

use super::{Harness, Verdict, answered, failed_with};
use crate::testing::fixture_programs::{call_of, program};
use crate::{PoolError, SharedPool};

pub(super) async fn echo(harness: &Harness, pool: &SharedPool) -> Verdict {
    for text in ["hello", "", "ä\u{0}\n\"\\ 漢字 🐍", &"x".repeat(100_000)] {
        let inputs = json!({ "text": text });
        let ended = pool.execute(harness.call("echo", inputs.clone())).await;
        answered(ended, inputs)?;
    }
    Ok(())
}

pub(super) async fn add(harness: &Harness, pool: &SharedPool) -> Verdict {
    let ended = pool
        .execute(harness.call("add", json!({"a": 2, "b": -5})))
        .await;
    answered(ended, json!({ "sum": -3 }))
}

pub(super) async fn bad_inputs(harness: &Harness, pool: &SharedPool) -> Verdict {
    for inputs in [
        json!({}),
        json!({"a": 1}),
        json!({"a": 1, "b": 2, "c": 3}),
        json!({"a": "one", "b": 2}),
        json!({"a": null, "b": 2}),
    ] {
        failed_with(
            pool.execute(harness.call("add", inputs.clone())).await,
            "invalid input that says what is wrong",
            |error| matches!(error, PoolError::InvalidInput { message } if !message.is_empty()),
        )
        .map_err(|wrong| format!("{inputs}: {wrong}"))?;
    }
    harness.answers_again(pool).await
}

pub(super) async fn check(harness: &Harness, pool: &SharedPool) -> Verdict {
    let good = program("good", 1, &harness.target("echo"));
    pool.check(&good)
        .await
        .map_err(|error| format!("a good program was refused: {error:?}"))?;
    for target in [
        "os:getcwd".to_owned(),
        "no_such_module_anywhere:f".to_owned(),
        harness.target("no_such_callable"),
    ] {
        failed_with(
            pool.check(&program("bad", 2, &target)).await,
            "a refusal that says why",
            |error| matches!(error, PoolError::Rejected { message } if !message.is_empty()),
        )
        .map_err(|wrong| format!("{target}: {wrong}"))?;
        let call = call_of(program("bad", 3, &target), json!({}), harness.patience);
        failed_with(
            pool.execute(call).await,
            "the same refusal of a call",
            |error| matches!(error, PoolError::Rejected { .. }),
        )
        .map_err(|wrong| format!("{target}: {wrong}"))?;
    }
    harness.answers_again(pool).await
}

/// A program deleted and made anew has another version; neither answers for the other.
pub(super) async fn two_versions(harness: &Harness, pool: &SharedPool) -> Verdict {
    let echo = program("same", 1, &harness.target("echo"));
    let add = program("same", 2, &harness.target("add"));
    for _ in 0..4 {
        let inputs = json!({"text": "first"});
        let call = call_of(echo.clone(), inputs.clone(), harness.patience);
        answered(pool.execute(call).await, inputs)?;
        let call = call_of(add.clone(), json!({"a": 1, "b": 1}), harness.patience);
        answered(pool.execute(call).await, json!({"sum": 2}))?;
    }
    Ok(())
}

pub(super) async fn forget(harness: &Harness, pool: &SharedPool) -> Verdict {
    let inputs = json!({"text": "kept in the definition"});
    let call = harness.call("echo", inputs.clone());
    pool.forget(&call.program.key).await;
    answered(pool.execute(call.clone()).await, inputs.clone())?;
    pool.forget(&call.program.key).await;
    pool.forget(&call.program.key).await;
    answered(pool.execute(call).await, inputs)
}

pub(super) async fn burst(harness: &Harness, pool: &SharedPool) -> Verdict {
    let mut calls = JoinSet::new();
    for number in 0..harness.burst {
        let mut call = harness.call("add", json!({"a": number, "b": number}));
        // Half of them in sessions, so that affinity is in play too.
        call.session = (number % 2 == 0).then(|| format!("s{}", number % 8).into());
        let pool = pool.clone();
        calls.spawn(async move { answered(pool.execute(call).await, json!({"sum": number * 2})) });
    }
    while let Some(ended) = calls.join_next().await {
        ended.map_err(|error| error.to_string())??;
    }
    Ok(())
}
