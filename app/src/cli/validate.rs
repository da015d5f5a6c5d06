//! `dspex validate`: holds a candidate against stable on the server's machine, in pools that no caller
//! uses, and prints each finding as it is made.
//!
//! Invariant: it ends with 0 only where every finding is as it must be. One that is interrupted is cut
//! off on the server too: nobody would wait for it.

mod show;

use std::collections::HashSet;
use std::time::Duration;

use clap::Args;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::client::{Client, Remote};
use super::exit::{Exit, Failure};
use super::output::{Format, Output};
use super::view::read;

/// How often the server is asked how far it is.
const LOOK: Duration = Duration::from_millis(250);

/// Hold the candidate against stable: the same answers, as fast, and as hard to break.
#[derive(Debug, Args)]
#[command(
    long_about = "Hold the candidate against stable: the same answers, as fast, and as hard to break.\n\n\
    The server starts a copy of each pool, with a few workers, and ends both afterwards. Pools that serve callers are \
    not touched; the machine is busier meanwhile."
)]
pub(crate) struct Validate {
    /// A minute's work instead of the whole load.
    #[arg(long)]
    quick: bool,
    /// What to hold it against, such as v1 or v2@3; the pool in the stable lane where it is not given.
    #[arg(long, value_name = "POOL")]
    stable: Option<String>,
    /// The candidate; the one in the candidate lane, or the configured one, where it is not given.
    #[arg(long, value_name = "POOL")]
    candidate: Option<String>,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    pub(crate) format: Format,
}

/// A validation as the server tells it, as far as it is shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Validation {
    id: String,
    stable: String,
    candidate: String,
    state: String,
    doing: Option<String>,
    findings: Vec<Finding>,
}

/// One finding.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Finding {
    area: String,
    name: String,
    ok: bool,
    inconclusive: bool,
    value: String,
    limit: String,
    hint: Option<String>,
}

impl Validate {
    /// Begins it, and follows it to its end.
    pub(crate) async fn run(self, output: Output) -> Result<(), Failure> {
        let client = self.remote.client()?;
        let mut body = Map::new();
        body.insert(
            "run".to_owned(),
            if self.quick { "quick" } else { "full" }.into(),
        );
        for (name, pool) in [("stable", self.stable), ("candidate", self.candidate)] {
            if let Some(pool) = pool {
                body.insert(name.to_owned(), pool.into());
            }
        }
        let begun = client.post(&["admin", "v1", "validations"]);
        let begun = begun.body(Value::Object(body)).json().await?;
        let begun: Validation = read(&begun)?;
        output.note(&format!(
            "validating {} against {} in rehearsal pools; pools that serve are not touched",
            begun.candidate, begun.stable
        ));
        tokio::select! {
            ended = follow(&client, &begun.id, output) => ended,
            _ = tokio::signal::ctrl_c() => {
                let path = ["admin", "v1", "validations", &begun.id];
                client.request(Method::DELETE, &path).send().await?;
                Err(Failure::new(Exit::Failed, "interrupted: the validation was cut off, and says nothing"))
            }
        }
    }
}

async fn follow(client: &Client, id: &str, output: Output) -> Result<(), Failure> {
    let mut shown = 0;
    let mut told = HashSet::new();
    loop {
        let body = client
            .get(&["admin", "v1", "validations", id])
            .json()
            .await?;
        let now: Validation = read(&body)?;
        if !output.json {
            for finding in now.findings.iter().skip(shown) {
                output.either(&Value::Null, |paint| show::finding(finding, paint))?;
            }
            shown = shown.max(now.findings.len());
            if let Some(doing) = &now.doing
                && told.insert(doing.clone())
            {
                output.note(&format!("… {doing}"));
            }
        }
        if now.state == "running" {
            tokio::time::sleep(LOOK).await;
            continue;
        }
        output.either(&body, |paint| show::end(&now, paint))?;
        return match now.state.as_str() {
            "passed" => Ok(()),
            // What was found stands above.
            _ => Err(Failure::silent(Exit::Failed)),
        };
    }
}
