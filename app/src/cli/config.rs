//! `dspex config`: what the configuration is, where each setting was written, and whether it is
//! valid.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::exit::{Exit, Failure};
use super::output::{Format, Output};
use super::settings::Settings;
use super::style::{Paint, dim, plain};
use crate::config::{Entry, nearest};
use crate::configurations;
use crate::paths::DataDir;

/// Show or check the configuration.
#[derive(Debug, Args)]
pub(crate) struct ConfigCommand {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show every setting in force, and where it was written.
    Show {
        /// Only this setting, or this section.
        key: Option<String>,
        #[command(flatten)]
        settings: Settings,
    },
    /// Check the configuration, without starting anything.
    Check {
        #[command(flatten)]
        settings: Settings,
    },
}

impl ConfigCommand {
    /// Does it.
    pub(crate) async fn run(self, output: Output) -> Result<(), Failure> {
        match self.verb {
            Verb::Show { key, settings } => {
                let entries = select(settings.load()?.entries(), key.as_deref())?;
                output.either(&document(&entries), |paint| table(&entries, paint))
            }
            Verb::Check { settings } => {
                let config = settings.load()?;
                let pools: Vec<_> = config.pools.keys().collect();
                let lms: Vec<_> = config.lms.keys().collect();
                let database = DataDir::new(&config.server.data_dir).database();
                let active = configurations::active_in(&database).await;
                let found = json!({
                    "valid": true,
                    "stable": config.lanes.stable,
                    "active": active,
                    "candidate": config.lanes.candidate,
                    "pools": pools,
                    "lms": lms,
                });
                let candidate = config.lanes.candidate.as_deref().unwrap_or("none");
                output.either(&found, |_| {
                    let mut line = format!(
                        "the configuration is valid: stable {}, candidate {candidate}, {} pools, {} language models",
                        config.lanes.stable,
                        pools.len(),
                        lms.len()
                    );
                    let named = |active: &&String| !is_version_of(active, &config.lanes.stable);
                    if let Some(active) = active.as_ref().filter(named) {
                        line.push_str(&format!(
                            "\nstable is {active} all the same, as a migration left it: lanes.stable is for the first start alone"
                        ));
                    }
                    line
                })
            }
        }
    }
}

fn is_version_of(active: &str, name: &str) -> bool {
    active.rsplit_once('@').is_some_and(|(of, _)| of == name)
}

/// All entries, or those at or below a key.
fn select(entries: Vec<Entry>, key: Option<&str>) -> Result<Vec<Entry>, Failure> {
    let Some(key) = key else { return Ok(entries) };
    let below = format!("{key}.");
    let (found, others): (Vec<_>, Vec<_>) = entries
        .into_iter()
        .partition(|entry| entry.key == key || entry.key.starts_with(&below));
    if !found.is_empty() {
        return Ok(found);
    }
    let failure = Failure::new(Exit::Usage, format_args!("no setting {key:?}"));
    let names = others.iter().map(|entry| entry.key.as_str());
    Err(match nearest(key, names) {
        Some(near) => failure.hint(format_args!("did you mean {near:?}?")),
        None => failure.hint("see all of them with `dspex config show`"),
    })
}

fn document(entries: &[Entry]) -> Value {
    let settings: BTreeMap<_, _> = entries
        .iter()
        .map(|entry| {
            let setting = json!({"value": entry.value, "origin": entry.origin});
            (&entry.key, setting)
        })
        .collect();
    json!({"settings": settings})
}

fn table(entries: &[Entry], paint: Paint) -> String {
    let rows = entries.iter().map(|entry| {
        [
            plain(&entry.key),
            dim(&entry.origin),
            // Last, because some are long.
            plain(entry.value.to_string()),
        ]
    });
    paint.table(["SETTING", "WRITTEN IN", "VALUE"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        let entry = |key: &str, value: Value| Entry {
            key: key.to_owned(),
            value,
            origin: "the defaults".to_owned(),
        };
        vec![
            entry("server.bind", json!("127.0.0.1:8080")),
            entry("server.max_json_depth", json!(64)),
        ]
    }

    #[test]
    fn settings_are_shown_with_their_origin() {
        assert_eq!(
            table(&entries(), Paint::new(false)),
            "SETTING                WRITTEN IN    VALUE\n\
             server.bind            the defaults  \"127.0.0.1:8080\"\n\
             server.max_json_depth  the defaults  64"
        );
    }

    #[test]
    fn a_key_selects_itself_or_its_section() {
        assert_eq!(select(entries(), Some("server")).unwrap().len(), 2);
        assert_eq!(select(entries(), Some("server.bind")).unwrap().len(), 1);
        let failure = select(entries(), Some("server.bnd")).unwrap_err();
        assert_eq!(failure.hints, ["did you mean \"server.bind\"?"]);
    }
}
