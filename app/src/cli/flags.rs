//! `dspex flags`: reads and writes feature flags. Traffic moves only by these.

mod show;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use self::show::{
    Changes, Listed, explained, find, history, set_rules, table, value_and_rules, written,
};
use super::client::Remote;
use super::exit::{Exit, Failure};
use super::output::{Format, Output};
use super::view::read;
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
    /// Show one flag; with `.rules` after its name, what decides beside its value.
    Get {
        /// The flag's name, or its name and `.rules`.
        key: String,
    },
    /// Write one flag.
    Set(Set),
    /// Forget what was written of one flag: it is again what the environment, the configuration or
    /// its default says.
    Unset {
        /// The flag's name, or its name and `.rules`.
        key: String,
        /// Why it is changed, for the audit.
        #[arg(long, value_name = "TEXT")]
        why: String,
        #[command(flatten)]
        who: Who,
        /// Write only if the flags are still at this revision.
        #[arg(long, value_name = "REVISION")]
        expect: Option<u64>,
    },
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
  dspex flags set gradual_rollout_percentage 12.5% --why 'by hand' --expect 7

A flag's rules decide before its value, and are set under its name and `.rules`: `killed` (off for everybody),
`requires` (flags that must be on), `deny` and `allow` (keys), `variants` and `pins`. All of them are set at once.
  dspex flags set telemetry_v2.rules '{\"killed\": true}' --why 'off, whatever its value'
  dspex flags set pool_v2_enabled.rules '{\"deny\": [\"session-7\"]}' --why 'it stays on the stable pool'
  dspex flags unset telemetry_v2.rules --why 'back to its value'")]
struct Set {
    /// The flag's name, or its name and `.rules`.
    key: String,
    /// true or false, a percentage such as 5 or 12.5%, or rules as JSON.
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

/// What the name of a flag's rules ends with.
const RULES: &str = ".rules";
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
                if let Some(flag) = key.strip_suffix(RULES) {
                    let (_, flag) = find(&body, flag)?;
                    return output.either(&flag.rules, |_| set_rules(&flag));
                }
                let (raw, flag) = find(&body, &key)?;
                output.either(&raw, |_| value_and_rules(&flag))
            }
            Verb::Set(set) => {
                let key = set.key.clone();
                let request = client.request(Method::PATCH, &PATH);
                let body = request.body(set.body()).json().await?;
                output.either(&body, |_| written("set", &key, &body))
            }
            Verb::Unset {
                key,
                why,
                who,
                expect,
            } => {
                let change = json!({"unset": [key], "why": why, "who": who.name()});
                let request = client.request(Method::PATCH, &PATH);
                let body = request.body(expecting(change, expect)).json().await?;
                output.either(&body, |_| written("unset", &key, &body))
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
                output.either(&body, |_| written("set", &what, &body))
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
                let body = json!({"definitions": definitions, "why": why, "who": who.name()});
                let request = client.request(Method::POST, &FLAGD);
                let body = request.body(expecting(body, expect)).json().await?;
                let what = format!("the flags of {}", file.display());
                output.either(&body, |_| written("set", &what, &body))
            }
        }
    }
}

impl Set {
    /// The body of `PATCH /admin/v1/flags`.
    fn body(self) -> Value {
        let body = json!({
            "set": {self.key: value(&self.value)},
            "why": self.why,
            "who": self.who.name(),
        });
        expecting(body, self.expect)
    }
}

/// A change that is only made where the flags are still at this revision.
fn expecting(mut body: Value, revision: Option<u64>) -> Value {
    if let Some(revision) = revision {
        body["expected_revision"] = revision.into();
    }
    body
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
}
