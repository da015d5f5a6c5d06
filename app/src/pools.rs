//! The kinds of pool there are, and how each is made from its settings.
//!
//! Invariant: everything else in the app sees `dyn Pool`. Only the files under `pools/` know a
//! pool's type; each is one entry in [`kinds`], and taking the file away takes the kind away.

mod record;
mod source;
#[cfg(feature = "pool-v1")]
mod v1;
mod v2;
mod version;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use dspex_pool::python::PROBE_MODULE;
use dspex_pool::{LaunchSpec, LmProfile, PoolError, SharedPool, Spawner, Switches};
use figment::value::{Dict, Tag, Value};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::config::{ByteSize, Config, ConfigError, Limits};

pub(crate) use self::record::Record;
pub(crate) use self::source::{ConfiguredPools, PoolSource};
pub(crate) use self::version::{PoolVersion, Wanted};

/// One kind of pool.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    /// As written in `kind = "…"`.
    pub(crate) name: &'static str,
    /// TOML laid over `default.toml` where this kind is built in: its pool and its lane.
    pub(crate) defaults: &'static str,
    parse: fn(&Value) -> Parsed,
}

/// A pool's own settings; errors carry the path inside its section.
type Parsed = Result<Arc<dyn Starter>, Box<figment::Error>>;

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The kinds of this build. Later ones lay their defaults over those of earlier ones.
pub(crate) fn kinds() -> Vec<Kind> {
    vec![
        v2::KIND,
        #[cfg(feature = "pool-v1")]
        v1::KIND,
    ]
}

/// What every pool is started with beside its settings.
pub(crate) struct Surroundings {
    /// Starts its processes.
    pub(crate) spawner: Spawner,
    /// Where its tasks run.
    pub(crate) tracker: TaskTracker,
    /// What it may do, as the flags say; for the kinds that go by them.
    pub(crate) switches: watch::Receiver<Switches>,
}

/// A pool's own settings, ready to be started from.
#[async_trait]
pub(crate) trait Starter: fmt::Debug + Send + Sync {
    /// Which setting cannot be used, and why.
    fn check(&self) -> Result<(), (&'static str, String)>;

    /// All of them, as they are written in a section.
    fn settings(&self) -> serde_json::Value;

    /// How many workers it starts.
    fn workers(&self) -> usize;

    /// How many processes and threads one worker has by itself.
    fn processes_of_a_worker(&self) -> u64;

    /// Starts the pool; answers when its workers are ready, or with why they are not.
    async fn start(
        &self,
        name: &str,
        launch: LaunchSpec,
        around: Surroundings,
    ) -> Result<SharedPool, PoolError>;
}

/// What every kind of pool accepts beside its own settings; see [`PoolSettings`].
pub(crate) const OVERRIDES: &[&str] =
    &["python", "path", "env", "pass_env", "limits", "lms", "kind"];

/// A pool's section, checked.
#[derive(Debug, Clone)]
pub struct PoolSettings {
    kind: Kind,
    starter: Arc<dyn Starter>,
    overrides: Overrides,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Overrides {
    python: Option<PathBuf>,
    path: Option<Vec<PathBuf>>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    pass_env: Option<Vec<String>>,
    #[serde(default)]
    limits: LimitOverrides,
    /// Laid over `[lms]`.
    #[serde(default)]
    lms: BTreeMap<String, LmProfile>,
}

/// What a pool sets of [`Limits`] for itself; the rest is as under `[python.limits]`.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LimitOverrides {
    address_space: Option<ByteSize>,
    open_files: Option<u64>,
    processes: Option<u64>,
}

impl LimitOverrides {
    fn over(self, limits: Limits) -> Limits {
        Limits {
            address_space: self.address_space.unwrap_or(limits.address_space),
            open_files: self.open_files.unwrap_or(limits.open_files),
            processes: self.processes.unwrap_or(limits.processes),
        }
    }
}

impl PoolSettings {
    /// The kind, as written in the configuration.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.kind.name
    }

    pub(crate) fn parse(kind: Kind, section: Dict) -> Result<Self, Box<figment::Error>> {
        let (ours, theirs): (Dict, Dict) = section
            .into_iter()
            .partition(|(key, _)| OVERRIDES.contains(&key.as_str()));
        Ok(Self {
            kind,
            overrides: deserialize(&Value::Dict(Tag::Default, ours))?,
            starter: (kind.parse)(&Value::Dict(Tag::Default, theirs))?,
        })
    }

    /// Which setting cannot be used, and why.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        self.overrides.limits.over(Limits::NONE).check()?;
        self.starter.check()
    }

    /// The same for its language models.
    pub(crate) fn check_models(&self, prefix: &str) -> Result<(), ConfigError> {
        check_models(&format!("{prefix}.lms"), &self.overrides.lms)
    }

    /// How many workers the pool starts, and how many processes and threads each has by itself.
    pub(crate) fn load(&self) -> (u64, u64) {
        let workers = u64::try_from(self.starter.workers()).unwrap_or(u64::MAX);
        (workers, self.starter.processes_of_a_worker())
    }

    /// Whether a worker of this pool can live within its limits: they come from two sections.
    pub(crate) fn check_limits(&self, config: &Config) -> Result<(), (&'static str, String)> {
        self.limits(config)
            .check_processes(self.starter.processes_of_a_worker())
    }

    /// The interpreter of this pool.
    pub(crate) fn python<'a>(&'a self, config: &'a Config) -> &'a Path {
        self.overrides
            .python
            .as_deref()
            .unwrap_or(&config.python.executable)
    }

    /// The limits of one worker.
    pub(crate) fn limits(&self, config: &Config) -> Limits {
        self.overrides.limits.over(config.python.limits)
    }

    /// What this pool's workers are started with. `package` is the folder with `dspex_worker`.
    pub(crate) fn launch(&self, config: &Config, package: &Path) -> LaunchSpec {
        let python = &config.python;
        let mut python_path = vec![package.to_owned()];
        python_path.extend_from_slice(self.overrides.path.as_ref().unwrap_or(&python.path));
        let mut env = python.env.clone();
        env.extend(self.overrides.env.clone());
        let mut lms = config.lms.clone();
        lms.extend(self.overrides.lms.clone());
        LaunchSpec {
            python: self.python(config).to_owned(),
            python_path,
            env,
            pass_env: self
                .overrides
                .pass_env
                .as_ref()
                .unwrap_or(&python.pass_env)
                .clone(),
            // What the server itself calls to look at its workers. It harms nobody.
            allow_modules: python
                .allow_modules
                .iter()
                .cloned()
                .chain([PROBE_MODULE.to_owned()])
                .collect(),
            lms,
            max_frame: python.max_frame.0,
            limits: self.limits(config).of_worker(),
        }
    }

    /// Starts the pool.
    pub(crate) async fn start(
        &self,
        name: &str,
        launch: LaunchSpec,
        around: Surroundings,
    ) -> Result<SharedPool, PoolError> {
        self.starter.start(name, launch, around).await
    }
}

/// Names the first profile without a model.
pub(crate) fn check_models(
    section: &str,
    lms: &BTreeMap<String, LmProfile>,
) -> Result<(), ConfigError> {
    let nameless = lms
        .iter()
        .find(|(_, profile)| profile.model.trim().is_empty());
    match nameless {
        None => Ok(()),
        Some((name, _)) => Err(ConfigError::of(
            format!("{section}.{name}.model"),
            "a profile must name its model, such as \"openai/gpt-4o-mini\"",
        )),
    }
}

/// Reads a crate's own settings; errors carry the path inside the section.
fn deserialize<T: DeserializeOwned>(section: &Value) -> Result<T, Box<figment::Error>> {
    section.deserialize().map_err(Box::new)
}

/// A pool's settings as documented in a text of defaults; every setting must stand there.
#[cfg(test)]
fn documented<T: DeserializeOwned + serde::Serialize + Default>(text: &str, pool: &str) -> T {
    let mut whole: toml::Table = toml::from_str(text).unwrap();
    let section = whole["pools"].as_table_mut().unwrap();
    let mut section = section
        .remove(pool)
        .unwrap()
        .try_into::<toml::Table>()
        .unwrap();
    section.remove("kind");
    let all = toml::Table::try_from(T::default()).unwrap();
    let missing: Vec<_> = all
        .keys()
        .filter(|key| !section.contains_key(*key))
        .collect();
    assert!(missing.is_empty(), "not documented: {missing:?}");
    section.try_into().unwrap()
}
