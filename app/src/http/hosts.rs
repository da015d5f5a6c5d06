//! For which names this server answers whoever has no token.
//!
//! A page of some website can have its own name resolved to 127.0.0.1 and then speaks, as far as the
//! visitor's browser can tell, to itself (DNS rebinding). The address of the connection is the
//! visitor's own; only the name gives the page away.
//!
//! Invariant: while the programs API has no token, a request without a token is answered only where it
//! was meant for a name of ours. Whoever shows a valid token is no such page, and may use any name.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::middleware::Next;
use axum::response::Response;

use super::access::bearer;
use super::error::Problem;
use super::state::AppState;

/// The names that are ours, beside those of this machine's loopback.
#[derive(Debug, Clone, Default)]
pub(crate) struct AllowedHosts {
    names: Vec<String>,
}

impl AllowedHosts {
    /// The names that were configured, and the address that is listened on.
    pub(crate) fn new(configured: &[String], bound: SocketAddr) -> Self {
        let names = configured.iter().map(|name| plain(name));
        Self {
            names: names.chain([bound.ip().to_string()]).collect(),
        }
    }

    /// Whether this is a name of ours. The port says nothing: a page cannot choose it.
    fn allow(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else {
            return false;
        };
        let name = plain(authority.host());
        let loopback = name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        name == "localhost" || loopback || self.names.contains(&name)
    }
}

/// Without brackets, the last full stop, and capitals.
fn plain(name: &str) -> String {
    let name = name.trim().trim_matches(['[', ']']);
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Lets requests pass that are meant for a name of ours, or show a token.
pub(super) async fn ours(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let open = state.tokens().programs(None);
    if open && !state.tokens().known(bearer(request.headers())) {
        let header = request.headers().get(HOST).map(|host| host.to_str().ok());
        let target = request.uri().authority().map(|host| Some(host.as_str()));
        // A request without any is no browser's.
        for host in [header, target].into_iter().flatten() {
            let shown = host.unwrap_or("unreadable");
            if !host.is_some_and(|host| state.hosts().allow(host)) {
                return Err(Problem::new(
                    StatusCode::MISDIRECTED_REQUEST,
                    "unknown-host",
                    "Not a name of this server",
                    format!("this server is not called {shown:?}"),
                )
                .hint("name it in server.allowed_hosts, or send a token"));
            }
        }
    }
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_ours_are_told_from_others() {
        let hosts = AllowedHosts::new(
            &["dspex.example.".to_owned()],
            "192.0.2.7:8080".parse().unwrap(),
        );
        for ours in [
            "localhost",
            "LocalHost:8080",
            "127.0.0.1:1",
            "127.9.9.9",
            "[::1]:8080",
            "192.0.2.7:8080",
            "dspex.example",
            "DSPEX.example:443",
        ] {
            assert!(hosts.allow(ours), "{ours}");
        }
        for others in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "192.0.2.8",
            "",
            "a b",
            "evil.example#localhost",
        ] {
            assert!(!hosts.allow(others), "{others}");
        }
    }
}
