//! What surrounds every request: its id, its span, its log line, its safety net.
//!
//! Invariants: every answer carries `X-Request-Id`; every problem document carries it too, with the
//! path; a panic is a problem document and a log line, never a closed connection.

use std::any::Any;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request};
use axum::http::header::CONTENT_LENGTH;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tokio::time::Instant;
use tracing::Instrument as _;

use super::error::Problem;
use super::linger;

/// Names a request in logs, in workers and in the answer.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The lane that answered a call.
pub(super) const LANE: HeaderName = HeaderName::from_static("x-dspex-lane");
/// The caller's key.
const SESSION_ID: HeaderName = HeaderName::from_static("x-session-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A request's id: the caller's where it was valid, ours otherwise.
#[derive(Debug, Clone)]
pub(super) struct RequestId(pub(super) Arc<str>);

impl RequestId {
    fn of(headers: &HeaderMap) -> Self {
        let theirs = headers
            .get(REQUEST_ID)
            .and_then(|value| value.to_str().ok())
            .filter(|id| (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()));
        Self(match theirs {
            Some(id) => id.into(),
            None => uuid::Uuid::now_v7().to_string().into(),
        })
    }
}

impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(Problem::internal)
    }
}

/// The caller's session, where one is named.
#[derive(Debug)]
pub(super) struct Session(pub(super) Option<Arc<str>>);

impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(SESSION_ID) else {
            return Ok(Self(None));
        };
        // A session that cannot be kept is refused: routing it by something else would break it.
        match std::str::from_utf8(value.as_bytes()) {
            Ok(session)
                if (1..=256).contains(&session.len()) && !session.contains(char::is_control) =>
            {
                Ok(Self(Some(session.into())))
            }
            _ => Err(Problem::malformed(
                "X-Session-Id must be 1 to 256 bytes of printable UTF-8",
            )),
        }
    }
}

/// The W3C trace context, where it has the right form: `version-trace-parent-flags`.
fn traceparent(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(TRACEPARENT)?.to_str().ok()?;
    let mut parts = text.split('-');
    let hex = |part: Option<&str>, length: usize| {
        part.is_some_and(|part| part.len() == length && part.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    let valid = hex(parts.next(), 2)
        && hex(parts.next(), 32)
        && hex(parts.next(), 16)
        && hex(parts.next(), 2);
    valid.then_some(text)
}

/// The outermost layer.
pub(super) async fn surround(mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = RequestId::of(request.headers());
    let path = request.uri().path().to_owned();
    let span = tracing::info_span!(
        "request",
        id = %id.0,
        method = %request.method(),
        path,
        traceparent = tracing::field::Empty,
    );
    if let Some(parent) = traceparent(request.headers()) {
        span.record("traceparent", parent);
    }
    request.extensions_mut().insert(id.clone());
    async move {
        let (request, rest) = linger::hold(request);
        let mut response = next.run(request).await;
        // Whoever did not send its body in time was waited for long enough.
        if response.status().is_client_error() && response.status() != StatusCode::REQUEST_TIMEOUT {
            rest.discard().await;
        }
        if let Some(problem) = response.extensions_mut().remove::<Problem>() {
            // Made anew with its place; headers that others added to it (Allow, the lane) stay.
            let placed = problem.placed(&path, &id.0).into_response();
            let (head, body) = placed.into_parts();
            *response.body_mut() = body;
            response.headers_mut().remove(CONTENT_LENGTH);
            response.headers_mut().extend(head.headers);
        }
        if let Ok(value) = HeaderValue::from_str(&id.0) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        let status = response.status().as_u16();
        let millis = began.elapsed().as_secs_f64() * 1e3;
        // A 503 is an orderly refusal, and comes in floods: it is counted, not told one by one.
        if status >= 500 && status != StatusCode::SERVICE_UNAVAILABLE.as_u16() {
            tracing::warn!(status, millis, "answered");
        } else {
            tracing::debug!(status, millis, "answered");
        }
        response
    }
    .instrument(span)
    .await
}

/// What a panic becomes.
#[expect(clippy::needless_pass_by_value, reason = "tower-http hands it over so")]
pub(super) fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let words = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without words");
    tracing::error!(panic = words, "a handler panicked");
    Problem::internal().into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_valid_request_id_is_kept_and_any_other_is_replaced() {
        let kept = RequestId::of(&headers(REQUEST_ID, "order-17/a"));
        assert_eq!(&*kept.0, "order-17/a");
        let long = "x".repeat(129);
        for bad in ["", "a b", "a\tb", &long] {
            let made = RequestId::of(&headers(REQUEST_ID, bad));
            assert_ne!(&*made.0, bad);
            assert!(uuid::Uuid::parse_str(&made.0).is_ok());
        }
    }

    #[test]
    fn a_trace_context_of_another_form_is_left_alone() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(traceparent(&headers(TRACEPARENT, good)), Some(good));
        for bad in ["", "00-xyz", "'; drop table"] {
            assert_eq!(traceparent(&headers(TRACEPARENT, bad)), None);
        }
    }
}
