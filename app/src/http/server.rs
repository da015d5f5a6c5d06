//! The accept loop: our own, on hyper, because `axum::serve` leaves hyper without a timer, and then
//! one slow client for each connection holds it for ever.
//!
//! Invariants: at most `max_connections` connections are open; each must send its first byte, and
//! then each request's headers, within a limit, and go on taking in what is written to it; asked to
//! stop, no new connection is accepted, those open finish the request in flight and close.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::slow_reader::Reading;

/// The limits of connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionLimits {
    /// Connections open at once.
    pub(crate) connections: usize,
    /// A new connection's first byte.
    pub(crate) first_byte: Duration,
    /// A request's headers; also how long a kept-alive connection idles.
    pub(crate) headers: Duration,
    /// How long a client may take in nothing of what is written to it.
    pub(crate) write: Duration,
}

/// Accepts and serves until `stop`; connections run on `tracker`, which the caller then waits for.
pub(crate) async fn accept(
    listener: TcpListener,
    app: Router,
    limits: ConnectionLimits,
    tracker: TaskTracker,
    stop: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    loop {
        // The slot comes first: without one, new connections wait in the kernel's queue.
        let slot = tokio::select! {
            slot = Arc::clone(&slots).acquire_owned() => slot,
            () = stop.cancelled() => return,
        };
        let Ok(slot) = slot else { return };
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, or the peer is gone already. Both pass; a loop that
                    // spins on the first would only make it worse.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = stop.cancelled() => return,
        };
        let (app, stop) = (app.clone(), stop.clone());
        tracker.spawn(async move {
            connection(stream, peer, app, limits, stop).await;
            drop(slot);
        });
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    app: Router,
    limits: ConnectionLimits,
    stop: CancellationToken,
) {
    // Answers are small: waiting to fill a packet would only delay them.
    let _ = stream.set_nodelay(true);
    // `peek` and not `readable`: readiness can be false. What is peeked is still there to be read.
    let mut byte = [0_u8; 1];
    let first = tokio::select! {
        first = timeout(limits.first_byte, stream.peek(&mut byte)) => first,
        () = stop.cancelled() => return,
    };
    if !matches!(first, Ok(Ok(1..))) {
        return;
    }
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let app = app.clone();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        async move {
            let Ok(response) = app.oneshot(request).await;
            Ok::<_, Infallible>(response)
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.headers)
        .serve_connection(TokioIo::new(Reading::new(stream, limits.write)), service);
    let mut served = pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        // Clients leave in the middle all the time; this is no news about us.
        tracing::debug!(%peer, %error, "a connection ended early");
    }
}
