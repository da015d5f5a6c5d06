//! The HTTP client of a running server: one request, one JSON answer, or one [`Failure`].
//!
//! Invariants: every request has a deadline; nothing is retried here (a request may have taken
//! effect); proxies of the environment are not asked, because the server is addressed directly.

mod trouble;

use std::time::Duration;

use clap::Args;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Url};
use serde_json::Value;

use self::trouble::{late, unreachable};
use super::events::Events;
use super::exit::{Exit, Failure};
use super::problem;

/// The type of a stream of events.
const EVENTS: &str = "text/event-stream";

/// Which server to talk to, and as whom.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct Remote {
    /// The server's address.
    #[arg(
        long,
        global = true,
        env = "DSPEX_URL",
        default_value = "http://127.0.0.1:8080",
        value_name = "URL"
    )]
    pub(crate) url: String,
    /// The bearer token. Better given in the environment: other users can see command lines.
    #[arg(
        long,
        global = true,
        env = "DSPEX_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    pub(crate) token: Option<String>,
    /// How long to wait for the server's answer, such as 500ms or 2m.
    #[arg(long, global = true, value_parser = duration, default_value = "2m", value_name = "DURATION")]
    pub(crate) timeout: Duration,
}

/// Parses a duration with its unit.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration.is_zero() => Err("must be longer than nothing".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("{error}; write it like 500ms, 5s or 2m")),
    }
}

impl Remote {
    /// Whether the server is one of this machine, by its address.
    pub(crate) fn is_local(&self) -> bool {
        let host = Url::parse(&self.url).ok();
        let host = host.as_ref().and_then(Url::host_str).unwrap_or_default();
        let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }

    /// The same, with no more patience than this.
    pub(crate) fn patient_for(mut self, limit: Duration) -> Self {
        self.timeout = self.timeout.min(limit);
        self
    }

    /// A client. Nothing is sent yet.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let base = base(&self.url)?;
        let token = self.token.as_deref().filter(|token| !token.is_empty());
        let bearer = token.map(bearer).transpose()?;
        let http = reqwest::Client::builder()
            .connect_timeout(self.timeout.min(Duration::from_secs(5)))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("dspex-cli/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Failure::new(Exit::Failed, error))?;
        Ok(Client {
            http,
            base,
            bearer,
            timeout: self.timeout,
        })
    }
}

fn bearer(token: &str) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
        Failure::usage("the token has characters that cannot be sent in a header")
            .hint("look at DSPEX_TOKEN for line ends or spaces around it")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn base(text: &str) -> Result<Url, Failure> {
    let wrong = |why: &str| {
        Failure::usage(format_args!("the server's URL {text:?} {why}"))
            .hint("write it like http://127.0.0.1:8080 (--url or DSPEX_URL)")
    };
    let url = Url::parse(text).map_err(|error| wrong(&format!("is not valid: {error}")))?;
    match url.scheme() {
        "http" => {}
        "https" => {
            return Err(wrong(
                "is https, and this client speaks plain http only: TLS ends at a proxy before the server",
            ));
        }
        _ => return Err(wrong("does not begin with http://")),
    }
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
        return Err(wrong("must have no user, query or fragment"));
    }
    Ok(url)
}

/// Talks to one server.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    bearer: Option<HeaderValue>,
    timeout: Duration,
}

/// A request in the making.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    client: &'a Client,
    method: Method,
    url: Url,
    body: Option<Value>,
    session: Option<String>,
    timeout: Duration,
}

/// What the server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The lane that served a call.
    pub(crate) lane: Option<String>,
    /// The request's id.
    pub(crate) request_id: Option<String>,
    /// The body; null where there is none.
    pub(crate) body: Value,
}

impl Answer {
    /// The answer itself, or why the server did not do what was asked.
    pub(crate) fn successful(self) -> Result<Self, Failure> {
        if (200..300).contains(&self.status) {
            Ok(self)
        } else {
            Err(problem::failure(self.status, &self.body))
        }
    }
}

impl Client {
    /// The server's address as it was given.
    pub(crate) fn url(&self) -> &Url {
        &self.base
    }

    /// Starts a request. Each segment of the path is escaped.
    pub(crate) fn request(&self, method: Method, path: &[&str]) -> Request<'_> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        Request {
            client: self,
            method,
            url,
            body: None,
            session: None,
            timeout: self.timeout,
        }
    }

    /// `GET path`.
    pub(crate) fn get(&self, path: &[&str]) -> Request<'_> {
        self.request(Method::GET, path)
    }

    /// `POST path`.
    pub(crate) fn post(&self, path: &[&str]) -> Request<'_> {
        self.request(Method::POST, path)
    }
}

impl Request<'_> {
    /// Adds `name=value` to the query.
    pub(crate) fn query(mut self, name: &str, value: &str) -> Self {
        self.url.query_pairs_mut().append_pair(name, value);
        self
    }

    /// Sends a JSON body.
    pub(crate) fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// Sends a session id.
    pub(crate) fn session(mut self, session: Option<&str>) -> Self {
        self.session = session.map(str::to_owned);
        self
    }

    /// Waits at least this long for the answer.
    pub(crate) fn wait_at_least(mut self, timeout: Duration) -> Self {
        self.timeout = self.timeout.max(timeout);
        self
    }

    /// Sends it, and fails unless the server did what was asked.
    pub(crate) async fn send(self) -> Result<Answer, Failure> {
        self.send_any().await?.successful()
    }

    /// Sends it, and returns the body of a successful answer.
    pub(crate) async fn json(self) -> Result<Value, Failure> {
        Ok(self.send().await?.body)
    }

    /// Sends it, and returns the text of a successful answer.
    pub(crate) async fn text(self) -> Result<String, Failure> {
        let (base, timeout) = (self.client.base.clone(), self.timeout);
        let failed = |error: reqwest::Error| unreachable(&base, timeout, true, &error);
        let response = self.build()?.timeout(timeout).send().await;
        let response = response.and_then(reqwest::Response::error_for_status);
        response
            .map_err(failed)?
            .text()
            .await
            .map_err(|error| unreachable(&base, timeout, true, &error))
    }

    /// Sends it, and returns whatever the server answered, refusals included.
    pub(crate) async fn send_any(self) -> Result<Answer, Failure> {
        let (base, timeout, reads) = (
            self.client.base.clone(),
            self.timeout,
            self.method == Method::GET,
        );
        let response = self.build()?.timeout(timeout).send().await;
        let response = response.map_err(|error| unreachable(&base, timeout, reads, &error))?;
        whole(response, &base, timeout, reads).await
    }

    /// Sends it, asking for events, and returns these; or fails where the server did not do what was
    /// asked.
    pub(super) async fn events(self) -> Result<Events, Failure> {
        let (base, timeout) = (self.client.base.clone(), self.timeout);
        let request = self.build()?.header(ACCEPT, EVENTS);
        let begun = tokio::time::timeout(timeout, request.send()).await;
        let response = begun
            .map_err(|_| late(&base, timeout))?
            .map_err(|error| unreachable(&base, timeout, false, &error))?;
        let kind = response.headers().get(CONTENT_TYPE);
        if kind.is_some_and(|kind| kind.as_bytes().starts_with(EVENTS.as_bytes())) {
            return Ok(Events::of(response, timeout));
        }
        let answer = whole(response, &base, timeout, false).await?.successful()?;
        Err(Failure::new(
            Exit::Failed,
            format_args!("{base} answered {} without a stream", answer.status),
        )
        .hint("the server is of a release that does not stream: call it without --stream"))
    }

    /// Sends it, asking for text of this type, and returns the text of a successful answer.
    pub(crate) async fn text_as(self, media: &'static str) -> Result<String, Failure> {
        let (base, timeout) = (self.client.base.clone(), self.timeout);
        let request = self.build()?.header(ACCEPT, media).timeout(timeout);
        let failed = |error: reqwest::Error| unreachable(&base, timeout, true, &error);
        let response = request.send().await.map_err(failed)?;
        if response.status().is_success() {
            return response.text().await.map_err(failed);
        }
        let answer = whole(response, &base, timeout, true).await?;
        Err(problem::failure(answer.status, &answer.body))
    }

    fn build(self) -> Result<reqwest::RequestBuilder, Failure> {
        let mut request = self.client.http.request(self.method, self.url);
        if let Some(bearer) = &self.client.bearer {
            request = request.header(reqwest::header::AUTHORIZATION, bearer);
        }
        if let Some(session) = self.session {
            let session = HeaderValue::from_str(&session).map_err(|_| {
                Failure::usage("the session has characters that cannot be sent in a header")
            })?;
            request = request.header("x-session-id", session);
        }
        if let Some(body) = self.body {
            request = request.json(&body);
        }
        Ok(request)
    }
}

async fn whole(
    response: reqwest::Response,
    base: &Url,
    timeout: Duration,
    reads: bool,
) -> Result<Answer, Failure> {
    let status = response.status().as_u16();
    let header = |name: &str| {
        let value = response.headers().get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    let (lane, request_id) = (header("x-dspex-lane"), header("x-request-id"));
    let bytes = response
        .bytes()
        .await
        .map_err(|error| unreachable(base, timeout, reads, &error))?;
    let body = if bytes.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&bytes).map_err(|_| {
            Failure::new(
                Exit::Unreachable,
                format_args!(
                    "{base} answered {status} with something that is not JSON: {:?}",
                    String::from_utf8_lossy(&bytes)
                        .chars()
                        .take(80)
                        .collect::<String>()
                ),
            )
            .hint("another program seems to listen there; give the address of dspex with --url or DSPEX_URL")
        })?
    };
    Ok(Answer {
        status,
        lane,
        request_id,
        body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(url: &str) -> Remote {
        Remote {
            url: url.to_owned(),
            token: None,
            timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn paths_are_escaped_and_a_prefix_is_kept() {
        let client = remote("http://127.0.0.1:1/dspex/").client().unwrap();
        let request = client
            .get(&["v1", "programs", "a/../b?c"])
            .query("after", "x&y=z");
        assert_eq!(
            request.url.as_str(),
            "http://127.0.0.1:1/dspex/v1/programs/a%2F..%2Fb%3Fc?after=x%26y%3Dz"
        );
    }

    #[test]
    fn urls_that_cannot_work_are_refused_before_anything_is_sent() {
        for (url, why) in [
            ("https://localhost", "plain http only"),
            ("localhost:8080", "does not begin with http://"),
            ("", "is not valid"),
            ("ftp://x", "does not begin with http://"),
            ("http://user@x", "no user"),
            ("http://x/?q", "no user, query"),
        ] {
            let failure = remote(url).client().unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{url}");
            assert!(failure.message.contains(why), "{url}: {}", failure.message);
        }
    }

    #[test]
    fn a_token_with_a_line_end_is_refused_and_never_shown() {
        let mut remote = remote("http://127.0.0.1:1");
        remote.token = Some("secret\n".to_owned());
        let failure = remote.client().unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(!format!("{failure:?}").contains("secret"));
    }

    #[test]
    fn durations_carry_their_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert!(duration("5").unwrap_err().contains("5s"));
        assert!(duration("0s").is_err());
    }
}
