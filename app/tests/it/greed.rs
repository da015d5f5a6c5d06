//! Programs that take, or say, too much: their own callers are told, and nobody else notices.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::fleet::{until, whole};
use crate::house::{House, LONG, v2_alone};
use crate::traffic::Traffic;

/// Every line that a worker may have logged: a burst, and 200 a second for longer than this takes.
const LOG_LIMIT: usize = 8 << 20;

async fn open(limits: &str) -> Arc<House> {
    let settings = format!("workers = 3\nconcurrency = 2\n{limits}");
    let mut house = House::with(&v2_alone(&settings));
    house.open().await;
    house.create("echo").await;
    Arc::new(house)
}

#[tokio::test]
async fn ten_megabytes_from_c_and_at_the_end_harm_no_sibling_and_fill_no_disk() {
    let house = open("").await;
    let target = "fixture_processes:floods_from_c";
    house.create_as("floods", target, false).await;
    let traffic = Traffic::start(&house, 4);
    let inputs = json!({"megabytes": 10});
    house.execute("floods", "s", inputs).await.ok(200);
    let inputs = json!({"megabytes": 10, "at_exit": true});
    let flood = house.execute("floods", "s", inputs).await;
    flood.problem(502, "exit code 7");
    until(&house, "v2", "whole", whole).await;
    let answered = traffic.answered();
    let failures = traffic.stop().await;
    // What was dropped is told within a second, or once the worker's output has been read to its end.
    let (mut log, mut told) = (String::new(), 0);
    let began = Instant::now();
    while told == 0 && began.elapsed() < LONG {
        tokio::time::sleep(Duration::from_millis(10)).await;
        log = house.log();
        told = log.lines().filter(|line| line.contains("dropped=")).count();
    }
    eprintln!(
        "20 MB of output became {} KiB of log, {told} lines of it tell what was dropped; {answered} \
         calls beside it, {} failed",
        log.len() / 1024,
        failures.len()
    );
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(log.len() < LOG_LIMIT, "{} bytes", log.len());
    assert!(told > 0, "what is not logged is counted");
}

#[tokio::test]
async fn a_memory_hog_is_told_and_harms_no_sibling() {
    let house = open("limits = { address_space = \"2GiB\" }").await;
    house
        .create_as("hoards", "fixture_processes:hoards", false)
        .await;
    let traffic = Traffic::start(&house, 4);
    for _ in 0..3 {
        let answer = house
            .execute("hoards", "s", json!({"megabytes": 4096}))
            .await;
        let problem = answer.problem(500, "MemoryError");
        assert_eq!(problem["exception"], "MemoryError");
        house
            .execute("hoards", "s", json!({"megabytes": 1}))
            .await
            .ok(200);
    }
    let answered = traffic.answered();
    let failures = traffic.stop().await;
    eprintln!(
        "a memory hog was told three times; {answered} calls beside it, {} failed",
        failures.len()
    );
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(answered > 0);
    // Whoever ran out of memory once is replaced, by one that is warm.
    let (pool, _) = until(&house, "v2", "replaced", |pool| {
        whole(pool) && pool["starts"].as_u64() > Some(3)
    })
    .await;
    assert_eq!(pool["failures"], 0, "{pool:#}");
}

#[tokio::test]
async fn a_fork_bomb_is_told_and_harms_no_sibling() {
    let house = open("limits = { processes = 40 }").await;
    house
        .create_as("breeds", "fixture_processes:breeds", false)
        .await;
    let traffic = Traffic::start(&house, 4);
    let answer = house.execute("breeds", "s", json!({"most": 120})).await;
    let problem = answer.problem(502, "where 40 are allowed");
    assert_eq!(problem["type"], "urn:dspex:problem:worker-crashed");
    let (pool, took) = until(&house, "v2", "whole", whole).await;
    let answered = traffic.answered();
    let failures = traffic.stop().await;
    eprintln!(
        "a fork bomb was stopped, and the pool whole {took:.1?} later; {answered} calls beside it, \
         {} failed",
        failures.len()
    );
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(answered > 0);
    assert_eq!(pool["failures"], 1, "{pool:#}");
}
