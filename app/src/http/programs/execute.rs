//! `POST /v1/programs/{id}/execute`: one call, answered as one document or as a stream of events.

use std::sync::Arc;
use std::time::Duration;

use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use dspex_pool::PoolError;
use dspex_router::{Execute, ExecuteFailed, Executed, RouterError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::TAG;
use super::stream;
use crate::http::caller::Caller;
use crate::http::context::{LANE, RequestId, Session};
use crate::http::error::{Problem, ProblemDocument};
use crate::http::json::Json;
use crate::http::params::ProgramName;
use crate::http::state::Ready;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExecuteBody {
    /// Inputs by name.
    #[schema(value_type = Object)]
    inputs: Map<String, Value>,
    /// How long the call may take, in milliseconds; the server's own limit where it is not given.
    #[serde(default)]
    timeout_ms: Option<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ExecuteDocument {
    /// Outputs by name.
    #[schema(value_type = Object)]
    outputs: Map<String, Value>,
    /// `stable` or `candidate`.
    lane: String,
    /// The worker that answered.
    worker: String,
    /// Whether the candidate had failed the call before stable answered it.
    failed_over: bool,
    /// The whole call, in milliseconds.
    total_ms: f64,
    /// The part inside the program, in milliseconds, where the worker reported it.
    #[serde(skip_serializing_if = "Option::is_none")]
    program_ms: Option<f64>,
    /// As in the `X-Request-Id` header.
    request_id: String,
}

impl ExecuteDocument {
    pub(super) fn of(done: Executed, request_id: &str) -> Self {
        Self {
            outputs: done.outputs,
            lane: done.lane.to_string(),
            worker: done.worker.to_string(),
            failed_over: done.failed_over,
            total_ms: millis(done.total),
            program_ms: done.program_time.map(millis),
            request_id: request_id.to_owned(),
        }
    }
}

fn millis(duration: Duration) -> f64 {
    // Microseconds are as fine as anybody reads.
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// Execute a program once. Where `Accept` asks for `text/event-stream`, the answer is a stream of
/// events: `chunk` for each chunk that the program yields, then `result` with the same document that
/// is otherwise the whole answer, or `error` with a problem document. A call that fails before its
/// first chunk is answered with its problem and its status, as without a stream.
#[utoipa::path(
    post, path = "/v1/programs/{id}/execute", tag = TAG,
    params(
        ("id" = String, Path),
        ("Accept" = Option<String>, Header, description = "`text/event-stream` for a stream of events"),
        ("X-Session-Id" = Option<String>, Header, description = "Calls of one session go the same way through a rollout; a stateful program needs it"),
        ("X-Request-Id" = Option<String>, Header, description = "1 to 128 visible ASCII characters; made where absent"),
        ("X-Caller-Id" = Option<String>, Header, description = "Who calls, for limits on one caller; heeded with a valid token only, else the peer's address counts"),
    ),
    request_body = ExecuteBody,
    responses(
        (status = 200, content((ExecuteDocument = "application/json"), (String = "text/event-stream")), headers(("X-Dspex-Lane" = String), ("X-Request-Id" = String))),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json", description = "No such program"),
        (status = 413, body = ProblemDocument, content_type = "application/problem+json", description = "The body, or the inputs, are too large"),
        (status = 422, body = ProblemDocument, content_type = "application/problem+json", description = "The inputs do not fit the program, or a stateful program was called without a session"),
        (status = 429, body = ProblemDocument, content_type = "application/problem+json", description = "The model's provider asks for fewer calls, or this caller or session has too many at once"),
        (status = 500, body = ProblemDocument, content_type = "application/problem+json", description = "The program raised an exception"),
        (status = 502, body = ProblemDocument, content_type = "application/problem+json", description = "The worker ended during the call, or the provider failed"),
        (status = 503, body = ProblemDocument, content_type = "application/problem+json", description = "No worker was free in time"),
        (status = 504, body = ProblemDocument, content_type = "application/problem+json", description = "The program did not answer in time"),
    ),
)]
pub(super) async fn execute(
    Ready(house): Ready,
    ProgramName(program): ProgramName,
    Session(session): Session,
    Caller(caller): Caller,
    RequestId(request_id): RequestId,
    headers: HeaderMap,
    Json(body): Json<ExecuteBody>,
) -> Response {
    let request = Execute {
        program,
        inputs: body.inputs,
        session,
        request_id: Arc::clone(&request_id),
        timeout: body.timeout_ms.map(Duration::from_millis),
        caller,
        chunks: None,
        lane: None,
    };
    if wants_events(&headers) {
        return stream::answer(&house, request).await;
    }
    match house.router.execute(request).await {
        Ok(done) => {
            let document = ExecuteDocument::of(done, &request_id);
            (lane_header(Some(&document.lane)), axum::Json(document)).into_response()
        }
        Err(failed) => refused(failed),
    }
}

/// The answer of a call that failed before anything was sent.
pub(super) fn refused(failed: ExecuteFailed) -> Response {
    let lane = failed.lane.map(|lane| lane.to_string());
    let problem = problem(failed);
    (lane_header(lane.as_deref()), problem.into_response()).into_response()
}

pub(super) fn problem(failed: ExecuteFailed) -> Problem {
    match failed.error {
        RouterError::Pool(PoolError::Rejected { message }) => no_longer_built(&message),
        error => error.into(),
    }
}

/// A program that was built when it was created and cannot be built now: what changed is this
/// installation, so the caller is not at fault.
fn no_longer_built(message: &str) -> Problem {
    tracing::warn!(message, "a program can no longer be built");
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "program-not-built",
        "The program can no longer be built",
        message,
    )
    .hint("`dspex doctor` looks at keys, modules and Python")
}

pub(super) fn lane_header(lane: Option<&str>) -> HeaderMap {
    lane.and_then(|lane| HeaderValue::from_str(lane).ok())
        .map(|lane| (LANE, lane))
        .into_iter()
        .collect()
}

/// Whether the caller would rather have events than one JSON document. Of two types that it likes
/// equally, the one that it names first.
fn wants_events(headers: &HeaderMap) -> bool {
    let (mut best, mut events) = (0.0, false);
    for value in headers.get_all(ACCEPT) {
        for range in value.to_str().unwrap_or("").split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or("").to_ascii_lowercase();
            let weight = parts
                .filter_map(|parameter| parameter.split_once('='))
                .find(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
                .map_or(1.0, |(_, weight)| weight.trim().parse().unwrap_or(0.0));
            let of_events = kind == "text/event-stream";
            let of_json = matches!(kind.as_str(), "application/json" | "application/*" | "*/*");
            if (of_events || of_json) && weight > best {
                (best, events) = (weight, of_events);
            }
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_for_those_who_ask_for_them() {
        for (accept, events) in [
            ("text/event-stream", true),
            ("Text/Event-Stream;q=0.5", true),
            ("text/event-stream, application/json", true),
            ("application/json;q=0.9, text/event-stream", true),
            ("application/json, text/event-stream", false),
            ("text/event-stream;q=0", false),
            ("text/event-stream;q=0.1, */*", false),
            ("text/html, */*;q=0.8", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, accept.parse().unwrap())]);
            assert_eq!(wants_events(&headers), events, "{accept:?}");
        }
        assert!(!wants_events(&HeaderMap::new()));
    }
}
