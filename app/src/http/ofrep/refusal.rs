//! What is answered instead of a flag.
//!
//! Invariant: a refusal has the form of the protocol, with an error code that its SDKs know.

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::http::error::{Problem, seconds};
use crate::http::state::AppState;

/// A refusal of the protocol.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    key: Option<String>,
    code: &'static str,
    details: String,
    retry_after: Option<Duration>,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, details: impl Into<String>) -> Self {
        Self {
            status,
            key: None,
            code,
            details: details.into(),
            retry_after: None,
        }
    }

    /// The body is not what the protocol says.
    pub(super) fn parse_error(details: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "PARSE_ERROR", details)
    }

    /// The context is not one.
    pub(super) fn invalid_context(details: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_CONTEXT", details)
    }

    /// The flag's answer hangs on a key that was not given.
    pub(super) fn targeting_key_missing(key: &str) -> Self {
        let details =
            format!("flag `{key}` is on for a share of the keys; give context.targetingKey");
        let refusal = Self::new(StatusCode::BAD_REQUEST, "TARGETING_KEY_MISSING", details);
        refusal.of(key)
    }

    /// There is no such flag.
    pub(super) fn not_found(key: &str, details: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "FLAG_NOT_FOUND", details).of(key)
    }

    /// A token is needed.
    pub(super) fn unauthorized() -> Self {
        let details = "this API needs a token: as `Authorization: Bearer` or as `X-API-Key`";
        Self::new(StatusCode::UNAUTHORIZED, "GENERAL", details)
    }

    /// The token opens nothing here.
    pub(super) fn forbidden() -> Self {
        let details = "the token does not open this API";
        Self::new(StatusCode::FORBIDDEN, "GENERAL", details)
    }

    /// Asked too often.
    pub(super) fn too_many(details: impl Into<String>, after: Duration) -> Self {
        let refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, "GENERAL", details);
        Self {
            retry_after: Some(after),
            ..refusal
        }
    }

    /// What was refused outside the protocol, in its form.
    pub(super) fn of_problem(problem: &Problem) -> Self {
        let document = problem.document();
        let refusal = match StatusCode::from_u16(document.status) {
            Ok(StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY) | Err(_) => {
                Self::parse_error(document.detail.clone())
            }
            Ok(status) => Self::new(status, "GENERAL", document.detail.clone()),
        };
        Self {
            retry_after: problem.again(),
            ..refusal
        }
    }

    /// Names the flag that was asked for, cut to a length that an answer can carry.
    pub(super) fn of(self, key: &str) -> Self {
        Self {
            key: Some(key.chars().take(120).collect()),
            ..self
        }
    }

    /// The body.
    pub(super) fn document(&self) -> Value {
        let mut document = json!({"errorCode": self.code, "errorDetails": self.details});
        if let Some(key) = &self.key {
            document["key"] = key.as_str().into();
        }
        document
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(self.document())).into_response();
        let headers = response.headers_mut();
        if let Some(after) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds(after));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// What is taken from a request as elsewhere, and refused in the form of the protocol.
pub(super) struct InForm<E>(pub(super) E);

impl<E> FromRequestParts<AppState> for InForm<E>
where
    E: FromRequestParts<AppState, Rejection = Problem>,
{
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Refusal> {
        let taken = E::from_request_parts(parts, state).await;
        taken
            .map(Self)
            .map_err(|problem| Refusal::of_problem(&problem))
    }
}
