//! `/admin/v1/events`: what happens to migrations, to flags and to circuits, as one feed: a list, or
//! server-sent events.
//!
//! Invariants: each event has an id, which says where all of its sources are after it; whoever comes
//! back with the id of the last one misses nothing and hears nothing twice. Where the feed cannot reach
//! back as far as that, it says so, by an event `gap` in front of what it can reach. Each source keeps its
//! own order, which for migrations is that of their beginning in the journal and of no clock; between
//! sources it is that of the clock. Circuits are told of for as long as this process lives.

mod happened;
mod reach;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use axum::response::sse::Event as ServerSent;
use axum::response::{IntoResponse as _, Response};
use dspex_flags::Observer;
use dspex_migration::{MigrationError, Status};
use futures_util::stream::unfold;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::happened::{Circuits, Cursor, Happened};
use self::reach::{REACH, circuits, unheard, writes};
use super::{TAG, limit};
use crate::assemble::House;
use crate::http::error::{Problem, ProblemDocument};
use crate::http::event_stream;
use crate::http::params::Asked;
use crate::http::state::{AppState, Ready};

/// Feeds that are open at once. Each holds a connection.
static STREAMS: Semaphore = Semaphore::const_new(32);

/// Events read at once for a stream.
const PAGE: usize = 200;

/// How often is looked where nobody says that there is news: another process may have written.
const POLL: Duration = Duration::from_secs(5);

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(events))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// Only events after the one with this id. From the beginning where it is not given; a stream from
    /// now on.
    after: Option<String>,
    /// At most so many in a list, 1 to 1000; 100 where it is not given.
    limit: Option<usize>,
}

/// What happens to migrations, flags and circuits: a list, or a stream where `Accept` is `text/event-stream`.
#[utoipa::path(
    get, path = "/admin/v1/events", tag = TAG, security(("token" = [])),
    params(Wanted, ("Last-Event-ID" = Option<String>, Header, description = "The last event that was seen")),
    responses(
        (status = 200, content((Value = "application/json"), (String = "text/event-stream"))),
        (status = 422, body = ProblemDocument, content_type = "application/problem+json", description = "No id of an event"),
        (status = 429, body = ProblemDocument, content_type = "application/problem+json", description = "Too many streams are open"),
    ),
)]
async fn events(
    State(state): State<AppState>,
    Ready(house): Ready,
    Asked(wanted): Asked<Wanted>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let streams = accept.is_some_and(|accept| accept.contains("text/event-stream"));
    let seen = event_stream::last_seen(&headers)
        .map(str::to_owned)
        .or(wanted.after);
    let after = seen.filter(|seen| !seen.is_empty()).map(|seen| {
        seen.parse::<Cursor>().map_err(|()| {
            Problem::invalid("after", format!("{seen:?} is no id of an event"))
                .hint("take the `id` of an event as it was given")
        })
    });
    let after = after.transpose()?;
    if streams {
        return stream(state, house, after).await;
    }
    let limit = limit(wanted.limit)?;
    let mut cursor = after.unwrap_or_default();
    let found: Vec<Value> = page(&house, &mut cursor, limit).await?;
    Ok(axum::Json(json!({"events": found, "next": cursor.to_string()})).into_response())
}

/// The next events after the cursor, which is moved over them.
async fn page(house: &House, cursor: &mut Cursor, limit: usize) -> Result<Vec<Value>, Problem> {
    let mut found = Vec::new();
    for happened in read(house, cursor, limit).await? {
        happened.pass(cursor);
        found.push(happened.json(cursor));
    }
    Ok(found)
}

async fn read(house: &House, cursor: &Cursor, limit: usize) -> Result<Vec<Happened>, Problem> {
    let sources = [
        changes(house, cursor).await?,
        of_circuits(house, cursor),
        entries(house, cursor, limit).await?,
    ];
    let mut sources = sources.map(|source| source.into_iter().peekable());
    let mut merged = Vec::new();
    while merged.len() < limit {
        let next = sources.iter_mut().filter_map(|source| {
            // A gap has no time, and is told before everything that has.
            let at = source.peek()?.at();
            Some((at, source))
        });
        // Of one moment, the first source first.
        match next.min_by_key(|(at, _)| *at) {
            Some((_, source)) => merged.extend(source.next()),
            None => break,
        }
    }
    Ok(merged)
}

/// Changes of circuits after the cursor, the oldest first.
fn of_circuits(house: &House, cursor: &Cursor) -> Vec<Happened> {
    let process = house.started_at.as_millisecond();
    let seen = cursor.circuits;
    let after = seen
        .filter(|seen| seen.process == process)
        .map_or(0, |seen| seen.number);
    circuits(house.router.circuit_changes(after), seen, process)
}

/// Writes of flags after the cursor, the oldest first, each whole.
async fn changes(house: &House, cursor: &Cursor) -> Result<Vec<Happened>, Problem> {
    if house.flags.snapshot().revision().get() <= cursor.revision {
        return Ok(Vec::new());
    }
    let newest = house.flags.history(REACH).await?;
    Ok(writes(newest, cursor.revision, REACH))
}

/// Entries of journals after the cursor, the oldest first.
async fn entries(
    house: &House,
    cursor: &Cursor,
    limit: usize,
) -> Result<Vec<Happened>, MigrationError> {
    let newest = house.migrations.history(REACH).await?;
    let (gap, migrations) = unheard(newest, cursor, REACH);
    let mut found: Vec<Happened> = gap.map(Happened::Gap).into_iter().collect();
    for (migration, after) in migrations {
        if found.len() >= limit {
            break;
        }
        let entries = house
            .migrations
            .events(&migration, after, limit - found.len());
        let id = &migration;
        found.extend(
            entries
                .await?
                .into_iter()
                .map(|entry| Happened::Journal(id.clone(), Box::new(entry))),
        );
    }
    Ok(found)
}

/// Where everything is now.
async fn now(house: &House) -> Result<Cursor, MigrationError> {
    let newest = house.migrations.history(1).await?.pop();
    Ok(Cursor {
        revision: house.flags.snapshot().revision().get(),
        seq: newest.as_ref().map_or(0, |migration| migration.last_seq),
        migration: newest.map(|migration| migration.id),
        circuits: Some(Circuits {
            process: house.started_at.as_millisecond(),
            number: *house.router.watch_circuits().borrow(),
        }),
    })
}

async fn stream(
    state: AppState,
    house: Arc<House>,
    after: Option<Cursor>,
) -> Result<Response, Problem> {
    let permit = STREAMS.try_acquire().map_err(|_| {
        Problem::new(
            axum::http::StatusCode::TOO_MANY_REQUESTS,
            "too-many-streams",
            "Too many streams",
            "too many readers of the events have a stream open",
        )
        .retry_after(Duration::from_secs(30))
    })?;
    // Before the cursor: what happens in between is news.
    let (migrations, flags) = (house.migrations.watch(), house.flags.observe());
    let circuits = house.router.watch_circuits();
    let cursor = match after {
        Some(cursor) => cursor,
        None => now(&house).await?,
    };
    let feed = Feed {
        state,
        house,
        migrations,
        flags,
        circuits,
        cursor,
        ready: Vec::new().into_iter(),
        _permit: permit,
    };
    Ok(event_stream::answer(unfold(feed, Feed::next)))
}

struct Feed {
    state: AppState,
    house: Arc<House>,
    migrations: watch::Receiver<Option<Arc<Status>>>,
    flags: Observer,
    circuits: watch::Receiver<u64>,
    cursor: Cursor,
    /// Read, and not sent yet: one page at most.
    ready: std::vec::IntoIter<Happened>,
    _permit: SemaphorePermit<'static>,
}

impl Feed {
    /// The next event; none once the server takes no new calls.
    async fn next(mut self) -> Option<(Result<ServerSent, Infallible>, Self)> {
        loop {
            if let Some(happened) = self.ready.next() {
                happened.pass(&mut self.cursor);
                let event = ServerSent::default()
                    .id(self.cursor.to_string())
                    .event(happened.kind())
                    .data(happened.json(&self.cursor).to_string());
                return Some((Ok(event), self));
            }
            // A store that cannot be read now is read when there is news, or at the next poll.
            let read = read(&self.house, &self.cursor, PAGE).await;
            let read = read.unwrap_or_default();
            if !read.is_empty() {
                self.ready = read.into_iter();
                continue;
            }
            tokio::select! {
                () = self.state.draining() => return None,
                changed = self.migrations.changed() => changed.ok()?,
                changed = self.flags.changed() => drop(changed?),
                changed = self.circuits.changed() => changed.ok()?,
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }
}
