//! What is told of calls that a pool failed: which were sent once more, and what their circuits did.

use dspex_pool::PoolError;
use serde_json::{Value, json};

use super::bench::Bench;

/// All traffic on the candidate, and a program that may be repeated.
async fn all_on_candidate(bench: &Bench) {
    let echo = json!({"id": "echo", "kind": "callable", "target": "m:echo", "repeatable": true});
    assert_eq!(bench.post("/v1/programs", echo).await.status, 201);
    let house = bench.state.house().unwrap();
    house.router.set_candidate(Some(bench.candidate.shared()));
    let all = json!({"set": {"pool_v2_enabled": true, "gradual_rollout_percentage": 100}, "why": "a test"});
    let written = bench.admin("PATCH", "/admin/v1/flags", Some(all)).await;
    assert_eq!(written.status, 200, "{written:?}");
}

async fn call(bench: &Bench) -> (u16, Option<String>) {
    let body = json!({"inputs": {"text": "hello"}});
    let answer = bench.post("/v1/programs/echo/execute", body).await;
    let lane = answer.header("x-dspex-lane").map(str::to_owned);
    (answer.status.as_u16(), lane)
}

async fn status(bench: &Bench) -> Value {
    bench.get("/v1/status").await.json()
}

#[tokio::test]
async fn calls_that_are_sent_once_more_are_seen_with_their_outcome() {
    let bench = Bench::ready().await;
    all_on_candidate(&bench).await;
    let before = status(&bench).await["rescue"]["budget"]["left"].clone();
    bench.candidate.fail_with(PoolError::Draining);
    assert_eq!(call(&bench).await, (200, Some("stable".to_owned())));
    bench.stable.fail_with(PoolError::Draining);
    assert_eq!(call(&bench).await.0, 503);

    let rescue = status(&bench).await["rescue"].clone();
    let failover = &rescue["failover"];
    let counts = ["recovered", "abandoned", "tripped", "left", "under_way"];
    assert_eq!(
        counts.map(|name| failover[name].clone()),
        [1, 1, 0, 0, 0],
        "{rescue:#}"
    );
    assert_eq!(failover["active"], json!([]));
    let recent = failover["recent"].as_array().unwrap();
    let outcomes: Vec<_> = recent.iter().map(|one| one["outcome"].clone()).collect();
    assert_eq!(outcomes, ["recovered", "abandoned"]);
    assert!(
        recent[0]["request_id"]
            .as_str()
            .is_some_and(|id| !id.is_empty())
    );
    assert_eq!(rescue["again"]["recovered"], 0);
    let left = rescue["budget"]["left"].as_u64().unwrap();
    assert!(
        left < before.as_u64().unwrap(),
        "two were drawn: {rescue:#}"
    );

    let metrics = bench.get("/metrics").await.text;
    for line in [
        r#"dspex_rescues_total{rule="failover",outcome="recovered"} 1"#,
        r#"dspex_rescues_total{rule="failover",outcome="abandoned"} 1"#,
        r#"dspex_rescues_total{rule="again",outcome="recovered"} 0"#,
        r#"dspex_rescues_under_way{rule="failover"} 0"#,
        r#"dspex_retry_budget_draws_total{draw="failover",answer="granted"} 2"#,
        &format!("dspex_retry_budget_left {left}"),
    ] {
        assert!(
            metrics.lines().any(|each| each == line),
            "no {line} in {metrics}"
        );
    }
}
