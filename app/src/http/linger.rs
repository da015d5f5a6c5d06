//! Bodies that were refused before they were read: the rest is taken in and thrown away.
//!
//! A connection that is closed while its client still writes is reset, and the reset overtakes the
//! answer: the client sees a broken pipe where it should see a 413. So the answer waits until the
//! body is in, within bounds.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header::EXPECT;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};

/// How much of a refused body is taken in. A client that sends more is cut off.
const MOST: usize = 64 << 20;
/// How long that may take.
const LIMIT: Duration = Duration::from_secs(5);

/// A body that can be gone on with after its reader has left.
#[derive(Clone)]
struct Shared(Arc<Mutex<Body>>);

impl Shared {
    fn with<T>(&self, act: impl FnOnce(&mut Body) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl HttpBody for Shared {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.with(|body| Pin::new(body).poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.with(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.with(|body| body.size_hint())
    }
}

/// What is left of a request's body.
pub(super) struct Rest(Option<Shared>);

/// Keeps hold of a request's body beside its reader.
pub(super) fn hold(request: Request) -> (Request, Rest) {
    // A client that asked before it sends is told by the answer that it need not.
    if request.body().is_end_stream() || request.headers().contains_key(EXPECT) {
        return (request, Rest(None));
    }
    let (head, body) = request.into_parts();
    let shared = Shared(Arc::new(Mutex::new(body)));
    let request = Request::from_parts(head, Body::new(shared.clone()));
    (request, Rest(Some(shared)))
}

impl Rest {
    /// Takes in what was not read.
    pub(super) async fn discard(self) {
        let Some(mut body) = self.0.filter(|body| !body.is_end_stream()) else {
            return;
        };
        let discarding = async {
            let mut taken = 0;
            while taken < MOST
                && let Some(Ok(frame)) = body.frame().await
            {
                taken += frame.data_ref().map_or(0, Bytes::len);
            }
        };
        // At the limit the connection is closed with the answer: enough was done.
        let _ = tokio::time::timeout(LIMIT, discarding).await;
    }
}
