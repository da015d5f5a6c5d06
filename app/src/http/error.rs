//! Problem documents (RFC 9457).
//!
//! Invariants: every answer outside 2xx is `application/problem+json` and made here; nothing of a
//! traceback, a token or a file's content is in one; what is retryable says when. Which error of
//! which crate becomes which status stands in the one file `error/mapping.rs`.

mod mapping;

use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// A problem document.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ProblemDocument {
    /// `urn:dspex:problem:` and a short name that stays the same from release to release.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The kind of problem, in words.
    pub(crate) title: String,
    /// The HTTP status.
    pub(crate) status: u16,
    /// What happened this time.
    pub(crate) detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
    /// The path that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) instance: Option<String>,
    /// As in the `X-Request-Id` header and in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) request_id: Option<String>,
    /// What is particular to this kind, such as `expected` and `actual` of a revision conflict.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub(crate) more: Map<String, Value>,
}

/// A problem on its way to the caller. Boxed, because it travels as an error.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    document: Box<ProblemDocument>,
    retry_after: Option<Duration>,
}

impl Problem {
    /// A problem of a kind.
    pub(crate) fn new(
        status: StatusCode,
        name: &str,
        title: &str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            document: Box::new(ProblemDocument {
                kind: format!("urn:dspex:problem:{name}"),
                title: title.to_owned(),
                status: status.as_u16(),
                detail: detail.into(),
                hint: None,
                instance: None,
                request_id: None,
                more: Map::new(),
            }),
            retry_after: None,
        }
    }

    /// What the caller will read.
    pub(crate) fn document(&self) -> &ProblemDocument {
        &self.document
    }

    /// Says what to do.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.document.hint = Some(hint.into());
        self
    }

    /// Adds a member.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.document.more.insert(name.to_owned(), value.into());
        self
    }

    /// Says when another try may be worthwhile.
    #[must_use]
    pub(crate) fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// When another try may be worthwhile, where that is known.
    pub(super) fn again(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Places it: which path, which request.
    #[must_use]
    pub(super) fn placed(mut self, instance: &str, request_id: &str) -> Self {
        self.document.instance = Some(instance.to_owned());
        self.document.request_id = Some(request_id.to_owned());
        self
    }

    /// 400: the body or a parameter cannot be read.
    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "malformed-request",
            "Malformed request",
            detail,
        )
    }

    /// 422: what was read is not valid.
    pub(crate) fn invalid(field: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid-request",
            "Invalid request",
            format!("{field}: {detail}"),
        )
        .with("field", field)
    }

    /// 401: no token, or one that does not fit.
    pub(crate) fn unauthorized(what: &str, presented: bool) -> Self {
        let detail = if presented {
            format!("the bearer token does not open {what}")
        } else {
            format!("{what} needs a bearer token")
        };
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "Unauthorized",
            detail,
        )
    }

    /// 404: no such route.
    pub(crate) fn no_route(path: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "no-such-route",
            "No such route",
            format!("there is nothing at {path}"),
        )
        .hint("the routes are listed at /openapi.json")
    }

    /// 405: the route has other methods.
    pub(crate) fn method_not_allowed(method: &str, path: &str) -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "Method not allowed",
            format!("{path} does not take {method}"),
        )
        .hint("the Allow header lists the methods it takes")
    }

    /// 500: a panic, or another fault of ours.
    pub(crate) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal-error",
            "Internal error",
            "the server failed while it handled this request; its log says how",
        )
    }

    /// 503: not ready yet.
    pub(crate) fn starting() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "starting",
            "Starting",
            "the server is starting its workers",
        )
        .hint("/readyz answers 200 when it is ready")
        .retry_after(Duration::from_secs(1))
    }

    /// 503: on the way out.
    pub(crate) fn draining() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "draining",
            "Draining",
            "the server is being stopped and takes no new calls",
        )
        .retry_after(Duration::from_secs(5))
    }

    /// The document as JSON.
    pub(crate) fn text(&self) -> String {
        // Strings and numbers only: this cannot fail, and an empty text would still be an answer.
        serde_json::to_string(&self.document).unwrap_or_default()
    }

    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.document.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status_code();
        let mut response = (status, self.text()).into_response();
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(after) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds(after));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // So that the layer which knows the request's id can place it.
        response.extensions_mut().insert(self);
        response
    }
}

/// What `Retry-After` says: whole seconds, and never 0, which would invite a loop.
pub(super) fn seconds(after: Duration) -> HeaderValue {
    let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
    HeaderValue::from(seconds.clamp(1, 86_400))
}
