//! Whether an answer has the outputs that its signature declares, each of its type.
//!
//! Invariant: only what the candidate does worse than stable counts. Where stable's answer does not
//! fit either, the signature is at fault, or the model is. Python types that JSON does not tell
//! apart, and types of the user's own, fit everything.

use dspex_pool::Signature;
use serde_json::{Map, Value};

use super::path::push_key;
use super::{Difference, Rules, Tier};

pub(super) fn look(
    rules: &Rules,
    signature: &Signature,
    stable: &Map<String, Value>,
    candidate: &Map<String, Value>,
    found: &mut Vec<Difference>,
) {
    for field in &signature.outputs {
        let mut path = String::new();
        push_key(&mut path, &field.name);
        let (ours, theirs) = (stable.get(&field.name), candidate.get(&field.name));
        let fit = |value: Option<&Value>| value.is_some_and(|value| fits(&field.r#type, value));
        if rules.ignores(&path) || fit(theirs) || !fit(ours) {
            continue;
        }
        let what = match theirs {
            None => format!("the declared output {} is missing", field.name),
            Some(_) => format!("the declared output {} is no {}", field.name, field.r#type),
        };
        found.push(Difference::new(&path, Tier::Schema, what, ours, theirs));
    }
}

fn fits(python: &str, value: &Value) -> bool {
    let name = python.trim();
    let outer = name.split('[').next().unwrap_or(name).trim();
    match outer {
        "str" => value.is_string(),
        "bool" => value.is_boolean(),
        "int" => value.is_i64() || value.is_u64(),
        "float" => value.is_number(),
        "list" | "List" | "tuple" | "Tuple" | "set" | "Set" => value.is_array(),
        "dict" | "Dict" => value.is_object(),
        _ => true,
    }
}
