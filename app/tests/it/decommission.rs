//! The old pool's end, killed in the middle of it, and refused where it would be wrong.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::again::{MIGRATION, decommission, phase, pools, retaining};
use crate::house::House;
use crate::traffic::Traffic;

/// A house whose migration to V2 is complete.
async fn complete() -> House {
    let mut house = House::with(&retaining("20s"));
    house.open().await;
    let house = Arc::new(house);
    house.create("echo").await;
    let traffic = Traffic::start(&house, 4);
    house.start_migration().await;
    phase(&house, "complete").await;
    // For as long as a decommission asks for, and a little more.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(traffic.stop().await.is_empty());
    Arc::into_inner(house).unwrap()
}

#[tokio::test]
async fn a_server_killed_while_the_old_pool_goes_ends_where_the_other_would_have() {
    let mut in_the_middle = 0;
    for after in [5, 40, 120, 300] {
        let mut house = complete().await;
        let path = format!("{MIGRATION}/decommission");
        // Its answer may be cut off by the kill.
        let sent = house
            .request("POST", &path)
            .json(&json!({"why": "a test"}))
            .timeout(Duration::from_millis(after))
            .send()
            .await;
        drop(sent);
        house.kill();
        house.open().await;
        let answer = house.execute("echo", "s", json!({"text": "x"})).await;
        answer.ok(200);
        let shared = Arc::new(house);
        let traffic = Traffic::start(&shared, 4);
        let migration = shared.get(MIGRATION).await.ok(200);
        // Killed before the command was kept, nobody has asked for anything.
        if migration["phase"] == "complete" {
            decommission(&shared).await;
        } else {
            in_the_middle += 1;
        }
        phase(&shared, "decommissioned").await;
        assert_eq!(
            pools(&shared).await,
            (json!("v2@1"), Value::Null),
            "{after}"
        );
        let status = shared.get("/v1/status").await.ok(200);
        let share = status["flags"]["values"]["gradual_rollout_percentage"].as_f64();
        assert_eq!(share, Some(0.0), "{after}: {status:#}");
        let failures = traffic.stop().await;
        assert!(
            failures.is_empty(),
            "{after}: {failures:#?}\n{}",
            shared.log()
        );
        let mut house = Arc::into_inner(shared).unwrap();
        house.kill();
        house.open().await;
        assert_eq!(pools(&house).await, (json!("v2@1"), Value::Null), "{after}");
    }
    assert!(in_the_middle > 0, "no kill came after the command");
}

#[tokio::test]
async fn a_pool_that_still_has_traffic_of_its_own_is_not_decommissioned() {
    let house = complete().await;
    let flags = json!({"set": {"gradual_rollout_percentage": 50}, "why": "somebody else's hands"});
    let request = house.request("PATCH", "/admin/v1/flags").json(&flags);
    house.send(request).await.ok(200);
    let refused = house
        .post(&format!("{MIGRATION}/decommission"), json!({"why": "x"}))
        .await;
    refused.problem(409, "100");
    assert_eq!(pools(&house).await, (json!("v1@1"), json!("v2@1")));
}
