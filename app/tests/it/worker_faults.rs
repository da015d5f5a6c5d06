//! Workers that fail, seen by a caller over HTTP.

use serde_json::json;

use crate::house::{House, fixtures, python, rehearsal};

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
        let slow = json!({"inputs": {"seconds": 5}, "timeout_ms": 200});
        house
            .post("/v1/programs/sleeper/execute", slow)
            .await
            .problem(504, "did not answer");
        let answer = execute("echo", json!({"text": "still here"})).await.ok(200);
        assert_eq!(answer["outputs"]["text"], "still here");
    }
}

#[tokio::test]
async fn a_killed_worker_fails_no_call_that_may_be_repeated() {
    let house = House::start("").await;
    house.create("waits_for_file").await;
    let gate = house.path("gate");
    let call = house.execute("waits_for_file", "s", json!({"path": gate}));
    let kill = async {
        let pid = loop {
            let status = house.get("/v1/status").await.ok(200);
            let workers = status["lanes"]["stable"]["workers"]
                .as_array()
                .unwrap()
                .clone();
            if let Some(busy) = workers.iter().find(|worker| worker["state"] == "busy") {
                break busy["pid"].as_i64().unwrap();
            }
        };
        // A child of the server that is busy with our call, so it is not reaped yet.
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        std::fs::write(&gate, "").unwrap();
    };
    let (answer, ()) = tokio::join!(call, kill);
    answer.ok(200);
    let status = house.get("/v1/status").await.ok(200);
    assert_eq!(status["lanes"]["stable"]["failures"], 1, "{status:#}");
}

#[tokio::test]
async fn a_script_older_than_dspex_serves_as_stable() {
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
