//! Calls that fail, each with the right blame, and the slot that must come back.

use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;

use super::{Harness, Verdict, failed_with};
use crate::{Fault, PoolError, SharedPool};

pub(super) async fn raises(harness: &Harness, pool: &SharedPool) -> Verdict {
    failed_with(
        pool.execute(harness.call("raises", json!({}))).await,
        "the program's own ValueError",
        |error| {
            matches!(error, PoolError::Program { exception, message, .. }
                if exception == "ValueError" && !message.is_empty())
        },
    )?;
    let failures = pool.status().failures;
    if failures != 0 {
        return Err(format!("an exception cost {failures} workers"));
    }
    harness.answers_again(pool).await
}

pub(super) async fn provider(harness: &Harness, pool: &SharedPool) -> Verdict {
    failed_with(
        pool.execute(harness.call("provider_429", json!({}))).await,
        "the provider's 429",
        |error| {
            matches!(
                error,
                PoolError::Provider {
                    status: Some(429),
                    ..
                }
            )
        },
    )?;
    harness.answers_again(pool).await
}

pub(super) async fn not_json(harness: &Harness, pool: &SharedPool) -> Verdict {
    failed_with(
        pool.execute(harness.call("not_json", json!({}))).await,
        "a fault of the program",
        |error| error.fault() == Fault::Program,
    )?;
    let failures = pool.status().failures;
    if failures != 0 {
        return Err(format!("outputs that are not JSON cost {failures} workers"));
    }
    harness.answers_again(pool).await
}

pub(super) async fn crash(harness: &Harness, pool: &SharedPool) -> Verdict {
    let before = pool.status();
    // More crashes than workers: every slot must come back, not only a spare one.
    for _ in 0..=before.size {
        failed_with(
            pool.execute(harness.call("crash", json!({}))).await,
            "a crash that names the worker",
            |error| matches!(error, PoolError::Crashed { worker, .. } if !worker.is_empty()),
        )?;
        harness.answers_again(pool).await?;
    }
    harness
        .until(pool, "all workers ready after crashes", |status| {
            status.ready == status.size
                && status.failures > before.failures
                && status.starts > before.starts
        })
        .await
}

pub(super) async fn deadline(harness: &Harness, pool: &SharedPool) -> Verdict {
    let limit = Duration::from_millis(300);
    let begun = tokio::time::Instant::now();
    failed_with(
        pool.execute(harness.call_within("sleeper", json!({"seconds": 30.0}), limit))
            .await,
        "a timeout",
        |error| {
            matches!(
                error,
                PoolError::ProgramTimeout { .. } | PoolError::Hung { .. }
            )
        },
    )?;
    let waited = begun.elapsed();
    // Far from the 30 s that the program takes; a busy machine may be late by some.
    if waited > harness.patience {
        return Err(format!(
            "a call with {limit:?} left was held for {waited:?}"
        ));
    }
    harness.answers_again(pool).await
}

/// Callers who leave take their calls with them: a full pool is free again.
pub(super) async fn caller_leaves(harness: &Harness, pool: &SharedPool) -> Verdict {
    let capacity = pool.status().capacity;
    let mut callers = JoinSet::new();
    for _ in 0..capacity {
        let long = Duration::from_secs(60);
        let call = harness.call_within("sleeper", json!({"seconds": 60.0}), long);
        let pool = pool.clone();
        callers.spawn(async move { pool.execute(call).await });
    }
    tokio::select! {
        ended = callers.join_next() => return Err(format!("a sleeper woke: {ended:?}")),
        busy = harness.until(pool, "all slots busy", |status| status.in_flight >= capacity) => busy?,
    }
    callers.shutdown().await;
    harness.answers_again(pool).await?;
    harness
        .until(pool, "no call in flight after its caller left", |status| {
            status.in_flight == 0 && status.queued == 0
        })
        .await
}
