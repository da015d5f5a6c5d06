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
    ] {
        assert!(
            metrics.lines().any(|each| each == line),
            "no {line} in {metrics}"
        );
    }
    assert!(metrics.contains("\ndspex_retry_budget_left "), "{metrics}");
}

#[tokio::test]
async fn a_person_decides_for_a_circuit_and_everybody_can_see_it() {
    let bench = Bench::ready().await;
    all_on_candidate(&bench).await;
    let set = |lane: &str, body: Value| {
        let path = format!("/admin/v1/circuits/{lane}");
        let bench = &bench;
        async move { bench.admin("PUT", &path, Some(body)).await }
    };
    let before = bench.admin("GET", "/admin/v1/events", None).await.json();
    let held = json!({"mode": "forced_open", "who": "ada", "why": "its GPU is changed"});
    let answer = set("candidate", held).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = answer.json();
    assert_eq!(answer["mode"], "forced_open");
    assert!(
        answer["effect"]
            .as_str()
            .is_some_and(|effect| effect.contains("no call"))
    );
    assert_eq!(call(&bench).await, (200, Some("stable".to_owned())));
    assert_eq!(bench.candidate.calls(), 0);

    let circuits = status(&bench).await["circuits"].clone();
    assert_eq!(circuits[0]["mode"], "automatic");
    assert_eq!(
        circuits[1]["held_by"],
        json!({"who": "ada", "why": "its GPU is changed"})
    );
    assert_eq!(
        circuits[1]["last"]["cause"],
        "the mode was set to forced_open"
    );
    let metrics = bench.get("/metrics").await.text;
    let line = r#"dspex_circuit_mode{circuit="candidate",mode="forced_open"} 1"#;
    assert!(metrics.lines().any(|each| each == line), "{metrics}");
    let audit = bench
        .admin("GET", "/admin/v1/audit?who=ada", None)
        .await
        .json();
    assert_eq!(audit["audit"][0]["kind"], "circuit", "{audit:#}");
    assert_eq!(
        audit["audit"][0]["what"],
        json!({"lane": "candidate", "mode": "forced_open"})
    );

    // The change of state comes from the circuit itself, by a task.
    let after = before["next"].as_str().unwrap();
    let path = format!("/admin/v1/events?after={after}");
    let mut newest = bench.state.house().unwrap().router.watch_circuits();
    let told = newest.wait_for(|newest| *newest >= 2);
    let told = tokio::time::timeout(std::time::Duration::from_secs(20), told).await;
    assert!(told.is_ok_and(|told| told.is_ok()), "both are told");
    let events = bench.admin("GET", &path, None).await.json();
    let texts: Vec<_> = events["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| {
            assert_eq!(
                (&event["kind"], &event["lane"]),
                (&json!("circuit"), &json!("candidate"))
            );
            event["text"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(
        texts,
        [
            "ada set the candidate circuit to forced_open: its GPU is changed",
            "the candidate circuit is open: the mode was set to forced_open",
        ]
    );
    let next = events["next"].as_str().unwrap();
    let rest = bench
        .admin("GET", &format!("/admin/v1/events?after={next}"), None)
        .await
        .json();
    assert_eq!(rest["events"], json!([]), "nothing is heard twice");
    let metrics = bench.get("/metrics").await.text;
    let line = r#"dspex_circuit_transitions_total{circuit="candidate",from="closed",to="open"} 1"#;
    assert!(metrics.lines().any(|each| each == line), "{metrics}");

    let given_back = json!({"mode": "automatic", "why": "it is in"});
    assert_eq!(set("candidate", given_back).await.json()["state"], "closed");
    assert_eq!(call(&bench).await, (200, Some("candidate".to_owned())));
    let listed = bench.admin("GET", "/admin/v1/circuits", None).await.json();
    assert_eq!(listed["circuits"][1]["held_by"], json!(null), "{listed:#}");
    assert_eq!(
        listed["changes"].as_array().unwrap().last().unwrap()["by"]["who"],
        "ada"
    );
}

#[tokio::test]
async fn what_is_no_circuit_no_mode_or_no_reason_is_refused() {
    let bench = Bench::ready().await;
    let set = async |lane: &str, body: Value| {
        let path = format!("/admin/v1/circuits/{lane}");
        bench.admin("PUT", &path, Some(body)).await
    };
    let good = || json!({"mode": "disabled", "why": "a test"});
    let problem = set("both", good()).await.problem(404);
    assert!(
        problem["detail"].as_str().unwrap().contains("\"both\""),
        "{problem}"
    );
    let problem = set("candidate", good()).await.problem(404);
    assert_eq!(problem["detail"], "no pool stands in the candidate lane");
    assert_eq!(
        set("stable", json!({"mode": "disabled"}))
            .await
            .problem(422)["field"],
        "why"
    );
    let problem = set("stable", json!({"mode": "open", "why": "a test"}))
        .await
        .problem(422);
    assert!(
        problem["detail"].as_str().unwrap().contains("forced_open"),
        "{problem}"
    );
    assert_eq!(status(&bench).await["circuits"][0]["mode"], "automatic");
    let path = "/admin/v1/circuits/stable";
    let without = super::bench::request("PUT", path, Some(good()));
    assert_eq!(bench.send(without).await.status, 401);
}
