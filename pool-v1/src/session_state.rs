//! A session's state in the bridge protocol: an argument of the execution, a part of its answer.
//!
//! Invariant: a script is told of state only for a stateful program, so one that is older than dspex
//! hears nothing that it does not know.

use dspex_pool::{BridgeError, Call, Failure, FailureClass, SessionState};
use serde_json::value::to_raw_value;
use serde_json::{Map, Value};

/// The argument `state` of a call; `None` where its program is not stateful.
pub(crate) fn argument(call: &Call) -> Result<Option<Value>, BridgeError> {
    if !call.program.stateful {
        return Ok(None);
    }
    let Some(state) = &call.state else {
        return Ok(Some(Value::Null));
    };
    let state = serde_json::from_str(state.as_json().get());
    state.map(Some).map_err(|error| not_carried(&error))
}

/// The state in an execution's answer, which a stateful program's must have.
pub(crate) fn answered(
    call: &Call,
    result: &mut Map<String, Value>,
) -> Result<Option<SessionState>, BridgeError> {
    if !call.program.stateful {
        return Ok(None);
    }
    // Its sessions would forget all they know, which must not go unnoticed.
    let state = result.remove("state").ok_or_else(|| {
        rejected(format!(
            "program {} is stateful, but the pool's worker script answers without a `state`: \
             use dspex's own bridge, or a program that is not stateful",
            call.program.key
        ))
    })?;
    let state = to_raw_value(&state).map_err(|error| not_carried(&error))?;
    Ok(Some(state.into()))
}

/// What this protocol cannot carry, such as arrays nested a thousand deep.
fn not_carried(error: &serde_json::Error) -> BridgeError {
    rejected(format!("the session's state cannot be carried: {error}"))
}

fn rejected(message: String) -> BridgeError {
    BridgeError::Failed {
        failure: Failure {
            class: FailureClass::Rejected,
            exception: None,
            message,
            traceback: None,
            status: None,
        },
        classified: true,
    }
}
