//! Pools over HTTP: one whole, both in metrics, and what only an admin sees.

use dspex_pool::{Health, WorkerChange, WorkerState};
use serde_json::json;

use super::bench::Bench;

/// A pool that has seen something.
fn seasoned(bench: &Bench) {
    bench.stable.status_with(|status| {
        let worker = &mut status.workers[0];
        worker.health = Health::Healthy;
        worker.in_state_ms = 1_500;
        worker.memory = Some(1_000);
        worker.detail = Some("exit code 1; its last words: hunter2".to_owned());
        worker.history = vec![WorkerChange {
            worker: "v1-0.0".to_owned(),
            at: "2026-01-02T03:04:05Z".to_owned(),
            from: WorkerState::Ready,
            to: WorkerState::Terminated,
            reason: "exit code 1; its last words: hunter2".to_owned(),
        }];
        let details = json!({
            "affinity": {"mode": "hint", "hits": 9, "misses": 1},
            "switches": {"pool_optimizer": true},
            "start_circuit": {"state": "open", "why": ["exit code 1; its last words: hunter2"]},
        });
        status.details = details.as_object().unwrap().clone();
    });
}

#[tokio::test]
async fn one_pool_is_shown_whole_to_an_admin() {
    let bench = Bench::ready().await;
    seasoned(&bench);
    let pool = bench.admin("GET", "/admin/v1/pools/v1", None).await.json();
    assert_eq!(
        (&pool["name"], &pool["lane"]),
        (&json!("v1"), &json!("stable"))
    );
    assert_eq!(pool["circuit"]["state"], "closed");
    let worker = &pool["status"]["workers"][0];
    for (member, value) in [
        ("health", json!("healthy")),
        ("in_state_ms", json!(1_500)),
        ("memory", json!(1_000)),
    ] {
        assert_eq!(worker[member], value, "{worker}");
    }
    assert_eq!(worker["history"][0]["to"], "terminated");
    assert_eq!(pool["status"]["details"]["affinity"]["mode"], "hint");
    assert_eq!(
        pool["switches"],
        json!({"enhanced_workers": true, "pool_optimizer": false, "circuit_breaker": true})
    );

    let pool = bench.admin("GET", "/admin/v1/pools/v2", None).await.json();
    assert_eq!(
        (&pool["lane"], &pool["status"]),
        (&json!(null), &json!(null))
    );
    assert_eq!(pool["kind"], "pool-v2");

    let nobody = bench.admin("GET", "/admin/v1/pools/v22", None).await;
    assert_eq!(nobody.problem(404)["nearest"], "v2");
    bench.get("/admin/v1/pools/v1").await.problem(401);
}

#[tokio::test]
async fn what_workers_said_last_is_for_admins() {
    let bench = Bench::ready().await;
    seasoned(&bench);
    let status = bench.get("/v1/status").await;
    assert!(!status.text.contains("hunter2"), "{}", status.text);
    let stable = &status.json()["lanes"]["stable"];
    assert_eq!(stable["details"]["start_circuit"]["state"], "open");
    assert_eq!(stable["workers"][0]["memory"], 1_000);
    assert_eq!(stable["workers"][0].get("history"), None);
}

#[tokio::test]
async fn workers_sessions_and_switches_are_metrics() {
    let bench = Bench::ready().await;
    seasoned(&bench);
    let text = bench.get("/metrics").await.text;
    for line in [
        r#"dspex_workers{pool="v1",state="ready"} 2"#,
        r#"dspex_workers{pool="v1",state="degraded"} 0"#,
        r#"dspex_worker_memory_bytes{pool="v1"} 1000"#,
        r#"dspex_affinity_hits_total{pool="v1"} 9"#,
        r#"dspex_affinity_misses_total{pool="v1"} 1"#,
        r#"dspex_pool_switch{pool="v1",switch="pool_optimizer"} 1"#,
        "dspex_sessions 0",
    ] {
        assert!(text.lines().any(|each| each == line), "{line} in\n{text}");
    }
}
