//! An answer of the bridge protocol, read as leniently as scripts older than dspex need it.
//!
//! Only what says which request is answered, and whether with success, is read strictly. A failure
//! that is told in unusual words is still a failure of the command and never one of the worker.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::BridgeError;
use crate::failure::{Failure, FailureClass};
use crate::wire::{self, FrameError};

#[derive(Deserialize)]
struct Answer {
    id: u64,
    success: bool,
    #[serde(default)]
    result: Option<Map<String, Value>>,
    /// For people; may begin with the exception's type. Some scripts put an object here.
    #[serde(default)]
    error: Value,
    /// Our own bridge's: the text alone.
    #[serde(default)]
    message: Value,
    #[serde(default)]
    traceback: Value,
    #[serde(default)]
    error_class: Value,
    #[serde(default)]
    exception: Value,
    #[serde(default)]
    status: Value,
}

/// Reads the answer to request `id`.
pub(crate) fn read(payload: &Bytes, id: u64) -> Result<Map<String, Value>, BridgeError> {
    let answer: Answer = wire::parse(payload).map_err(|error| not_understood(error, payload))?;
    if answer.id != id {
        return Err(BridgeError::Protocol(format!(
            "it answered with id {}, where {id} was asked",
            answer.id
        )));
    }
    if answer.success {
        return Ok(answer.result.unwrap_or_default());
    }
    let class = FailureClass::deserialize(answer.error_class).ok();
    Err(BridgeError::Failed {
        classified: class.is_some(),
        failure: Failure {
            // An older script has only text: whose fault it is cannot be told, and a program's
            // fault is the one that is judged by comparison alone.
            class: class.unwrap_or(FailureClass::Program),
            exception: text(answer.exception),
            message: text(answer.message)
                .or_else(|| text(answer.error))
                .unwrap_or_else(|| "the worker gave no reason".to_owned()),
            traceback: text(answer.traceback),
            status: answer.status.as_u64().and_then(|s| u16::try_from(s).ok()),
        },
    })
}

/// Text as it is, null as nothing, anything else as its JSON.
fn text(value: Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}

/// A frame that cannot be read condemns the worker; the most common cause is named.
fn not_understood(error: FrameError, payload: &[u8]) -> BridgeError {
    let holds = |word: &[u8]| payload.windows(word.len()).any(|part| part == word);
    if holds(b"NaN") || holds(b"Infinity") {
        return BridgeError::Protocol(format!(
            "{error}; it holds NaN or Infinity, which JSON does not have: Python's json.dumps \
             writes them unless it is given allow_nan=False"
        ));
    }
    error.into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_text(text: &str) -> Result<Map<String, Value>, BridgeError> {
        read(&Bytes::copy_from_slice(text.as_bytes()), 7)
    }

    fn failure(answer: &Value) -> (Failure, bool) {
        match read_text(&answer.to_string()) {
            Err(BridgeError::Failed {
                failure,
                classified,
            }) => (failure, classified),
            other => panic!("wanted a failure of the command, got {other:?}"),
        }
    }

    #[test]
    fn a_success_without_a_result_is_an_empty_one() {
        for text in [
            r#"{"id":7,"success":true}"#,
            r#"{"id":7,"success":true,"result":null,"error":null,"timestamp":1.5}"#,
        ] {
            assert_eq!(read_text(text), Ok(Map::new()), "{text}");
        }
    }

    #[test]
    fn a_failure_in_unusual_words_is_the_commands_and_not_the_workers() {
        let (told, classified) = failure(&json!({
            "id": 7, "success": false, "result": null,
            "error": {"code": 5, "why": "no"}, "traceback": ["a", "b"], "status": "429",
        }));
        assert_eq!(told.message, r#"{"code":5,"why":"no"}"#);
        assert_eq!(told.traceback.as_deref(), Some(r#"["a","b"]"#));
        assert_eq!(
            (told.class, told.status, classified),
            (FailureClass::Program, None, false)
        );
        for class in [json!("ValueError"), json!(null), json!(5), json!({"a": 1})] {
            let (told, classified) =
                failure(&json!({"id": 7, "success": false, "error": "x", "error_class": class}));
            assert_eq!((told.class, classified), (FailureClass::Program, false));
        }
        let (told, _) = failure(&json!({"id": 7, "success": false, "error": null}));
        assert_eq!(told.message, "the worker gave no reason");
    }

    #[test]
    fn our_own_words_keep_their_meaning() {
        let (told, classified) = failure(&json!({
            "id": 7, "success": false, "error": "RateLimit: slow down", "message": "slow down",
            "exception": "RateLimit", "error_class": "provider", "status": 429,
        }));
        assert!(classified);
        assert_eq!(
            (told.class, told.status),
            (FailureClass::Provider, Some(429))
        );
        assert_eq!(told.message, "slow down");
    }

    #[test]
    fn what_cannot_be_read_condemns_the_worker_and_says_why() {
        let protocol = |text: &str| match read_text(text) {
            Err(BridgeError::Protocol(reason)) => reason,
            other => panic!("{text}: wanted a protocol fault, got {other:?}"),
        };
        for number in ["NaN", "Infinity", "-Infinity"] {
            let reason = protocol(&format!(
                r#"{{"id":7,"success":true,"result":{{"outputs":{{"x":{number}}}}}}}"#
            ));
            assert!(reason.contains("allow_nan=False"), "{reason}");
        }
        assert!(!protocol("hello").contains("NaN"));
        let wrong = protocol(r#"{"id":8,"success":true,"result":{}}"#);
        assert!(
            wrong.contains("id 8") && wrong.contains("7 was asked"),
            "{wrong}"
        );
    }
}
