//! Callers that want too much at once: who is refused, with which words, and who is not.

use std::sync::Arc;

use serde_json::json;
use tokio_util::task::TaskTracker;

use crate::fleet::until;
use crate::house::{Answer, House, v2_alone};

fn too_many(answer: Answer, words: &str) {
    assert!(answer.retry_after >= Some(1), "{answer:?}");
    answer.problem(429, words);
}

#[tokio::test]
async fn a_session_and_a_caller_with_too_many_calls_are_told_to_come_back() {
    let settings = "workers = 1\nconcurrency = 4\ncalls_per_session = 1\ncalls_per_caller = 2";
    let mut house = House::with(&v2_alone(settings));
    house.open().await;
    house.create("echo").await;
    house.create("waits_for_file").await;
    let house = Arc::new(house);
    let hold = |session: &'static str| {
        let house = Arc::clone(&house);
        async move {
            let gate = house.path("gate").display().to_string();
            house
                .execute("waits_for_file", session, json!({"path": gate}))
                .await
        }
    };
    let echo = |session: &'static str| house.execute("echo", session, json!({"text": "x"}));

    // Both from one address, so of one caller.
    let held = TaskTracker::new();
    let ada = held.spawn(hold("ada"));
    until(&house, "v2", "busy", |pool| pool["in_flight"] == 1).await;
    too_many(echo("ada").await, "session");
    echo("bob").await.ok(200);
    let bob = held.spawn(hold("bob"));
    until(&house, "v2", "busier", |pool| pool["in_flight"] == 2).await;
    too_many(echo("eve").await, "caller");

    std::fs::write(house.path("gate"), "").unwrap();
    ada.await.unwrap().ok(200);
    bob.await.unwrap().ok(200);
    echo("ada").await.ok(200);
    let pool = crate::fleet::pool(&house, "v2").await;
    assert_eq!(pool["failures"], 0, "a refusal is no fault of the pool's");
}
