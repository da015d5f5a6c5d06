//! Pools without processes, well and broken.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use dspex_pool::testing::FakePool;
use dspex_pool::{
    Call, Definition, Drained, Injected, Pool, PoolError, PoolStatus, Program, ProgramKey, Reply,
    WorkerFault,
};
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::validation::PROBE_MODULE;

/// What a call of the probe's module takes in these tests, beside what it sleeps.
pub(super) const LATENCY: Duration = Duration::from_millis(2);

/// How the module answers, as the Python side does.
pub(super) fn answer(call: &Call) -> Result<Reply, PoolError> {
    check(&call.program)?;
    let number = |name: &str| call.inputs.get(name).and_then(Value::as_i64);
    let invalid = |message: &str| {
        Err(PoolError::InvalidInput {
            message: message.to_owned(),
        })
    };
    let mut state = None;
    let outputs = match attribute(&call.program) {
        "add" if call.inputs.len() > 2 => return invalid("an input is unknown"),
        "add" => match (number("a"), number("b")) {
            (Some(a), Some(b)) => json!({"sum": a + b}),
            _ => return invalid("an input is missing, or no number"),
        },
        "sleep" => json!({"slept": call.inputs.get("seconds")}),
        "fail" => {
            return Err(PoolError::Program {
                exception: "ValueError".to_owned(),
                message: "on purpose".to_owned(),
                traceback: None,
            });
        }
        "Count" => {
            let before: Value = call.state.as_ref().map_or(Value::Null, |state| {
                serde_json::from_str(state.as_json().get()).expect("we made it")
            });
            let held = |name: &str| before.get(name).and_then(Value::as_i64).unwrap_or(0);
            let after = json!({"turns": held("turns") + 1,
                "total": held("total") + number("add").unwrap_or(0)});
            state = Some(after.clone());
            after
        }
        _ => Value::Object(call.inputs.as_ref().clone()),
    };
    let reply = FakePool::reply(&outputs);
    Ok(Reply {
        state: state.map(|state| to_raw_value(&state).expect("it is JSON").into()),
        ..reply
    })
}

pub(super) fn attribute(program: &Program) -> &str {
    match &program.definition {
        Definition::Callable { target } => target.attribute(),
        Definition::Dspy { .. } => "dspy",
    }
}

pub(super) fn check(program: &Program) -> Result<(), PoolError> {
    let rejected = || {
        Err(PoolError::Rejected {
            message: "not there, or not allowed".to_owned(),
        })
    };
    match &program.definition {
        Definition::Callable { target } if target.module() == "shop" => Ok(()),
        Definition::Callable { target }
            if target.module() == PROBE_MODULE
                && ["echo", "add", "sleep", "fail", "Count"].contains(&target.attribute()) =>
        {
            Ok(())
        }
        Definition::Callable { .. } => rejected(),
        Definition::Dspy { .. } => Ok(()),
    }
}

pub(super) fn latency(call: &Call) -> Duration {
    let seconds = call.inputs.get("seconds").and_then(Value::as_f64);
    LATENCY + Duration::from_secs_f64(seconds.unwrap_or(0.0))
}

/// A pool that is well: two workers, eight calls at once.
pub(super) fn well(name: &str) -> FakePool {
    FakePool::sized(name, 2, 8)
        .answer_with(answer)
        .check_with(check)
        .latency_with(latency)
        .recovers_within(Some(Duration::from_millis(40)))
}

/// A pool that treats one attribute otherwise.
pub(super) fn but(
    attribute: &'static str,
    otherwise: impl Fn(&Call) -> Result<Reply, PoolError> + Send + Sync + 'static,
) -> FakePool {
    well("v2").answer_with(move |call| {
        if super::pools::attribute(&call.program) == attribute {
            otherwise(call)
        } else {
            answer(call)
        }
    })
}

/// A pool that leaves this much time between two starts of a worker.
pub(super) struct Spaced {
    pub(super) pool: FakePool,
    pub(super) spacing: Duration,
    started: Mutex<Option<Instant>>,
}

impl Spaced {
    pub(super) fn by(pool: FakePool, spacing: Duration) -> Self {
        Self {
            pool,
            spacing,
            started: Mutex::new(None),
        }
    }
}

#[async_trait]
impl Pool for Spaced {
    async fn execute(&self, call: Call) -> Result<Reply, PoolError> {
        self.pool.execute(call).await
    }

    async fn check(&self, program: &Program) -> Result<(), PoolError> {
        self.pool.check(program).await
    }

    async fn forget(&self, program: &ProgramKey) {
        self.pool.forget(program).await;
    }

    fn status(&self) -> PoolStatus {
        self.pool.status()
    }

    async fn inject(&self, fault: WorkerFault) -> Result<Injected, PoolError> {
        let now = Instant::now();
        let last = self.started.lock().unwrap().replace(now);
        let left = last.map_or(Duration::ZERO, |last| {
            (last + self.spacing).saturating_duration_since(now)
        });
        self.pool
            .recovers_within(Some(left.max(Duration::from_millis(40))));
        self.pool.inject(fault).await
    }

    async fn drain(&self, limit: Duration) -> Drained {
        self.pool.drain(limit).await
    }
}

/// A pool that does not look at the clock: a call past its deadline is told so only after this.
pub(super) struct Deaf(pub(super) FakePool, pub(super) Duration);

#[async_trait]
impl Pool for Deaf {
    async fn execute(&self, call: Call) -> Result<Reply, PoolError> {
        let deadline = call.deadline;
        let late = call.inputs.get("seconds").and_then(Value::as_f64) == Some(0.5);
        let ended = self.0.execute(call).await;
        if late {
            tokio::time::sleep_until(deadline + self.1).await;
        }
        ended
    }

    async fn check(&self, program: &Program) -> Result<(), PoolError> {
        self.0.check(program).await
    }

    async fn forget(&self, program: &ProgramKey) {
        self.0.forget(program).await;
    }

    fn status(&self) -> PoolStatus {
        self.0.status()
    }

    async fn inject(&self, fault: WorkerFault) -> Result<Injected, PoolError> {
        self.0.inject(fault).await
    }

    async fn drain(&self, limit: Duration) -> Drained {
        self.0.drain(limit).await
    }
}
