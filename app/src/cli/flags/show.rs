//! What the server tells about flags, as people read it.

use serde::Deserialize;
use serde_json::Value;

use crate::cli::exit::{Exit, Failure};
use crate::cli::style::{Paint, dim, plain};
use crate::cli::view::{moment, percent, read, setting};

/// The flags as the server tells them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Listed {
    revision: u64,
    flags: Vec<Flag>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Flag {
    key: String,
    kind: String,
    value: Value,
    layer: String,
    pub(super) rules: Value,
    default: Value,
    description: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Changes {
    pub(super) changes: Vec<Change>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Change {
    revision: u64,
    key: String,
    before: Value,
    after: Value,
    who: String,
    why: String,
    at: String,
}

/// One line: what it is, where that comes from, and what decided.
pub(super) fn explained(body: &Value) -> String {
    let text = |name: &str| body.get(name).map(setting).unwrap_or_default();
    let mut line = format!("{} is {}", text("flag"), text("value"));
    if let Some(on) = body.get("on").and_then(Value::as_bool) {
        line.push_str(if on { ", on" } else { ", off" });
    }
    line.push_str(&format!("; layer {}", text("layer")));
    if let Some(reason) = body.get("reason") {
        let rule = reason.get("rule").map(setting).unwrap_or_default();
        line.push_str(&format!("; decided by {rule}"));
        if let Some(flag) = reason.get("flag") {
            line.push_str(&format!(" {}", setting(flag)));
        }
    }
    for name in ["variant", "bucket"] {
        if body.get(name).is_some_and(|value| !value.is_null()) {
            line.push_str(&format!("; {name} {}", text(name)));
        }
    }
    line
}

/// One flag, as JSON and as read.
pub(super) fn find(body: &Value, key: &str) -> Result<(Value, Flag), Failure> {
    let listed = body.get("flags").and_then(Value::as_array);
    let named = |flag: &&Value| flag.get("key").and_then(Value::as_str) == Some(key);
    if let Some(raw) = listed.and_then(|flags| flags.iter().find(named)) {
        return Ok((raw.clone(), read(raw)?));
    }
    let failure = Failure::new(Exit::Refused, format_args!("no flag {key:?}"));
    let names = listed.into_iter().flatten();
    let names = names.filter_map(|flag| flag.get("key").and_then(Value::as_str));
    Err(match crate::config::nearest(key, names) {
        Some(near) => failure.hint(format_args!("did you mean {near:?}?")),
        None => failure.hint("see all of them with `dspex flags list`"),
    })
}

/// A flag's value, and what may decide before it.
pub(super) fn value_and_rules(flag: &Flag) -> String {
    let value = shown(&flag.value, flag.kind == "percent");
    match in_short(&flag.rules).as_str() {
        "-" => value,
        rules => format!("{value}; rules: {rules}"),
    }
}

/// A flag's rules as they were set, so that they can be set again.
pub(super) fn set_rules(flag: &Flag) -> String {
    match &flag.rules {
        Value::Null => format!("{} has no rules: its value decides", flag.key),
        rules => rules.to_string(),
    }
}

/// Rules by what they do: lists may be long.
fn in_short(rules: &Value) -> String {
    let count = |name: &str| match rules.get(name) {
        Some(Value::Array(members)) => members.len(),
        Some(Value::Object(members)) => members.len(),
        _ => 0,
    };
    let mut parts = Vec::new();
    if rules.get("killed").and_then(Value::as_bool) == Some(true) {
        parts.push("killed".to_owned());
    }
    let required = rules.get("requires").and_then(Value::as_array);
    for flag in required.into_iter().flatten() {
        parts.push(format!("requires {}", setting(flag)));
    }
    for (name, said) in [
        ("deny", "denied"),
        ("allow", "allowed"),
        ("variants", "variants"),
        ("pins", "pinned"),
    ] {
        match count(name) {
            0 => {}
            count => parts.push(format!("{count} {said}")),
        }
    }
    match parts.is_empty() {
        true => "-".to_owned(),
        false => parts.join(", "),
    }
}

/// A value as people write it: percentages with their sign.
fn shown(value: &Value, is_percent: bool) -> String {
    match value {
        Value::Null => "-".to_owned(),
        value if is_percent && value.is_number() => percent(value),
        value => setting(value),
    }
}

pub(super) fn table(listed: &Listed, paint: Paint) -> String {
    let rows = listed.flags.iter().map(|flag| {
        let is_percent = flag.kind == "percent";
        [
            plain(&flag.key),
            plain(shown(&flag.value, is_percent)),
            plain(in_short(&flag.rules)),
            dim(&flag.layer),
            dim(shown(&flag.default, is_percent)),
            dim(&flag.description),
        ]
    });
    let table = paint.table(
        ["FLAG", "VALUE", "RULES", "LAYER", "DEFAULT", "MEANING"],
        rows,
    );
    format!("{table}\nrevision {}", listed.revision)
}

pub(super) fn written(did: &str, key: &str, body: &Value) -> String {
    match body.get("revision").and_then(Value::as_u64) {
        None => format!("{did} {key}"),
        Some(revision) => {
            let laggards = body.get("laggards").and_then(Value::as_array);
            let laggards = laggards.into_iter().flatten().map(setting);
            match laggards.collect::<Vec<_>>().join(", ").as_str() {
                "" => format!("{did} {key} at revision {revision}; every router serves it"),
                late => format!("{did} {key} at revision {revision}; not served yet by: {late}"),
            }
        }
    }
}

pub(super) fn history(changes: &[Change], paint: Paint) -> String {
    if changes.is_empty() {
        return "no flag was ever written".to_owned();
    }
    let rows = changes.iter().map(|change| {
        let is_percent = change.after.is_number();
        let before = match &change.before {
            Value::Null => "default".to_owned(),
            before => shown(before, is_percent),
        };
        let step = format!("{before} -> {}", shown(&change.after, is_percent));
        [
            plain(change.revision.to_string()),
            dim(moment(&change.at)),
            plain(&change.key),
            plain(step),
            plain(&change.who),
            plain(&change.why),
        ]
    });
    paint.table(["REVISION", "AT", "FLAG", "CHANGE", "WHO", "WHY"], rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_explanation_names_layer_rule_and_bucket() {
        let body = json!({"flag": "share", "value": 50, "on": true, "layer": "store",
            "reason": {"rule": "share"}, "variant": null, "bucket": 4_344, "revision": 3});
        assert_eq!(
            explained(&body),
            "share is 50, on; layer store; decided by share; bucket 4344"
        );
        let body = json!({"flag": "switch", "value": false, "on": false, "layer": "compiled",
            "reason": {"rule": "requires", "flag": "share"}, "bucket": null});
        assert_eq!(
            explained(&body),
            "switch is false, off; layer compiled; decided by requires share"
        );
    }

    #[test]
    fn flags_are_shown_with_their_units() {
        let rules = json!({"killed": true, "requires": ["telemetry_v2"], "deny": [],
            "allow": ["ada", "bob"], "variants": [], "pins": {"ada": "x"}});
        let body = json!({"revision": 7, "flags": [
            {"key": "pool_v2_enabled", "kind": "bool", "value": true, "default": false, "layer": "store",
             "rules": rules, "description": "the switch"},
            {"key": "gradual_rollout_percentage", "kind": "percent", "value": 12.5, "default": 0,
             "layer": "compiled", "rules": null, "description": "the lever"},
        ]});
        assert_eq!(
            table(&read(&body).unwrap(), Paint::new(false)),
            "FLAG                        VALUE  RULES                                               LAYER     DEFAULT  MEANING\n\
             pool_v2_enabled             true   killed, requires telemetry_v2, 2 allowed, 1 pinned  store     false    the switch\n\
             gradual_rollout_percentage  12.5%  -                                                   compiled  0%       the lever\n\
             revision 7"
        );
        let (_, switch) = find(&body, "pool_v2_enabled").unwrap();
        assert_eq!(
            value_and_rules(&switch),
            "true; rules: killed, requires telemetry_v2, 2 allowed, 1 pinned"
        );
        assert_eq!(set_rules(&switch), rules.to_string());
        let (_, lever) = find(&body, "gradual_rollout_percentage").unwrap();
        assert_eq!(value_and_rules(&lever), "12.5%");
        assert_eq!(
            set_rules(&lever),
            "gradual_rollout_percentage has no rules: its value decides"
        );
        let failure = find(&body, "pool_v2_enbled").unwrap_err();
        assert_eq!(failure.exit, Exit::Refused);
        assert_eq!(failure.hints, ["did you mean \"pool_v2_enabled\"?"]);
    }

    #[test]
    fn the_history_tells_the_step_and_the_reason() {
        let body = json!({"changes": [{"revision": 3, "key": "gradual_rollout_percentage",
            "before": 5, "after": 10, "who": "ada", "why": "stage 2", "at": "2026-01-02T03:04:05.678Z"}]});
        let changes: Changes = read(&body).unwrap();
        assert_eq!(
            history(&changes.changes, Paint::new(false)),
            "REVISION  AT                   FLAG                        CHANGE     WHO  WHY\n\
             3         2026-01-02 03:04:05  gradual_rollout_percentage  5% -> 10%  ada  stage 2"
        );
    }
}
