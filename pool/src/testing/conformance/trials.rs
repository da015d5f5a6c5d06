//! Probes that ask each worker, and faults that are done to one.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;

use super::{Harness, Verdict, answered, failed_with};
use crate::{PoolError, SharedPool, WorkerFault};

pub(super) async fn probe(harness: &Harness, pool: &SharedPool) -> Verdict {
    let asked = json!({"text": "probe"});
    let call = harness.call("echo", asked.clone());
    let probed = pool.probe(&call, harness.patience).await;
    let workers: BTreeSet<_> = probed.iter().map(|probed| probed.worker.clone()).collect();
    let status = pool.status();
    let names: BTreeSet<_> = status.workers.iter().map(|w| w.id.clone()).collect();
    if workers.len() != status.size || !workers.is_subset(&names) {
        return Err(format!("asked {workers:?}, there are {names:?}"));
    }
    for probed in probed {
        answered(probed.answer, asked.clone())?;
    }
    harness
        .until(pool, "no call in flight", |status| status.in_flight == 0)
        .await
}

pub(super) async fn inject(harness: &Harness, pool: &SharedPool) -> Verdict {
    for fault in WorkerFault::ALL {
        let before = pool.status();
        let injected = pool
            .inject(fault)
            .await
            .map_err(|error| format!("{fault}: {error}"))?;
        if injected.fault != fault || injected.worker.is_empty() {
            return Err(format!("asked for a {fault}, got {injected:?}"));
        }
        harness.answers_again(pool).await?;
        let back = format!("all workers ready after a {fault}");
        harness
            .until(pool, &back, |status| {
                status.ready == status.size
                    && status.starts > before.starts
                    && status.failures > before.failures
            })
            .await?;
    }
    Ok(())
}

pub(super) async fn busy(harness: &Harness, pool: &SharedPool) -> Verdict {
    let before = pool.status();
    let mut callers = JoinSet::new();
    for _ in 0..before.capacity {
        let long = Duration::from_secs(60);
        let call = harness.call_within("sleeper", json!({"seconds": 60.0}), long);
        let pool = pool.clone();
        callers.spawn(async move { pool.execute(call).await });
    }
    harness
        .until(pool, "all slots busy", |status| {
            status.in_flight >= before.capacity
        })
        .await?;
    for fault in WorkerFault::ALL {
        failed_with(pool.inject(fault).await, "a refusal: all busy", |error| {
            matches!(error, PoolError::Exhausted { .. })
        })?;
    }
    let after = pool.status();
    if after.failures != before.failures || after.in_flight != before.capacity {
        return Err(format!("a fault met a call: {after:?}"));
    }
    callers.shutdown().await;
    Ok(())
}
