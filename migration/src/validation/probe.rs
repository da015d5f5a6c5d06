//! The programs whose answers are known, and how a call is made and waited for.
//!
//! Invariants: every call has a deadline, and is waited for a little longer than that; who does not
//! answer then has lost it. The programs' names are those of no catalog: rehearsal pools are started
//! for one validation and hold nothing else.

use std::sync::Arc;
use std::time::Duration;

use dspex_pool::{
    Call, Definition, PoolError, Program, ProgramKey, Reply, SessionState, SharedPool,
};
use serde_json::{Map, Value};
use tokio::time::Instant;

/// The Python module with the callables; a rehearsal pool must allow it.
pub const MODULE: &str = "dspex_worker.probe";

/// How long after its deadline a call may still be answered before it counts as lost: what a busy
/// machine takes to say so.
pub(super) const GRACE: Duration = Duration::from_secs(2);

/// A program of the probe's module.
pub(super) fn program(attribute: &str, version: u64) -> Result<Arc<Program>, String> {
    of_target(attribute, &format!("{MODULE}:{attribute}"), version)
}

/// A program of any callable.
pub(super) fn of_target(name: &str, target: &str, version: u64) -> Result<Arc<Program>, String> {
    let target = target.parse().map_err(told)?;
    let mut program = of_definition(name, Definition::Callable { target }, version)?;
    program.stateful = name == "Count";
    Ok(Arc::new(program))
}

/// A program of any definition.
pub(super) fn of_definition(
    name: &str,
    definition: Definition,
    version: u64,
) -> Result<Program, String> {
    Ok(Program {
        key: ProgramKey {
            id: format!("dspex-validation.{name}").parse().map_err(told)?,
            version,
        },
        definition,
        repeatable: false,
        stateful: false,
        side_effects: false,
    })
}

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// The probe's programs, made once.
#[derive(Debug, Clone)]
pub(super) struct Probe {
    pub(super) echo: Arc<Program>,
    pub(super) add: Arc<Program>,
    pub(super) sleep: Arc<Program>,
    pub(super) fail: Arc<Program>,
    pub(super) count: Arc<Program>,
}

impl Probe {
    pub(super) fn new() -> Result<Self, String> {
        Ok(Self {
            echo: program("echo", 1)?,
            add: program("add", 1)?,
            sleep: program("sleep", 1)?,
            fail: program("fail", 1)?,
            count: program("Count", 1)?,
        })
    }
}

/// A call of one program, as a caller would make it.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) program: Arc<Program>,
    pub(super) inputs: Map<String, Value>,
    pub(super) session: Option<Arc<str>>,
    pub(super) state: Option<SessionState>,
    pub(super) within: Duration,
}

impl Ask {
    pub(super) fn new(
        program: &Arc<Program>,
        inputs: Map<String, Value>,
        within: Duration,
    ) -> Self {
        Self {
            program: Arc::clone(program),
            inputs,
            session: None,
            state: None,
            within,
        }
    }

    pub(super) fn session(self, name: &str, state: Option<SessionState>) -> Self {
        Self {
            session: Some(name.into()),
            state,
            ..self
        }
    }

    /// Makes the call. [`None`] where nobody said anything until [`GRACE`] after the deadline.
    pub(super) async fn of(self, pool: &SharedPool) -> Option<Result<Reply, PoolError>> {
        let deadline = Instant::now() + self.within;
        let call = Call {
            request_id: "validation".into(),
            session: self.session,
            caller: None,
            program: self.program,
            inputs: Arc::new(self.inputs),
            state: self.state,
            chunks: None,
            deadline,
        };
        tokio::time::timeout_at(deadline + GRACE, pool.execute(call))
            .await
            .ok()
    }
}

/// Inputs of one name.
pub(super) fn input(name: &str, value: impl Into<Value>) -> Map<String, Value> {
    Map::from_iter([(name.to_owned(), value.into())])
}
