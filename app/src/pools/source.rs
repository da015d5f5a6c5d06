//! Where pools come from, by the names of the configuration.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use dspex_pool::python::{self, PythonError, PythonInfo};
use dspex_pool::{PoolError, SharedPool, Spawner, Switches};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::Surroundings;
use crate::config::{Config, nearest};

/// Starts pools by name. The house asks this and nobody else, so that tests can give it pools
/// without processes.
#[async_trait]
pub(crate) trait PoolSource: Send + Sync + 'static {
    /// Whether there is a pool of this name; where there is none, what to say about it.
    fn find(&self, name: &str) -> Result<(), String>;

    /// What the pool's interpreter is, in words; or why it cannot be used.
    async fn interpreter(&self, name: &str) -> Result<String, String>;

    /// Starts the pool; answers when its workers are ready.
    async fn start(&self, name: &str) -> Result<SharedPool, PoolError>;
}

/// The pools of a configuration, as real processes.
pub(crate) struct ConfiguredPools {
    pub(crate) config: Arc<Config>,
    /// The folder with the unpacked `dspex_worker`.
    pub(crate) package: PathBuf,
    pub(crate) spawner: Spawner,
    pub(crate) tracker: TaskTracker,
    /// What pools may do, as the flags say.
    pub(crate) switches: watch::Receiver<Switches>,
}

impl ConfiguredPools {
    /// Asks a pool's interpreter what it is. [`None`] where there is no such pool.
    pub(crate) async fn probe(&self, name: &str) -> Option<Result<PythonInfo, PythonError>> {
        let python = self.config.pool(name)?.python(&self.config);
        Some(python::probe(python, &self.spawner, &self.tracker).await)
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
    fn find(&self, name: &str) -> Result<(), String> {
        if self.config.pools.contains_key(name) {
            return Ok(());
        }
        let known = self.config.pools.keys().map(String::as_str);
        Err(match nearest(name, known.clone()) {
            Some(near) => format!("there is no pool {name:?}; did you mean {near:?}?"),
            None => format!(
                "there is no pool {name:?}; configured: {}",
                known.collect::<Vec<_>>().join(", ")
            ),
        })
    }

    async fn interpreter(&self, name: &str) -> Result<String, String> {
        match self.probe(name).await {
            None => Err(format!("there is no pool {name:?}")),
            Some(Err(error)) => Err(error.to_string()),
            Some(Ok(PythonInfo {
                version: (major, minor, patch),
                dspy,
            })) => {
                let dspy = dspy.map_or("no DSPy".to_owned(), |version| format!("DSPy {version}"));
                Ok(format!("Python {major}.{minor}.{patch}, {dspy}"))
            }
        }
    }

    async fn start(&self, name: &str) -> Result<SharedPool, PoolError> {
        let Some(settings) = self.config.pool(name) else {
            return Err(PoolError::Unavailable {
                reason: format!("there is no pool {name:?} in the configuration"),
            });
        };
        let launch = settings.launch(&self.config, &self.package);
        settings.start(name, launch, self.surroundings()).await
    }
}
