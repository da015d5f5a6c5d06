//! A pool's settings as they are kept in the database, and back.
//!
//! Invariants:
//! - A record is whole: the kind's own settings with their defaults, and what the pool takes from
//!   `[python]` and `[lms]`. So a version that was written down starts with these, whatever the file
//!   says by then.
//! - No value of an environment variable is in it: it may be a secret. Its name is, with a mark that
//!   tells whether the file still gives the value that it gave.
//! - What callers may run (`python.allow_modules`) is the file's business alone: no record widens it.

use figment::value::{Dict, Value};
use serde_json::{Map, Value as Json, json};
use sha2::{Digest as _, Sha256};

use super::{Kind, PoolSettings, kinds};
use crate::config::{Config, ConfigError, nearest};

/// A pool's settings as JSON; see the module.
pub(crate) type Record = Map<String, Json>;

/// Settings that were read back from a record.
pub(crate) struct Restored {
    pub(crate) settings: PoolSettings,
    /// Environment variables that have another value now than when this was written down.
    pub(crate) changed_env: Vec<String>,
}

impl PoolSettings {
    /// These settings of the pool of this name, to be kept.
    pub(crate) fn record(&self, name: &str, config: &Config) -> Record {
        let launch = self.launch(config, "".as_ref());
        let limits = self.limits(config);
        let path: Vec<_> = launch.python_path[1..].iter().collect();
        let env: Map<String, Json> = launch
            .env
            .iter()
            .map(|(variable, value)| (variable.clone(), mark(name, variable, value).into()))
            .collect();
        let record = json!({
            "kind": self.kind(),
            "settings": self.starter.settings(),
            "python": launch.python,
            "path": path,
            "env": env,
            "pass_env": launch.pass_env,
            "limits": {
                "address_space": limits.address_space.0,
                "open_files": limits.open_files,
                "processes": limits.processes,
            },
            "lms": launch.lms,
        });
        match record {
            Json::Object(record) => record,
            _ => Map::new(),
        }
    }

    /// The settings that a record holds; values of environment variables are the file's.
    ///
    /// # Errors
    /// What of it this build, or this configuration, cannot use.
    pub(crate) fn of_record(
        name: &str,
        record: &Record,
        config: &Config,
    ) -> Result<Restored, ConfigError> {
        let text = |key: &str| record.get(key).and_then(Json::as_str);
        let kind = kind_named(name, text("kind").unwrap_or_default())?;
        let file = config.pool(name);
        let mut section = Map::new();
        if let Some(Json::Object(settings)) = record.get("settings") {
            section.clone_from(settings);
        }
        for key in ["python", "path", "pass_env", "limits", "lms"] {
            if let Some(value) = record.get(key) {
                section.insert(key.to_owned(), value.clone());
            }
        }
        let mut env = Map::new();
        let mut changed_env = Vec::new();
        if let Some(Json::Object(marks)) = record.get("env") {
            for (variable, known) in marks {
                let Some(value) = file
                    .and_then(|file| file.overrides.env.get(variable))
                    .or_else(|| config.python.env.get(variable))
                else {
                    return Err(ConfigError::of(
                        format!("pools.{name}.env.{variable}"),
                        "this version of the pool needs it, and it is not set any more",
                    )
                    .hint(
                        "values are not kept in the database; set it there, or under [python.env]",
                    ));
                };
                if known.as_str() != Some(mark(name, variable, value).as_str()) {
                    changed_env.push(variable.clone());
                }
                env.insert(variable.clone(), value.clone().into());
            }
        }
        section.insert("env".to_owned(), env.into());
        let settings = Self::of_section(name, kind, dict(name, section)?, config)?;
        Ok(Restored {
            settings,
            changed_env,
        })
    }

    /// The settings of a section that is not the file's: one that was sent, as JSON.
    ///
    /// # Errors
    /// As for a section of the file; also for a value of an environment variable that the file does not
    /// give, because it could not be kept.
    pub(crate) fn of_sent(
        name: &str,
        mut section: Map<String, Json>,
        known_kind: Option<&str>,
        config: &Config,
    ) -> Result<Self, ConfigError> {
        let key = format!("pools.{name}.kind");
        let kind = match section.remove("kind") {
            Some(Json::String(kind)) => kind,
            Some(_) => return Err(ConfigError::of(key, "must be text")),
            None => known_kind.map(str::to_owned).ok_or_else(|| {
                let known = kinds().iter().map(|kind| kind.name).collect::<Vec<_>>();
                let known = known.join(", ");
                ConfigError::of(key, format!("a pool must name its kind: {known}"))
            })?,
        };
        let kind = kind_named(name, &kind)?;
        let settings = Self::of_section(name, kind, dict(name, section)?, config)?;
        let file = config.pool(name);
        for (variable, value) in &settings.overrides.env {
            let given = file
                .and_then(|file| file.overrides.env.get(variable))
                .or_else(|| config.python.env.get(variable));
            if given != Some(value) {
                return Err(ConfigError::of(
                    format!("pools.{name}.env.{variable}"),
                    "values of environment variables are not kept in the database: they may be secrets",
                )
                .hint(format!(
                    "set it in the server's environment and name it in `pass_env` there, or write it under [pools.{name}.env] of the configuration file"
                )));
            }
        }
        // A caller of the admin API must not make a worker see what the server's environment has beside.
        let files = config.pools.values();
        let passed: Vec<&String> = files
            .filter_map(|pool| pool.overrides.pass_env.as_ref())
            .chain([&config.python.pass_env])
            .flatten()
            .collect();
        let mut sent = settings.overrides.pass_env.iter().flatten();
        if let Some(variable) = sent.find(|variable| !passed.contains(variable)) {
            return Err(ConfigError::of(
                format!("pools.{name}.pass_env"),
                format!(
                    "the configuration file passes {variable:?} to no pool, so neither can this"
                ),
            )
            .hint("name it in `pass_env` of the configuration file, and start the server again"));
        }
        Ok(settings)
    }

    /// The same settings with another number of workers.
    ///
    /// # Errors
    /// Why this kind of pool does not take it.
    pub(crate) fn with_workers(&self, workers: usize) -> Result<Self, String> {
        let mut settings = without_nulls(self.starter.settings());
        if let Json::Object(settings) = &mut settings {
            settings.insert("workers".to_owned(), workers.into());
        }
        let section = Value::serialize(settings).map_err(|error| error.to_string())?;
        let starter = (self.kind.parse)(&section).map_err(|error| error.to_string())?;
        Ok(Self {
            starter,
            ..self.clone()
        })
    }

    fn of_section(
        name: &str,
        kind: Kind,
        section: Dict,
        config: &Config,
    ) -> Result<Self, ConfigError> {
        let settings = crate::config::checked_pool(name, kind, section)?;
        settings
            .check_limits(config)
            .map_err(|(setting, problem)| {
                ConfigError::of(format!("pools.{name}.{setting}"), problem)
            })?;
        Ok(settings)
    }
}

fn kind_named(name: &str, written: &str) -> Result<Kind, ConfigError> {
    let kinds = kinds();
    let names = || kinds.iter().map(|kind| kind.name);
    if let Some(kind) = kinds.iter().find(|kind| kind.name == written) {
        return Ok(*kind);
    }
    let known = names().collect::<Vec<_>>().join(", ");
    Err(ConfigError::of(
        format!("pools.{name}.kind"),
        format!("there is no kind of pool {written:?}"),
    )
    .hint(match nearest(written, names()) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("this build has: {known}"),
    }))
}

/// JSON as a section of the configuration.
fn dict(name: &str, section: Map<String, Json>) -> Result<Dict, ConfigError> {
    let failed =
        |error: &dyn std::fmt::Display| ConfigError::of(format!("pools.{name}"), error.to_string());
    // Null stands for nothing, and nothing is written by leaving it out.
    let section = without_nulls(Json::Object(section));
    match Value::serialize(section).map_err(|error| failed(&error))? {
        Value::Dict(_, dict) => Ok(dict),
        _ => Err(failed(&"must be a table")),
    }
}

fn without_nulls(value: Json) -> Json {
    match value {
        Json::Object(members) => members
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key, without_nulls(value)))
            .collect::<Map<_, _>>()
            .into(),
        other => other,
    }
}

/// Tells a value from another without telling the value: of a thousand passwords that one may try,
/// each mark fits some. It is there to see a change, and to be useless for anything else.
fn mark(pool: &str, variable: &str, value: &str) -> String {
    let mut hash = Sha256::new();
    for part in [pool, variable, value] {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    format!("#{:02x}{:02x}", digest[0], digest[1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    fn config(set: &[&str]) -> Config {
        let set = set.iter().map(|setting| (*setting).to_owned()).collect();
        Config::load(&Sources {
            set,
            ..Sources::default()
        })
        .unwrap()
    }

    const SET: &[&str] = &[
        "pools.v2.workers=3",
        "pools.v2.env.TOKEN=\"a-secret-of-ours\"",
        "python.env.COMMON=\"another-secret\"",
        "pools.v2.limits.open_files=256",
        "pools.v2.python=\"/opt/venv/bin/python\"",
        "lms.main.model=\"openai/gpt\"",
        "lms.main.api_key_env=\"KEY\"",
        "python.allow_modules=[\"mine\"]",
    ];

    #[test]
    fn a_record_gives_the_same_pool_back_and_holds_no_secret() {
        let config = config(SET);
        let pool = config.pool("v2").unwrap();
        let record = pool.record("v2", &config);
        let text = Json::Object(record.clone()).to_string();
        assert!(!text.contains("secret"), "{text}");
        assert!(text.contains("TOKEN") && text.contains("KEY"), "{text}");
        assert!(
            !text.contains("mine"),
            "what may be run is the file's: {text}"
        );
        let restored = PoolSettings::of_record("v2", &record, &config).unwrap();
        assert!(restored.changed_env.is_empty());
        let again = restored.settings.record("v2", &config);
        assert_eq!(again, record);
        let (was, is) = (
            pool.launch(&config, "p".as_ref()),
            restored.settings.launch(&config, "p".as_ref()),
        );
        assert_eq!(format!("{was:?}"), format!("{is:?}"));
    }

    #[test]
    fn a_record_stands_whatever_the_file_says_later() {
        let before = config(SET);
        let record = before.pool("v2").unwrap().record("v2", &before);
        let after = config(&[
            "pools.v2.workers=1",
            "python.executable=\"/other/python\"",
            "pools.v2.env.TOKEN=\"changed\"",
            "python.env.COMMON=\"another-secret\"",
            "lms.main.model=\"openai/other\"",
        ]);
        let restored = PoolSettings::of_record("v2", &record, &after).unwrap();
        assert_eq!(restored.changed_env, ["TOKEN"]);
        let launch = restored.settings.launch(&after, "p".as_ref());
        assert_eq!(launch.python.to_str(), Some("/opt/venv/bin/python"));
        assert_eq!(launch.lms["main"].model, "openai/gpt");
        assert_eq!(launch.env["TOKEN"], "changed");
        let without = config(&[]);
        let line = PoolSettings::of_record("v2", &record, &without)
            .err()
            .unwrap()
            .to_string();
        assert!(line.contains("`pools.v2.env.COMMON`"), "{line}");
    }

    #[test]
    fn a_section_that_is_sent_is_checked_as_the_files() {
        let config = config(&[
            "pools.v2.env.A=\"b\"",
            "python.pass_env=[\"HTTPS_PROXY\"]",
            "pools.v2.pass_env=[\"KEY\"]",
        ]);
        let sent = |section: Json| {
            let Json::Object(section) = section else {
                panic!("an object")
            };
            PoolSettings::of_sent("v2", section, Some("pool-v2"), &config)
        };
        let settings = sent(json!({"workers": 2, "env": {"A": "b"}})).unwrap();
        assert_eq!(settings.record("v2", &config)["settings"]["workers"], 2);
        assert!(sent(json!({"pass_env": ["KEY", "HTTPS_PROXY"]})).is_ok());
        for (section, words) in [
            (json!({"worker": 2}), "did you mean `pools.v2.workers`?"),
            (json!({"workers": 0}), "pools.v2.workers"),
            (json!({"workers": "two"}), "pools.v2.workers"),
            (json!({"kind": "pool-v3"}), "did you mean"),
            (json!({"kind": 3}), "must be text"),
            (json!({"env": {"A": "c"}}), "pass_env"),
            (json!({"env": {"NEW": "c"}}), "pools.v2.env.NEW"),
            (json!({"pass_env": ["KEY", "DSPEX_SECRET"]}), "DSPEX_SECRET"),
            (json!({"limits": {"processes": 1}}), "limits.processes"),
        ] {
            let line = sent(section.clone()).err().map(|error| error.to_string());
            let line = line.unwrap_or_default();
            assert!(line.contains(words), "{section}: {line:?}");
        }
    }
}
