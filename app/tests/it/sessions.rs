//! Sessions of stateful programs, through everything that may happen to a worker, a server and a lane.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::house::{House, LONG, rehearsal};

/// Creates the callable that counts its session's calls.
async fn tally(house: &House) {
    let body = json!({"id": "tally", "kind": "callable", "target": "fixture_programs:Tally",
        "repeatable": true, "stateful": true});
    let made = house.post("/v1/programs", body).await.ok(201);
    assert_eq!(made["stateful"], true);
}

async fn calls(house: &House, session: &str) -> Value {
    let answer = house.execute("tally", session, json!({"n": 1})).await;
    answer.ok(200)["outputs"]["calls"].clone()
}

#[tokio::test]
async fn a_session_survives_its_worker_and_its_server() {
    for stable in ["v1", "v2"] {
        let configuration = rehearsal()
            .replace("stable = \"v1\"", &format!("stable = {stable:?}"))
            .replace("candidate = \"v2\"", "candidate = \"\"");
        let mut house = House::with(&configuration);
        house.open().await;
        tally(&house).await;
        for call in 1..=3 {
            assert_eq!(calls(&house, "ada").await, call);
        }
        assert_eq!(calls(&house, "bob").await, 1);
        let failed = house.execute("tally", "ada", json!({"n": 13})).await;
        failed.problem(500, "13 is not counted");
        assert_eq!(
            calls(&house, "ada").await,
            4,
            "as the last good call left it"
        );
        let refused = house
            .post("/v1/programs/tally/execute", json!({"inputs": {"n": 1}}))
            .await;
        refused.problem(422, "X-Session-Id");

        let status = house.get("/v1/status").await.ok(200);
        for worker in status["lanes"]["stable"]["workers"].as_array().unwrap() {
            let pid = i32::try_from(worker["pid"].as_i64().unwrap()).unwrap();
            rustix::process::kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
        }
        assert_eq!(calls(&house, "ada").await, 5, "{stable}: other workers");
        house.kill();
        house.open().await;
        assert_eq!(calls(&house, "ada").await, 6, "{stable}: another server");
        assert_eq!(calls(&house, "bob").await, 2);
    }
}

#[tokio::test]
async fn a_rollout_loses_no_session() {
    let house = Arc::new(House::start("").await);
    tally(&house).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for caller in 0..8 {
        let (house, stop) = (Arc::clone(&house), Arc::clone(&stop));
        callers.spawn(async move {
            let session = format!("session-{caller}");
            let (mut made, mut lanes) = (0_u64, Vec::new());
            loop {
                // One call more after the end, which nothing keeps from the candidate: the last one before it
                // may have waited on stable all the while.
                let last = stop.load(Ordering::Relaxed);
                let answer = house.execute("tally", &session, json!({"n": 1})).await;
                made += 1;
                lanes.extend(answer.lane.clone());
                lanes.dedup();
                let body = answer.ok(200);
                assert_eq!(body["outputs"]["calls"], made, "{session} via {lanes:?}");
                if last {
                    break lanes;
                }
            }
        });
    }
    house.start_migration().await;
    let began = Instant::now();
    while house.migration().await["phase"] != "complete" {
        assert!(began.elapsed() < LONG, "{:#}", house.migration().await);
        assert!(callers.try_join_next().is_none(), "a caller gave up");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(lanes) = callers.join_next().await {
        assert_eq!(
            lanes.unwrap(),
            ["stable", "candidate"],
            "each was moved once"
        );
    }
}
