//! The stream of events that tells OpenFeature SDKs to evaluate again.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::HeaderMap;
use dspex_flags::{FlagValue, MemoryStore, Percent, Write};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::bench::{Bench, request};
use crate::http::app;

const EVENTS: &str = "/ofrep/v1/events";

async fn set(bench: &Bench, set: Value) {
    let body = json!({"set": set, "why": "a test"});
    let written = bench.admin("PATCH", "/admin/v1/flags", Some(body)).await;
    assert_eq!(written.status, 200, "{written:?}");
}

/// An open stream of events.
struct Stream(Body);

impl Stream {
    async fn open(app: &Router, headers: HeaderMap) -> Self {
        let mut request = request("GET", EVENTS, None);
        request.headers_mut().extend(headers);
        let response = app.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self(response.into_body())
    }

    /// The id and the data of the next event; none at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        let frame = self.0.frame().await?.unwrap();
        let text = String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap();
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().trim().to_owned()
        };
        Some((field("id:"), serde_json::from_str(&field("data:")).unwrap()))
    }
}

fn last(id: &str) -> HeaderMap {
    let name = axum::http::HeaderName::from_static("last-event-id");
    HeaderMap::from_iter([(name, id.parse().unwrap())])
}

/// What an id says of the revision; the rest is a mark of all values and rules.
fn revision(id: &str) -> &str {
    let (revision, mark) = id.split_once('-').unwrap();
    assert_eq!(mark.len(), 16, "{id}");
    revision
}

/// The revision is the store's: what lies under it may be another after a restart, and a store may be
/// another one.
#[tokio::test]
async fn a_client_that_returns_after_a_restart_hears_of_what_differs_at_the_same_revision() {
    let with = async |settings: &[&str], rules: Value| {
        let bench = Bench::with_flags(Arc::new(MemoryStore::new()), settings).await;
        set(&bench, json!({"shadow_percentage.rules": rules})).await;
        bench
    };
    let before = with(&[], json!({"deny": ["ada"]})).await;
    let mut stream = Stream::open(&app(before.state.clone()), HeaderMap::new()).await;
    let (seen, _) = stream.next().await.unwrap();
    let other = &["flags.values.pool_optimizer=true"];
    for (settings, rules, is_news) in [
        (&[][..], json!({"deny": ["ada"]}), false),
        (other, json!({"deny": ["ada"]}), true),
        (&[], json!({"deny": ["bob"]}), true),
    ] {
        let after = with(settings, rules).await;
        let mut stream = Stream::open(&app(after.state.clone()), last(&seen)).await;
        if !is_news {
            set(&after, json!({"telemetry_v2": false})).await;
        }
        let (told, _) = stream.next().await.unwrap();
        assert_eq!(revision(&told), if is_news { "1" } else { "2" });
        assert_ne!(told, seen);
    }
}

#[tokio::test]
async fn a_change_is_told_with_its_revision_and_a_returning_client_hears_only_news() {
    let bench = Bench::ready().await;
    let app = app(bench.state.clone());
    let mut new = Stream::open(&app, HeaderMap::new()).await;
    let (zero, data) = new.next().await.unwrap();
    assert_eq!(
        revision(&zero),
        "0",
        "who brings no id may have missed something"
    );
    assert_eq!(
        data,
        json!({"type": "refetchEvaluation", "etag": format!("\"{zero}\"")})
    );
    let mut returning = Stream::open(&app, last(&zero)).await;
    set(&bench, json!({"pool_v2_enabled": true})).await;
    let (one, _) = new.next().await.unwrap();
    assert_eq!(revision(&one), "1");
    assert_eq!(returning.next().await.unwrap().0, one, "and nothing before");
    let mut late = Stream::open(&app, last(&zero)).await;
    assert_eq!(late.next().await.unwrap().0, one, "told at once");

    // Nobody waits for a reader of events, and the end of the server ends them.
    let flags = bench.admin("GET", "/admin/v1/flags", None).await.json();
    assert_eq!(
        flags["acknowledgements"].as_object().unwrap().len(),
        2,
        "{flags}"
    );
    bench.state.drain();
    for stream in [&mut new, &mut returning, &mut late] {
        assert_eq!(stream.next().await, None);
    }
}

/// The revision stays what it was: each lowering is news all the same, and so is its end.
#[tokio::test]
async fn each_lowering_in_this_process_is_told() {
    // What is lowered is not stored in the meantime.
    let store = Arc::new(MemoryStore::new());
    let bench = Bench::with_flags(store, &["flags.poll=1h"]).await;
    let share = json!({"pool_v2_enabled": true, "gradual_rollout_percentage": 50});
    set(&bench, share).await;
    let app = app(bench.state.clone());
    let mut stream = Stream::open(&app, HeaderMap::new()).await;
    let (unlowered, _) = stream.next().await.unwrap();
    let flags = &bench.state.house().unwrap().flags;
    let lower = |key: &str, value: FlagValue| {
        let write = Write {
            expected: None,
            set: vec![(key.to_owned(), value)],
            who: "ada".to_owned(),
            why: "a test".to_owned(),
        };
        flags.override_until_written(write).unwrap();
    };
    lower("gradual_rollout_percentage", Percent::ZERO.into());
    let (first, data) = stream.next().await.unwrap();
    assert_eq!(revision(&first), "1");
    assert_ne!(first, unlowered);
    assert_eq!(data["etag"], format!("\"{first}\""));
    lower("pool_v2_enabled", false.into());
    let (second, _) = stream.next().await.unwrap();
    assert_eq!(revision(&second), "1");
    assert_ne!(second, first);
    // Who comes back with the first hears of the second; who has heard of it, only what follows.
    let mut late = Stream::open(&app, last(&first)).await;
    assert_eq!(late.next().await.unwrap().0, second);
    let mut returning = Stream::open(&app, last(&second)).await;
    let lowered = json!({"pool_v2_enabled": false, "gradual_rollout_percentage": 0});
    set(&bench, lowered).await;
    for stream in [&mut stream, &mut late, &mut returning] {
        assert_eq!(revision(&stream.next().await.unwrap().0), "2");
    }
}
