//! Workers forked from a warm process: as good as started ones, sooner.

use std::path::Path;

use dspex_pool::testing::fixture_programs::call;
use dspex_pool::testing::real;
use dspex_pool::{
    ForkServer, ForkServerOptions, LaunchSpec, PoolError, Spawner, StartError, Worker,
    WorkerOptions,
};
use serde_json::json;
use tokio_util::task::TaskTracker;

use crate::LONG;

struct House {
    spec: LaunchSpec,
    spawner: Spawner,
    tracker: TaskTracker,
}

impl House {
    fn new(folder: &Path) -> Self {
        Self {
            spec: real::launch(folder),
            spawner: Spawner::start().unwrap(),
            tracker: TaskTracker::new(),
        }
    }

    async fn server(&self, imports: &[&str]) -> Result<ForkServer, StartError> {
        let options = ForkServerOptions {
            name: "zygote".to_owned(),
            imports: imports.iter().map(ToString::to_string).collect(),
            warmup: Vec::new(),
            start_timeout: LONG,
        };
        ForkServer::start(options, &self.spec, &self.spawner, &self.tracker).await
    }

    async fn fork(&self, server: &ForkServer, name: &str) -> Result<Worker, StartError> {
        let options = WorkerOptions {
            name: name.to_owned(),
            concurrency: 2,
            preload: Vec::new(),
            start_timeout: LONG,
        };
        Worker::fork(options, &self.spec, server, &self.tracker).await
    }
}

async fn answer(worker: &Worker, name: &str, inputs: serde_json::Value) -> serde_json::Value {
    let reply = worker.call(&call(name, inputs, LONG), Box::new(())).await;
    serde_json::Value::Object(reply.unwrap().outputs)
}

#[tokio::test]
async fn a_forked_worker_answers_calls() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::new(folder.path());
    let server = house.server(&["fixture_programs"]).await.unwrap();
    let worker = house.fork(&server, "w-0.0").await.unwrap();
    assert_eq!(
        answer(&worker, "echo", json!({"text": "x"})).await,
        json!({"text": "x"})
    );
    assert_eq!(
        answer(&worker, "pid", json!({})).await,
        json!({"pid": worker.pid()})
    );
    assert_ne!(worker.pid(), server.pid());
    assert!(worker.memory().unwrap().private > 0);
}

#[tokio::test]
async fn the_end_of_a_forked_worker_is_told_as_of_a_started_one() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::new(folder.path());
    let server = house.server(&[]).await.unwrap();
    let worker = house.fork(&server, "w-0.0").await.unwrap();
    let crash = call("crash", json!({}), LONG);
    match worker.call(&crash, Box::new(())).await.unwrap_err() {
        PoolError::Crashed { reason, .. } => assert!(reason.contains("exit code 17"), "{reason}"),
        other => panic!("{other:?}"),
    }
    let worker = house.fork(&server, "w-0.1").await.unwrap();
    worker.shutdown(LONG).await;
    assert!(worker.ended().await.contains("stopped"));
}
