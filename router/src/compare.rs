//! Whether two answers say the same: tiers of rules, from the form of an answer to its words.
//!
//! Invariants: all pure. What is ignored is looked at by no tier. The tiers stand in order, and each
//! difference names the one that found it. However large two answers are, at most
//! [`MOST`] differences are told, each cut to a size that a person reads.

mod left;
mod path;
mod rules;
mod schema;
mod text;
mod walk;

use serde::Serialize;
use serde_json::{Map, Value};

use dspex_pool::Signature;

pub(crate) use self::left::nothing_left;
pub use self::path::Pattern;
pub use self::rules::{InvalidPattern, Rules, RulesConfig, Tier, Tolerance};

/// The most differences that are told of two answers.
pub const MOST: usize = 100;

/// The longest value, in bytes of JSON, that is told whole.
const LONGEST: usize = 1_024;

/// One place in which two answers are not the same.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Where, as a JSON Pointer into the outputs: `/items/3/score`. Empty for the whole.
    pub path: String,
    /// The rule that found it.
    pub rule: Tier,
    /// What is different, in one line.
    pub what: String,
    /// Stable's value there; none where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable: Option<Value>,
    /// The candidate's value there; none where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate: Option<Value>,
}

impl Difference {
    pub(crate) fn new(
        path: &str,
        rule: Tier,
        what: String,
        stable: Option<&Value>,
        candidate: Option<&Value>,
    ) -> Self {
        Self {
            path: path.to_owned(),
            rule,
            what,
            stable: stable.map(cut),
            candidate: candidate.map(cut),
        }
    }

    /// The path with every index of a list as `*`: what is different in one element of a list is
    /// learnt for all of them.
    #[must_use]
    pub fn place(&self) -> String {
        path::without_indices(&self.path)
    }
}

/// Every difference between two answers of one program, in the order of the tiers, then of the
/// outputs. `signature` is what the program declares, where it does.
///
/// ```
/// use dspex_router::compare::{Rules, RulesConfig, differences};
/// let rules = Rules::new(&RulesConfig::default())?;
/// let answer = |text: &str| serde_json::from_str(text).unwrap();
/// let stable = answer(r#"{"answer": "Paris", "score": 0.5}"#);
/// assert!(differences(&rules, None, &stable, &answer(r#"{"answer": " paris", "score": 0.5}"#)).is_empty());
/// let found = differences(&rules, None, &stable, &answer(r#"{"answer": "Rome", "score": 0.5}"#));
/// assert_eq!(found[0].path, "/answer");
/// # Ok::<(), dspex_router::compare::InvalidPattern>(())
/// ```
#[must_use]
pub fn differences(
    rules: &Rules,
    signature: Option<&Signature>,
    stable: &Map<String, Value>,
    candidate: &Map<String, Value>,
) -> Vec<Difference> {
    let mut found = Vec::new();
    if let Some(signature) = signature.filter(|_| rules.looks(Tier::Schema)) {
        schema::look(rules, signature, stable, candidate, &mut found);
    }
    walk::look(rules, stable, candidate, &mut found);
    found.sort_by_key(|difference| difference.rule);
    found.truncate(MOST);
    found
}

/// A value as it is told: whole where it is short, else the beginning of its text.
fn cut(value: &Value) -> Value {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        Value::String(text) if text.len() <= LONGEST => value.clone(),
        Value::String(text) => Value::String(beginning(text)),
        Value::Array(_) | Value::Object(_) => {
            let text = value.to_string();
            if text.len() <= LONGEST {
                value.clone()
            } else {
                Value::String(beginning(&text))
            }
        }
    }
}

fn beginning(text: &str) -> String {
    let mut end = LONGEST.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}… ({} bytes)", &text[..end], text.len())
}

#[cfg(test)]
mod tests;
