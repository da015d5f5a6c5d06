//! A worker that takes too much is stopped, and its siblings go on.

use dspex_pool::{PoolError, WorkerLimits};
use serde_json::json;

use crate::house::{House, ask, wait_until};

const MEGABYTE: u64 = 1024 * 1024;

#[tokio::test]
async fn a_memory_hog_meets_its_limit_and_its_siblings_go_on() {
    let mut house = House::new();
    house.spec.limits = WorkerLimits {
        address_space: Some(2048 * MEGABYTE),
        ..WorkerLimits::default()
    };
    let server = house.server(&[]).await.unwrap();
    let sibling = house.fork(&server, "w-sibling").await.unwrap();
    for hog in house.both(&server).await {
        match ask(&hog, "hoards", json!({"megabytes": 4096})).await {
            Err(PoolError::Program { exception, .. }) => {
                assert_eq!(exception, "MemoryError");
            }
            other => panic!("{other:?}"),
        }
        let modest = ask(&hog, "hoards", json!({"megabytes": 1})).await.unwrap();
        assert_eq!(modest, json!({"length": MEGABYTE}), "it is still well");
        assert!(ask(&sibling, "rolls", json!({})).await.is_ok());
    }
}

#[tokio::test]
async fn open_files_are_limited_in_both_kinds() {
    let mut house = House::new();
    house.spec.limits.open_files = Some(64);
    let server = house.server(&[]).await.unwrap();
    for worker in house.both(&server).await {
        let seen = ask(&worker, "sees", json!({})).await.unwrap();
        assert_eq!(seen["files"], 64);
        let opened = ask(&worker, "opens", json!({"files": 100})).await;
        assert!(opened.is_err(), "{opened:?}");
        let opened = ask(&worker, "opens", json!({"files": 10})).await;
        assert_eq!(opened.unwrap(), json!({"opened": 10}));
    }
}

#[tokio::test]
async fn a_fork_bomb_is_stopped_and_its_siblings_go_on() {
    let mut house = House::new();
    house.spec.limits.processes = Some(40);
    let server = house.server(&[]).await.unwrap();
    let sibling = house.fork(&server, "w-sibling").await.unwrap();
    for bomb in house.both(&server).await {
        let seen = ask(&bomb, "sees", json!({})).await.unwrap();
        let mark = seen["environment"]["DSPEX_PROCESS"].as_str().unwrap();
        assert_eq!(marked(mark), 1, "the bomb itself");
        match ask(&bomb, "breeds", json!({"most": 120})).await {
            Err(PoolError::Crashed { reason, .. }) => {
                assert!(reason.contains("where 40 are allowed"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
        // Each of its offspring leads a session of its own, and is found by the mark alone.
        wait_until("none is left", || marked(mark) == 0).await;
        assert!(ask(&sibling, "rolls", json!({})).await.is_ok());
    }
}

/// Living processes that carry this mark in their environment.
fn marked(mark: &str) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let is_marked = |entry: &std::fs::DirEntry| {
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        String::from_utf8_lossy(&environment).contains(mark)
    };
    entries.filter(is_marked).count()
}
