//! Where pools come from, by the versions of their configurations.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use dspex_pool::python::{self, Inspection, PythonError, PythonInfo};
use dspex_pool::{PoolError, SharedPool, Spawner, Switches};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::{PoolSettings, PoolVersion, Surroundings};
use crate::checks::environment::IMPORTS_WITHIN;
use crate::config::Config;
use crate::configurations::Configurations;

/// Starts pools. The house asks this and nobody else, so that tests can give it pools
/// without processes.
#[async_trait]
pub(crate) trait PoolSource: Send + Sync + 'static {
    /// Which version of the pool of this name is meant: this one, or the newest; where there is none,
    /// what to say about it.
    fn find(&self, name: &str, version: Option<u32>) -> Result<PoolVersion, String>;

    /// What the pool's interpreter is, in words; or why it cannot be used.
    async fn interpreter(&self, pool: &PoolVersion) -> Result<String, String>;

    /// Starts the pool; answers when its workers are ready.
    async fn start(&self, pool: &PoolVersion) -> Result<SharedPool, PoolError>;
}

/// The pools of a configuration, as real processes.
pub(crate) struct ConfiguredPools {
    pub(crate) config: Arc<Config>,
    pub(crate) configurations: Arc<Configurations>,
    /// The folder with the unpacked `dspex_worker`.
    pub(crate) package: PathBuf,
    pub(crate) spawner: Spawner,
    pub(crate) tracker: TaskTracker,
    /// What pools may do, as the flags say.
    pub(crate) switches: watch::Receiver<Switches>,
}

impl ConfiguredPools {
    /// Asks a pool's interpreter what it is.
    pub(crate) async fn probe(&self, settings: &PoolSettings) -> Result<PythonInfo, PythonError> {
        let python = settings.python(&self.config);
        python::probe(python, &self.spawner, &self.tracker).await
    }

    /// Imports modules as a worker of these settings would.
    pub(crate) async fn inspect(
        &self,
        settings: &PoolSettings,
        modules: &[String],
    ) -> Result<Inspection, PythonError> {
        let spec = settings.launch(&self.config, &self.package);
        python::inspect(&spec, modules, IMPORTS_WITHIN, &self.spawner, &self.tracker).await
    }

    fn surroundings(&self) -> Surroundings {
        Surroundings {
            spawner: self.spawner.clone(),
            tracker: self.tracker.clone(),
            switches: self.switches.clone(),
        }
    }
}

#[async_trait]
impl PoolSource for ConfiguredPools {
    fn find(&self, name: &str, version: Option<u32>) -> Result<PoolVersion, String> {
        self.configurations.find(name, version)
    }

    async fn interpreter(&self, pool: &PoolVersion) -> Result<String, String> {
        let settings = self.configurations.settings(pool)?;
        let probed = self.probe(&settings).await;
        let PythonInfo {
            version: (major, minor, patch),
            dspy,
        } = probed.map_err(|error| error.to_string())?;
        let dspy = dspy.map_or("no DSPy".to_owned(), |version| format!("DSPy {version}"));
        Ok(format!("Python {major}.{minor}.{patch}, {dspy}"))
    }

    async fn start(&self, pool: &PoolVersion) -> Result<SharedPool, PoolError> {
        let settings = self.configurations.settings(pool);
        let settings = settings.map_err(|reason| PoolError::Unavailable { reason })?;
        let launch = settings.launch(&self.config, &self.package);
        let label = pool.label();
        settings.start(&label, launch, self.surroundings()).await
    }
}
