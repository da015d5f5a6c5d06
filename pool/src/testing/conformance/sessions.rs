//! Programs whose sessions have a state: it belongs to the session and not to a worker.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Harness, Verdict, failed_with, same};
use crate::testing::fixture_programs::{call_of, program};
use crate::{Call, PoolError, SessionState, SharedPool};

impl Harness {
    fn stateful_call(&self, attribute: &str, inputs: Value, state: Option<SessionState>) -> Call {
        let program = program(attribute, 1, &self.target(attribute));
        let program = Arc::new(crate::Program {
            stateful: true,
            ..(*program).clone()
        });
        Call {
            state,
            ..call_of(program, inputs, self.patience)
        }
    }

    /// Adds `n` to a session's tally, and answers the session's next state.
    async fn tally(
        &self,
        pool: &SharedPool,
        session: &str,
        n: i64,
        state: Option<SessionState>,
        wanted: Value,
    ) -> Result<Option<SessionState>, String> {
        let mut call = self.stateful_call("Tally", json!({ "n": n }), state);
        call.session = Some(session.into());
        let reply = pool
            .execute(call)
            .await
            .map_err(|error| format!("{session}: {error:?}"))?;
        same(&reply.outputs, wanted).map_err(|wrong| format!("{session}: {wrong}"))?;
        match reply.state {
            Some(state) => Ok(Some(state)),
            None => Err(format!("{session}: the reply has no state")),
        }
    }
}

/// Neither sees the other's state, whichever workers they meet.
pub(super) async fn interleaved(harness: &Harness, pool: &SharedPool) -> Verdict {
    let (mut one, mut ten) = (None, None);
    for round in 1..=4_i64 {
        let wanted = json!({"total": round, "calls": round});
        one = harness.tally(pool, "one", 1, one, wanted).await?;
        let wanted = json!({"total": round * 10, "calls": round});
        ten = harness.tally(pool, "ten", 10, ten, wanted).await?;
    }
    // A call that fails leaves the session as it was.
    failed_with(
        pool.execute(harness.stateful_call("Tally", json!({"n": 13}), one.clone()))
            .await,
        "the program's own ValueError",
        |error| matches!(error, PoolError::Program { .. }),
    )?;
    let wanted = json!({"total": 5, "calls": 5});
    harness.tally(pool, "one", 1, one, wanted).await.map(drop)
}

/// What one pool answered is enough for another that has never seen the session.
pub(super) async fn moves(harness: &Harness, pool: &SharedPool) -> Verdict {
    let wanted = json!({"total": 40, "calls": 1});
    let state = harness.tally(pool, "mover", 40, None, wanted).await?;
    let fresh = (harness.fresh)().await;
    let wanted = json!({"total": 42, "calls": 2});
    let moved = harness.tally(&fresh, "mover", 2, state, wanted).await;
    fresh.drain(Duration::from_secs(1)).await;
    moved.map(drop)
}

/// A callable without a state of its own is refused as stateful, and its state never invented.
pub(super) async fn refused(harness: &Harness, pool: &SharedPool) -> Verdict {
    let call = harness.stateful_call("WithoutLoad", json!({}), None);
    failed_with(
        pool.check(&call.program).await,
        "a refusal that says what is missing",
        |error| matches!(error, PoolError::Rejected { message } if message.contains("load_state")),
    )?;
    failed_with(
        pool.execute(call).await,
        "the same refusal of a call",
        |error| matches!(error, PoolError::Rejected { .. }),
    )?;
    let odd = harness.stateful_call("OddState", json!({"n": 1}), None);
    failed_with(
        pool.execute(odd).await,
        "a fault of the program, whose state is no JSON",
        |error| matches!(error, PoolError::Program { message, .. } if message.contains("state")),
    )?;
    harness.answers_again(pool).await
}
