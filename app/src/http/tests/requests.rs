//! What holds for every request: ids, tokens, unknown routes, bad bodies, the server's life.

use axum::body::Body;
use axum::http::Request;
use serde_json::json;

use super::bench::{Bench, request};

#[tokio::test]
async fn every_answer_carries_a_request_id() {
    let bench = Bench::ready().await;
    let mut theirs = request("GET", "/healthz", None);
    theirs
        .headers_mut()
        .insert("x-request-id", "mine-17".parse().unwrap());
    assert_eq!(
        bench.send(theirs).await.header("x-request-id"),
        Some("mine-17")
    );
    let mut bad = request("GET", "/nowhere", None);
    bad.headers_mut()
        .insert("x-request-id", "has spaces".parse().unwrap());
    let answer = bench.send(bad).await;
    let problem = answer.problem(404);
    assert_eq!(problem["instance"], "/nowhere");
    assert_ne!(answer.header("x-request-id"), Some("has spaces"));
}

#[tokio::test]
async fn unknown_routes_and_methods_are_problem_documents() {
    let bench = Bench::ready().await;
    bench.get("/nowhere").await.problem(404);
    bench.get("/v2/programs").await.problem(404);
    let answer = bench.send(request("PUT", "/v1/programs", None)).await;
    answer.problem(405);
    let allowed = answer.header("allow").unwrap();
    assert!(
        allowed.contains("GET") && allowed.contains("POST"),
        "{allowed}"
    );
}

#[tokio::test]
async fn bodies_that_cannot_be_read_are_refused_by_kind() {
    let bench = Bench::ready().await;
    let post = |kind: &str, body: Body| {
        Request::post("/v1/programs")
            .header("content-type", kind)
            .body(body)
            .unwrap()
    };
    let json = "application/json";
    bench
        .send(post(json, Body::from("{not json")))
        .await
        .problem(400);
    bench.send(post(json, Body::empty())).await.problem(400);
    bench.send(post(json, Body::from("[1]"))).await.problem(422);
    bench
        .send(post("text/plain", Body::from("{}")))
        .await
        .problem(415);
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    let problem = bench.send(post(json, Body::from(deep))).await.problem(400);
    assert!(problem["detail"].as_str().unwrap().contains("nested"));
    let large = format!("{{\"id\":\"{}\"}}", "x".repeat(70_000));
    bench
        .send(post(json, Body::from(large.clone())))
        .await
        .problem(413);
    // Also where no length is announced.
    let pieces = futures_util::stream::iter(
        large
            .into_bytes()
            .chunks(1000)
            .map(|piece| Ok::<_, std::io::Error>(piece.to_vec()))
            .collect::<Vec<_>>(),
    );
    let streamed = post(json, Body::from_stream(pieces));
    bench.send(streamed).await.problem(413);
    // And a body that never ends is not waited for.
    let endless = Body::from_stream(futures_util::stream::pending::<
        Result<Vec<u8>, std::io::Error>,
    >());
    bench.send(post(json, endless)).await.problem(408);
}

#[tokio::test]
async fn the_admin_api_needs_its_token() {
    let bench = Bench::ready().await;
    for path in [
        "/admin/v1/flags",
        "/admin/v1/pools",
        "/admin/v1/migrations/current",
    ] {
        let answer = bench.get(path).await;
        answer.problem(401);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        let mut wrong = request("GET", path, None);
        wrong
            .headers_mut()
            .insert("authorization", "Bearer wrong".parse().unwrap());
        bench.send(wrong).await.problem(401);
    }
    assert_eq!(
        bench.admin("GET", "/admin/v1/flags", None).await.status,
        200
    );
    assert_eq!(
        bench.admin("GET", "/admin/v1/pools", None).await.status,
        200
    );
}

#[tokio::test]
async fn sessions_that_cannot_be_kept_are_refused() {
    let bench = Bench::ready().await;
    bench.create_echo().await;
    let with = |session: &str| {
        let mut call = request(
            "POST",
            "/v1/programs/echo/execute",
            Some(json!({"inputs": {}})),
        );
        call.headers_mut()
            .insert("x-session-id", session.parse().unwrap());
        call
    };
    assert_eq!(bench.send(with("ada")).await.status, 200);
    bench.send(with(&"x".repeat(257))).await.problem(400);
    bench.send(with("")).await.problem(400);
}

#[tokio::test]
async fn a_server_says_where_it_is_in_its_life() {
    let bench = Bench::starting();
    assert_eq!(bench.get("/healthz").await.status, 200);
    bench.get("/readyz").await.problem(503);
    bench.get("/v1/programs").await.problem(503);
    drop(bench);

    let bench = Bench::ready().await;
    assert_eq!(bench.get("/readyz").await.status, 200);
    bench.stable.set_ready(0);
    let problem = bench.get("/readyz").await.problem(503);
    assert!(problem["type"].as_str().unwrap().ends_with("no-worker"));
    bench.stable.set_ready(2);

    bench.state.drain();
    let problem = bench.get("/readyz").await.problem(503);
    assert!(problem["type"].as_str().unwrap().ends_with("draining"));
    bench.get("/v1/programs").await.problem(503);
    assert_eq!(bench.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_panic_is_a_problem_document() {
    let bench = Bench::ready().await;
    bench.create_echo().await;
    bench.stable.answer_with(|_| panic!("on purpose"));
    let answer = bench
        .post("/v1/programs/echo/execute", json!({"inputs": {}}))
        .await;
    answer.problem(500);
    assert!(!answer.text.contains("on purpose"), "{}", answer.text);
}

#[tokio::test]
async fn metrics_count_what_was_answered() {
    let bench = Bench::ready().await;
    bench.create_echo().await;
    for _ in 0..3 {
        bench
            .post("/v1/programs/echo/execute", json!({"inputs": {}}))
            .await;
    }
    let metrics = bench.get("/metrics").await;
    assert_eq!(metrics.status, 200);
    let line = |name: &str| {
        metrics
            .text
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_else(|| panic!("no {name} in {}", metrics.text))
            .to_owned()
    };
    assert!(line("dspex_calls_total{lane=\"stable\",outcome=\"ok\"}").ends_with(" 3"));
    assert!(line("dspex_pool_ready{pool=\"v1\"}").ends_with(" 2"));
    assert!(line("dspex_rollout_percent").ends_with(" 0"));
    assert!(line("dspex_circuit_state{circuit=\"stable\",state=\"closed\"}").ends_with(" 1"));
}

#[tokio::test]
async fn the_status_shows_lanes_flags_and_host() {
    let bench = Bench::ready().await;
    let status = bench.get("/v1/status").await.json();
    assert_eq!(status["ready"], true);
    assert_eq!(status["lanes"]["stable"]["name"], "v1");
    assert_eq!(status["lanes"]["candidate"], json!(null));
    assert_eq!(status["flags"]["values"]["pool_v2_enabled"], false);
    assert_eq!(status["migration"], json!(null));
}
