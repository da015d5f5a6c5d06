//! What is asked: the evaluation context.
//!
//! Invariant: a context is an object, and its targetingKey, where there is one, a text.

use axum::extract::{FromRequest, Request};
use serde_json::Value;

use super::refusal::Refusal;
use crate::http::json::Json;
use crate::http::state::AppState;

/// An evaluation context.
#[derive(Debug)]
pub(super) struct Context(Value);

impl Context {
    /// The key by which shares are divided; an empty one is none, as for flagd.
    pub(super) fn targeting_key(&self) -> Option<&str> {
        let key = self.0.get("targetingKey")?.as_str()?;
        Some(key).filter(|key| !key.is_empty())
    }

    pub(super) fn json(&self) -> &Value {
        &self.0
    }

    fn of(mut body: Value) -> Result<Self, Refusal> {
        if !body.is_object() {
            return Err(Refusal::parse_error("the body must be a JSON object"));
        }
        match body.get_mut("context").map(Value::take) {
            None => Ok(Self(Value::Object(serde_json::Map::new()))),
            Some(context @ Value::Object(_)) => match context.get("targetingKey") {
                None | Some(Value::String(_)) => Ok(Self(context)),
                Some(_) => Err(Refusal::invalid_context(
                    "context.targetingKey must be a string",
                )),
            },
            Some(_) => Err(Refusal::invalid_context("context must be an object")),
        }
    }
}

/// The context in a request's body.
pub(super) struct Asked(pub(super) Context);

impl FromRequest<AppState> for Asked {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Refusal> {
        let body = Json::<Value>::from_request(request, state).await;
        let Json(body) = body.map_err(|problem| Refusal::of_problem(&problem))?;
        Context::of(body).map(Self)
    }
}
