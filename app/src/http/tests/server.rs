//! The accept loop on real sockets: limits of time and number, and the end.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::bench::Bench;
use crate::http::app;
use crate::http::server::{ConnectionLimits, accept};

pub(super) const SHORT: Duration = Duration::from_millis(200);
/// Long enough for a loaded machine; nothing waits for it where things are well.
pub(super) const LONG: Duration = Duration::from_secs(60);

pub(super) struct Running {
    pub(super) address: SocketAddr,
    tracker: TaskTracker,
    stop: CancellationToken,
}

pub(super) async fn run(bench: &Bench, limits: ConnectionLimits) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let app = app(bench.state.clone());
    tracker.spawn(accept(listener, app, limits, tracker.clone(), stop.clone()));
    Running {
        address,
        tracker,
        stop,
    }
}

pub(super) fn limits() -> ConnectionLimits {
    ConnectionLimits {
        connections: 16,
        first_byte: LONG,
        headers: LONG,
        write: LONG,
    }
}

pub(super) async fn open(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// Everything until the server closes the connection, which it must do soon.
async fn until_closed(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(LONG / 2, stream.read_to_end(&mut bytes)).await;
    let _ = read.expect("the server closes the connection");
    String::from_utf8(bytes).unwrap()
}

const GET: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let bench = Bench::starting();
    let running = run(
        &bench,
        ConnectionLimits {
            first_byte: SHORT,
            ..limits()
        },
    )
    .await;
    let mut silent = open(running.address, "").await;
    assert_eq!(until_closed(&mut silent).await, "");
}

#[tokio::test]
async fn headers_that_never_end_are_not_waited_for() {
    let bench = Bench::starting();
    let running = run(
        &bench,
        ConnectionLimits {
            headers: SHORT,
            ..limits()
        },
    )
    .await;
    let mut slow = open(running.address, "GET /healthz HTTP/1.1\r\nHo").await;
    let answer = until_closed(&mut slow).await;
    assert!(!answer.contains("200 OK"), "{answer}");
    let mut idle = open(
        running.address,
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    )
    .await;
    assert!(until_closed(&mut idle).await.contains("200 OK"));
}

#[tokio::test]
async fn a_client_that_does_not_read_gives_its_connection_back() {
    let bench = Bench::starting();
    let running = run(
        &bench,
        ConnectionLimits {
            connections: 1,
            write: SHORT,
            ..limits()
        },
    )
    .await;
    let mut greedy = TcpStream::connect(running.address).await.unwrap();
    let requests = "GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1000);
    // Asks for more than both sides' buffers hold, and takes in nothing.
    let asks = async { while greedy.write_all(requests.as_bytes()).await.is_ok() {} };
    let another = async {
        let mut another = open(running.address, GET).await;
        until_closed(&mut another).await
    };
    let (answer, ()) = tokio::join!(another, asks);
    assert!(answer.contains("200 OK"), "{answer}");
}

#[tokio::test]
async fn connections_beyond_the_cap_wait_for_their_turn() {
    let bench = Bench::starting();
    let running = run(
        &bench,
        ConnectionLimits {
            connections: 1,
            ..limits()
        },
    )
    .await;
    let mut first = open(
        running.address,
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    )
    .await;
    let mut byte = [0; 1];
    first.read_exact(&mut byte).await.unwrap();
    let mut second = open(running.address, GET).await;
    let early = tokio::time::timeout(SHORT, second.read_exact(&mut byte)).await;
    assert!(
        early.is_err(),
        "the second must wait while the first is open"
    );
    drop(first);
    assert!(until_closed(&mut second).await.contains("200 OK"));
}

#[tokio::test]
async fn asked_to_stop_it_finishes_what_is_in_flight_and_closes_the_rest() {
    let bench = Bench::ready().await;
    bench.create_echo().await;
    bench.stable.hold();
    let running = run(&bench, limits()).await;
    let body = r#"{"inputs":{"a":1}}"#;
    let call = format!(
        "POST /v1/programs/echo/execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut in_flight = open(running.address, &call).await;
    let mut idle = open(running.address, "").await;
    bench.stable.wait_for_calls(1).await;

    running.stop.cancel();
    assert_eq!(until_closed(&mut idle).await, "");
    bench.stable.release();
    let answer = until_closed(&mut in_flight).await;
    assert!(
        answer.contains("200 OK") && answer.contains(r#""a":1"#),
        "{answer}"
    );

    running.tracker.close();
    tokio::time::timeout(LONG, running.tracker.wait())
        .await
        .expect("every connection ends");
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn a_client_that_sends_too_much_is_answered_and_not_reset() {
    let bench = Bench::ready().await;
    let running = run(&bench, limits()).await;
    let body = vec![b'x'; 8 << 20];
    for (path, content, status) in [
        ("/v1/programs", "application/json", "413"),
        ("/v1/programs", "text/plain", "415"),
        ("/admin/v1/migrations", "application/json", "401"),
        ("/nowhere", "application/json", "404"),
    ] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {content}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = open(running.address, &head).await;
        stream.write_all(&body).await.expect("the body is taken in");
        let answer = until_closed(&mut stream).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_cancels_its_call() {
    let bench = Bench::ready().await;
    bench.create_echo().await;
    bench.stable.hold();
    let running = run(&bench, limits()).await;
    let call = "POST /v1/programs/echo/execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{\"inputs\":{}}";
    let in_flight = open(running.address, call).await;
    bench.stable.wait_for_calls(1).await;
    drop(in_flight);
    let gone = tokio::time::timeout(LONG, async {
        while bench.stable.shared().status().in_flight > 0 {
            tokio::task::yield_now().await;
        }
    });
    gone.await.expect("the call is cancelled");
}
