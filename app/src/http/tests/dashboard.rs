//! The dashboard's files, as a browser gets them.

use axum::body::Body;
use axum::http::Request;
use serde_json::json;

use super::bench::{Bench, request};

#[tokio::test]
async fn the_page_needs_no_token_and_runs_nothing_inline() {
    // Even while the workers are being started: the page says so itself.
    let bench = Bench::starting();
    let page = bench.get("/").await;
    assert_eq!(page.status, 200);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(page.text.starts_with("<!doctype html>"));
}

#[tokio::test]
async fn a_file_that_is_known_already_is_not_sent_again() {
    let bench = Bench::starting();
    let first = bench.get("/assets/main.mjs").await;
    assert_eq!(first.status, 200);
    assert_eq!(
        first.header("content-type"),
        Some("text/javascript; charset=utf-8")
    );
    assert!(first.header("content-security-policy").is_some());
    let etag = first.header("etag").unwrap().to_owned();
    let ask = |tags: String| {
        Request::builder()
            .uri("/assets/main.mjs")
            .header("if-none-match", tags)
            .body(Body::empty())
            .unwrap()
    };
    for tags in [etag.clone(), format!("\"other\", W/{etag}"), "*".to_owned()] {
        let again = bench.send(ask(tags.clone())).await;
        assert_eq!(again.status, 304, "{tags}");
        assert_eq!(again.text, "");
        assert_eq!(again.header("etag"), Some(etag.as_str()));
    }
    let changed = bench.send(ask("\"other\"".to_owned())).await;
    assert_eq!(changed.status, 200);
    assert_eq!(changed.text, first.text);
}

#[tokio::test]
async fn what_is_not_listed_is_a_problem_document() {
    let bench = Bench::starting();
    for path in [
        "/assets/none.mjs",
        "/assets/tests/format.test.mjs",
        "/assets/../dashboard.rs",
        "/assets/%2e%2e/dashboard.rs",
    ] {
        let problem = bench.get(path).await.problem(404);
        assert_eq!(problem["instance"], path);
    }
    bench.send(request("POST", "/", None)).await.problem(405);
}

#[tokio::test]
async fn status_has_the_traffic_of_both_lanes() {
    let bench = Bench::ready().await;
    bench.create_echo().await;
    let path = "/v1/programs/echo/execute";
    let done = bench.post(path, json!({"inputs": {}})).await;
    assert_eq!(done.status, 200, "{done:?}");
    let traffic = bench.get("/v1/status").await.json()["traffic"].clone();
    assert_eq!(traffic["recorded"], true);
    assert_eq!(traffic["stable"]["calls"], 1, "{traffic}");
    assert_eq!(traffic["stable"]["programs"]["echo"]["calls"], 1);
    assert!(
        traffic["stable"]["total"]["p95_ms"].is_number(),
        "{traffic}"
    );
    assert_eq!(traffic["candidate"]["calls"], 0);
    assert!(traffic["candidate"]["overhead"]["p99_ms"].is_null());
}
