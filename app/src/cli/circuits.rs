//! `dspex circuits`: the lanes' circuits, and the lever by which a person decides for one.

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::client::Remote;
use super::exit::Failure;
use super::output::{Format, Output};
use super::style::{Paint, Tone, dim, plain};
use super::view::{moment, read};
use super::who::Who;

/// Show the lanes' circuits, or decide for one in its place.
#[derive(Debug, Args)]
pub(crate) struct Circuits {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show both circuits, who decides for them, and their last changes.
    List,
    /// Decide for a lane's circuit, or give it back to itself. Ends with the server, or with the lane's pool.
    Set(Set),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dspex circuits set candidate forced-open --why 'its GPU is being changed'
  dspex circuits set candidate automatic --why 'the GPU is in'
Traffic is moved by `dspex migrate`: a candidate that is held off makes a migration wait, and takes nothing back.")]
struct Set {
    /// Which lane's.
    #[arg(value_enum)]
    lane: Lane,
    /// Who decides from now on.
    #[arg(value_enum)]
    mode: Mode,
    /// Why, for the audit.
    #[arg(long, value_name = "TEXT")]
    why: String,
    #[command(flatten)]
    who: Who,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Lane {
    Stable,
    Candidate,
}

#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    /// The circuit itself.
    Automatic,
    /// It lets no call through.
    ForcedOpen,
    /// It lets every call through, and counts.
    MetricsOnly,
    /// It lets every call through, and counts nothing.
    Disabled,
}

/// The answer of `/admin/v1/circuits`, as far as it is shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Found {
    circuits: Vec<Circuit>,
    changes: Vec<Change>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Circuit {
    lane: String,
    mode: String,
    state: String,
    effect: String,
    held_by: Option<By>,
    last: Option<Last>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct By {
    who: String,
    why: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Last {
    cause: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Change {
    at: String,
    lane: String,
    to: String,
    cause: String,
    mode: String,
    by: Option<By>,
}

/// Changes that are shown; `--json` has more.
const CHANGES: usize = 10;

impl Circuits {
    /// Does it.
    pub(crate) async fn run(self, output: Output) -> Result<(), Failure> {
        let client = self.remote.client()?;
        match self.verb {
            Verb::List => {
                let body = client.get(&["admin", "v1", "circuits"]).json().await?;
                let found: Found = read(&body)?;
                output.either(&body, |paint| list(&found, paint))
            }
            Verb::Set(set) => {
                let lane = match set.lane {
                    Lane::Stable => "stable",
                    Lane::Candidate => "candidate",
                };
                let change = json!({"mode": set.mode, "why": set.why, "who": set.who.name()});
                let request = client.request(Method::PUT, &["admin", "v1", "circuits", lane]);
                let body = request.body(change).json().await?;
                let circuit: Circuit = read(&body)?;
                output.either(&body, |_| is_set(&circuit))
            }
        }
    }
}

fn is_set(circuit: &Circuit) -> String {
    let Circuit {
        lane, mode, effect, ..
    } = circuit;
    let until = match &circuit.held_by {
        Some(_) => ", until the server ends or another pool stands there",
        None => "",
    };
    format!("the {lane} circuit is {mode}{until}: {effect}")
}

fn list(found: &Found, paint: Paint) -> String {
    let rows = found.circuits.iter().map(|circuit| {
        let state = match circuit.state.as_str() {
            "closed" => (circuit.state.clone(), Tone::Good),
            _ => (circuit.state.clone(), Tone::Warn),
        };
        let mode = match circuit.mode.as_str() {
            "automatic" => plain(&circuit.mode),
            _ => (circuit.mode.clone(), Tone::Warn),
        };
        let by = circuit.held_by.as_ref();
        let by = by.map_or_else(|| "-".to_owned(), |by| format!("{}: {}", by.who, by.why));
        let last = circuit
            .last
            .as_ref()
            .map_or("-", |last| last.cause.as_str());
        [
            plain(&circuit.lane),
            state,
            dim(last),
            mode,
            plain(by),
            plain(&circuit.effect),
        ]
    });
    let circuits = paint.table(["LANE", "STATE", "LAST", "MODE", "BY", "EFFECT"], rows);
    if found.changes.is_empty() {
        return circuits;
    }
    let rows = found.changes.iter().take(CHANGES).map(|change| {
        let (to, why) = match (&change.by, change.to.as_str()) {
            (Some(by), _) => (&change.mode, format!("{}: {}", by.who, by.why)),
            (None, "") => (&change.mode, "the flag circuit_breaker".to_owned()),
            (None, _) => (&change.to, change.cause.clone()),
        };
        [
            dim(moment(&change.at)),
            plain(&change.lane),
            plain(to),
            plain(why),
        ]
    });
    format!(
        "{circuits}\n{}",
        paint.table(["AT", "LANE", "TO", "WHY"], rows)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circuits_are_shown_with_who_decides_and_what_they_went_through() {
        let body = json!({
        "circuits": [
            {"lane": "stable", "mode": "automatic", "state": "closed", "effect": "it decides"},
            {"lane": "candidate", "mode": "forced_open", "state": "open", "effect": "no call goes there",
                "held_by": {"who": "ada", "why": "GPU"}, "last": {"cause": "the mode was set to forced_open"}},
        ],
        "changes": [
            {"at": "2026-01-02T03:04:07Z", "lane": "stable", "what": "mode", "mode": "disabled", "by": null},
            {"at": "2026-01-02T03:04:06Z", "lane": "candidate", "what": "mode", "mode": "forced_open",
                "by": {"who": "ada", "why": "GPU"}},
            {"at": "2026-01-02T03:04:05Z", "lane": "candidate", "what": "state", "from": "closed",
                "to": "open", "cause": "5 failures in a row"},
        ]});
        assert_eq!(
            list(&read(&body).unwrap(), Paint::PLAIN),
            "LANE       STATE   LAST                             MODE         BY        EFFECT\n\
             stable     closed  -                                automatic    -         it decides\n\
             candidate  open    the mode was set to forced_open  forced_open  ada: GPU  no call goes there\n\
             AT                   LANE       TO           WHY\n\
             2026-01-02 03:04:07  stable     disabled     the flag circuit_breaker\n\
             2026-01-02 03:04:06  candidate  forced_open  ada: GPU\n\
             2026-01-02 03:04:05  candidate  open         5 failures in a row"
        );
        let held: Circuit = read(&body["circuits"][1]).unwrap();
        assert_eq!(
            is_set(&held),
            "the candidate circuit is forced_open, until the server ends or another pool stands there: \
             no call goes there"
        );
        let free: Circuit = read(&body["circuits"][0]).unwrap();
        assert_eq!(is_set(&free), "the stable circuit is automatic: it decides");
    }
}
