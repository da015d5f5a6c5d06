//! `[flags]`: where flags are kept, what lies under the store, and how often SDKs may ask for them.
//!
//! Invariants: a flag that is set here is declared, and its value is one of its kind; the flags that
//! traffic moves by are never set here. Traffic moves by a write, which has a who and a why.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use dspex_flags::{Declaration, Layers, dspex};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::error::{ConfigError, nearest};
use super::sections::{at_least_one, positive};
use super::units::duration;

/// Variables that begin so set a flag: `DSPEX_FLAG_` and its key in capitals.
pub(super) const ENVIRONMENT_PREFIX: &str = "DSPEX_FLAG_";

/// Where the flags of this section stand in the configuration.
pub(super) const VALUES: &str = "flags.values";

/// What traffic moves by.
const LEVERS: [&str; 3] = [
    dspex::GRADUAL_ROLLOUT_PERCENTAGE.key,
    dspex::POOL_V2_ENABLED.key,
    dspex::SHADOW_PERCENTAGE.key,
];

/// `[flags]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlagsSection {
    /// Where they are kept.
    pub store: StoreAt,
    /// How often the store is read for writes of other processes.
    #[serde(with = "duration")]
    pub poll: Duration,
    /// What flags are where the store says nothing about them.
    pub values: BTreeMap<String, Value>,
    /// Limits of the evaluation API.
    pub ofrep: OfrepLimits,
}

/// `flags.store`
#[derive(Clone, PartialEq, Eq)]
pub enum StoreAt {
    /// The server's own database.
    Database,
    /// A file, watched.
    File(PathBuf),
    /// A PostgreSQL database, by its URL.
    Postgres(String),
}

impl<'de> Deserialize<'de> for StoreAt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.split_once(':') {
            None if text == "database" => Ok(Self::Database),
            Some(("file", path)) if !path.trim().is_empty() => Ok(Self::File(path.into())),
            Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => {
                Ok(Self::Postgres(text))
            }
            // Without the text: a URL that was written wrong may have a password in it.
            _ => Err(D::Error::custom(
                "must be \"database\", \"file:PATH\" or \"postgres://…\"",
            )),
        }
    }
}

impl fmt::Display for StoreAt {
    /// For people: never with a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database => f.write_str("the server's database"),
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Postgres(url) => write!(f, "PostgreSQL at {}", without_password(url)),
        }
    }
}

impl fmt::Debug for StoreAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreAt({self})")
    }
}

/// `[flags.ofrep]`: how often SDKs may ask.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfrepLimits {
    /// Evaluations of one caller, each second.
    pub per_second: u32,
    /// Evaluations of one caller at once, after a pause.
    pub burst: u32,
    /// Callers that are told apart.
    pub callers: usize,
    /// Event streams open at once, of all callers.
    pub streams: usize,
}

impl FlagsSection {
    /// Answers also what names the value at fault, where one is.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        positive("flags.poll", self.poll)?;
        let ofrep = &self.ofrep;
        for (key, value) in [
            ("flags.ofrep.per_second", ofrep.per_second as usize),
            ("flags.ofrep.burst", ofrep.burst as usize),
            ("flags.ofrep.callers", ofrep.callers),
            ("flags.ofrep.streams", ofrep.streams),
        ] {
            at_least_one(key, value)?;
        }
        if ofrep.streams > tokio::sync::Semaphore::MAX_PERMITS {
            return Err(ConfigError::of("flags.ofrep.streams", "is too large"));
        }
        let declared = dspex::declarations();
        self.values
            .iter()
            .try_for_each(|(key, value)| check_value(&declared, key, value))
    }

    /// What lies under the store. `from_environment` says of a flag whether a variable set it.
    pub(super) fn layers(&self, from_environment: impl Fn(&str) -> bool) -> Layers {
        let (environment, configuration): (Vec<_>, Vec<_>) = self
            .values
            .clone()
            .into_iter()
            .partition(|(key, _)| from_environment(key));
        let text = |value: Value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        let variables = environment.into_iter().map(|(key, value)| {
            let name = format!("{ENVIRONMENT_PREFIX}{}", key.to_ascii_uppercase());
            (name, text(value))
        });
        Layers::new()
            .configuration(configuration)
            .environment(ENVIRONMENT_PREFIX, variables)
    }
}

fn check_value(declared: &[Declaration], key: &str, value: &Value) -> Result<(), ConfigError> {
    let setting = || format!("{VALUES}.{key}");
    let Some(flag) = declared.iter().find(|flag| flag.key == key) else {
        let names = || declared.iter().map(|flag| flag.key.as_ref());
        let hint = match nearest(key, names()) {
            Some(near) => format!("did you mean `{VALUES}.{near}`?"),
            None => "see all of them with `dspex flags list`".to_owned(),
        };
        return Err(ConfigError::of(setting(), "no such flag").hint(hint));
    };
    if LEVERS.contains(&key) {
        return Err(ConfigError::of(
            setting(),
            "traffic moves by a write with a who and a why, and not by a configuration",
        )
        .hint(format!(
            "remove it, and write `dspex flags set {key} … --why …` to the server"
        )));
    }
    match flag.read(value) {
        Ok(_) => Ok(()),
        Err(error) => Err(ConfigError::of(setting(), error.to_string())),
    }
}

/// A URL as people may see it.
pub(super) fn without_password(text: &str) -> String {
    let shown = || {
        let (scheme, rest) = text.split_once("://")?;
        let (login, place) = rest.split_once('@')?;
        // What stands after the first slash is no login.
        let (user, _) = login.split_once(':').filter(|_| !login.contains('/'))?;
        Some(format!("{scheme}://{user}:(hidden)@{place}"))
    };
    shown().unwrap_or_else(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_not_shown() {
        let at = StoreAt::Postgres("postgres://ada:s3cret@db:5432/dspex".to_owned());
        assert_eq!(
            at.to_string(),
            "PostgreSQL at postgres://ada:(hidden)@db:5432/dspex"
        );
        assert!(!format!("{at:?}").contains("s3cret"));
        for plain in ["postgres://db/dspex", "a@b:c", "http://h/x:y@z", ""] {
            assert_eq!(without_password(plain), plain);
        }
    }
}
