//! Workers that fail, seen by a caller over HTTP.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::again::until;
use crate::fleet::signal;
use crate::house::{House, LONG, fixtures, python, rehearsal};
use crate::protocol_faults::open_with_rogues;

#[tokio::test]
async fn each_failure_has_its_own_status_and_the_next_call_is_answered() {
    for stable in ["v1", "v2"] {
        let configuration = rehearsal()
            .replace("stable = \"v1\"", &format!("stable = {stable:?}"))
            .replace("candidate = \"v2\"", "candidate = \"\"");
        let mut house = House::with(&configuration);
        house.open().await;
        for callable in [
            "echo",
            "add",
            "raises",
            "provider_429",
            "not_json",
            "sleeper",
        ] {
            house.create(callable).await;
        }
        // Not repeatable: nobody may try it again.
        let body = json!({"id": "crash", "kind": "callable", "target": "fixture_programs:crash"});
        house.post("/v1/programs", body).await.ok(201);
        let execute = |program, inputs| house.execute(program, "s", inputs);
        execute("crash", json!({}))
            .await
            .problem(502, "exit code 17");
        execute("raises", json!({}))
            .await
            .problem(500, "ValueError");
        execute("provider_429", json!({}))
            .await
            .problem(429, "provider");
        execute("not_json", json!({})).await.problem(500, "handle");
        execute("echo", json!({})).await.problem(422, "text");
        execute("echo", json!({"text": 1, "other": 2}))
            .await
            .problem(422, "other");
        execute("add", json!({"a": "one", "b": 2}))
            .await
            .problem(422, "a");
        // Time enough to begin. It "did not answer", unless this machine did not let its worker answer a
        // ping either, which "stopped answering" then.
        let slow = json!({"inputs": {"seconds": 60}, "timeout_ms": 3_000});
        let late = house.post("/v1/programs/sleeper/execute", slow).await;
        let words = match late.body["type"].as_str() {
            Some("urn:dspex:problem:worker-hung") if stable == "v2" => "stopped answering",
            _ => "did not answer",
        };
        late.problem(504, words);
        let answer = execute("echo", json!({"text": "still here"})).await.ok(200);
        assert_eq!(answer["outputs"]["text"], "still here");
    }
}

#[tokio::test]
async fn a_workers_last_words_are_logged_with_the_request_and_told_to_no_caller() {
    for stable in ["v1", "v2"] {
        let configuration = rehearsal().replace("stable = \"v1\"", &format!("stable = {stable:?}"));
        let house = open_with_rogues(&configuration).await;
        let target = "rogue_programs:says_a_secret_and_ends";
        let body = json!({"id": "dies", "kind": "callable", "target": target});
        house.post("/v1/programs", body).await.ok(201);
        let answer = house.execute("dies", "s", json!({})).await;
        let problem = answer.problem(502, "exit code 17");
        assert!(!problem.to_string().contains("hunter2"), "{problem}");
        let status = house.get("/v1/status").await.ok(200);
        assert!(!status.to_string().contains("hunter2"), "{status:#}");
        let request = problem["request_id"].as_str().unwrap();
        let log = house.log();
        let line = log
            .lines()
            .find(|line| line.contains("last words: ") && line.contains(request));
        let line = line.unwrap_or_else(|| panic!("no line of {request}: {log}"));
        assert!(line.contains("hunter2"), "{line}");
    }
}

#[tokio::test]
async fn a_killed_worker_fails_no_call_that_may_be_repeated() {
    let house = House::start("").await;
    house.create("waits_for_file").await;
    killed_during_a_call(&house, "stable").await;
    is_one_failure(&house).await;
}

#[tokio::test]
async fn the_same_on_the_pool_that_multiplexes() {
    let configuration = rehearsal()
        .replace("stable = \"v1\"", "stable = \"v2\"")
        .replace("candidate = \"v2\"", "candidate = \"\"");
    let mut house = House::with(&configuration);
    house.open().await;
    house.create("waits_for_file").await;
    killed_during_a_call(&house, "stable").await;
    is_one_failure(&house).await;
}

/// The caller may have its answer before the pool has counted.
async fn is_one_failure(house: &House) {
    let counted = |status: &Value| status["lanes"]["stable"]["failures"].as_u64();
    let status = until(house, "/v1/status", "failure", |status| {
        counted(status) >= Some(1)
    })
    .await;
    assert_eq!(counted(&status), Some(1), "{status:#}");
}

#[tokio::test]
async fn the_same_on_the_candidate() {
    let house = House::start("").await;
    house.create("waits_for_file").await;
    house.start_migration().await;
    let at = async |percent: f64| {
        let began = Instant::now();
        loop {
            let migration = house.migration().await;
            if migration["percent"] == percent && migration["acknowledged"] == true {
                return;
            }
            assert!(began.elapsed() < LONG, "{}", house.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    at(25.0).await;
    let promote = json!({"why": "a test", "to_end": true});
    house
        .post("/admin/v1/migrations/current/promote", promote)
        .await
        .ok(200);
    at(100.0).await;
    killed_during_a_call(&house, "candidate").await;
}

#[tokio::test]
async fn workers_killed_while_they_idle_cost_no_call() {
    for stable in ["v1", "v2"] {
        let configuration = rehearsal()
            .replace("stable = \"v1\"", &format!("stable = {stable:?}"))
            .replace("candidate = \"v2\"", "candidate = \"\"");
        let mut house = House::with(&configuration);
        house.open().await;
        house.create("echo").await;
        for how_many in [1, usize::MAX] {
            let idle = idle_once_all_are_ready(&house).await;
            for pid in idle.into_iter().take(how_many) {
                kill(pid);
            }
            // At once, without waiting until the pool has seen it.
            for call in 0..4 {
                let session = format!("session-{call}");
                let answer = house.execute("echo", &session, json!({"text": "x"})).await;
                assert_eq!(answer.status, 200, "{stable}: {answer:?}");
            }
        }
    }
}

async fn workers(house: &House, lane: &str) -> Vec<Value> {
    let status = house.get("/v1/status").await.ok(200);
    let workers = status["lanes"][lane]["workers"].as_array();
    workers.cloned().unwrap_or_default()
}

async fn idle_once_all_are_ready(house: &House) -> Vec<i64> {
    let began = Instant::now();
    loop {
        let status = house.get("/v1/status").await.ok(200);
        let stable = &status["lanes"]["stable"];
        if stable["ready"] == stable["size"] {
            let workers = stable["workers"].as_array().unwrap().iter();
            return workers
                .map(|worker| worker["pid"].as_i64().unwrap())
                .collect();
        }
        assert!(began.elapsed() < LONG, "{stable:#}\n{}", house.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Kills a worker of the house. One that was killed before may still be told as ready.
fn kill(pid: i64) {
    signal(i32::try_from(pid).unwrap(), Signal::KILL);
}

/// Calls `waits_for_file` and kills the worker of this lane that runs it; the caller gets its answer.
async fn killed_during_a_call(house: &House, lane: &str) {
    let gate = house.path("gate");
    let call = house.execute("waits_for_file", "s", json!({"path": gate}));
    let kill_it = async {
        let pid = loop {
            let workers = workers(house, lane).await;
            let busy = workers.iter().find(|worker| worker["in_flight"] == 1);
            if let Some(busy) = busy {
                break busy["pid"].as_i64().unwrap();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        kill(pid);
        std::fs::write(&gate, "").unwrap();
    };
    let (answer, ()) = tokio::join!(call, kill_it);
    answer.ok(200);
}

#[tokio::test]
async fn a_script_older_than_dspex_serves_in_pool_v1() {
    let script = fixtures().join("legacy_bridge.py");
    let command = format!(
        "kind = \"pool-v1\"\ncommand = [{:?}, {:?}]",
        python(),
        script
    );
    let configuration = rehearsal().replace("kind = \"pool-v1\"", &command);
    let mut house = House::with(&configuration);
    house.open().await;
    let body = json!({"id": "qa", "kind": "dspy", "signature": "question -> answer"});
    house.post("/v1/programs", body).await.ok(201);
    let answer = house
        .execute("qa", "s", json!({"question": "why?"}))
        .await
        .ok(200);
    assert!(answer["outputs"]["answer"].is_string(), "{answer}");
}
