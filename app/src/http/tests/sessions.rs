//! Stateful programs and callers over HTTP.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use dspex_pool::Reply;
use dspex_pool::testing::FakePool;
use serde_json::json;

use super::bench::{ADMIN, Bench, request};

const EXECUTE: &str = "/v1/programs/count/execute";

fn call(headers: &[(&'static str, &str)]) -> Request<Body> {
    let mut request = request("POST", EXECUTE, Some(json!({"inputs": {}})));
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let peer: SocketAddr = "[::ffff:192.0.2.7]:4000".parse().unwrap();
    request.extensions_mut().insert(ConnectInfo(peer));
    request
}

#[tokio::test]
async fn a_stateful_program_is_made_shown_and_called_by_session() {
    let bench = Bench::ready().await;
    let draft = json!({"id": "count", "kind": "callable", "target": "m:c", "stateful": true});
    let made = bench.post("/v1/programs", draft).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.json()["stateful"], true);
    assert_eq!(
        bench.get("/v1/programs/count").await.json()["stateful"],
        true
    );
    bench.stable.answer_with(|call| {
        let before = call
            .state
            .as_ref()
            .map(|state| state.as_json().get().to_owned());
        Ok(Reply {
            state: Some(serde_json::value::to_raw_value("seen").unwrap().into()),
            ..FakePool::reply(&json!({ "before": before }))
        })
    });

    let problem = bench.send(call(&[])).await.problem(422);
    assert_eq!(problem["header"], "X-Session-Id");
    assert!(
        problem["hint"].as_str().unwrap().contains("X-Session-Id"),
        "{problem}"
    );

    for before in [json!(null), json!("\"seen\"")] {
        let answer = bench.send(call(&[("x-session-id", "ada")])).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["outputs"]["before"], before);
    }
    let sessions = bench.get("/v1/status").await.json()["sessions"].clone();
    assert_eq!(sessions, json!({"sessions": 1, "bytes": 6, "evicted": 0}));
}

#[tokio::test]
async fn callers_are_known_by_address_and_by_name_with_a_token_only() {
    let bench = Bench::ready().await;
    let draft = json!({"id": "count", "kind": "callable", "target": "m:c"});
    assert_eq!(bench.post("/v1/programs", draft).await.status, 201);
    let seen = Arc::new(Mutex::new(None));
    let tell = Arc::clone(&seen);
    bench.stable.answer_with(move |call| {
        *tell.lock().unwrap() = call.caller.as_deref().map(str::to_owned);
        Ok(FakePool::reply(&json!({})))
    });
    let token = format!("Bearer {ADMIN}");
    for (headers, caller) in [
        (vec![], "192.0.2.7"),
        (vec![("x-caller-id", "team-a")], "192.0.2.7"),
        (
            vec![("x-caller-id", "team-a"), ("authorization", "Bearer nope")],
            "192.0.2.7",
        ),
        (
            vec![("x-caller-id", "team-a"), ("authorization", &token)],
            "team-a",
        ),
        (vec![("authorization", &token)], "192.0.2.7"),
    ] {
        let answer = bench.send(call(&headers)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(
            seen.lock().unwrap().take().as_deref(),
            Some(caller),
            "{headers:?}"
        );
    }
    let long = "x".repeat(257);
    let bad = call(&[("x-caller-id", &long), ("authorization", &token)]);
    bench.send(bad).await.problem(400);
}
