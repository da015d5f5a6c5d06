//! The callables of the Python module `fixture_programs`, as every pool must answer them, and
//! calls to them.
//!
//! Invariant: what is written here is what the battery expects of real workers, so two pools that
//! pass it give equal outputs.

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::to_raw_value;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::{Call, Definition, PoolError, Program, ProgramKey, Reply, SessionState, Target};

/// The Python module's name.
pub const MODULE: &str = "fixture_programs";

/// Outputs as a worker reports them: a callable's dict as it is, any other value under `result`.
#[must_use]
pub fn outputs(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(outputs) => outputs,
        other => Map::from_iter([("result".to_owned(), other)]),
    }
}

/// A program that runs `module:attribute` under this name and version, and may not be repeated.
///
/// # Panics
/// Where the name or the target is not valid.
#[must_use]
pub fn program(id: &str, version: u64, target: &str) -> Arc<Program> {
    Arc::new(Program {
        key: ProgramKey {
            id: id.parse().expect("a test names a valid program"),
            version,
        },
        definition: Definition::Callable {
            target: target.parse().expect("a test names a valid target"),
        },
        repeatable: false,
        stateful: false,
        side_effects: true,
    })
}

/// A call of one of the fixture's callables, under the callable's own name and version 1.
///
/// # Panics
/// Where the inputs are no JSON object.
#[must_use]
pub fn call(attribute: &str, inputs: Value, within: Duration) -> Call {
    call_of(
        program(attribute, 1, &format!("{MODULE}:{attribute}")),
        inputs,
        within,
    )
}

/// A call of this program.
///
/// # Panics
/// Where the inputs are no JSON object.
#[must_use]
pub fn call_of(program: Arc<Program>, inputs: Value, within: Duration) -> Call {
    let Value::Object(inputs) = inputs else {
        panic!("inputs are a JSON object, not {inputs}");
    };
    Call {
        request_id: "battery".into(),
        session: None,
        caller: None,
        program,
        inputs: Arc::new(inputs),
        state: None,
        chunks: None,
        deadline: Instant::now() + within,
    }
}

fn target(program: &Program) -> Option<&Target> {
    match &program.definition {
        Definition::Callable { target } => Some(target),
        Definition::Dspy { .. } => None,
    }
}

/// How long the fixture's callable takes: `sleeper` as long as its input says, `waits_for_file` a
/// while, for nobody looks for the file here, and others no time.
#[must_use]
pub fn latency(call: &Call) -> Duration {
    match target(&call.program).map(Target::attribute) {
        Some("sleeper") => call
            .inputs
            .get("seconds")
            .and_then(Value::as_f64)
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .unwrap_or_default(),
        Some("waits_for_file") => Duration::from_millis(400),
        _ => Duration::ZERO,
    }
}

/// Whether the fixture holds the program's callable.
pub fn check(program: &Program) -> Result<(), PoolError> {
    let known = target(program).is_some_and(|target| {
        target.module() == MODULE && parameters(target.attribute()).is_some()
    });
    let attribute = target(program).map_or("", Target::attribute);
    if known && program.stateful && !["Tally", "OddState"].contains(&attribute) {
        Err(PoolError::Rejected {
            message: format!("{attribute} has no load_state()"),
        })
    } else if known {
        Ok(())
    } else {
        Err(PoolError::Rejected {
            message: format!("{} is not on the allow-list or not there", program.key.id),
        })
    }
}

/// What the fixture's callable answers to these inputs.
pub fn answer(call: &Call) -> Result<Reply, PoolError> {
    check(&call.program)?;
    let attribute = target(&call.program).map_or("", Target::attribute);
    let inputs = &call.inputs;
    let invalid = |message: String| PoolError::InvalidInput { message };
    let parameters = parameters(attribute).unwrap_or_default();
    for (name, kind) in parameters {
        let given = inputs
            .get(*name)
            .ok_or_else(|| invalid(format!("input {name:?} is missing")))?;
        let fits = match *kind {
            "int" => given.is_i64(),
            "float" => given.is_number(),
            _ => given.is_string(),
        };
        if !fits {
            return Err(invalid(format!("input {name:?} must be {kind}")));
        }
    }
    if let Some(unknown) = inputs
        .keys()
        .find(|key| !parameters.iter().any(|(name, _)| name == key))
    {
        return Err(invalid(format!("input {unknown:?} is not known")));
    }
    let raised = |exception: &str, message: &str| PoolError::Program {
        exception: exception.to_owned(),
        message: message.to_owned(),
        traceback: None,
    };
    let number = |name: &str| inputs.get(name).and_then(Value::as_i64).unwrap_or_default();
    let mut state = None;
    let value = match attribute {
        "add" => json!({ "sum": number("a") + number("b") }),
        "counts_to" => json!({ "sum": number("n") * (number("n") + 1) / 2 }),
        "async_counts_to" => Value::from_iter(1..=number("n")),
        "spells" => json!({ "result": inputs.get("text") }),
        "breaks_off" => return Err(raised("ValueError", "this stream always breaks off")),
        "Tally" if number("n") == 13 => return Err(raised("ValueError", "13 is not counted")),
        "Tally" => {
            let tally = tally_on(call.state.as_ref(), number("n"));
            state = Some(tally.clone());
            tally
        }
        "OddState" => return Err(raised("BadOutput", "the state is not JSON")),
        "echo" => json!({ "text": inputs.get("text") }),
        "sleeper" => json!({ "slept": inputs.get("seconds") }),
        "waits_for_file" => json!({ "path": inputs.get("path") }),
        "raises" => return Err(raised("ValueError", "this program always raises")),
        "not_json" => return Err(raised("TypeError", "outputs are not JSON")),
        "provider_429" => {
            return Err(PoolError::Provider {
                message: "rate limited".to_owned(),
                status: Some(429),
            });
        }
        _ => {
            return Err(PoolError::Crashed {
                worker: "fake-0.0".to_owned(),
                reason: "exit code 17".to_owned(),
            });
        }
    };
    Ok(Reply {
        outputs: outputs(value),
        program_time: Some(latency(call)),
        worker: "fake-0.0".into(),
        state: state.and_then(|state| Some(to_raw_value(&state).ok()?.into())),
        usage: None,
    })
}

/// What the class `Tally` has counted after one call more.
fn tally_on(state: Option<&SessionState>, n: i64) -> Value {
    let before: Value = state
        .and_then(|state| serde_json::from_str(state.as_json().get()).ok())
        .unwrap_or_default();
    let counted = |name: &str| before.get(name).and_then(Value::as_i64).unwrap_or_default();
    json!({ "total": counted("total") + n, "calls": counted("calls") + 1 })
}

/// Names and Python types of a callable's parameters; none where the fixture lacks it.
fn parameters(attribute: &str) -> Option<&'static [(&'static str, &'static str)]> {
    match attribute {
        "echo" => Some(&[("text", "str")]),
        "add" => Some(&[("a", "int"), ("b", "int")]),
        "sleeper" => Some(&[("seconds", "float")]),
        "waits_for_file" => Some(&[("path", "str")]),
        "counts_to" | "async_counts_to" | "breaks_off" | "Tally" | "OddState" => {
            Some(&[("n", "int")])
        }
        "spells" => Some(&[("text", "str")]),
        "raises" | "crash" | "provider_429" | "not_json" | "WithoutLoad" => Some(&[]),
        _ => None,
    }
}
