//! Answers as server-sent events.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use dspex_pool::testing::FakePool;
use dspex_pool::{ChunkSender, Pool as _, PoolError};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tower::ServiceExt as _;

use super::bench::{Answer, Bench, request};
use super::server::{LONG, SHORT, limits, open, run};
use crate::http::app;
use crate::http::server::ConnectionLimits;

const EXECUTE: &str = "/v1/programs/echo/execute";

fn call() -> Request<Body> {
    let mut request = request("POST", EXECUTE, Some(json!({"inputs": {"text": "ä"}})));
    let events = "text/event-stream".parse().unwrap();
    request.headers_mut().insert("accept", events);
    request
}

/// Each event of a text: its id, its name, its data. Comments are left out.
fn events(text: &str) -> Vec<(String, String, Value)> {
    text.split("\n\n")
        .filter(|event| !event.is_empty() && !event.starts_with(':'))
        .map(|event| {
            let field = |name: &str| {
                let mut lines = event.lines().filter_map(|line| line.strip_prefix(name));
                let value = lines
                    .next()
                    .unwrap_or_else(|| panic!("{name} in {event:?}"));
                assert!(lines.next().is_none(), "{event:?}");
                value.trim_start_matches(':').trim_start().to_owned()
            };
            let data = serde_json::from_str(&field("data")).unwrap();
            (field("id"), field("event"), data)
        })
        .collect()
}

fn names(answer: &Answer) -> Vec<String> {
    events(&answer.text)
        .into_iter()
        .map(|event| event.1)
        .collect()
}

fn broken() -> PoolError {
    PoolError::Crashed {
        worker: "v1-0.0".to_owned(),
        reason: "exit code 17; its last words: password hunter2".to_owned(),
    }
}

#[tokio::test]
async fn chunks_come_as_events_and_the_document_at_the_end() {
    let bench = Bench::ready().await;
    bench.create_echo().await;
    bench
        .stable
        .chunks_with(|_| vec![json!("a\nb\r"), json!({"n": [1, null]})]);
    let answer = bench.send(call()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("x-dspex-lane"), Some("stable"));
    let id = answer.header("x-request-id").unwrap();
    let events = events(&answer.text);
    let (first, second, last) = (&events[0], &events[1], &events[2]);
    assert_eq!(events.len(), 3, "{events:?}");
    assert_eq!(
        (&*first.0, &*first.1, &first.2),
        ("1", "chunk", &json!("a\nb\r"))
    );
    assert_eq!(
        (&*second.0, &*second.1, &second.2),
        ("2", "chunk", &json!({"n": [1, null]}))
    );
    assert_eq!((&*last.0, &*last.1), ("3", "result"));
    assert_eq!(last.2["outputs"], json!({"text": "ä"}));
    assert_eq!(last.2["request_id"], id);
    assert_eq!(last.2["lane"], "stable");

    // Whoever does not ask for events gets none of it.
    let plain = bench.post(EXECUTE, json!({"inputs": {"text": "ä"}})).await;
    assert_eq!(plain.json()["outputs"], json!({"text": "ä"}));
}

#[tokio::test]
async fn a_program_without_chunks_is_a_result_alone() {
    let bench = Bench::ready().await;
    bench.create_echo().await;
    let answer = bench.send(call()).await;
    assert_eq!(names(&answer), ["result"]);
    assert_eq!(answer.header("x-dspex-lane"), Some("stable"));
}

#[tokio::test]
async fn a_call_that_fails_before_its_first_chunk_is_an_ordinary_problem() {
    let bench = Bench::ready().await;
    bench.create_echo().await;
    bench.stable.fail_with(broken());
    let answer = bench.send(call()).await;
    answer.problem(502);
    assert_eq!(answer.header("x-dspex-lane"), Some("stable"));
    let mut unknown = call();
    *unknown.uri_mut() = "/v1/programs/nobody/execute".parse().unwrap();
    bench.send(unknown).await.problem(404);
}

#[tokio::test]
async fn a_call_that_fails_later_ends_with_its_problem() {
    let bench = Bench::ready().await;
    bench.create_echo().await;
    bench
        .stable
        .fail_with(broken())
        .chunks_with(|_| vec![json!(1)]);
    let answer = bench.send(call()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(names(&answer), ["chunk", "error"]);
    let problem = &events(&answer.text)[1].2;
    assert_eq!(problem["status"], 502);
    assert_eq!(problem["type"], "urn:dspex:problem:worker-crashed");
    assert_eq!(problem["instance"], EXECUTE);
    assert_eq!(
        problem["request_id"].as_str(),
        answer.header("x-request-id")
    );
    assert!(!answer.text.contains("hunter2"), "{}", answer.text);
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_kept_alive() {
    let bench = Bench::ready().await;
    bench.create_echo().await;
    // Silent before the first chunk, and after it.
    for chunks in [vec![], vec![json!(1)]] {
        let many = chunks.len();
        bench
            .stable
            .latency(Duration::from_secs(50))
            .chunks_with(move |_| chunks.clone());
        let answer = bench.send(call()).await;
        assert_eq!(answer.status, 200);
        let comments = answer.text.lines().filter(|line| line.starts_with(':'));
        assert!(comments.count() >= 2, "{}", answer.text);
        assert_eq!(names(&answer).len(), many + 1);
        assert_eq!(
            answer.header("x-dspex-lane"),
            (many > 0).then_some("stable"),
            "before the first chunk the lane is not settled"
        );
        assert_eq!(events(&answer.text)[many].2["lane"], "stable");
    }
}

#[tokio::test]
async fn a_reader_who_leaves_ends_the_call() {
    let bench = Bench::ready().await;
    bench.create_echo().await;
    bench.stable.chunks_with(|_| vec![json!(1)]);
    bench.stable.hold();
    let response = app(bench.state.clone()).oneshot(call()).await.unwrap();
    let mut body = response.into_body();
    let frame = body.frame().await.unwrap().unwrap();
    assert!(frame.into_data().unwrap().starts_with(b"id"));
    assert_eq!(bench.stable.status().in_flight, 1);
    drop(body);
    none_in_flight(&bench.stable).await;
}

async fn none_in_flight(pool: &FakePool) {
    tokio::time::timeout(LONG, async {
        while pool.status().in_flight > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the call ends with its reader");
}

/// A program that yields more than sockets hold, and a client that has asked for it.
async fn torrent(
    bench: &Bench,
    write: Duration,
    body: &str,
) -> (TcpStream, Arc<Mutex<Option<ChunkSender>>>) {
    bench.create_echo().await;
    let sender = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&sender);
    bench.stable.chunks_with(move |call| {
        keep.lock().unwrap().clone_from(&call.chunks);
        vec![json!("x".repeat(16 * 1024)); CHUNKS]
    });
    let limits = ConnectionLimits { write, ..limits() };
    let running = run(bench, limits).await;
    let head = format!(
        "POST {EXECUTE} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAccept: text/event-stream\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let stream = open(running.address, &head).await;
    bench.stable.wait_for_calls(1).await;
    (stream, sender)
}

const CHUNKS: usize = 2_000;
const BODY: &str = r#"{"inputs":{}}"#;

#[tokio::test]
async fn a_slow_reader_slows_the_program() {
    let bench = Bench::ready().await;
    let (mut stream, sender) = torrent(&bench, LONG, BODY).await;
    let sent = || sender.lock().unwrap().as_ref().map_or(0, ChunkSender::sent);
    // Until nothing moves any more: the sockets are full, and the window.
    let mut before = 0;
    loop {
        tokio::time::sleep(SHORT).await;
        let now = sent();
        if now == before && now > 0 {
            break;
        }
        before = now;
    }
    assert!(sent() < CHUNKS as u64, "{} were sent to nobody", sent());
    assert_eq!(bench.stable.status().in_flight, 1);
    // Kept here, the sender would be one who may still send.
    sender.lock().unwrap().take();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text.matches("event: chunk").count(), CHUNKS);
    assert_eq!(text.matches("event: result").count(), 1);
}

#[tokio::test]
async fn a_reader_who_takes_nothing_is_cut_off_and_the_call_ends() {
    let bench = Bench::ready().await;
    let (stream, _sender) = torrent(&bench, SHORT, BODY).await;
    none_in_flight(&bench.stable).await;
    drop(stream);
}

#[tokio::test]
async fn a_reader_who_dawdles_does_not_stretch_the_calls_time() {
    let bench = Bench::ready().await;
    // Time enough for its first chunk: before that, it would not be a stream that ends.
    let body = r#"{"inputs":{},"timeout_ms":2000}"#;
    let (mut stream, sender) = torrent(&bench, 100 * LONG, body).await;
    none_in_flight(&bench.stable).await;
    sender.lock().unwrap().take();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text.matches("event: error").count(), 1);
    assert!(text.contains("program-timeout"));
}

#[tokio::test]
async fn a_client_that_closes_before_the_first_chunk_ends_the_call_too() {
    let bench = Bench::ready().await;
    bench.create_echo().await;
    bench.stable.hold();
    let running = run(&bench, limits()).await;
    let head = format!(
        "POST {EXECUTE} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    let silent = open(running.address, &head).await;
    bench.stable.wait_for_calls(1).await;
    drop(silent);
    none_in_flight(&bench.stable).await;
}

#[tokio::test]
async fn a_client_that_closes_its_connection_ends_the_call() {
    let bench = Bench::ready().await;
    let (mut stream, _sender) = torrent(&bench, LONG, BODY).await;
    stream.shutdown().await.unwrap();
    drop(stream);
    none_in_flight(&bench.stable).await;
}
