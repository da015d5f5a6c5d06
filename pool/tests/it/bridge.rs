//! The bridge protocol, spoken to our own bridge and to one older than dspex.

use dspex_pool::testing::real;
use dspex_pool::{BridgeError, BridgeWorker, Spawner};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::LONG;

async fn start(command: &[&str], folder: &std::path::Path) -> BridgeWorker {
    let mut whole = vec![real::python().display().to_string()];
    whole.extend(command.iter().map(|&part| part.to_owned()));
    let spec = real::launch(folder);
    let spawner = Spawner::start().unwrap();
    BridgeWorker::start(
        "b-0",
        &whole,
        "pool-worker",
        &spec,
        &spawner,
        &TaskTracker::new(),
    )
    .await
    .unwrap()
}

#[tokio::test]
async fn every_command_of_the_protocol_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let legacy = real::fixtures()
        .join("legacy_bridge.py")
        .display()
        .to_string();
    for command in [&["-m", "dspex_worker.bridge"][..], &[&legacy]] {
        let mut worker = start(command, folder.path()).await;
        for name in ["ping", "get_stats", "cleanup", "reset_state"] {
            let deadline = Instant::now() + LONG;
            let answer = worker.request(name, &json!({}), deadline).await;
            assert!(answer.is_ok(), "{command:?} {name}: {answer:?}");
        }
        let unknown = worker
            .request("make_tea", &json!({}), Instant::now() + LONG)
            .await;
        assert!(
            matches!(unknown, Err(BridgeError::Failed { .. })),
            "{command:?}: {unknown:?}"
        );
        let process = worker.process().pid();
        worker.shutdown(LONG).await;
        assert!(!std::path::Path::new(&format!("/proc/{process}")).exists());
    }
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_told_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut worker = start(&["-c", "import time; time.sleep(60)"], folder.path()).await;
    let deadline = Instant::now() + std::time::Duration::from_millis(50);
    let error = worker
        .request("ping", &json!({}), deadline)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("`ping`"), "{error}");
}

#[tokio::test]
async fn a_command_that_cannot_be_sent_is_told_apart_from_one_that_may_have_begun() {
    let folder = tempfile::tempdir().unwrap();
    let deaf = "import os, sys, time; os.close(0); print('deaf', file=sys.stderr); time.sleep(60)";
    let mut worker = start(&["-c", deaf], folder.path()).await;
    let deadline = Instant::now() + LONG;
    while worker.process().output().last().is_none() {
        assert!(Instant::now() < deadline, "the script said nothing");
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let error = worker.request("ping", &json!({}), deadline).await;
    assert!(matches!(error, Err(BridgeError::NotSent(_))), "{error:?}");

    let mut worker = start(
        &["-c", "import sys; sys.stdin.buffer.read(5)"],
        folder.path(),
    )
    .await;
    let error = worker.request("ping", &json!({}), deadline).await;
    assert!(matches!(error, Err(BridgeError::Ended(_))), "{error:?}");
    let again = worker.request("ping", &json!({}), deadline).await;
    assert!(matches!(again, Err(BridgeError::NotSent(_))), "{again:?}");
}

#[tokio::test]
async fn dropping_a_worker_kills_it_whoever_still_watches_it() {
    let folder = tempfile::tempdir().unwrap();
    let worker = start(&["-c", "import time; time.sleep(60)"], folder.path()).await;
    let process = std::sync::Arc::clone(worker.process());
    drop(worker);
    let exit = tokio::time::timeout(LONG, process.wait()).await.unwrap();
    assert_eq!(exit.unwrap().to_string(), "signal 9");
}
