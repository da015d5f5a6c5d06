//! The configuration as a list of settings, for `config show`.

use figment::Figment;
use figment::value::{Dict, Value};
use serde::Serialize;

use super::flags::without_password;
use super::layers;

/// One setting.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// Its dotted name.
    pub key: String,
    /// Its value; `"(hidden)"` for values of environment maps, and in place of a URL's password.
    pub value: serde_json::Value,
    /// Where it was written.
    pub origin: String,
}

pub(super) fn entries(values: &Figment) -> Vec<Entry> {
    let mut entries = Vec::new();
    if let Ok(tree) = values.extract::<Dict>() {
        walk(values, "", &tree, false, &mut entries);
    }
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    entries
}

fn walk(values: &Figment, prefix: &str, tree: &Dict, hidden: bool, entries: &mut Vec<Entry>) {
    for (name, value) in tree {
        let key = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        // What is set in a worker's environment may be a secret.
        let hidden = hidden || name == "env";
        match value {
            Value::Dict(_, inner) => walk(values, &key, inner, hidden, entries),
            value => entries.push(Entry {
                value: match serde_json::to_value(value) {
                    _ if hidden => "(hidden)".into(),
                    Ok(serde_json::Value::String(text)) => without_password(&text).into(),
                    Ok(value) => value,
                    Err(_) => serde_json::Value::Null,
                },
                origin: layers::origin(values, &key).unwrap_or_else(|| "unknown".to_owned()),
                key,
            }),
        }
    }
}
