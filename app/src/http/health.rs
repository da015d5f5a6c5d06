//! `/healthz`, `/readyz` and `/v1/status`.
//!
//! `/healthz` says that the process answers, and nothing else: whoever restarts processes by it must
//! not restart one for the sake of its workers. `/readyz` says whether calls are served.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use dspex_pool::without_last_words;
use dspex_telemetry::Lane;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{Problem, ProblemDocument};
use super::state::{AppState, Life, Ready};
use crate::assemble::House;
use crate::resting::TROUBLE;

const TAG: &str = "state";

/// Routes without a token.
pub(super) fn open() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(healthz))
        .routes(routes!(readyz))
}

/// Routes that need the programs token, where one is set.
pub(super) fn guarded() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(status))
}

#[derive(Debug, Serialize, ToSchema)]
struct HealthDocument {
    /// `ok`.
    status: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
struct ReadyDocument {
    /// `ready`.
    status: &'static str,
    /// What does not keep calls from being served, and wants somebody to look at it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    troubles: Vec<String>,
}

impl ReadyDocument {
    fn of(house: &House) -> Self {
        let unreadable = house.flags.store_error().map(|error| {
            format!("the flags' store cannot be read, and the last good flags are served: {error}")
        });
        // The candidate serves meanwhile, but there is no way back until somebody mends it.
        let stable = house.router.stable().status();
        let asleep = stable.details.get(TROUBLE).and_then(Value::as_str);
        let asleep = asleep.map(|why| {
            let why = without_last_words(why);
            format!("the stable pool rests, and did not wake when it was to: {why}")
        });
        Self {
            status: "ready",
            troubles: unreadable.into_iter().chain(asleep).collect(),
        }
    }
}

/// Whether the process answers.
#[utoipa::path(get, path = "/healthz", tag = TAG, responses((status = 200, body = HealthDocument)))]
async fn healthz() -> axum::Json<HealthDocument> {
    axum::Json(HealthDocument { status: "ok" })
}

/// Whether calls are served.
#[utoipa::path(
    get, path = "/readyz", tag = TAG,
    responses(
        (status = 200, body = ReadyDocument),
        (status = 503, body = ProblemDocument, content_type = "application/problem+json", description = "Starting, draining, or without a stable worker"),
    ),
)]
async fn readyz(State(state): State<AppState>) -> Response {
    let problem = match (state.life(), state.house()) {
        (Life::Ready, Some(house)) if house.router.health().ready() => {
            return axum::Json(ReadyDocument::of(house)).into_response();
        }
        (Life::Ready, Some(_)) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no-worker",
            "No worker",
            "the stable pool has no worker that is ready, and no candidate serves in its place",
        )
        .retry_after(std::time::Duration::from_secs(1)),
        (Life::Draining, _) => Problem::draining(),
        _ => Problem::starting(),
    };
    problem.into_response()
}

/// What the server is doing: lanes, circuits, calls that are sent once more, flags, migration, host.
#[utoipa::path(
    get, path = "/v1/status", tag = TAG,
    responses((
        status = 200, body = Value,
        description = "`lanes`: both pools. `circuits`: each lane's circuit. `rescue`: calls that a pool failed and \
            that were sent once more, by the rule that sent them (`failover`: to stable, `again`: to another worker \
            of stable): how many are under way and how many ended how, those under way and those that ended last by \
            name, and what is left in the `budget`. `traffic`, `sessions`, `flags`, `migration`, `notifications`, `host`.",
    )),
)]
async fn status(Ready(house): Ready) -> axum::Json<Value> {
    let mut health = house.router.health();
    for pool in std::iter::once(&mut health.stable).chain(&mut health.candidate) {
        for worker in &mut pool.workers {
            if let Some(detail) = &mut worker.detail {
                *detail = without_last_words(detail).to_owned();
            }
            // `/admin/v1/pools/{pool}` has it; here it would be most of the answer.
            worker.history.clear();
        }
        pool.details.values_mut().for_each(keep_for_admins);
    }
    // A store that fails must not keep the rest from being seen; calls say it too.
    let sessions = house.router.sessions().await.ok();
    let (stable, candidate) = house.versions();
    let flags = house.flags.snapshot();
    let in_effect = |key: &str| flags.explain(key, None).ok().map(|why| json!(why.value));
    let values: serde_json::Map<String, Value> = flags
        .values()
        .filter_map(|(key, _)| Some((key.to_owned(), in_effect(key)?)))
        .collect();
    let ruled: Vec<&str> = flags
        .values()
        .filter(|(key, _)| matches!(flags.rules(key), Ok(Some(_))))
        .map(|(key, _)| key)
        .collect();
    axum::Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        // Of a release; whoever builds it otherwise knows what of.
        "commit": option_env!("DSPEX_COMMIT"),
        "started_at": house.started_at,
        "ready": health.ready(),
        // Which versions of which configurations stand where.
        "pools": {
            "stable": stable.to_string(),
            "candidate": candidate.map(|candidate| candidate.to_string()),
        },
        "lanes": {
            "stable": health.stable,
            "candidate": health.candidate,
        },
        // The log and `/admin/v1/pools` have the whole of it.
        "candidate_trouble": house.candidate_trouble().as_deref().map(without_last_words),
        "circuits": health.circuits,
        // Calls that a pool failed: what is under way for them, and how the last ones ended.
        "rescue": health.rescue,
        "traffic": traffic(&house),
        "sessions": sessions,
        "flags": {
            "revision": flags.revision(),
            "served_revision": health.flag_revision,
            "store": house.config.flags.store.to_string(),
            // What they are where nobody asks for a key, a kill switch and prerequisites included.
            "values": values,
            // Those that have rules: lists may say something else for a key. `/admin/v1/flags` has them.
            "ruled": ruled,
            "store_error": house.flags.store_error().map(|error| error.to_string()),
            // Lowered in this process by a rollback that the store has not taken yet.
            "overridden": flags.overridden(),
        },
        "migration": house.migrations.status(),
        // Who is told of it, and whether it arrives.
        "notifications": house.outlooks.now(),
        "host": *house.host.borrow(),
    }))
}

/// Takes the last words of workers out of what a pool says of itself.
fn keep_for_admins(value: &mut Value) {
    match value {
        Value::String(text) => *text = without_last_words(text).to_owned(),
        Value::Array(items) => items.iter_mut().for_each(keep_for_admins),
        Value::Object(members) => members.values_mut().for_each(keep_for_admins),
        _ => {}
    }
}

/// What both lanes did over the window that a migration would look at.
fn traffic(house: &House) -> Value {
    let now = Instant::now();
    let since = now
        .checked_sub(house.config.migration.window)
        .unwrap_or(now);
    let lane = |lane| house.telemetry.window(lane, since, now);
    json!({
        "recorded": house.telemetry.is_enabled(),
        "stable": lane(Lane::Stable),
        "candidate": lane(Lane::Candidate),
    })
}
