//! What tests of workers share: a folder, a spawner, and ways to start workers.

use std::time::Duration;

use dspex_pool::testing::fixture_programs::{call_of, program};
use dspex_pool::testing::real;
use dspex_pool::{
    ForkServer, ForkServerOptions, LaunchSpec, PoolError, Spawner, StartError, Worker,
    WorkerOptions,
};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::LONG;

pub(crate) struct House {
    pub(crate) spec: LaunchSpec,
    pub(crate) spawner: Spawner,
    pub(crate) tracker: TaskTracker,
    _folder: tempfile::TempDir,
}

impl House {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut spec = real::launch(folder.path());
        spec.allow_modules.push("fixture_processes".to_owned());
        Self {
            spec,
            spawner: Spawner::start().unwrap(),
            tracker: TaskTracker::new(),
            _folder: folder,
        }
    }

    pub(crate) async fn server(&self, imports: &[&str]) -> Result<ForkServer, StartError> {
        self.warm_server(imports, &[]).await
    }

    pub(crate) async fn warm_server(
        &self,
        imports: &[&str],
        warmup: &[&str],
    ) -> Result<ForkServer, StartError> {
        let options = ForkServerOptions {
            name: "zygote".to_owned(),
            imports: imports.iter().map(ToString::to_string).collect(),
            warmup: warmup
                .iter()
                .map(|target| target.parse().unwrap())
                .collect(),
            start_timeout: LONG,
        };
        ForkServer::start(options, &self.spec, &self.spawner, &self.tracker).await
    }

    pub(crate) async fn start(&self, name: &str) -> Worker {
        let started = Worker::start(options(name), &self.spec, &self.spawner, &self.tracker);
        started.await.unwrap()
    }

    pub(crate) async fn fork(&self, server: &ForkServer, name: &str) -> Result<Worker, StartError> {
        Worker::fork(options(name), &self.spec, server, &self.tracker).await
    }

    /// One worker of each kind: started from nothing, and forked.
    pub(crate) async fn both(&self, server: &ForkServer) -> [Worker; 2] {
        [
            self.start("w-started").await,
            self.fork(server, "w-forked").await.unwrap(),
        ]
    }
}

fn options(name: &str) -> WorkerOptions {
    WorkerOptions {
        name: name.to_owned(),
        concurrency: 2,
        preload: Vec::new(),
        start_timeout: LONG,
    }
}

/// Calls `fixture_processes:NAME`.
pub(crate) async fn ask(worker: &Worker, name: &str, inputs: Value) -> Result<Value, PoolError> {
    let program = program(name, 1, &format!("fixture_processes:{name}"));
    let call = call_of(program, inputs, LONG);
    let reply = worker.call(&call, Box::new(())).await?;
    Ok(Value::Object(reply.outputs))
}

/// A process that is gone, or a zombie that somebody else must reap.
pub(crate) fn is_gone(pid: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat
            .rsplit(')')
            .next()
            .is_some_and(|rest| rest.trim().starts_with('Z')),
        Err(_) => true,
    }
}

pub(crate) async fn wait_gone(pid: u32) {
    wait_until(&format!("process {pid} is gone"), || is_gone(pid)).await;
}

/// Waits for what only the kernel can tell.
pub(crate) async fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LONG, "not within {LONG:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn number(value: &Value, field: &str) -> u32 {
    u32::try_from(value[field].as_u64().unwrap()).unwrap()
}
