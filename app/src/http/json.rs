//! JSON bodies: read within limits of size, time and depth, then deserialized with errors that name
//! the field.
//!
//! Invariant: depth is checked on the bytes, before any parser recurses.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::error::Problem;
use super::state::AppState;

/// What a body may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    /// In bytes.
    pub(crate) size: usize,
    /// In levels of nesting.
    pub(crate) depth: usize,
    /// To be read whole.
    pub(crate) time: Duration,
}

/// A JSON body.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<AppState> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Problem> {
        let limits = state.body_limits();
        let (head, body) = request.into_parts();
        announced(&head.headers, limits)?;
        let bytes = read(body, limits).await?;
        parse(&bytes, limits.depth).map(Self)
    }
}

/// What the headers already tell.
fn announced(headers: &HeaderMap, limits: BodyLimits) -> Result<(), Problem> {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    let essence = kind
        .split(';')
        .next()
        .unwrap_or("")
        .trim()
        .to_ascii_lowercase();
    if essence != "application/json" && !essence.ends_with("+json") {
        let found = if kind.is_empty() {
            "no Content-Type".to_owned()
        } else {
            format!("Content-Type {kind}")
        };
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "not-json",
            "Unsupported media type",
            format!("the body must be JSON; the request has {found}"),
        )
        .hint("send Content-Type: application/json"));
    }
    let length = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<u64>().ok());
    match length {
        Some(length) if length > limits.size as u64 => Err(too_large(limits.size)),
        _ => Ok(()),
    }
}

async fn read(body: Body, limits: BodyLimits) -> Result<axum::body::Bytes, Problem> {
    let whole = Limited::new(body, limits.size).collect();
    match tokio::time::timeout(limits.time, whole).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(limits.size)),
        Ok(Err(error)) => Err(Problem::malformed(format!(
            "the body could not be read: {error}"
        ))),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "body-timeout",
            "Request timeout",
            format!("the body was not complete within {:?}", limits.time),
        )),
    }
}

fn too_large(limit: usize) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body-too-large",
        "Body too large",
        format!("the body is longer than {limit} bytes"),
    )
    .with("limit", limit)
    .hint("server.max_body sets the limit")
}

/// Parses JSON no deeper than `depth`.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8], depth: usize) -> Result<T, Problem> {
    if deeper_than(bytes, depth) {
        return Err(Problem::malformed(format!(
            "the JSON is nested more than {depth} levels deep"
        ))
        .with("limit", depth)
        .hint("server.max_json_depth sets the limit"));
    }
    let mut parser = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut parser);
    let value = parsed.map_err(|error| {
        let path = error.path().to_string();
        explain(&path, error.inner())
    })?;
    parser.end().map_err(|error| explain(".", &error))?;
    Ok(value)
}

fn explain(path: &str, error: &serde_json::Error) -> Problem {
    if error.is_data() {
        // The position says nothing to those whose JSON a library wrote; the path does.
        let text = error.to_string();
        let words = text
            .rsplit_once(" at line ")
            .map_or(text.as_str(), |(w, _)| w);
        let field = if path == "." { "body" } else { path };
        return Problem::invalid(field, words);
    }
    Problem::malformed(format!("the body is not JSON: {error}"))
}

/// Whether brackets nest deeper than `limit`, strings left aside. Linear, without recursion, and
/// right about every text that is JSON; what is not JSON, the parser refuses.
fn deeper_than(bytes: &[u8], limit: usize) -> bool {
    let (mut depth, mut text, mut escaped) = (0_usize, false, false);
    for byte in bytes {
        if text {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => text = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => text = true,
            b'[' | b'{' => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::Value;

    use super::*;

    #[test]
    fn ten_thousand_levels_are_refused_before_the_parser_sees_them() {
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            let deep = format!("{}1{}", open.repeat(10_000), close.repeat(10_000));
            let problem = parse::<Value>(deep.as_bytes(), 64).unwrap_err();
            assert_eq!(problem.document().status, 400);
            assert!(
                problem.document().detail.contains("64 levels"),
                "{problem:?}"
            );
        }
        let at_the_limit = format!("{}{}", "[".repeat(64), "]".repeat(64));
        assert!(parse::<Value>(at_the_limit.as_bytes(), 64).is_ok());
    }

    #[test]
    fn brackets_inside_text_are_no_nesting() {
        let text = serde_json::to_string(&"[\\\"[[{".repeat(100)).unwrap();
        assert!(!deeper_than(text.as_bytes(), 1));
        assert!(parse::<String>(text.as_bytes(), 1).is_ok());
    }

    #[test]
    fn what_is_not_json_is_400_and_what_does_not_fit_is_422_by_field() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Wanted {
            #[serde(rename = "inputs")]
            _inputs: serde_json::Map<String, Value>,
        }
        for text in ["", "{", "nope", r#"{"inputs":{}} x"#] {
            let problem = parse::<Wanted>(text.as_bytes(), 64).unwrap_err();
            assert_eq!(problem.document().status, 400, "{text}");
        }
        for (text, field) in [
            (r#"{"inputs":[1]}"#, "inputs"),
            (r#"{"inputs":{},"x":1}"#, "x"),
            ("{}", "body"),
        ] {
            let problem = parse::<Wanted>(text.as_bytes(), 64).unwrap_err();
            assert_eq!(problem.document().status, 422, "{text}");
            assert_eq!(problem.document().more["field"], field, "{text}");
        }
    }
}
