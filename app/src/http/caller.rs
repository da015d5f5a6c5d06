//! Who calls: what a limit on the calls of one caller goes by.
//!
//! A caller is known by the address of its connection. Callers behind one proxy share an address;
//! so the header `X-Caller-Id` names them, where the request carries a token: whoever has none could
//! otherwise take another name for each call, or somebody else's.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::HeaderName;
use axum::http::request::Parts;

use super::access::bearer;
use super::error::Problem;
use super::state::AppState;

const CALLER_ID: HeaderName = HeaderName::from_static("x-caller-id");

/// The caller's name or address; none where neither is known.
pub(super) struct Caller(pub(super) Option<String>);

impl FromRequestParts<AppState> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        if let Some(value) = parts.headers.get(CALLER_ID)
            && state.tokens().known(bearer(&parts.headers))
        {
            return match std::str::from_utf8(value.as_bytes()) {
                Ok(name) if (1..=256).contains(&name.len()) && !name.contains(char::is_control) => {
                    Ok(Self(Some(name.to_owned())))
                }
                _ => Err(Problem::malformed(
                    "X-Caller-Id must be 1 to 256 bytes of printable UTF-8",
                )),
            };
        }
        // A version 4 address is the same one when it comes in over version 6.
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        Ok(Self(peer.map(|ConnectInfo(peer)| {
            peer.ip().to_canonical().to_string()
        })))
    }
}
