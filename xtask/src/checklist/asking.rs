//! Asking a server, a Prometheus or a Grafana, each by its own token.
//!
//! Invariants: whoever was asked and has not answered is told with the reason, and never taken for one
//! that was not asked; a name and a password in an address are sent, and shown nowhere.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::evidence::Found;

/// What somebody answered, or why not.
pub(super) type Answer = Result<Found, Refusal>;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    place: String,
    pub(super) status: Option<u16>,
    why: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.why)
    }
}

impl Refusal {
    fn of(place: &str, secret: Option<&str>, error: &ureq::Error) -> Self {
        let status = match error {
            ureq::Error::StatusCode(status) => Some(*status),
            _ => None,
        };
        let why = match status {
            Some(401 | 403) => format!("{error}: its token is missing, or is another"),
            _ => error.to_string(),
        };
        Self {
            place: place.to_owned(),
            status,
            why: secret.map_or_else(|| why.clone(), |secret| why.replace(secret, "")),
        }
    }
}

/// What is at an address that may have been named.
pub(super) fn ask(url: Option<&str>, path: &str, token: Option<&str>) -> Option<Answer> {
    url.map(|url| asked(url.trim_end_matches('/'), path, token))
}

/// JSON at this address.
pub(super) fn asked(url: &str, path: &str, token: Option<&str>) -> Answer {
    let place = format!("{}{path}", shown(url));
    let mut request = ureq::get(format!("{url}{path}"));
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let value = request
        .call()
        .and_then(|mut answer| answer.body_mut().read_json::<Value>())
        .map_err(|error| Refusal::of(&place, secret(url), &error))?;
    Ok(Found {
        value,
        place,
        age: Some(Duration::ZERO),
        commit: None,
    })
}

/// Text at this address, which asks for no token.
pub(super) fn text(url: &str, path: &str) -> Result<String, Refusal> {
    ureq::get(format!("{url}{path}"))
        .call()
        .and_then(|mut answer| answer.body_mut().read_to_string())
        .map_err(|error| Refusal::of(&format!("{}{path}", shown(url)), secret(url), &error))
}

/// An address without the name and the password that may stand in it.
pub(super) fn shown(url: &str) -> String {
    secret(url).map_or_else(|| url.to_owned(), |secret| url.replacen(secret, "", 1))
}

/// `name:password@` of an address.
fn secret(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    host.rfind('@').map(|at| &host[..=at])
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    use super::*;

    /// Answers one request with this, and then says what its head was.
    fn once(answer: &'static str) -> (String, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it listens").to_string();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("one caller");
            let lines = BufReader::new(stream.try_clone().expect("a socket")).lines();
            let head: Vec<String> = lines
                .map_while(Result::ok)
                .take_while(|line| !line.is_empty())
                .collect();
            stream.write_all(answer.as_bytes()).expect("it listens");
            head.join("\n").to_lowercase()
        });
        (address, server)
    }

    #[test]
    fn a_name_and_a_password_are_shown_nowhere() {
        for (url, expected) in [
            ("http://ada:secret@host:9090", "http://host:9090"),
            ("http://ada:a@b@host/x", "http://host/x"),
            ("https://host/x@y", "https://host/x@y"),
            ("host", "host"),
        ] {
            assert_eq!(shown(url), expected);
        }
        let (address, server) =
            once("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        let refusal = asked(&format!("http://ada:secret@{address}"), "/api", None);
        let told = refusal.expect_err("it refuses").to_string();
        assert!(
            told.starts_with(&format!("http://{address}/api: ")),
            "{told}"
        );
        assert!(told.contains("401") && told.contains("token"), "{told}");
        assert!(!told.contains("secret"), "{told}");
        server.join().expect("it answered");
    }

    #[test]
    fn a_token_goes_along() {
        let (address, server) =
            once("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}");
        let answer = ask(Some(&format!("http://{address}/")), "/api", Some("a-token"));
        let found = answer.expect("it was asked").expect("it answers");
        assert_eq!(found.place, format!("http://{address}/api"));
        let head = server.join().expect("it answered");
        assert!(head.starts_with("get /api http/1.1"), "{head}");
        assert!(head.contains("authorization: bearer a-token"), "{head}");
        assert!(ask(None, "/api", None).is_none());
    }
}
