//! dspex over HTTP, as any client sees it.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use ureq::Agent;
use ureq::http::Response;

/// A client with one kept-alive connection for each thread that uses it.
#[derive(Debug, Clone)]
pub(super) struct Client {
    agent: Agent,
    base: String,
    token: String,
}

/// A program's answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) lane: Option<String>,
    pub(super) body: Value,
}

impl Client {
    /// A client of the server at `base`, with the token for the admin API.
    pub(super) fn new(base: &str, token: &str) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            // Everything is on loopback, whatever the environment says about proxies.
            .proxy(None)
            .build();
        Self {
            agent: config.into(),
            base: base.to_owned(),
            token: token.to_owned(),
        }
    }

    /// The address of the page, with the token where the page finds it and no log does.
    pub(super) fn page(&self) -> String {
        format!("{}/#token={}", self.base, self.token)
    }

    /// A client with a connection of its own.
    pub(super) fn another(&self) -> Self {
        Self::new(&self.base, &self.token)
    }

    /// Reads JSON, with the admin token.
    pub(super) fn get(&self, path: &str) -> Result<Value> {
        let response = self
            .agent
            .get(format!("{}{path}", self.base))
            .header("Authorization", format!("Bearer {}", self.token))
            .call()
            .with_context(|| format!("GET {path}"))?;
        accepted(response).with_context(|| format!("GET {path}"))
    }

    /// Sends JSON, with the admin token.
    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let response = self
            .agent
            .post(format!("{}{path}", self.base))
            .header("Authorization", format!("Bearer {}", self.token))
            .send_json(body)
            .with_context(|| format!("POST {path}"))?;
        accepted(response).with_context(|| format!("POST {path}"))
    }

    /// Runs a program as a caller does: with a session, without a token.
    pub(super) fn execute(&self, program: &str, session: &str, body: &Value) -> Result<Answer> {
        let mut response = self
            .agent
            .post(format!("{}/v1/programs/{program}/execute", self.base))
            .header("X-Session-Id", session)
            .send_json(body)?;
        let lane = response
            .headers()
            .get("X-Dspex-Lane")
            .and_then(|lane| lane.to_str().ok())
            .map(str::to_owned);
        Ok(Answer {
            status: response.status().as_u16(),
            lane,
            body: response.body_mut().read_json()?,
        })
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
pub(super) fn problem(status: u16, body: &Value) -> String {
    let words = ["title", "detail"]
        .iter()
        .filter_map(|member| body[*member].as_str())
        .collect::<Vec<_>>()
        .join(": ");
    format!("{status} {words}")
}
