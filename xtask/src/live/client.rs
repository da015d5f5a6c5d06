//! dspex over HTTP, as any client sees it.

use std::io::ErrorKind;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use ureq::Agent;
use ureq::http::Response;

/// A client with one kept-alive connection for each thread that uses it.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    agent: Agent,
    base: String,
    token: String,
}

/// A program's answer, good or not.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) lane: Option<String>,
    /// What `Retry-After` asks for.
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Value,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// There was no connection: the call was never sent.
    Unreachable(String),
    /// The connection ended under the call, which may have run.
    Cut(String),
}

impl Client {
    /// A client of the server at `base`, with the token for the admin API.
    pub(crate) fn new(base: &str, token: &str) -> Self {
        Self::patient(base, token, Duration::from_secs(60))
    }

    /// Another client of the same server, for which no answer may take longer than this.
    pub(crate) fn with_timeout(&self, limit: Duration) -> Self {
        Self::patient(&self.base, &self.token, limit)
    }

    fn patient(base: &str, token: &str, limit: Duration) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(limit))
            // Everything is on loopback, whatever the environment says about proxies.
            .proxy(None)
            .build();
        Self {
            agent: config.into(),
            base: base.to_owned(),
            token: token.to_owned(),
        }
    }

    /// The server's address.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// The token for the admin API.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// The address of the page, with the token where the page finds it and no log does.
    pub(crate) fn page(&self) -> String {
        format!("{}/#token={}", self.base, self.token)
    }

    /// A client with a connection of its own.
    pub(crate) fn another(&self) -> Self {
        Self::new(&self.base, &self.token)
    }

    /// Reads JSON, with the admin token.
    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        let response = self
            .agent
            .get(format!("{}{path}", self.base))
            .header("Authorization", format!("Bearer {}", self.token))
            .call()
            .with_context(|| format!("GET {path}"))?;
        accepted(response).with_context(|| format!("GET {path}"))
    }

    /// Sends JSON, with the admin token.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let response = self
            .agent
            .post(format!("{}{path}", self.base))
            .header("Authorization", format!("Bearer {}", self.token))
            .send_json(body)
            .with_context(|| format!("POST {path}"))?;
        accepted(response).with_context(|| format!("POST {path}"))
    }

    /// Runs a program as a caller does: with a session, without a token.
    pub(crate) fn execute(
        &self,
        program: &str,
        session: &str,
        body: &Value,
    ) -> Result<Answer, Unanswered> {
        let mut response = self
            .agent
            .post(format!("{}/v1/programs/{program}/execute", self.base))
            .header("X-Session-Id", session)
            .send_json(body)?;
        let header = |name: &str| response.headers().get(name)?.to_str().ok();
        let lane = header("X-Dspex-Lane").map(str::to_owned);
        let retry_after = header("Retry-After")
            .and_then(|seconds| seconds.parse().ok())
            .map(Duration::from_secs);
        Ok(Answer {
            status: response.status().as_u16(),
            lane,
            retry_after,
            body: response.body_mut().read_json()?,
        })
    }
}

impl From<ureq::Error> for Unanswered {
    fn from(error: ureq::Error) -> Self {
        let text = error.to_string();
        match error {
            ureq::Error::Io(io) if io.kind() == ErrorKind::ConnectionRefused => {
                Self::Unreachable(text)
            }
            ureq::Error::ConnectionFailed => Self::Unreachable(text),
            _ => Self::Cut(text),
        }
    }
}

/// The body of a good answer; the problem document's words of any other.
fn accepted(mut response: Response<ureq::Body>) -> Result<Value> {
    let status = response.status();
    let body: Value = response.body_mut().read_json().unwrap_or_default();
    if !status.is_success() {
        bail!("{}", problem(status.as_u16(), &body));
    }
    Ok(body)
}

/// A problem document in one line.
pub(crate) fn problem(status: u16, body: &Value) -> String {
    let words = ["title", "detail"]
        .iter()
        .filter_map(|member| body[*member].as_str())
        .collect::<Vec<_>>()
        .join(": ");
    format!("{status} {words}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_at_which_nobody_listens_is_no_call_that_may_have_run() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        drop(listener);
        let client = Client::new(&format!("http://{address}"), "");
        let answer = client.execute("p", "s", &Value::Null);
        assert!(
            matches!(answer, Err(Unanswered::Unreachable(_))),
            "{answer:?}"
        );
    }

    #[test]
    fn a_connection_that_ends_under_the_call_may_have_carried_it() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let server = std::thread::spawn(move || drop(listener.accept().expect("one caller")));
        let client = Client::new(&format!("http://{address}"), "");
        let answer = client.execute("p", "s", &Value::Null);
        assert!(matches!(answer, Err(Unanswered::Cut(_))), "{answer:?}");
        server.join().expect("it accepted");
    }
}
