//! Streams under fire: readers who leave or dawdle, and a worker that is killed in the middle.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::fleet::{pool, signal, until, whole, workers};
use crate::house::{House, LONG, v2_alone};

async fn open(workers: usize) -> House {
    // A generator that ends late, on a machine that does other things too, costs no worker: whether it
    // ends is looked at by each test.
    let settings = format!("workers = {workers}\nconcurrency = 4\ngive_up_after = \"60s\"");
    let mut house = House::with(&v2_alone(&settings));
    house.open().await;
    house
}

async fn stream(house: &House, program: &str, inputs: Value) -> reqwest::Response {
    let request = house
        .request("POST", &format!("/v1/programs/{program}/execute"))
        .header("accept", "text/event-stream")
        .json(&json!({"inputs": inputs, "timeout_ms": 60_000}));
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    response
}

/// How far a stream that notes its progress has got.
fn progress(path: &std::path::Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}

#[tokio::test]
async fn readers_who_leave_in_the_middle_end_their_generators_and_nothing_is_left() {
    const READERS: usize = 20;
    let house = open(2).await;
    house.create("counts_for_ever").await;
    house.create("async_counts_for_ever").await;
    let began = Instant::now();
    for reader in 0..READERS {
        let program = ["counts_for_ever", "async_counts_for_ever"][reader % 2];
        let trace = house.path(&format!("trace-{reader}"));
        let mut response = stream(&house, program, json!({"path": trace})).await;
        for _ in 0..reader {
            response.chunk().await.unwrap().unwrap();
        }
        drop(response);
    }
    for reader in 0..READERS {
        let trace = house.path(&format!("trace-{reader}"));
        while !trace.exists() {
            assert!(began.elapsed() < LONG, "generator {reader} counts on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let idle = |pool: &Value| pool["in_flight"] == 0;
    let (pool, _) = until(&house, "v2", "idle", idle).await;
    eprintln!(
        "{READERS} readers left in the middle, their generators ended within {:.1?}",
        began.elapsed()
    );
    assert_eq!(
        (&pool["failures"], &pool["starts"]),
        (&json!(0), &json!(2)),
        "{pool:#}"
    );
}

#[tokio::test]
async fn a_worker_killed_in_the_middle_ends_the_stream_with_an_error_and_nobody_repeats_it() {
    let house = open(2).await;
    // It may be repeated, but not once a part of the answer has gone out.
    let target = "storm_programs:counts_and_notes";
    house.create_as("counts", target, true).await;
    let trace = house.path("trace");
    let inputs = json!({"path": trace, "n": 100_000});
    let mut response = stream(&house, "counts", inputs).await;
    let mut text = String::new();
    while !text.contains("data: 20\n") {
        let chunk = response.chunk().await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    let before = pool(&house, "v2").await;
    let busy = workers(&before)
        .into_iter()
        .find(|worker| worker.in_flight == 1);
    signal(busy.unwrap().pid.unwrap(), Signal::KILL);
    while let Some(chunk) = response.chunk().await.unwrap() {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    let numbers: Vec<usize> = text
        .split("event: chunk\ndata: ")
        .skip(1)
        .map(|rest| rest.lines().next().unwrap().parse().unwrap())
        .collect();
    let in_order: Vec<usize> = (0..numbers.len()).collect();
    assert_eq!(numbers, in_order, "no chunk is lost, repeated or torn");
    let (_, last) = text.rsplit_once("event: error\ndata: ").unwrap();
    let problem: Value = serde_json::from_str(last.trim()).unwrap();
    assert_eq!(
        problem["type"], "urn:dspex:problem:worker-crashed",
        "{problem}"
    );
    let (pool, _) = until(&house, "v2", "whole", whole).await;
    assert_eq!(pool["failures"], 1);
    assert_eq!(
        std::fs::read_to_string(trace).unwrap(),
        "begun\n",
        "it was begun once"
    );
    eprintln!(
        "a worker killed after {} chunks: {}",
        numbers.len(),
        problem["detail"]
    );
}

#[tokio::test]
async fn a_reader_who_dawdles_holds_up_its_generator_and_no_other_call() {
    /// Bytes of one chunk: far more than sockets keep is poured in no time.
    const CHUNK: u64 = 64 << 10;
    /// What the window (16 chunks) and all buffers on the way may hold.
    const ON_ITS_WAY: u64 = (64 << 20) / CHUNK;
    let house = open(1).await;
    house.create("echo").await;
    for callable in ["pours", "async_pours"] {
        let target = format!("storm_programs:{callable}");
        house.create_as(callable, &target, true).await;
        let trace = house.path(callable);
        let mut response = stream(&house, callable, json!({"path": trace, "bytes": CHUNK})).await;
        response.chunk().await.unwrap().unwrap();
        // It stands still once everything on the way is full, as many looks show, each of which
        // takes a call of another program.
        let (mut seen, mut still) = (0, 0);
        let began = Instant::now();
        while still < 50 {
            let echo = house.execute("echo", "s", json!({"text": "x"})).await;
            echo.ok(200);
            let now = progress(&trace);
            still = if now == seen { still + 1 } else { 0 };
            seen = now;
            assert!(began.elapsed() < LONG, "it pours on: {now} chunks");
        }
        assert!(seen < ON_ITS_WAY, "{seen} chunks");
        // It goes on when the reader does.
        let mut read = 0;
        while progress(&trace) <= seen + 16 {
            read += response.chunk().await.unwrap().unwrap().len();
        }
        eprintln!(
            "{callable} stood still after {seen} chunks of 64 KiB that nobody took, and went on once {} KiB were read",
            read / 1024
        );
        drop(response);
        until(&house, "v2", "idle", |pool| pool["in_flight"] == 0).await;
    }
    let pool = pool(&house, "v2").await;
    assert_eq!(
        (&pool["failures"], &pool["starts"]),
        (&json!(0), &json!(1)),
        "{pool:#}"
    );
}

#[tokio::test]
async fn chunks_that_are_taken_before_anybody_looks_are_made_up_for() {
    // Many short streams, each longer than two windows: one that is not given its credit stands
    // still for ever.
    const STREAMS: usize = 200;
    let house = open(1).await;
    house.create("async_counts_to").await;
    house.create("counts_to").await;
    for number in 0..STREAMS {
        let program = ["async_counts_to", "counts_to"][number % 2];
        let response = stream(&house, program, json!({"n": 40})).await;
        let text = response.text().await.unwrap();
        assert_eq!(text.matches("event: chunk").count(), 40, "{program}");
        assert!(text.contains("event: result"), "{text}");
    }
}
