//! Server-sent events as every stream here sends them: kept alive, kept out of caches and of proxies'
//! buffers.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::header::{CACHE_CONTROL, HeaderName};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::Stream;

/// How long a stream is silent at most: a comment keeps proxies from taking it for dead.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Which event a client that comes back has seen last.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What a proxy is to do with the stream. nginx would gather events until its buffer is full.
const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The id of the last event that the client has seen, where it says so.
pub(super) fn last_seen(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(LAST_EVENT_ID)
        .and_then(|value| value.to_str().ok())
}

/// The answer that sends these events until there are no more.
pub(super) fn answer(
    events: impl Stream<Item = Result<Event, Infallible>> + Send + 'static,
) -> Response {
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    let mut response = Sse::new(events).keep_alive(keep_alive).into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(BUFFERING, HeaderValue::from_static("no"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_is_nobodys_to_keep() {
        let events = futures_util::stream::iter([Ok(Event::default().id("7").data("x"))]);
        let response = answer(events);
        let header = |name: HeaderName| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header(CACHE_CONTROL), "no-store");
        assert_eq!(header(BUFFERING), "no");
        let body = axum::body::to_bytes(response.into_body(), 1000).await;
        let body = body.unwrap();
        let text = std::str::from_utf8(&body).unwrap();
        assert!(text.contains("id: 7") && text.contains("data: x"), "{text}");
        let mut headers = HeaderMap::new();
        assert_eq!(last_seen(&headers), None);
        headers.insert(LAST_EVENT_ID, HeaderValue::from_static("7~m~1"));
        assert_eq!(last_seen(&headers), Some("7~m~1"));
    }
}
