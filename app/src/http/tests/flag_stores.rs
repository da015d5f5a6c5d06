//! What is told where the flags' store is gone, or is an older one.

use std::sync::Arc;
use std::time::Duration;

use dspex_flags::testing::FaultyStore;
use serde_json::{Value, json};

use super::bench::Bench;

const FLAGS: &str = "/admin/v1/flags";

async fn patch(bench: &Bench, body: Value) -> super::bench::Answer {
    bench.admin("PATCH", FLAGS, Some(body)).await
}

#[tokio::test]
async fn a_store_that_is_gone_is_told_and_the_last_good_flags_are_served() {
    let store = Arc::new(FaultyStore::new());
    let bench = Bench::with_flags(Arc::clone(&store) as _, &["flags.poll=20ms"]).await;
    let set = json!({"set": {"telemetry_v2": false}, "why": "a test"});
    assert_eq!(patch(&bench, set).await.status, 200);
    let ready = bench.get("/readyz").await;
    assert_eq!(ready.json(), json!({"status": "ready"}));

    store.fail_reads(true);
    let ready = until(async || {
        let ready = bench.get("/readyz").await;
        assert_eq!(
            ready.status, 200,
            "calls are served all the same: {ready:?}"
        );
        Some(ready.json()).filter(|ready| ready.get("troubles").is_some())
    });
    let trouble = ready.await["troubles"][0].as_str().unwrap().to_owned();
    assert!(trouble.contains("last good flags"), "{trouble}");
    assert!(trouble.contains("reads fail on request"), "{trouble}");
    let status = bench.get("/v1/status").await.json();
    assert!(status["flags"]["store_error"].is_string(), "{status}");
    assert_eq!(status["flags"]["values"]["telemetry_v2"], false);
    let metrics = bench.get("/metrics").await.text;
    assert!(metrics.contains("dspex_flag_store_readable 0"), "{metrics}");

    store.fail_reads(false);
    until(async || {
        let ready = bench.get("/readyz").await.json();
        Some(()).filter(|()| ready == json!({"status": "ready"}))
    })
    .await;
    let metrics = bench.get("/metrics").await.text;
    assert!(metrics.contains("dspex_flag_store_readable 1"), "{metrics}");
    let counted = r#"dspex_shadow_calls_total{became="copied"} 0"#;
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn a_write_into_a_store_that_went_back_is_refused_and_told() {
    let store = Arc::new(FaultyStore::new());
    let bench = Bench::with_flags(Arc::clone(&store) as _, &[]).await;
    let to = |percent: u8| {
        json!({"set": {"pool_v2_enabled": percent > 0, "gradual_rollout_percentage": percent},
               "why": "a test"})
    };
    assert_eq!(patch(&bench, to(25)).await.status, 200);
    assert_eq!(patch(&bench, to(50)).await.status, 200);
    store.lose_everything();
    let problem = patch(&bench, to(0)).await.problem(409);
    assert_eq!(problem["type"], "urn:dspex:problem:flags-went-back");
    assert_eq!(
        (&problem["served"], &problem["stored"]),
        (&json!(2), &json!(1))
    );
    let trouble = bench.get("/readyz").await.json()["troubles"][0].to_string();
    assert!(trouble.contains("restored from a backup"), "{trouble}");
    let revert = json!({"revision": 0, "why": "back"});
    let path = format!("{FLAGS}/revert");
    let reverted = bench.admin("POST", &path, Some(revert)).await;
    assert_eq!(reverted.problem(409)["served"], 2);
}

/// Asks again until there is an answer.
async fn until<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asking)
        .await
        .expect("it comes before the deadline")
}
