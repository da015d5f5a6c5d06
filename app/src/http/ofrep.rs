//! `/ofrep/v1`: the OpenFeature Remote Evaluation Protocol 0.3, so that any OpenFeature SDK asks this
//! server for flags.
//!
//! Read in this order: [`context`](mod@context) (what is asked), [`evaluate`](mod@evaluate) (what a flag answers),
//! [`refusal`] (what is answered otherwise), [`access`] (who may ask, and how often), [`events`] (that
//! there is something new).
//!
//! Invariants: answers are the protocol's own, also where they refuse: no problem documents here.
//! Beside the declared flags there is the derived switch `use_v2_pool`, which says for a
//! targetingKey what the router does with a session of that name.

mod access;
mod context;
mod evaluate;
mod events;
mod refusal;

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse as _, Response};
use dspex_flags::Snapshot;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::access::Gate;
use self::context::{Asked, Context};
use self::evaluate::{USE_V2_POOL, evaluate};
use self::refusal::{InForm, Refusal};
use super::params::Named;
use super::state::{AppState, Ready};

const TAG: &str = "ofrep";

pub(super) fn routes(state: &AppState) -> OpenApiRouter<AppState> {
    let gate = Arc::new(Gate::new(state.ofrep_limits()));
    let evaluations = OpenApiRouter::new()
        .routes(routes!(bulk))
        .routes(routes!(single))
        .route_layer(from_fn_with_state(
            (state.clone(), Arc::clone(&gate)),
            access::evaluations,
        ));
    evaluations
        .routes(routes!(events::stream))
        .layer(axum::Extension(gate))
}

/// Every flag for one context. With an `If-None-Match` of an earlier answer's `ETag`: 304 where
/// nothing would be different.
#[utoipa::path(
    post, path = "/ofrep/v1/evaluate/flags", tag = TAG,
    request_body(content = Value, description = "`{\"context\": {\"targetingKey\": \"session-1\"}}`"),
    responses(
        (status = 200, body = Value, description = "`flags`, each a value or an errorCode of its own, and `eventStreams`"),
        (status = 304, description = "As before"),
        (status = 400, body = Value, description = "PARSE_ERROR or INVALID_CONTEXT"),
        (status = 401, body = Value, description = "A token is needed"),
        (status = 403, body = Value, description = "The token does not open this"),
        (status = 429, body = Value, description = "Too often; see Retry-After"),
    ),
)]
async fn bulk(
    gate: axum::Extension<Arc<Gate>>,
    State(state): State<AppState>,
    InForm(Ready(house)): InForm<Ready>,
    headers: HeaderMap,
    Asked(context): Asked,
) -> Result<Response, Refusal> {
    let snapshot = house.flags.snapshot();
    let keys = snapshot.values().map(|(key, _)| key).chain([USE_V2_POOL]);
    let flags: Vec<Value> = keys
        .map(|key| match evaluate(&snapshot, key, &context) {
            Ok(value) => value,
            // One flag that lacks something does not keep the others from answering.
            Err(refusal) => refusal.document(),
        })
        .collect();
    let tag = etag(&snapshot, &context, &flags);
    let mut response = if matches(&headers, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        axum::Json(json!({
            "flags": flags,
            "eventStreams": [events::announced(&gate, state.tokens())],
            "metadata": {"revision": snapshot.revision()},
        }))
        .into_response()
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    Ok(response)
}

/// One flag for one context.
#[utoipa::path(
    post, path = "/ofrep/v1/evaluate/flags/{key}", tag = TAG,
    params(("key" = String, Path, description = "The flag's key, or `use_v2_pool`")),
    request_body(content = Value, description = "`{\"context\": {\"targetingKey\": \"session-1\"}}`"),
    responses(
        (status = 200, body = Value, description = "`value`, `reason`, `variant` and `metadata`"),
        (status = 400, body = Value, description = "PARSE_ERROR, INVALID_CONTEXT or TARGETING_KEY_MISSING"),
        (status = 401, body = Value, description = "A token is needed"),
        (status = 403, body = Value, description = "The token does not open this"),
        (status = 404, body = Value, description = "FLAG_NOT_FOUND"),
        (status = 429, body = Value, description = "Too often; see Retry-After"),
    ),
)]
async fn single(
    InForm(Ready(house)): InForm<Ready>,
    InForm(Named(key)): InForm<Named>,
    asked: Result<Asked, Refusal>,
) -> Result<axum::Json<Value>, Refusal> {
    let Asked(context) = asked.map_err(|refusal| refusal.of(&key))?;
    let snapshot = house.flags.snapshot();
    evaluate(&snapshot, &key, &context).map(axum::Json)
}

/// Of the revision, the context and what the flags are in it. The last for a flag that is lowered in
/// this process before the store has it: its revision is the old one.
fn etag(snapshot: &Snapshot, context: &Context, flags: &[Value]) -> String {
    let mut hash = Sha256::new();
    for part in [context.json(), &json!(flags)] {
        let text = part.to_string();
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    let hash = hash.finalize();
    let short: String = hash[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("\"{}-{short}\"", snapshot.revision())
}

/// Whether one of the tags that the caller has is this one. Weakness makes no difference here
/// (RFC 9110, 13.1.2).
fn matches(headers: &HeaderMap, tag: &str) -> bool {
    let values = headers.get_all(IF_NONE_MATCH).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    let mut tags = texts.flat_map(|text| text.split(',')).map(str::trim);
    tags.any(|theirs| theirs == "*" || theirs.strip_prefix("W/").unwrap_or(theirs) == tag)
}
