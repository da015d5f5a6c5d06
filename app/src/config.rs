//! Configuration: loaded from its layers, checked once, then only read.
//!
//! Invariant: a [`Config`] that exists is valid in itself. What needs the world to be checked
//! (the interpreter, the data directory, the token's variable) is checked where it is used.
//! The crates' own settings (pools, router, migration) are deserialized and checked by them.

mod error;
mod flags;
mod layers;
mod notifications;
mod sections;
mod show;
mod units;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use dspex_pool::LmProfile;
use figment::Figment;
use figment::error::Kind;
use figment::value::Dict;
use serde::Deserialize;

pub use self::error::ConfigError;
pub(crate) use self::error::nearest;
pub use self::flags::{FlagsSection, OfrepLimits, StoreAt};
use self::layers::Layer;
pub use self::notifications::{Notification, Selection, WebhooksSection};
pub(crate) use self::sections::LEAST_PROCESSES;
pub use self::sections::{
    Lanes, Limits, LogFormat, LogSection, PythonSection, Server, Storage, TelemetrySection,
};
pub use self::show::Entry;
pub use self::units::{ByteSize, InvalidSize};
use crate::pools::{self, PoolSettings};

/// `default.toml` as it is built in: every setting with its unit and its reason.
pub const DEFAULT_TOML: &str = include_str!("../config/default.toml");

/// The file that is read where `--config` names none and it is there.
pub const DEFAULT_FILE: &str = "dspex.toml";

/// Where a configuration comes from, beside the defaults.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file named by `--config`; it must be there. [`DEFAULT_FILE`] is tried where there is none.
    pub file: Option<PathBuf>,
    /// The process's environment; names that are neither `DSPEX_…__…` nor `DSPEX_FLAG_…` are passed
    /// over.
    pub environment: Vec<(String, String)>,
    /// `section.key=value` from the command line; the last one wins.
    pub set: Vec<String>,
}

impl Sources {
    /// The sources of this process: its environment, and what its command line named.
    /// Variables that are not UTF-8 are passed over: no setting can be written in one.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>, set: Vec<String>) -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self {
            file,
            environment,
            set,
        }
    }
}

/// A whole, valid configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[log]`
    pub log: LogSection,
    /// `[storage]`
    pub storage: Storage,
    /// `[lanes]`
    pub lanes: Lanes,
    /// `[python]`
    pub python: PythonSection,
    /// `[lms.NAME]`
    pub lms: BTreeMap<String, LmProfile>,
    /// `[pools.NAME]`
    pub pools: BTreeMap<String, Arc<PoolSettings>>,
    /// `[router]`
    pub router: dspex_router::RouterConfig,
    /// `[telemetry]`
    pub telemetry: TelemetrySection,
    /// `[flags]`
    pub flags: FlagsSection,
    /// `[migration]`
    pub migration: dspex_migration::Settings,
    /// `[validation]`
    pub validation: dspex_migration::ValidationSettings,
    /// `[webhooks]`
    pub webhooks: WebhooksSection,
    /// `[[notifications]]`
    pub notifications: Vec<Notification>,
    values: Figment,
}

/// The sections as they are deserialized, before pools are taken apart.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sections {
    server: Server,
    log: LogSection,
    storage: Storage,
    lanes: Lanes,
    python: PythonSection,
    lms: BTreeMap<String, LmProfile>,
    pools: BTreeMap<String, Dict>,
    router: dspex_router::RouterConfig,
    telemetry: TelemetrySection,
    flags: FlagsSection,
    migration: dspex_migration::Settings,
    validation: dspex_migration::ValidationSettings,
    webhooks: WebhooksSection,
    notifications: Vec<Notification>,
}

impl Config {
    /// Loads and checks a configuration.
    ///
    /// # Errors
    /// A file that cannot be read or is not TOML, a setting that does not exist (the nearest known
    /// name is given), a value of the wrong type or out of range, a lane that names no pool.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let mut values = Figment::new();
        values = values.merge(Layer::toml(layers::DEFAULTS, DEFAULT_TOML)?);
        for kind in pools::kinds() {
            values = values.merge(Layer::toml(layers::DEFAULTS, kind.defaults)?);
        }
        if let Some(file) = &sources.file {
            values = values.merge(Layer::file(file)?);
        } else if PathBuf::from(DEFAULT_FILE).is_file() {
            values = values.merge(Layer::file(DEFAULT_FILE.as_ref())?);
        }
        for layer in Layer::environment(sources.environment.iter().cloned())? {
            values = values.merge(layer);
        }
        for layer in Layer::flags(&sources.set)? {
            values = values.merge(layer);
        }
        Self::extract(values)
    }

    /// Every setting with its value and where it was written, in order of its name. Values of
    /// environment maps are not shown: they may be secrets.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        show::entries(&self.values)
    }

    /// The value of one setting as JSON; [`None`] where there is none of that name.
    #[must_use]
    pub fn entry(&self, key: &str) -> Option<Entry> {
        self.entries().into_iter().find(|entry| entry.key == key)
    }

    /// The settings of a pool.
    #[must_use]
    pub fn pool(&self, name: &str) -> Option<&Arc<PoolSettings>> {
        self.pools.get(name)
    }

    /// What lies under the flags' store: what the configuration sets, and over it what the environment
    /// sets.
    pub(crate) fn flag_layers(&self) -> dspex_flags::Layers {
        self.flags.layers(|key| {
            let origin = self.origin(&format!("{}.{key}", flags::VALUES));
            origin.is_some_and(|origin| layers::is_environment(&origin))
        })
    }

    /// Where a setting was written, for errors found after loading.
    pub(crate) fn origin(&self, key: &str) -> Option<String> {
        layers::origin(&self.values, key)
    }

    fn extract(values: Figment) -> Result<Self, ConfigError> {
        let sections: Sections = values
            .extract()
            .map_err(|error| explain(&values, "", &error))?;
        let mut pools = BTreeMap::new();
        for (name, section) in sections.pools {
            let settings = pool_settings(&values, &name, section)?;
            pools.insert(name, Arc::new(settings));
        }
        let config = Self {
            server: sections.server,
            log: sections.log,
            storage: sections.storage,
            lanes: sections.lanes,
            python: sections.python,
            lms: sections.lms,
            pools,
            router: sections.router,
            telemetry: sections.telemetry,
            flags: sections.flags,
            migration: sections.migration,
            validation: sections.validation,
            webhooks: sections.webhooks,
            notifications: sections.notifications,
            values,
        };
        config
            .check()
            .map_err(|error| match (&error.key, &error.origin) {
                (Some(key), None) => {
                    let origin = config.origin(key);
                    error.written_in(origin)
                }
                _ => error,
            })?;
        Ok(config)
    }

    /// What no single section can know about itself.
    fn check(&self) -> Result<(), ConfigError> {
        self.server.check()?;
        self.storage.check()?;
        self.telemetry.check()?;
        self.flags.check()?;
        self.webhooks.check()?;
        notifications::check(&self.notifications, &self.webhooks)?;
        self.gates_can_be_asked()?;
        self.python
            .limits
            .check()
            .map_err(|(setting, problem)| ConfigError::of(format!("python.{setting}"), problem))?;
        for (name, pool) in &self.pools {
            pool.check_limits(self).map_err(|(setting, problem)| {
                ConfigError::of(format!("pools.{name}.{setting}"), problem)
                    .hint("raise it there, or under [python.limits], which holds for every pool")
            })?;
        }
        self.router.validate().map_err(|error| {
            ConfigError::of(
                format!("router.{}", error.setting),
                format!("{}: must be {}", error.value, error.expected),
            )
        })?;
        // Any two names: the settings are what is looked at.
        self.migration
            .plan("stable", "candidate", None)
            .map_err(|error| ConfigError::of("migration", error.problem))?;
        self.validation.check().map_err(|error| {
            ConfigError::of(
                format!("validation.{}", error.setting),
                format!("{}: {}", error.value, error.expected),
            )
        })?;
        let names = || self.pools.keys().map(String::as_str);
        let candidate = self.lanes.candidate.as_deref();
        for (key, name) in [
            ("lanes.stable", Some(self.lanes.stable.as_str())),
            ("lanes.candidate", candidate),
        ] {
            let Some(name) = name else { continue };
            if !self.pools.contains_key(name) {
                let known = names().collect::<Vec<_>>().join(", ");
                return Err(
                    ConfigError::of(key, format!("there is no pool {name:?}")).hint(match nearest(
                        name,
                        names(),
                    ) {
                        Some(near) => format!("did you mean {near:?}?"),
                        None => format!("configured under [pools]: {known}"),
                    }),
                );
            }
        }
        if candidate == Some(self.lanes.stable.as_str()) {
            return Err(ConfigError::of(
                "lanes.candidate",
                format!(
                    "the pool {:?} already stands in the stable lane",
                    self.lanes.stable
                ),
            )
            .hint("name another pool, or \"\" for no candidate"));
        }
        pools::check_models("lms", &self.lms)
    }

    /// A webhook that is asked must be able to tell who asks.
    fn gates_can_be_asked(&self) -> Result<(), ConfigError> {
        let asks = |stage: &dspex_migration::Stage| {
            matches!(stage.gate, dspex_migration::Gate::Webhook { .. })
        };
        if self.webhooks.secret_env.is_none() && self.migration.stages.iter().any(asks) {
            return Err(ConfigError::of(
                "webhooks.secret_env",
                "must be set, because a stage has a webhook for its gate",
            )
            .hint("the name of a variable: what the gate is asked is signed with what it holds"));
        }
        Ok(())
    }
}

/// Takes one pool's section apart. Defaults of a pool whose kind was changed do not belong to the
/// new kind and are dropped.
fn pool_settings(
    values: &Figment,
    name: &str,
    mut section: Dict,
) -> Result<PoolSettings, ConfigError> {
    let prefix = format!("pools.{name}");
    let kind_key = format!("{prefix}.kind");
    let kind_origin = layers::origin(values, &kind_key);
    if kind_origin.as_deref() != Some(layers::DEFAULTS) && section.contains_key("kind") {
        section.retain(|key, _| {
            layers::origin(values, &format!("{prefix}.{key}")).as_deref() != Some(layers::DEFAULTS)
        });
    }
    let kinds = pools::kinds();
    let names = || kinds.iter().map(|kind| kind.name);
    let known = names().collect::<Vec<_>>().join(", ");
    let written = section
        .remove("kind")
        .ok_or_else(|| ConfigError::of(&kind_key, format!("a pool must name its kind: {known}")))?;
    let written = written
        .as_str()
        .ok_or_else(|| ConfigError::of(&kind_key, format!("must be text, one of: {known}")))?;
    let Some(kind) = kinds.iter().find(|kind| kind.name == written) else {
        let hint = match nearest(written, names()) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("this build has: {known}"),
        };
        return Err(
            ConfigError::of(&kind_key, format!("there is no kind of pool {written:?}"))
                .written_in(kind_origin)
                .hint(hint),
        );
    };
    checked_pool_of(values, name, *kind, section)
}

/// One pool's settings out of a section that no layer wrote.
pub(crate) fn checked_pool(
    name: &str,
    kind: pools::Kind,
    section: Dict,
) -> Result<PoolSettings, ConfigError> {
    checked_pool_of(&Figment::new(), name, kind, section)
}

fn checked_pool_of(
    values: &Figment,
    name: &str,
    kind: pools::Kind,
    section: Dict,
) -> Result<PoolSettings, ConfigError> {
    let prefix = format!("pools.{name}");
    let settings = PoolSettings::parse(kind, section).map_err(|error| {
        // A name unknown to the pool's own settings may be meant for ours.
        explain_with(values, &prefix, &error, pools::OVERRIDES)
    })?;
    settings.check().map_err(|(setting, problem)| {
        let key = format!("{prefix}.{setting}");
        let origin = layers::origin(values, &key);
        ConfigError::of(key, problem).written_in(origin)
    })?;
    settings.check_models(&prefix)?;
    Ok(settings)
}

/// Says what figment found, in our words.
fn explain(values: &Figment, prefix: &str, error: &figment::Error) -> ConfigError {
    explain_with(values, prefix, error, &[])
}

fn explain_with(
    values: &Figment,
    prefix: &str,
    error: &figment::Error,
    also_known: &[&'static str],
) -> ConfigError {
    let path: Vec<&str> = std::iter::once(prefix)
        .filter(|prefix| !prefix.is_empty())
        .chain(error.path.iter().map(String::as_str))
        .collect();
    let key = path.join(".");
    let origin = layers::origin(values, &key);
    match &error.kind {
        Kind::UnknownField(name, expected) => {
            let parent = match path.split_last() {
                Some((last, parent)) if last == name => parent.join("."),
                _ => key,
            };
            let dotted = |name: &str| match parent.as_str() {
                "" => name.to_owned(),
                parent => format!("{parent}.{name}"),
            };
            let known = || expected.iter().chain(also_known).copied();
            let hint = match nearest(name, known()) {
                Some(near) => format!("did you mean `{}`?", dotted(near)),
                None => {
                    let place = match parent.as_str() {
                        "" => "sections".to_owned(),
                        parent => format!("settings of [{parent}]"),
                    };
                    format!("{place}: {}", known().collect::<Vec<_>>().join(", "))
                }
            };
            let key = dotted(name);
            let origin = layers::origin(values, &key);
            ConfigError::of(key, "no such setting")
                .written_in(origin)
                .hint(hint)
        }
        Kind::MissingField(name) => {
            let key = if key.is_empty() {
                name.to_string()
            } else {
                format!("{key}.{name}")
            };
            ConfigError::of(key, "must be set")
        }
        Kind::InvalidType(actual, expected) | Kind::InvalidValue(actual, expected) => {
            ConfigError::of(key, format!("expected {expected}, found {actual}")).written_in(origin)
        }
        other => ConfigError::of(key, other.to_string()).written_in(origin),
    }
}

#[cfg(test)]
mod tests;
