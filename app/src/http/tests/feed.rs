//! What happened, as a list, as a stream, as an audit, as a report.

use std::time::Duration;

use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::bench::{ADMIN, Bench, request};
use crate::http::app;

const EVENTS: &str = "/admin/v1/events";

async fn set(bench: &Bench, value: &str) {
    let body = json!({"set": {"gradual_rollout_percentage": value}, "who": "ada", "why": "a test"});
    let written = bench.admin("PATCH", "/admin/v1/flags", Some(body)).await;
    assert_eq!(written.status, 200, "{written:?}");
}

async fn start(bench: &Bench) -> String {
    let body = json!({"why": "<b>why</b>", "who": "bob"});
    let started = bench
        .admin("POST", "/admin/v1/migrations", Some(body))
        .await;
    assert_eq!(started.status, 201, "{started:?}");
    started.json()["id"].as_str().unwrap().to_owned()
}

async fn list(bench: &Bench, query: &str) -> Value {
    let answer = bench.admin("GET", &format!("{EVENTS}?{query}"), None).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

#[tokio::test]
async fn the_list_goes_on_where_it_ended() {
    let bench = Bench::ready().await;
    set(&bench, "5%").await;
    set(&bench, "0%").await;
    let id = start(&bench).await;
    let first = list(&bench, "limit=2").await;
    let kinds = |page: &Value| -> Vec<String> {
        let events = page["events"].as_array().unwrap().iter();
        events
            .map(|event| event["kind"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(kinds(&first), ["flags", "flags"]);
    assert_eq!(first["events"][0]["changes"][0]["who"], "ada");
    let next = first["next"].as_str().unwrap();
    assert_eq!(first["events"][1]["id"], next);
    let second = list(&bench, &format!("after={next}&limit=1")).await;
    assert_eq!(second["events"][0]["migration"], id.as_str());
    assert_eq!(second["events"][0]["event"]["type"], "started");
    // From the id of any event, what comes after it and nothing else.
    let again = list(&bench, &format!("after={next}")).await;
    assert_eq!(again["events"][0], second["events"][0]);
    let problem = bench
        .admin("GET", &format!("{EVENTS}?after=what"), None)
        .await
        .problem(422);
    assert_eq!(problem["field"], "after");
    assert_eq!(bench.get(EVENTS).await.status, 401);
}

#[tokio::test]
async fn the_stream_tells_what_is_new_and_only_that() {
    let bench = Bench::ready().await;
    set(&bench, "5%").await;
    let before = list(&bench, "").await;
    let before = before["next"].as_str().unwrap();
    set(&bench, "0%").await;
    let mut request = request("GET", EVENTS, None);
    for (name, value) in [
        ("authorization", format!("Bearer {ADMIN}")),
        ("accept", "text/event-stream".to_owned()),
        ("last-event-id", before.to_owned()),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let response = app(bench.state.clone()).oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    let mut text = String::new();
    let mut read = async |until: &str| {
        let waited = tokio::time::timeout(Duration::from_secs(20), async {
            while !text.contains(until) {
                let frame = body.frame().await.expect("it goes on").unwrap();
                text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
            }
        });
        waited
            .await
            .unwrap_or_else(|_| panic!("{until:?} never came: {text}"));
        text.clone()
    };
    let seen = read("\"revision\":2").await;
    assert!(!seen.contains("\"revision\":1"), "{seen}");
    assert!(
        seen.contains("event: flags") && seen.contains("id: 2~"),
        "{seen}"
    );
    start(&bench).await;
    let seen = read("started").await;
    assert!(seen.contains("event: journal"), "{seen}");
}

#[tokio::test]
async fn the_audit_says_who_did_what_page_by_page() {
    let bench = Bench::ready().await;
    set(&bench, "5%").await;
    set(&bench, "0%").await;
    start(&bench).await;
    let pause = json!({"why": "look first", "who": "eve"});
    bench
        .admin("POST", "/admin/v1/migrations/current/pause", Some(pause))
        .await;
    let page = bench
        .admin("GET", "/admin/v1/audit?limit=2", None)
        .await
        .json();
    assert_eq!(page["audit"][0]["who"], "eve", "{page:#}");
    assert_eq!(page["audit"][0]["what"]["command"], "pause");
    assert_eq!(page["audit"][1]["kind"], "migration");
    assert_eq!(page["next"], 2);
    let rest = bench
        .admin("GET", "/admin/v1/audit?limit=2&offset=2", None)
        .await
        .json();
    assert_eq!(rest["audit"][1]["what"]["after"], 5);
    let ada = bench
        .admin("GET", "/admin/v1/audit?who=ada&limit=1000", None)
        .await
        .json();
    assert!(
        ada["audit"]
            .as_array()
            .unwrap()
            .iter()
            .all(|deed| deed["who"] == "ada")
    );
    assert_eq!(ada["next"], json!(null));
}

#[tokio::test]
async fn a_report_is_json_a_page_or_markdown() {
    let bench = Bench::ready().await;
    let id = start(&bench).await;
    let of = async |id: &str, accept: &str| {
        let mut request = request("GET", &format!("/admin/v1/migrations/{id}/report"), None);
        for (name, value) in [
            ("authorization", format!("Bearer {ADMIN}")),
            ("accept", accept.to_owned()),
        ] {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        bench.send(request).await
    };
    let json = of("current", "application/json").await.json();
    assert_eq!((&json["id"], &json["who"]), (&json!(id), &json!("bob")));
    let page = of(&id, "text/html").await;
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(
        page.header("content-security-policy")
            .unwrap()
            .contains("default-src 'none'")
    );
    assert!(
        page.text.contains("&lt;b&gt;why") && !page.text.contains("<b>why"),
        "{}",
        page.text
    );
    let text = of(&id, "text/markdown").await;
    assert!(
        text.text.starts_with("# Migration of v1@1 to v2@1"),
        "{}",
        text.text
    );
    of(&id, "image/png").await.problem(406);
    of("m-nope", "*/*").await.problem(404);
}
