//! What every measurement starts from: a pool, its programs, and calls of them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dspex_pool::{Call, Definition, LaunchSpec, Program, ProgramKey, Spawner, python, wire};
use dspex_pool_v2::{Config, PoolV2, Switches};
use serde_json::{Map, Value};
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::Outcome;
use crate::order::Order;

/// The module of `bench/workers/bench_programs.py`.
const MODULE: &str = "bench_programs";

/// No call of a benchmark takes this long; one that does has failed.
const CALL_LIMIT: Duration = Duration::from_secs(60);

/// The workers' surroundings.
pub(crate) struct House {
    pub(crate) tracker: TaskTracker,
    pub(crate) spawner: Spawner,
    pub(crate) python: PathBuf,
    pub(crate) programs: PathBuf,
    package: PathBuf,
    /// Holds the worker package, where it was unpacked.
    _folder: TempDir,
}

impl House {
    pub(crate) fn new(order: &Order, spawner: Spawner) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        Ok(Self {
            tracker: TaskTracker::new(),
            spawner,
            python: order.python.clone(),
            programs: order.programs.clone(),
            package: match &order.package {
                Some(package) => package.clone(),
                None => python::unpack(folder.path())?,
            },
            _folder: folder,
        })
    }

    /// How Python workers are started.
    pub(crate) fn launch(&self) -> LaunchSpec {
        LaunchSpec {
            python: self.python.clone(),
            python_path: vec![self.package.clone(), self.programs.clone()],
            allow_modules: vec![MODULE.to_owned()],
            max_frame: wire::MAX_FRAME,
            ..LaunchSpec::default()
        }
    }

    pub(crate) async fn pool(&self, config: Config) -> Outcome<Arc<PoolV2>> {
        self.pool_of(config, self.launch()).await
    }

    pub(crate) async fn pool_of(&self, config: Config, launch: LaunchSpec) -> Outcome<Arc<PoolV2>> {
        let spawner = self.spawner.clone();
        Ok(PoolV2::start(
            "bench",
            config,
            launch,
            spawner,
            &self.tracker,
            Switches::default().unchanging(),
        )
        .await?)
    }
}

/// A callable of the benchmark's own module. It only computes, so its calls may be repeated.
pub(crate) fn program(attribute: &str) -> Outcome<Arc<Program>> {
    Ok(Arc::new(Program {
        key: ProgramKey {
            id: attribute.parse()?,
            version: 1,
        },
        definition: Definition::Callable {
            target: format!("{MODULE}:{attribute}").parse()?,
        },
        repeatable: true,
        stateful: false,
        side_effects: true,
    }))
}

/// Inputs with one value.
pub(crate) fn input(name: &str, value: impl Into<Value>) -> Arc<Map<String, Value>> {
    Arc::new(Map::from_iter([(name.to_owned(), value.into())]))
}

/// A call that comes now.
pub(crate) fn call(program: &Arc<Program>, inputs: &Arc<Map<String, Value>>, number: u64) -> Call {
    Call {
        request_id: format!("bench-{number}").into(),
        session: None,
        caller: None,
        program: Arc::clone(program),
        inputs: Arc::clone(inputs),
        state: None,
        chunks: None,
        deadline: Instant::now() + CALL_LIMIT,
    }
}
