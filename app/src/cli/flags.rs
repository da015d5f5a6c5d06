//! `dspex flags`: reads and writes feature flags. Traffic moves only by these.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::Remote;
use super::exit::{Exit, Failure};
use super::output::{Format, Output};
use super::style::{Paint, dim, plain};
use super::view::{moment, percent, read, setting};
use super::who::Who;

/// Read and write feature flags.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List all flags.
    List,
    /// Show one flag.
    Get {
        /// The flag's name.
        key: String,
    },
    /// Write one flag.
    Set(Set),
    /// Show who changed what, and why; the newest first.
    History {
        /// At most so many changes.
        #[arg(long, default_value_t = 20, value_name = "N")]
        limit: u32,
    },
    /// Say why a flag is what it is: which layer, which rule, which bucket.
    Explain {
        /// The flag's name.
        flag: String,
        /// The session or request whose bucket is asked for.
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
    },
    /// Set all flags back to what they were at a revision, as a new revision.
    Revert {
        /// The revision, as `dspex flags history` tells it.
        revision: u64,
        /// Why, for the audit.
        #[arg(long, value_name = "TEXT")]
        why: String,
        #[command(flatten)]
        who: Who,
    },
    /// Print all flags as definitions of flagd.
    Export,
    /// Set the flags that a file with definitions of flagd defines.
    Import {
        /// The file.
        file: PathBuf,
        /// Why, for the audit.
        #[arg(long, value_name = "TEXT")]
        why: String,
        #[command(flatten)]
        who: Who,
        /// Write only if the flags are still at this revision.
        #[arg(long, value_name = "REVISION")]
        expect: Option<u64>,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dspex flags set telemetry_v2 false --why 'measuring its cost'
  dspex flags set gradual_rollout_percentage 12.5% --why 'by hand' --expect 7")]
struct Set {
    /// The flag's name.
    key: String,
    /// true or false, or a percentage such as 5 or 12.5%.
    #[arg(allow_hyphen_values = true)]
    value: String,
    /// Why it is changed, for the audit.
    #[arg(long, value_name = "TEXT")]
    why: String,
    #[command(flatten)]
    who: Who,
    /// Write only if the flags are still at this revision.
    #[arg(long, value_name = "REVISION")]
    expect: Option<u64>,
}

/// The flags as the server tells them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Listed {
    revision: u64,
    flags: Vec<Flag>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Flag {
    key: String,
    kind: String,
    value: Value,
    default: Value,
    description: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Changes {
    changes: Vec<Change>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Change {
    revision: u64,
    key: String,
    before: Value,
    after: Value,
    who: String,
    why: String,
    at: String,
}

const PATH: [&str; 3] = ["admin", "v1", "flags"];
const FLAGD: [&str; 4] = ["admin", "v1", "flags", "flagd"];

fn definitions(file: &Path) -> Result<Value, Failure> {
    let failed = |problem: &dyn std::fmt::Display| {
        let file = file.display();
        Failure::new(Exit::Refused, format_args!("cannot read {file}: {problem}"))
    };
    let text = std::fs::read(file).map_err(|error| failed(&error))?;
    serde_json::from_slice(&text).map_err(|error| failed(&error))
}

/// One line: what it is, where that comes from, and what decided.
fn explained(body: &Value) -> String {
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

impl Flags {
    /// Does it.
    pub(crate) async fn run(self, output: Output) -> Result<(), Failure> {
        let client = self.remote.client()?;
        match self.verb {
            Verb::List => {
                let body = client.get(&PATH).json().await?;
                let listed: Listed = read(&body)?;
                output.either(&body, |paint| table(&listed, paint))
            }
            Verb::Get { key } => {
                let body = client.get(&PATH).json().await?;
                let (raw, flag) = find(&body, &key)?;
                output.either(&raw, |_| shown(&flag.value, flag.kind == "percent"))
            }
            Verb::Set(set) => {
                let key = set.key.clone();
                let request = client.request(Method::PATCH, &PATH);
                let body = request.body(set.body()).json().await?;
                output.either(&body, |_| written(&key, &body))
            }
            Verb::History { limit } => {
                let request = client.get(&["admin", "v1", "flags", "history"]);
                let body = request.query("limit", &limit.to_string()).json().await?;
                let changes: Changes = read(&body)?;
                output.either(&body, |paint| history(&changes.changes, paint))
            }
            Verb::Explain { flag, key } => {
                let mut request = client.get(&["admin", "v1", "flags", "explain", &flag]);
                if let Some(key) = &key {
                    request = request.query("key", key);
                }
                let body = request.json().await?;
                output.either(&body, |_| explained(&body))
            }
            Verb::Revert { revision, why, who } => {
                let body = json!({"revision": revision, "why": why, "who": who.name()});
                let request = client.request(Method::POST, &["admin", "v1", "flags", "revert"]);
                let body = request.body(body).json().await?;
                let what = format!("everything to what it was at revision {revision}");
                output.either(&body, |_| written(&what, &body))
            }
            Verb::Export => {
                let body = client.get(&FLAGD).json().await?;
                output.either(&body, |_| format!("{body:#}"))
            }
            Verb::Import {
                file,
                why,
                who,
                expect,
            } => {
                let definitions = definitions(&file)?;
                let mut body = json!({"definitions": definitions, "why": why, "who": who.name()});
                if let Some(revision) = expect {
                    body["expected_revision"] = revision.into();
                }
                let request = client.request(Method::POST, &FLAGD);
                let body = request.body(body).json().await?;
                let what = format!("the flags of {}", file.display());
                output.either(&body, |_| written(&what, &body))
            }
        }
    }
}

impl Set {
    /// The body of `PATCH /admin/v1/flags`.
    fn body(self) -> Value {
        let mut body = json!({
            "set": {self.key: value(&self.value)},
            "why": self.why,
            "who": self.who.name(),
        });
        if let Some(revision) = self.expect {
            body["expected_revision"] = revision.into();
        }
        body
    }
}

/// A flag's value as JSON. What is neither a switch nor a number goes to the server as text: it
/// knows the flag's kind, and says what is wrong.
fn value(text: &str) -> Value {
    match text.to_ascii_lowercase().as_str() {
        "true" | "on" => true.into(),
        "false" | "off" => false.into(),
        // As JSON reads it, so that 5 stays 5 in what the server says about it.
        _ => match serde_json::from_str(text) {
            Ok(number @ Value::Number(_)) => number,
            _ => text.into(),
        },
    }
}

/// One flag, as JSON and as read.
fn find(body: &Value, key: &str) -> Result<(Value, Flag), Failure> {
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

/// A value as people write it: percentages with their sign.
fn shown(value: &Value, is_percent: bool) -> String {
    match value {
        Value::Null => "-".to_owned(),
        value if is_percent && value.is_number() => percent(value),
        value => setting(value),
    }
}

fn table(listed: &Listed, paint: Paint) -> String {
    let rows = listed.flags.iter().map(|flag| {
        let is_percent = flag.kind == "percent";
        [
            plain(&flag.key),
            plain(shown(&flag.value, is_percent)),
            dim(shown(&flag.default, is_percent)),
            dim(&flag.description),
        ]
    });
    let table = paint.table(["FLAG", "VALUE", "DEFAULT", "MEANING"], rows);
    format!("{table}\nrevision {}", listed.revision)
}

fn written(key: &str, body: &Value) -> String {
    match body.get("revision").and_then(Value::as_u64) {
        None => format!("set {key}"),
        Some(revision) => {
            let laggards = body.get("laggards").and_then(Value::as_array);
            let laggards = laggards.into_iter().flatten().map(setting);
            match laggards.collect::<Vec<_>>().join(", ").as_str() {
                "" => format!("set {key} at revision {revision}; every router serves it"),
                late => format!("set {key} at revision {revision}; not served yet by: {late}"),
            }
        }
    }
}

fn history(changes: &[Change], paint: Paint) -> String {
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
    use super::*;

    #[test]
    fn values_are_switches_numbers_or_text_for_the_server_to_judge() {
        for (text, expected) in [
            ("true", json!(true)),
            ("OFF", json!(false)),
            ("5", json!(5)),
            ("-1", json!(-1)),
            ("0.5", json!(0.5)),
            ("12.5%", json!("12.5%")),
            ("NaN", json!("NaN")),
            ("maybe", json!("maybe")),
        ] {
            assert_eq!(value(text), expected, "{text}");
        }
    }

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
        let body = json!({"revision": 7, "flags": [
            {"key": "pool_v2_enabled", "kind": "bool", "value": true, "default": false, "description": "the switch"},
            {"key": "gradual_rollout_percentage", "kind": "percent", "value": 12.5, "default": 0, "description": "the lever"},
        ]});
        assert_eq!(
            table(&read(&body).unwrap(), Paint::new(false)),
            "FLAG                        VALUE  DEFAULT  MEANING\n\
             pool_v2_enabled             true   false    the switch\n\
             gradual_rollout_percentage  12.5%  0%       the lever\n\
             revision 7"
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
