//! Who may ask for what.

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::Response;

use super::error::Problem;
use super::state::AppState;

/// The bearer token of a request. The scheme's name is not case-sensitive (RFC 9110).
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
        .filter(|token| !token.is_empty())
}

/// Lets the admin token pass.
pub(super) async fn admin(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let token = bearer(request.headers());
    if !state.tokens().admin(token) {
        return Err(
            Problem::unauthorized("the admin API", token.is_some()).hint(
                "send `Authorization: Bearer TOKEN` with the admin token, which was printed at the server's first start",
            ),
        );
    }
    Ok(next.run(request).await)
}

/// Lets the programs token and the admin token pass; everybody where no programs token is set.
pub(super) async fn programs(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let token = bearer(request.headers());
    if !state.tokens().programs(token) {
        return Err(Problem::unauthorized("the programs API", token.is_some())
            .hint("send `Authorization: Bearer TOKEN` with the programs token of this server"));
    }
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_a_bearer_token_is_one() {
        let with = |value: &str| {
            HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(value).unwrap())])
        };
        assert_eq!(bearer(&with("Bearer abc")), Some("abc"));
        assert_eq!(bearer(&with("bearer abc")), Some("abc"));
        for other in ["abc", "Basic abc", "Bearer ", "Bearer"] {
            assert_eq!(bearer(&with(other)), None, "{other:?}");
        }
        assert_eq!(bearer(&HeaderMap::new()), None);
    }
}
