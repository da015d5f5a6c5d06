//! What callers may send, and what they are told.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::house::House;

#[tokio::test]
async fn bodies_that_cannot_be_read() {
    let house = House::start("").await;
    house.create("echo").await;
    let raw = |body: String| {
        let request = house.request("POST", "/v1/programs/echo/execute");
        house.send(
            request
                .header("content-type", "application/json")
                .body(body),
        )
    };
    raw("{".to_owned()).await.problem(400, "JSON");
    raw("nonsense".to_owned()).await.problem(400, "JSON");
    raw(r#"{"inputs": []}"#.to_owned())
        .await
        .problem(422, "inputs");
    raw("{}".to_owned()).await.problem(422, "inputs");
    raw(r#"{"inputs": {}, "input": 1}"#.to_owned())
        .await
        .problem(422, "input");
    let deep = format!(
        "{{\"inputs\": {}{}}}",
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    raw(deep).await.problem(400, "nested");
    let told = told_before_the_body(&house, 9 * 1024 * 1024).await;
    assert!(
        told.starts_with("HTTP/1.1 413") && told.contains("8388608"),
        "{told}"
    );
    let text = house
        .request("POST", "/v1/programs/echo/execute")
        .body("text");
    house.send(text).await.problem(415, "application/json");
    house
        .execute("echo", "s", json!({"text": "still here"}))
        .await
        .ok(200);
}

/// What is answered to a request whose head announces this many bytes, before any of them is sent.
async fn told_before_the_body(house: &House, length: usize) -> String {
    let address = house.url().trim_start_matches("http://").to_owned();
    let mut socket = tokio::net::TcpStream::connect(&address).await.unwrap();
    let head = format!(
        "POST /v1/programs/echo/execute HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn programs_that_are_there_already_or_not_at_all() {
    let house = House::start("").await;
    house.create("echo").await;
    let again = json!({"id": "echo", "kind": "callable", "target": "fixture_programs:add"});
    house.post("/v1/programs", again).await.problem(409, "echo");
    house
        .execute("ehco", "s", json!({}))
        .await
        .problem(404, "echo");
    house
        .get("/v1/programs/nobody")
        .await
        .problem(404, "nobody");
    let create = |target: &str| {
        house.post(
            "/v1/programs",
            json!({"kind": "callable", "target": target}),
        )
    };
    create("os:getcwd").await.problem(422, "os");
    create("fixture_programs:nothing")
        .await
        .problem(422, "nothing");
    create("no colon").await.problem(422, "module:attribute");
    let kindless = json!({"id": "x", "target": "fixture_programs:echo"});
    house
        .post("/v1/programs", kindless)
        .await
        .problem(422, "kind");
    let delete = |id: &str| house.send(house.request("DELETE", &format!("/v1/programs/{id}")));
    assert_eq!(delete("echo").await.status, 204);
    delete("echo").await.problem(404, "echo");
}

#[tokio::test]
async fn flags_that_make_no_sense() {
    let house = House::start("").await;
    let set = |key: &str, value: Value| {
        let body = json!({"set": {key: value}, "why": "a test"});
        house.send(house.request("PATCH", "/admin/v1/flags").json(&body))
    };
    let percent = "gradual_rollout_percentage";
    for value in [
        json!(101),
        json!(-1),
        json!("NaN"),
        json!("101%"),
        json!(true),
    ] {
        set(percent, value).await.problem(422, percent);
    }
    set("gradual_rollout_percent", json!(5))
        .await
        .problem(404, percent);
    let unsigned = json!({"set": {percent: 5}});
    house
        .send(house.request("PATCH", "/admin/v1/flags").json(&unsigned))
        .await
        .problem(422, "why");
    let stale = json!({"set": {percent: 5}, "why": "a test", "expected_revision": 7});
    house
        .send(house.request("PATCH", "/admin/v1/flags").json(&stale))
        .await
        .problem(409, "7");
    let flags = house.get("/admin/v1/flags").await.ok(200);
    assert_eq!(flags["revision"], 0, "nothing was written: {flags}");
}

#[tokio::test]
async fn who_may_ask_what() {
    let house = House::start("").await;
    let client = reqwest::Client::new();
    let ask = |path: &str| client.get(format!("{}{path}", house.url()));
    for path in ["/admin/v1/flags", "/admin/v1/pools", "/admin/v1/migrations"] {
        house.send(ask(path)).await.problem(401, "token");
        house
            .send(ask(path).bearer_auth("dspex_wrong"))
            .await
            .problem(401, "token");
    }
    for path in [
        "/healthz",
        "/readyz",
        "/metrics",
        "/v1/programs",
        "/openapi.json",
    ] {
        assert_eq!(house.send(ask(path)).await.status, 200, "{path}");
    }
    house
        .send(ask("/no/such/page"))
        .await
        .problem(404, "/no/such/page");
    let put = house.request("PUT", "/v1/programs");
    house.send(put).await.problem(405, "PUT");
}
