//! The layers of a configuration and where each value came from.
//!
//! Invariant: every value knows the file, the variable or the flag that wrote it, so that an error
//! and `config show` can name it. Each variable and each flag is therefore a layer of its own.

use std::path::Path;

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::error::ConfigError;
use super::flags::{ENVIRONMENT_PREFIX, VALUES};

/// What the origin of a value begins with that a variable has set.
const VARIABLE: &str = "environment variable ";

/// Where the built-in values come from, as shown to people.
pub(super) const DEFAULTS: &str = "the defaults";

/// One layer: a tree of values from one place.
pub(super) struct Layer {
    origin: String,
    values: Dict,
}

impl Layer {
    /// A layer read from TOML text.
    pub(super) fn toml(origin: impl Into<String>, text: &str) -> Result<Self, ConfigError> {
        let origin = origin.into();
        match toml::from_str(text) {
            Ok(values) => Ok(Self { origin, values }),
            Err(error) => {
                let line = error
                    .span()
                    .map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
                let place = line.map_or(String::new(), |line| format!("line {line}: "));
                Err(ConfigError::general(format!(
                    "{place}not TOML: {}",
                    error.message().replace('\n', ", ")
                ))
                .written_in(Some(origin)))
            }
        }
    }

    /// A layer read from a file.
    pub(super) fn file(path: &Path) -> Result<Self, ConfigError> {
        let origin = format!("file {}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| {
            ConfigError::general(format!(
                "the configuration file {} cannot be read: {error}",
                path.display()
            ))
        })?;
        Self::toml(origin, &text)
    }

    /// A layer that sets one dotted key.
    pub(super) fn one(origin: impl Into<String>, key: &str, value: &str) -> Self {
        // Parsed as TOML parses a value where it can be, and taken as text where it cannot. This
        // cannot fail: its error type is `Infallible`.
        let parsed: Value = value.parse().unwrap_or_else(|never| match never {});
        let values = match figment::util::nest(key, parsed) {
            Value::Dict(_, values) => values,
            _ => Dict::new(),
        };
        Self {
            origin: origin.into(),
            values,
        }
    }

    /// The layers of the environment: each `DSPEX_SECTION__KEY`, and each `DSPEX_FLAG_KEY` as the flag
    /// of that key. Other names, such as `DSPEX_URL`, are not configuration.
    pub(super) fn environment(
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Vec<Self>, ConfigError> {
        let mut layers = Vec::new();
        for (name, value) in variables {
            if let Some(flag) = name.strip_prefix(ENVIRONMENT_PREFIX) {
                let key = format!("{VALUES}.{}", flag.to_ascii_lowercase());
                layers.push(Self::one(format!("{VARIABLE}{name}"), &key, &value));
                continue;
            }
            let Some(rest) = name.strip_prefix("DSPEX_").filter(|r| r.contains("__")) else {
                continue;
            };
            let key = rest.to_lowercase().replace("__", ".");
            if key.split('.').any(str::is_empty) {
                return Err(ConfigError::general(format!(
                    "the environment variable {name} names no setting: write it as DSPEX_SECTION__KEY, such as DSPEX_SERVER__BIND"
                )));
            }
            layers.push(Self::one(format!("{VARIABLE}{name}"), &key, &value));
        }
        // The process's environment has no order; sorted, so that two runs agree.
        layers.sort_by(|a, b| a.origin.cmp(&b.origin));
        Ok(layers)
    }

    /// The layers of `section.key=value` flags.
    pub(super) fn flags(settings: &[String]) -> Result<Vec<Self>, ConfigError> {
        settings
            .iter()
            .map(|setting| match setting.split_once('=') {
                Some((key, value)) if !key.trim().split('.').any(str::is_empty) => Ok(Self::one(
                    // Without the value: it may be a secret.
                    format!("flag --set {}", key.trim()),
                    key.trim(),
                    value,
                )),
                _ => Err(ConfigError::general(format!(
                    "--set {setting} is not a setting: write it as section.key=value, such as server.bind=127.0.0.1:9000"
                ))),
            })
            .collect()
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// Whether this is the origin of a value that a variable has set.
pub(super) fn is_environment(origin: &str) -> bool {
    origin.starts_with(VARIABLE)
}

/// Where the value of a dotted key was written; for a section, where its first value was.
pub(super) fn origin(figment: &Figment, key: &str) -> Option<String> {
    figment
        .find_metadata(key)
        .map(|metadata| metadata.name.to_string())
}
