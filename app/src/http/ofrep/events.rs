//! That there is something new: server-sent events after which SDKs evaluate again.
//!
//! Invariants: an event is only a notice, and its id is the revision it is about with a mark of all values
//! and rules; who comes back with the id of what is served hears nothing until that changes, and anybody
//! else at once, also after a restart. What changes while an event is on its way is told by one event,
//! not by one for each revision.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::response::sse::Event;
use dspex_flags::{Observer, Snapshot};
use futures_util::stream::unfold;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::sync::OwnedSemaphorePermit;

use super::TAG;
use super::access::{Gate, token};
use super::refusal::{InForm, Refusal};
use crate::auth::Tokens;
use crate::http::event_stream;
use crate::http::params::Asked;
use crate::http::state::{AppState, Ready};

const PATH: &str = "/ofrep/v1/events";

/// When to come back where there are too many streams.
const AGAIN: Duration = Duration::from_secs(30);

/// How long a client that is not looked at keeps its stream, in seconds.
const INACTIVITY: u64 = 120;

/// The stream's entry in the answer of a bulk evaluation.
pub(super) fn announced(gate: &Gate, tokens: &Tokens) -> Value {
    let mut uri = PATH.to_owned();
    if !tokens.programs(None) {
        uri = format!("{PATH}?ticket={}", gate.ticket);
    }
    json!({"type": "sse", "endpoint": {"requestUri": uri}, "inactivityDelaySec": INACTIVITY})
}

#[derive(Debug, Deserialize)]
pub(super) struct Presented {
    ticket: Option<String>,
}

/// Events of the type `refetchEvaluation`: evaluate again, something is different.
#[utoipa::path(
    get, path = "/ofrep/v1/events", tag = TAG,
    params(
        ("ticket" = Option<String>, Query, description = "As a bulk evaluation has given it"),
        ("Last-Event-ID" = Option<String>, Header, description = "The last event that was seen"),
    ),
    responses(
        (status = 200, content_type = "text/event-stream", body = String),
        (status = 401, body = Value, description = "A token or a ticket is needed"),
        (status = 403, body = Value, description = "The token or ticket does not open this"),
        (status = 429, body = Value, description = "Too many streams; see Retry-After"),
    ),
)]
pub(super) async fn stream(
    gate: axum::Extension<Arc<Gate>>,
    State(state): State<AppState>,
    InForm(Ready(house)): InForm<Ready>,
    InForm(Asked(presented)): InForm<Asked<Presented>>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let token = token(&headers);
    let has_ticket = presented
        .ticket
        .as_ref()
        .is_some_and(|theirs| bool::from(theirs.as_bytes().ct_eq(gate.ticket.as_bytes())));
    if !has_ticket && !state.tokens().programs(token) {
        return Err(match token.is_none() && presented.ticket.is_none() {
            true => Refusal::unauthorized(),
            false => Refusal::forbidden(),
        });
    }
    let permit = Arc::clone(&gate.streams).try_acquire_owned();
    let permit = permit.map_err(|_| Refusal::too_many("too many event streams are open", AGAIN))?;
    let events = Events {
        observer: house.flags.observe(),
        gate: Arc::clone(&gate),
        state,
        seen: event_stream::last_seen(&headers).map(str::to_owned),
        _permit: permit,
    };
    Ok(event_stream::answer(unfold(events, Events::next)))
}

struct Events {
    observer: Observer,
    gate: Arc<Gate>,
    state: AppState,
    /// The id of what the client has seen.
    seen: Option<String>,
    _permit: OwnedSemaphorePermit,
}

impl Events {
    /// The next event; none once the server takes no new calls.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        let mut snapshot = self.observer.current();
        loop {
            let id = self.gate.ids.of(&snapshot);
            if self.seen.as_ref() != Some(&id) {
                let data = json!({"type": "refetchEvaluation", "etag": format!("\"{id}\"")});
                let event = Event::default()
                    .id(&id)
                    .event("message")
                    .data(data.to_string());
                self.seen = Some(id);
                return Some((Ok(event), self));
            }
            snapshot = tokio::select! {
                () = self.state.draining() => return None,
                changed = self.observer.changed() => changed?,
            };
        }
    }
}

/// What the flags are, in the id of the event that tells of it.
///
/// The revision is not enough: another configuration or environment under the store, or a store that was
/// restored, is news at the same revision, and so is each lowering in this process. What a flag is for a
/// key follows from values and rules; these may be long, so one snapshot is looked at once for all streams.
#[derive(Debug, Default)]
pub(super) struct Ids(Mutex<Option<(Arc<Snapshot>, String)>>);

impl Ids {
    fn of(&self, snapshot: &Arc<Snapshot>) -> String {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((seen, id)) = &*newest
            && Arc::ptr_eq(seen, snapshot)
        {
            return id.clone();
        }
        let mut hash = Sha256::new();
        for (key, value) in snapshot.values() {
            let rules = snapshot.rules(key).ok().flatten();
            let text = json!([key, value, rules]).to_string();
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        let hash = hash.finalize();
        let short: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let id = format!("{}-{short}", snapshot.revision());
        *newest = Some((Arc::clone(snapshot), id.clone()));
        id
    }
}
