//! A call's answer as server-sent events.
//!
//! Events: `chunk` with the program's own JSON, then `result` with the document that is otherwise
//! the whole answer, or `error` with a problem document; each with an id that counts from 1.
//!
//! Invariants: the body is pulled, so no more chunks are on their way than the window holds and a
//! reader who stops stops the program; the call runs in a task of its own, which its reader holds:
//! a reader who leaves ends it, and one who dawdles does not keep its deadline from passing.

use std::convert::Infallible;
use std::sync::Arc;

use axum::response::sse::Event;
use axum::response::{IntoResponse as _, Response};
use dspex_pool::{Chunk, ChunkReceiver, chunks};
use dspex_router::{Execute, ExecuteFailed, Executed};
use futures_util::FutureExt as _;
use futures_util::stream::unfold;
use tokio::sync::watch;
use tokio::task::{JoinError, unconstrained};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use super::execute::{ExecuteDocument, lane_header, problem, refused};
use crate::assemble::House;
use crate::http::error::Problem;
use crate::http::event_stream::{self, KEEP_ALIVE};

type Ended = Result<Result<Executed, ExecuteFailed>, JoinError>;

/// Runs the call and answers with its events.
///
/// The headers wait for the first chunk or for the call's end. Until then the lane may still change
/// by a failover, and a call that fails can be answered with its own status, as without a stream;
/// with the first chunk both are settled. A program that is silent for longer than proxies bear gets
/// its headers before that, without a lane: the last event names it.
pub(super) async fn answer(house: &House, mut request: Execute) -> Response {
    let (sender, mut chunks) = chunks(house.config.router.stream_window);
    let lane = watch::Sender::new(None);
    request.chunks = Some(sender);
    request.lane = Some(lane.clone());
    let instance = format!("/v1/programs/{}/execute", request.program);
    let request_id = Arc::clone(&request.request_id);
    let router = Arc::clone(&house.router);
    let call = async move { router.execute(request).await }.in_current_span();
    let mut call = AbortOnDropHandle::new(house.calls.spawn(call));
    let (first, ended) = tokio::select! {
        biased;
        chunk = chunks.next() => match chunk {
            Some(chunk) => (Some(chunk), None),
            None => (None, Some((&mut call).await)),
        },
        // The last chunk may have come between the two looks.
        ended = &mut call => (waiting(&mut chunks), Some(ended)),
        () = tokio::time::sleep(KEEP_ALIVE) => (None, None),
    };
    // Settled only once there is a chunk or an end.
    let lane = lane.borrow().filter(|_| first.is_some() || ended.is_some());
    let ended = match ended {
        Some(Ok(Err(failed))) if first.is_none() => return refused(failed),
        // The call panicked; the log says how.
        Some(Err(_)) if first.is_none() => return Problem::internal().into_response(),
        ended => ended,
    };
    let events = Events {
        first,
        chunks,
        call,
        ended,
        over: false,
        number: 0,
        instance,
        request_id,
    };
    let lane = lane.map(|lane| lane.to_string());
    respond(lane.as_deref(), events)
}

fn respond(lane: Option<&str>, events: Events) -> Response {
    let events = unfold(events, Events::next);
    (lane_header(lane), event_stream::answer(events)).into_response()
}

/// A chunk that is there already.
fn waiting(chunks: &mut ChunkReceiver) -> Option<Chunk> {
    // Unconstrained: a task that has used up its turn would be told that there is none.
    unconstrained(chunks.next()).now_or_never().flatten()
}

/// What is still to be told of a call.
struct Events {
    first: Option<Chunk>,
    chunks: ChunkReceiver,
    call: AbortOnDropHandle<Result<Executed, ExecuteFailed>>,
    ended: Option<Ended>,
    over: bool,
    number: u64,
    instance: String,
    request_id: Arc<str>,
}

impl Events {
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        if self.over {
            return None;
        }
        let chunk = match self.first.take() {
            Some(first) => Some(first),
            None => self.chunk().await,
        };
        let (name, data) = match chunk {
            Some(chunk) => ("chunk", one_line(chunk.get())),
            None => {
                self.over = true;
                self.last().await
            }
        };
        self.number += 1;
        let event = Event::default()
            .id(self.number.to_string())
            .event(name)
            .data(data);
        Some((Ok(event), self))
    }

    /// The next chunk; [`None`] once the call has ended and all were told.
    async fn chunk(&mut self) -> Option<Chunk> {
        if self.ended.is_none() {
            tokio::select! {
                biased;
                chunk = self.chunks.next() => return chunk,
                ended = &mut self.call => self.ended = Some(ended),
            }
        }
        // Whatever was sent was sent before the call ended.
        waiting(&mut self.chunks)
    }

    async fn last(&mut self) -> (&'static str, String) {
        let ended = match self.ended.take() {
            Some(ended) => ended,
            None => (&mut self.call).await,
        };
        let problem = match ended {
            Ok(Ok(done)) => {
                let document = ExecuteDocument::of(done, &self.request_id);
                match serde_json::to_string(&document) {
                    Ok(text) => return ("result", text),
                    Err(_) => Problem::internal(),
                }
            }
            Ok(Err(failed)) => problem(failed),
            // The call panicked; the log says how.
            Err(_) => Problem::internal(),
        };
        let problem = problem.placed(&self.instance, &self.request_id);
        ("error", problem.text())
    }
}

/// JSON on one line. Inside its strings a line end is always escaped, so what is replaced is space
/// between values.
fn one_line(json: &str) -> String {
    json.replace(['\n', '\r'], " ")
}
