//! The OpenFeature Remote Evaluation Protocol, as its description has it. That real SDKs get along
//! with it is tested on the shipped binary.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use dspex_flags::MemoryStore;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::bench::{Answer, Bench, request};
use crate::http::app;

const BULK: &str = "/ofrep/v1/evaluate/flags";
const EVENTS: &str = "/ofrep/v1/events";
const TOKEN: &str = "for-the-callers-only";

async fn set(bench: &Bench, set: Value) {
    let body = json!({"set": set, "why": "a test"});
    let written = bench.admin("PATCH", "/admin/v1/flags", Some(body)).await;
    assert_eq!(written.status, 200, "{written:?}");
}

async fn single(bench: &Bench, key: &str, body: Value) -> Answer {
    bench.post(&format!("{BULK}/{key}"), body).await
}

fn of(key: &str) -> Value {
    json!({"context": {"targetingKey": key}})
}

#[tokio::test]
async fn use_v2_pool_answers_for_a_targeting_key_as_the_router_decides() {
    let bench = Bench::ready().await;
    let off = single(&bench, "use_v2_pool", json!({})).await;
    assert_eq!(off.status, 200, "{off:?}");
    assert_eq!(
        off.json(),
        json!({"key": "use_v2_pool", "value": false, "reason": "DISABLED", "variant": "off",
               "metadata": {"revision": 0, "share": 0}})
    );
    set(
        &bench,
        json!({"pool_v2_enabled": true, "gradual_rollout_percentage": 50}),
    )
    .await;
    let mut on = 0;
    for number in 0..200 {
        let key = format!("session-{number}");
        let answer = single(&bench, "use_v2_pool", of(&key)).await.json();
        let bucket = dspex_flags::bucket("gradual_rollout_percentage", &key);
        assert_eq!(answer["value"], bucket.get() < 5_000, "{answer}");
        assert_eq!(answer["metadata"]["bucket"], bucket.get());
        assert_eq!(answer["reason"], "SPLIT");
        let share = single(&bench, "gradual_rollout_percentage", of(&key)).await;
        assert_eq!(share.json()["value"], answer["value"]);
        on += u32::from(answer["value"] == true);
    }
    assert!((60..140).contains(&on), "{on} of 200");
    for flag in ["use_v2_pool", "gradual_rollout_percentage"] {
        for context in [json!({}), json!({"context": {}}), of("")] {
            let missing = single(&bench, flag, context).await;
            assert_eq!(missing.status, 400);
            let missing = missing.json();
            assert_eq!(missing["errorCode"], "TARGETING_KEY_MISSING", "{missing}");
            assert_eq!(missing["key"], flag);
        }
    }
    set(&bench, json!({"gradual_rollout_percentage": 100})).await;
    let all = single(&bench, "use_v2_pool", json!({})).await.json();
    assert_eq!(
        (&all["value"], &all["reason"]),
        (&json!(true), &json!("STATIC"))
    );
    // What the share requires may hang on a key where the share does not.
    let requires = json!({"gradual_rollout_percentage.rules": {"requires": ["shadow_percentage"]},
                          "shadow_percentage": 50});
    set(&bench, requires).await;
    for flag in ["use_v2_pool", "gradual_rollout_percentage"] {
        let missing = single(&bench, flag, json!({})).await;
        assert_eq!(missing.json()["errorCode"], "TARGETING_KEY_MISSING");
    }
}

#[tokio::test]
async fn use_v2_pool_says_what_decided() {
    let bench = Bench::ready().await;
    let told = async |flags: Value, key: &str| {
        if flags != json!({}) {
            set(&bench, flags).await;
        }
        let answer = single(&bench, "use_v2_pool", of(key)).await.json();
        (
            answer["value"] == true,
            answer["reason"].as_str().unwrap().to_owned(),
        )
    };
    let share = |percent: u8| json!({"gradual_rollout_percentage": percent});
    let is = |on: bool, reason: &str| (on, reason.to_owned());
    // The kill switch is off.
    assert_eq!(told(share(50), "ada").await, is(false, "DISABLED"));
    let bucket = dspex_flags::bucket("gradual_rollout_percentage", "ada");
    let half = told(json!({"pool_v2_enabled": true}), "ada").await;
    assert_eq!(half, is(bucket.get() < 5_000, "SPLIT"));
    assert_eq!(told(share(0), "ada").await, is(false, "STATIC"));
    assert_eq!(told(share(100), "ada").await, is(true, "STATIC"));
    let rules = |rules: Value| json!({"gradual_rollout_percentage.rules": rules});
    let denied = told(rules(json!({"deny": ["ada"]})), "ada").await;
    assert_eq!(denied, is(false, "TARGETING_MATCH"));
    let killed = told(rules(json!({"killed": true})), "ada").await;
    assert_eq!(killed, is(false, "DISABLED"));
    // The switch has a list of its own, which the router asks too.
    set(&bench, rules(json!({}))).await;
    let listed = json!({"pool_v2_enabled.rules": {"deny": ["ada"]}});
    assert_eq!(told(listed, "ada").await, is(false, "TARGETING_MATCH"));
    assert_eq!(told(json!({}), "bob").await, is(true, "STATIC"));
}

#[tokio::test]
async fn a_request_that_is_none_is_refused_with_the_protocol_s_code() {
    let bench = Bench::ready().await;
    let raw = |path: &str, body: &str| {
        Request::post(path)
            .header("content-type", "application/json")
            .body(Body::from(body.to_owned()))
            .unwrap()
    };
    for (body, code) in [
        ("{", "PARSE_ERROR"),
        ("", "PARSE_ERROR"),
        ("[]", "PARSE_ERROR"),
        (r#"{"context": []}"#, "INVALID_CONTEXT"),
        (r#"{"context": null}"#, "INVALID_CONTEXT"),
        (r#"{"context": {"targetingKey": 5}}"#, "INVALID_CONTEXT"),
    ] {
        for path in [BULK.to_owned(), format!("{BULK}/use_v2_pool")] {
            let refused = bench.send(raw(&path, body)).await;
            assert_eq!(refused.status, 400, "{path} {body} {refused:?}");
            assert_eq!(refused.header("content-type"), Some("application/json"));
            let document = refused.json();
            assert_eq!(document["errorCode"], code, "{path} {body} {document}");
            assert!(document["errorDetails"].is_string());
            assert_eq!(document["key"].is_string(), path != BULK, "{document}");
        }
    }
    let unknown = single(&bench, "use_v2_pol", of("ada")).await;
    assert_eq!(unknown.status, 404);
    assert_eq!(unknown.json()["errorCode"], "FLAG_NOT_FOUND");
    let near = single(&bench, "pool_v2_enable", of("ada")).await.json();
    let details = near["errorDetails"].as_str().unwrap();
    assert!(details.contains("pool_v2_enabled"), "{details}");
    let long = bench
        .send(raw(&format!("{BULK}/x"), &"x".repeat(70_000)))
        .await;
    assert_eq!(
        (long.status.as_u16(), &long.json()["errorCode"]),
        (413, &json!("GENERAL"))
    );
}

#[tokio::test]
async fn what_is_refused_before_a_flag_is_asked_has_the_protocol_s_form_too() {
    let refusal = |answer: &Answer, status: u16, code: &str| {
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let document = answer.json();
        assert_eq!(document["errorCode"], code, "{document}");
        assert!(document["errorDetails"].is_string(), "{document}");
    };
    let unavailable = async |bench: &Bench| {
        let one = format!("{BULK}/use_v2_pool");
        for answer in [
            bench.post(BULK, json!({})).await,
            bench.post(&one, json!({})).await,
            bench.get(EVENTS).await,
        ] {
            refusal(&answer, 503, "GENERAL");
            let again = answer
                .header("retry-after")
                .expect("says when to come back");
            assert!(again.parse::<u64>().unwrap() >= 1, "{again}");
        }
    };
    unavailable(&Bench::starting()).await;
    let bench = Bench::ready().await;
    let name = bench.post(&format!("{BULK}/%FF"), of("ada")).await;
    refusal(&name, 400, "PARSE_ERROR");
    let twice = bench.get(&format!("{EVENTS}?ticket=a&ticket=b")).await;
    refusal(&twice, 400, "PARSE_ERROR");
    bench.state.drain();
    unavailable(&bench).await;

    let guarded = Bench::guarded(TOKEN).await;
    for answer in [
        guarded.post(BULK, json!({})).await,
        guarded.get(EVENTS).await,
    ] {
        refusal(&answer, 401, "GENERAL");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
}

#[tokio::test]
async fn a_hostile_targeting_key_has_its_place_like_any_other() {
    let bench = Bench::ready().await;
    let half = json!({"pool_v2_enabled": true, "gradual_rollout_percentage": 50});
    set(&bench, half).await;
    let long = "k".repeat(60_000);
    // Two ways to write one letter are two keys, as for the router and for flagd.
    for key in ["a\u{0}b", "\u{e9}", "e\u{301}", "\u{202e}\u{1f984}", &long] {
        let answer = single(&bench, "use_v2_pool", of(key)).await.json();
        let bucket = dspex_flags::bucket("gradual_rollout_percentage", key);
        assert_eq!(answer["value"], bucket.get() < 5_000, "{answer}");
    }
}

#[tokio::test]
async fn all_flags_come_at_once_with_a_tag_of_revision_and_context() {
    let bench = Bench::ready().await;
    let ask = async |key: &str, tag: Option<&str>| {
        let mut request = request("POST", BULK, Some(of(key)));
        if let Some(tag) = tag {
            request
                .headers_mut()
                .insert("if-none-match", tag.parse().unwrap());
        }
        bench.send(request).await
    };
    let first = ask("ada", None).await;
    assert_eq!(first.status, 200);
    let body = first.json();
    let keys: Vec<_> = body["flags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|flag| &flag["key"])
        .collect();
    // All that are declared, and the one that is derived from them.
    let declared = dspex_flags::dspex::declarations().len();
    assert_eq!(keys.len(), declared + 1, "{keys:?}");
    assert!(keys.contains(&&json!("use_v2_pool")));
    assert_eq!(body["eventStreams"][0]["type"], "sse");
    assert_eq!(body["eventStreams"][0]["endpoint"]["requestUri"], EVENTS);

    let tag = first.header("etag").unwrap().to_owned();
    for presented in [
        tag.clone(),
        format!("W/{tag}"),
        format!("\"x\", {tag}"),
        "*".to_owned(),
    ] {
        let same = ask("ada", Some(&presented)).await;
        assert_eq!(
            (same.status.as_u16(), same.text.as_str()),
            (304, ""),
            "{presented}"
        );
        assert_eq!(same.header("etag"), Some(tag.as_str()));
    }
    let other = ask("bob", Some(&tag)).await;
    assert_eq!(other.status, 200, "another context");
    assert_ne!(other.header("etag"), Some(tag.as_str()));
    set(&bench, json!({"telemetry_v2": true})).await;
    let after = ask("ada", Some(&tag)).await;
    assert_eq!(after.status, 200, "another revision");

    set(
        &bench,
        json!({"gradual_rollout_percentage": 50, "pool_v2_enabled": true}),
    )
    .await;
    let without = bench.post(BULK, json!({})).await;
    assert_eq!(
        without.status, 200,
        "one flag does not keep the others from answering"
    );
    let flags = without.json()["flags"].as_array().unwrap().clone();
    let failed: Vec<_> = flags
        .iter()
        .filter(|flag| flag["errorCode"].is_string())
        .collect();
    assert_eq!(failed.len(), 2, "{failed:?}");
}

#[tokio::test]
async fn a_token_is_needed_where_programs_need_one() {
    let bench = Bench::guarded(TOKEN).await;
    let app = app(bench.state.clone());
    let send = async |header: Option<(&'static str, String)>, path: &str| {
        let method = if path.starts_with(EVENTS) {
            "GET"
        } else {
            "POST"
        };
        let mut request = request(method, path, (method == "POST").then(|| of("ada")));
        if let Some((name, value)) = header {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        app.clone().oneshot(request).await.unwrap()
    };
    let single = format!("{BULK}/use_v2_pool");
    for path in [BULK, &single, EVENTS] {
        assert_eq!(send(None, path).await.status(), 401);
        let wrong = Some(("authorization", "Bearer another-token-of-mine".to_owned()));
        let refused = send(wrong, path).await;
        assert_eq!(refused.status(), 403);
        assert_eq!(read(refused.into_body()).await["errorCode"], "GENERAL");
        for header in [
            ("authorization", format!("Bearer {TOKEN}")),
            ("x-api-key", TOKEN.to_owned()),
        ] {
            assert_eq!(send(Some(header), path).await.status(), 200, "{path}");
        }
    }
    // An `EventSource` sends no token: the answer has a ticket for it.
    let all = send(Some(("x-api-key", TOKEN.to_owned())), BULK).await;
    let all = read(all.into_body()).await;
    let uri = all["eventStreams"][0]["endpoint"]["requestUri"]
        .as_str()
        .unwrap();
    assert!(!uri.contains(TOKEN));
    assert_eq!(send(None, uri).await.status(), 200);
    assert_eq!(send(None, &format!("{uri}0")).await.status(), 403);
}

async fn read(body: Body) -> Value {
    serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap()
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_back() {
    let set = ["flags.ofrep.burst=3", "flags.ofrep.per_second=1"];
    let bench = Bench::with_flags(Arc::new(MemoryStore::new()), &set).await;
    // The clock moves by hand, so a slow machine refills no allowance in the meantime.
    tokio::time::pause();
    let app = app(bench.state.clone());
    let ask = async || {
        let asked = request("POST", &format!("{BULK}/telemetry_v2"), Some(json!({})));
        app.clone().oneshot(asked).await.unwrap()
    };
    for _ in 0..3 {
        assert_eq!(ask().await.status(), 200);
    }
    let refused = ask().await;
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "1");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(ask().await.status(), 200);
    assert_eq!(ask().await.status(), 429);
}
