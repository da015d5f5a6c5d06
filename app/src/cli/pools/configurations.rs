//! `dspex pools configurations` and `dspex pools put`: the versions of pools' configurations.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::cli::client::Client;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::Output;
use crate::cli::style::{Paint, Tone, dim, plain};
use crate::cli::view::{moment, read};
use crate::cli::who::Who;

/// Lists versions.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Only this pool's.
    name: Option<String>,
}

/// Makes a version.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dspex pools put v2 --file v2.toml --why 'DSPy 3.2 in a venv of its own'
  dspex migrate start --candidate v2 --why 'DSPy 3.2'

The file is the section [pools.NAME] of the configuration, with or without its header, as TOML or JSON.
What it does not say is as by default. Values of environment variables are not kept: name variables of the
server in pass_env.")]
pub(super) struct Put {
    /// The pool; a new one where there is none of this name.
    name: String,
    /// The file with the section; - for standard input.
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// Why, for the audit.
    #[arg(long, value_name = "TEXT")]
    why: String,
    #[command(flatten)]
    who: Who,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Versions {
    configurations: Vec<Version>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Version {
    name: String,
    version: u64,
    config: Map<String, Value>,
    active: bool,
    source: String,
    who: String,
    why: String,
    inserted_at: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Kept {
    configuration: Version,
    new: bool,
}

impl List {
    pub(super) async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let path = match &self.name {
            None => vec!["admin", "v1", "pool-configurations"],
            Some(name) => vec!["admin", "v1", "pools", name, "configurations"],
        };
        let body = client.get(&path).json().await?;
        let found: Versions = read(&body)?;
        output.either(&body, |paint| table(&found, paint))
    }
}

impl Put {
    pub(super) async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let text = text(&self.file)?;
        // JSON is told by its first letter: no TOML table begins with a brace.
        let section = match text.trim_start().starts_with('{') {
            true => {
                let section: Value = serde_json::from_str(&text).map_err(|error| {
                    Failure::new(
                        Exit::Usage,
                        format_args!("{} is not JSON: {error}", self.file.display()),
                    )
                })?;
                ("section", section)
            }
            false => ("toml", text.into()),
        };
        let mut body = json!({"why": self.why, "who": self.who.name()});
        body[section.0] = section.1;
        let path = ["admin", "v1", "pools", &self.name, "configurations"];
        let answer = client
            .request(Method::POST, &path)
            .body(body)
            .json()
            .await?;
        let kept: Kept = read(&answer)?;
        output.either(&answer, |paint| told(&kept, paint))
    }
}

fn text(file: &Path) -> Result<String, Failure> {
    let read = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    read.map_err(|error| {
        Failure::new(
            Exit::Usage,
            format_args!("{} cannot be read: {error}", file.display()),
        )
    })
}

fn told(kept: &Kept, paint: Paint) -> String {
    let version = &kept.configuration;
    let name = format!("{}@{}", version.name, version.version);
    let name = paint.text(Tone::Strong, &name);
    match kept.new {
        true => format!(
            "{name} is kept; bring it in with `dspex migrate start --candidate {}`",
            version.name
        ),
        false => format!("{name} says the same already; nothing was made"),
    }
}

fn table(found: &Versions, paint: Paint) -> String {
    if found.configurations.is_empty() {
        return "no versions".to_owned();
    }
    let rows = found.configurations.iter().map(|version| {
        let kind = version.config.get("kind").and_then(Value::as_str);
        let python = version.config.get("python").and_then(Value::as_str);
        [
            plain(format!("{}@{}", version.name, version.version)),
            match version.active {
                true => ("stable".to_owned(), Tone::Good),
                false => dim("-"),
            },
            dim(kind.unwrap_or("-")),
            plain(python.unwrap_or("-")),
            dim(&version.source),
            dim(moment(&version.inserted_at)),
            plain(&version.who),
            plain(&version.why),
        ]
    });
    paint.table(
        [
            "VERSION", "ACTIVE", "KIND", "PYTHON", "FROM", "SINCE", "WHO", "WHY",
        ],
        rows,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_a_table_and_a_new_one_says_what_comes_next() {
        let version = |number: u64, active: bool| {
            json!({"name": "v2", "version": number, "active": active, "source": "put",
                "who": "ada", "why": "DSPy", "inserted_at": "2026-01-02T03:04:05Z",
                "config": {"kind": "pool-v2", "python": "/opt/python"}})
        };
        let body = json!({"configurations": [version(2, false), version(1, true)]});
        assert_eq!(
            table(&read(&body).unwrap(), Paint::PLAIN),
            "VERSION  ACTIVE  KIND     PYTHON       FROM  SINCE                WHO  WHY\n\
             v2@2     -       pool-v2  /opt/python  put   2026-01-02 03:04:05  ada  DSPy\n\
             v2@1     stable  pool-v2  /opt/python  put   2026-01-02 03:04:05  ada  DSPy"
        );
        let kept = json!({"configuration": version(2, false), "new": true});
        let line = told(&read(&kept).unwrap(), Paint::PLAIN);
        assert!(
            line.contains("v2@2") && line.contains("--candidate v2"),
            "{line}"
        );
        let kept = json!({"configuration": version(1, false), "new": false});
        let line = told(&read(&kept).unwrap(), Paint::PLAIN);
        assert!(line.contains("the same already"), "{line}");
    }
}
