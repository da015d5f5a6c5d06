//! Whether two pools did the same with one call.
//!
//! Exact, but for the last digits of numbers: two builds of Python, or of a numeric library, may round
//! differently. Whether *texts* that differ mean the same is not judged here: the router's comparison of
//! copied calls has rules for that, and a case that is given for a validation has one answer. Pure.

use std::fmt::{self, Display};

use dspex_pool::{PoolError, Reply};
use serde_json::{Map, Value};

/// Numbers that differ by no more than this, absolutely or as a share of the larger, are the same.
const ABSOLUTE: f64 = 1e-9;
const RELATIVE: f64 = 1e-6;

/// The longest value that is told whole.
const LONGEST: usize = 120;

/// What became of one call.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outcome {
    /// It was answered.
    Answered(Map<String, Value>),
    /// It failed, and whose fault that was.
    Failed {
        /// The error's short name.
        kind: &'static str,
        /// The exception's type, where the program raised.
        exception: Option<String>,
        /// The error's words, which may differ.
        message: String,
    },
    /// Nobody said anything within the time.
    Unanswered,
}

impl Outcome {
    pub(super) fn of(ended: Option<Result<Reply, PoolError>>) -> Self {
        match ended {
            None => Self::Unanswered,
            Some(Ok(reply)) => Self::Answered(reply.outputs),
            Some(Err(error)) => Self::Failed {
                kind: error.kind(),
                exception: match &error {
                    PoolError::Program { exception, .. } => Some(exception.clone()),
                    _ => None,
                },
                message: error.to_string(),
            },
        }
    }
}

impl Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered(outputs) => {
                write!(f, "{}", shown(&Value::Object(outputs.clone())))
            }
            Self::Failed { kind, message, .. } => write!(f, "{kind} ({})", cut(message)),
            Self::Unanswered => f.write_str("no answer"),
        }
    }
}

/// How the candidate's outcome differs from stable's; [`None`] where both are the same.
pub(super) fn difference(stable: &Outcome, candidate: &Outcome) -> Option<String> {
    match (stable, candidate) {
        (Outcome::Answered(stable), Outcome::Answered(candidate)) => {
            outputs_differ(stable, candidate, "stable", "the candidate")
        }
        (
            Outcome::Failed {
                kind: a,
                exception: x,
                ..
            },
            Outcome::Failed {
                kind: b,
                exception: y,
                ..
            },
        ) if a == b && x == y => None,
        _ => Some(format!("stable: {stable}; the candidate: {candidate}")),
    }
}

/// The first place in which two answers differ, with whose answers they are.
pub(super) fn outputs_differ(
    left: &Map<String, Value>,
    right: &Map<String, Value>,
    whose_left: &str,
    whose_right: &str,
) -> Option<String> {
    let (path, left, right) = members("", left, right)?;
    let value = |value: Option<&Value>| value.map_or("nothing".to_owned(), shown);
    Some(format!(
        "at {path}: {whose_left} {}, {whose_right} {}",
        value(left),
        value(right)
    ))
}

type Place<'a> = (String, Option<&'a Value>, Option<&'a Value>);

fn members<'a>(
    path: &str,
    left: &'a Map<String, Value>,
    right: &'a Map<String, Value>,
) -> Option<Place<'a>> {
    for (name, value) in left {
        let path = format!("{path}/{name}");
        match right.get(name) {
            None => return Some((path, Some(value), None)),
            Some(other) => {
                if let Some(found) = first(&path, value, other) {
                    return Some(found);
                }
            }
        }
    }
    let (name, value) = right.iter().find(|(name, _)| !left.contains_key(*name))?;
    Some((format!("{path}/{name}"), None, Some(value)))
}

/// Recurses as deep as the JSON does, and no reader of JSON here takes more than 128 levels.
fn first<'a>(path: &str, left: &'a Value, right: &'a Value) -> Option<Place<'a>> {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => members(path, left, right),
        (Value::Array(left), Value::Array(right)) => {
            for (index, (a, b)) in left.iter().zip(right).enumerate() {
                if let Some(found) = first(&format!("{path}/{index}"), a, b) {
                    return Some(found);
                }
            }
            let index = left.len().min(right.len());
            (left.len() != right.len())
                .then(|| (format!("{path}/{index}"), left.get(index), right.get(index)))
        }
        (Value::Number(a), Value::Number(b)) if close(a, b) => None,
        (left, right) if left == right => None,
        (left, right) => Some((path.to_owned(), Some(left), Some(right))),
    }
}

/// Whole numbers are equal or they are not; others may differ in their last digits.
fn close(a: &serde_json::Number, b: &serde_json::Number) -> bool {
    let whole = |number: &serde_json::Number| number.is_i64() || number.is_u64();
    if whole(a) && whole(b) {
        return a == b;
    }
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() <= ABSOLUTE.max(RELATIVE * a.abs().max(b.abs())),
        _ => false,
    }
}

fn shown(value: &Value) -> String {
    cut(&value.to_string())
}

fn cut(text: &str) -> String {
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    let start: String = text.chars().take(LONGEST).collect();
    format!("{start}…")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answered(value: Value) -> Outcome {
        let Value::Object(outputs) = value else {
            panic!("outputs are an object");
        };
        Outcome::Answered(outputs)
    }

    #[test]
    fn the_first_place_that_differs_is_told() {
        let told = |a: Value, b: Value| difference(&answered(a), &answered(b));
        let same = json!({"a": [1, {"b": "x"}], "n": null});
        assert_eq!(told(same.clone(), same), None);
        for (a, b, path) in [
            (json!({"a": 1}), json!({"a": 2}), "at /a"),
            (
                json!({"a": [1]}),
                json!({"a": [1, 2]}),
                "at /a/1: stable nothing",
            ),
            (json!({"a": {"b": 1}}), json!({"a": {}}), "at /a/b"),
            (json!({}), json!({"more": 1}), "at /more: stable nothing"),
            (json!({"a": "1"}), json!({"a": 1}), "at /a"),
            (json!({"a": null}), json!({}), "the candidate nothing"),
        ] {
            let found = told(a, b).expect("different");
            assert!(found.contains(path), "{found}");
        }
    }

    #[test]
    fn only_the_last_digits_of_a_number_may_differ() {
        let told = |a: Value, b: Value| difference(&answered(a), &answered(b)).is_none();
        assert!(told(json!({"x": 0.1 + 0.2}), json!({"x": 0.3})));
        assert!(told(json!({"x": 1.0}), json!({"x": 1})));
        assert!(!told(json!({"x": 1.0}), json!({"x": 1.001})));
        // As doubles these two are one number.
        assert!(!told(
            json!({"x": 9_007_199_254_740_993_i64}),
            json!({"x": 9_007_199_254_740_992_i64})
        ));
    }

    #[test]
    fn failures_are_alike_by_their_class_and_exception_and_not_by_their_words() {
        let failed = |error: PoolError| Outcome::of(Some(Err(error)));
        let invalid = |message: &str| {
            failed(PoolError::InvalidInput {
                message: message.to_owned(),
            })
        };
        let raised = |exception: &str| {
            failed(PoolError::Program {
                exception: exception.to_owned(),
                message: String::new(),
                traceback: None,
            })
        };
        assert_eq!(difference(&invalid("a"), &invalid("b")), None);
        assert_eq!(difference(&raised("KeyError"), &raised("KeyError")), None);
        assert!(difference(&raised("KeyError"), &raised("ValueError")).is_some());
        assert!(difference(&invalid("a"), &raised("a")).is_some());
        assert!(difference(&answered(json!({})), &Outcome::Unanswered).is_some());
    }

    #[test]
    fn a_long_value_is_cut_between_characters() {
        let text = "ä".repeat(1_000);
        let found = difference(&answered(json!({"a": text})), &answered(json!({"a": ""})));
        assert!(found.expect("different").chars().count() < 200);
    }
}
