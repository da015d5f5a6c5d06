//! What a pool says about itself, and how it ends.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Harness, Verdict, answered, failed_with};
use crate::testing::fixture_programs::program;
use crate::{PoolError, PoolStatus, SharedPool};

/// What holds a call until a check has seen what it wants to see, however late it comes to look.
struct Gate(PathBuf);

impl Gate {
    fn shut() -> Self {
        static GATES: AtomicU64 = AtomicU64::new(0);
        let (us, number) = (std::process::id(), GATES.fetch_add(1, Relaxed));
        Self(std::env::temp_dir().join(format!("dspex-gate-{us}-{number}")))
    }

    fn inputs(&self) -> Value {
        json!({ "path": self.0 })
    }

    fn open(&self) {
        // Where it stays shut, its call is not answered, and the check says so.
        let _ = std::fs::write(&self.0, "");
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn sane(status: &PoolStatus) -> Verdict {
    let sane = !status.name.is_empty()
        && status.size > 0
        && status.ready <= status.size
        && status.workers.len() >= status.size
        && status.capacity >= status.size
        && status.in_flight <= status.capacity
        && status.starts >= status.ready as u64;
    if sane {
        Ok(())
    } else {
        Err(format!("the counts do not fit together: {status:?}"))
    }
}

pub(super) async fn status(harness: &Harness, pool: &SharedPool) -> Verdict {
    let fresh = pool.status();
    sane(&fresh)?;
    if fresh.ready != fresh.size || fresh.failures != 0 || fresh.in_flight != 0 || fresh.draining {
        return Err(format!("a fresh pool is ready and idle: {fresh:?}"));
    }
    let gate = Gate::shut();
    let (ended, busy) = tokio::join!(
        pool.execute(harness.call("waits_for_file", gate.inputs())),
        async {
            let busy = harness.until(pool, "one call in flight", |status| {
                sane(status).is_ok() && status.in_flight == 1
            });
            let busy = busy.await;
            gate.open();
            busy
        }
    );
    busy?;
    ended.map_err(|error| format!("{error:?}"))?;
    harness
        .until(pool, "no call in flight", |status| status.in_flight == 0)
        .await?;
    // The crashed call itself fails; what is asked here is that it is counted.
    let crashed = pool.execute(harness.call("crash", json!({}))).await;
    failed_with(crashed, "a crash", |error| {
        matches!(error, PoolError::Crashed { .. })
    })?;
    harness
        .until(pool, "the crash counted", |status| {
            sane(status).is_ok() && status.failures == 1
        })
        .await
}

pub(super) async fn drain(harness: &Harness, pool: &SharedPool) -> Verdict {
    let gate = Gate::shut();
    let (ended, drained, begun) = tokio::join!(
        pool.execute(harness.call("waits_for_file", gate.inputs())),
        async {
            harness
                .until(pool, "one call in flight", |status| status.in_flight == 1)
                .await?;
            Ok::<_, String>(pool.drain(harness.patience).await)
        },
        async {
            let begun = harness.until(pool, "the drain begun", |status| status.draining);
            let begun = begun.await;
            gate.open();
            begun
        }
    );
    let drained = drained?;
    begun?;
    ended.map_err(|error| format!("the drain cut off a call in flight: {error:?}"))?;
    if (drained.finished, drained.abandoned) != (1, 0) {
        return Err(format!("one call finished in the drain, not {drained:?}"));
    }
    let refused = |error: &PoolError| matches!(error, PoolError::Draining);
    let late = pool
        .execute(harness.call("echo", json!({"text": "late"})))
        .await;
    failed_with(late, "a refusal: draining", refused)?;
    let late = program("late", 1, &harness.target("echo"));
    failed_with(
        pool.check(&late).await,
        "a refused check: draining",
        refused,
    )?;
    let status = pool.status();
    if !status.draining || status.ready != 0 || status.in_flight != 0 {
        return Err(format!("a drained pool holds nothing: {status:?}"));
    }
    let again = pool.drain(harness.patience).await;
    if again.abandoned != 0 {
        return Err(format!("a second drain abandoned calls: {again:?}"));
    }
    Ok(())
}

pub(super) async fn drain_limit(harness: &Harness, pool: &SharedPool) -> Verdict {
    let inputs = json!({"text": "before"});
    answered(
        pool.execute(harness.call("echo", inputs.clone())).await,
        inputs,
    )?;
    let sleeper = harness.call_within("sleeper", json!({"seconds": 60.0}), Duration::from_secs(60));
    let begun = tokio::time::Instant::now();
    let (ended, drained) = tokio::join!(pool.execute(sleeper), async {
        harness
            .until(pool, "one call in flight", |status| status.in_flight == 1)
            .await?;
        Ok::<_, String>(pool.drain(Duration::from_millis(200)).await)
    });
    let drained = drained?;
    if drained.abandoned != 1 {
        return Err(format!("one call was cut off, not {drained:?}"));
    }
    failed_with(
        ended,
        "a pool fault for the call that was cut off",
        |error| error.fault() == crate::Fault::Pool,
    )?;
    let waited = begun.elapsed();
    if waited > harness.patience {
        return Err(format!("the drain's limit was 200 ms, it took {waited:?}"));
    }
    Ok(())
}
