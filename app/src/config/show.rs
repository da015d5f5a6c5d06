//! The configuration as a list of settings, for `config show` and for what is put into archives.
//!
//! Invariant: no value of a variable, no password and no address that may itself be a secret stands in
//! it. Addresses in lists are those of webhooks, of which no more is shown than scheme and host.

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
    /// Its value; `"(hidden)"` for values of environment maps, in place of a URL's password, and of all
    /// but scheme and host of a URL in a list.
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
                    Ok(mut value) => {
                        hide(&mut value);
                        value
                    }
                    Err(_) => serde_json::Value::Null,
                },
                origin: layers::origin(values, &key).unwrap_or_else(|| "unknown".to_owned()),
                key,
            }),
        }
    }
}

/// Hides what a list has in it that is for nobody's eyes.
fn hide(value: &mut serde_json::Value) {
    use serde_json::Value;
    match value {
        Value::String(text) => *text = place_only(text),
        Value::Array(items) => items.iter_mut().for_each(hide),
        Value::Object(members) => {
            for (name, member) in members {
                if name == "env" {
                    *member = "(hidden)".into();
                } else {
                    hide(member);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A URL's scheme and host, and that there was more where there was; other text as it is.
fn place_only(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (authority, more) = rest.split_at(end);
    let host = authority.rsplit('@').next().unwrap_or_default();
    let more = if more.trim_end_matches('/').is_empty() {
        more
    } else {
        "/(hidden)"
    };
    format!("{scheme}://{host}{more}")
}
