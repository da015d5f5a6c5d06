//! `/admin/v1/migrations`: start, watch, steer.

use axum::http::StatusCode;
use dspex_migration::{ChecklistLine, Command, MigrationId, Plan, Status};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Newest, TAG, limit, said};
use crate::assemble::House;
use crate::http::error::{Problem, ProblemDocument};
use crate::http::json::Json;
use crate::http::params::{Asked, Named};
use crate::http::state::{AppState, Ready};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(start, history))
        .routes(routes!(current))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(promote))
        .routes(routes!(rollback))
        .routes(routes!(approve))
        .routes(routes!(decommission))
        .routes(routes!(sign))
        .routes(routes!(events))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct StartBody {
    /// The pool to bring in, such as `v2` for its newest version or `v2@3`; the configured candidate
    /// where absent.
    #[serde(default)]
    candidate: Option<String>,
    /// Divides every hold, for rehearsals; the configured one where absent.
    #[serde(default)]
    time_scale: Option<f64>,
    /// Who; `admin` where absent.
    #[serde(default)]
    who: Option<String>,
    /// Why. Must be given.
    #[serde(default)]
    why: Option<String>,
}

/// Start a migration from the stable pool to the candidate.
#[utoipa::path(
    post, path = "/admin/v1/migrations", tag = TAG, security(("token" = [])),
    request_body = StartBody,
    responses(
        (status = 201, body = Value),
        (status = 409, body = ProblemDocument, content_type = "application/problem+json", description = "A migration is under way already"),
        (status = 422, body = ProblemDocument, content_type = "application/problem+json", description = "The plan is not valid"),
    ),
)]
async fn start(
    Ready(house): Ready,
    Json(body): Json<StartBody>,
) -> Result<(StatusCode, axum::Json<Value>), Problem> {
    let (who, why) = said(body.who, body.why)?;
    let plan = plan(&house, body.candidate.as_deref(), body.time_scale)?;
    let id = house.migrations.start(plan, &who, &why).await?;
    let status = house.migrations.status();
    Ok((
        StatusCode::CREATED,
        axum::Json(json!({"id": id, "migration": status})),
    ))
}

/// The plan from the pool that is stable to this one; to the configured candidate where none is named.
pub(super) fn plan(
    house: &House,
    candidate: Option<&str>,
    time_scale: Option<f64>,
) -> Result<Plan, Problem> {
    let lanes = &house.config.lanes;
    let Some(candidate) = candidate.or(lanes.candidate.as_deref()) else {
        return Err(
            Problem::invalid("candidate", "is absent, and none is configured")
                .hint("name a pool, or set lanes.candidate"),
        );
    };
    let candidate = house
        .find_pool(candidate)
        .map_err(|reason| Problem::invalid("candidate", reason))?;
    let (stable, _) = house.versions();
    if candidate == stable {
        return Err(
            Problem::invalid("candidate", format!("{stable} serves as stable already")).hint(
                "name another pool, or make a new version of it with `dspex pools put` first",
            ),
        );
    }
    house
        .config
        .migration
        .plan(
            (stable.name.as_str(), stable.version),
            (candidate.name.as_str(), candidate.version),
            time_scale,
        )
        .map_err(|error| Problem::invalid("plan", error.problem))
}

/// Migrations, the newest first.
#[utoipa::path(get, path = "/admin/v1/migrations", tag = TAG, security(("token" = [])), params(Newest), responses((status = 200, body = Value)))]
async fn history(
    Ready(house): Ready,
    Asked(asked): Asked<Newest>,
) -> Result<axum::Json<Value>, Problem> {
    let migrations = house.migrations.history(limit(asked.limit)?).await?;
    Ok(axum::Json(json!({"migrations": migrations})))
}

/// The migration under way, or else the last one.
#[utoipa::path(
    get, path = "/admin/v1/migrations/current", tag = TAG, security(("token" = [])),
    responses(
        (status = 200, body = Value),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json", description = "There has never been one"),
    ),
)]
async fn current(Ready(house): Ready) -> Result<axum::Json<Status>, Problem> {
    match house.migrations.status() {
        Some(status) => Ok(axum::Json(Status::clone(&status))),
        None => Err(Problem::new(
            StatusCode::NOT_FOUND,
            "no-migration",
            "No migration",
            "there has never been a migration",
        )
        .hint("POST /admin/v1/migrations starts one")),
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CommandBody {
    /// Who; `admin` where absent.
    #[serde(default)]
    who: Option<String>,
    /// Why. Must be given.
    #[serde(default)]
    why: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PromoteBody {
    /// Not to the next stage, but straight to the last, without its hold. The validation and a healthy look
    /// still come before it is complete.
    #[serde(default)]
    to_end: bool,
    /// Who; `admin` where absent.
    #[serde(default)]
    who: Option<String>,
    /// Why. Must be given.
    #[serde(default)]
    why: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SignBody {
    /// Which line: 1 to 64 characters of a-z, 0-9 and -, such as `cost`.
    line: String,
    /// Who; `admin` where absent.
    #[serde(default)]
    who: Option<String>,
    /// Why they may. Must be given.
    #[serde(default)]
    why: Option<String>,
}

type Steered = Result<axum::Json<Status>, Problem>;

async fn steer(
    Ready(house): Ready,
    command: Command,
    who: Option<String>,
    why: Option<String>,
) -> Steered {
    let (who, why) = said(who, why)?;
    let status = house.migrations.command(command, &who, &why).await?;
    Ok(axum::Json(status))
}

/// Nothing goes on, and traffic stays as it is, until it is resumed.
#[utoipa::path(
    post, path = "/admin/v1/migrations/current/pause", tag = TAG, security(("token" = [])),
    request_body = CommandBody,
    responses((status = 200, body = Value), (status = 404, body = ProblemDocument, content_type = "application/problem+json"), (status = 409, body = ProblemDocument, content_type = "application/problem+json")),
)]
async fn pause(ready: Ready, Json(body): Json<CommandBody>) -> Steered {
    steer(ready, Command::Pause, body.who, body.why).await
}

/// Go on where it was paused.
#[utoipa::path(
    post, path = "/admin/v1/migrations/current/resume", tag = TAG, security(("token" = [])),
    request_body = CommandBody,
    responses((status = 200, body = Value), (status = 404, body = ProblemDocument, content_type = "application/problem+json"), (status = 409, body = ProblemDocument, content_type = "application/problem+json")),
)]
async fn resume(ready: Ready, Json(body): Json<CommandBody>) -> Steered {
    steer(ready, Command::Resume, body.who, body.why).await
}

/// Do not wait for what is left of the hold.
#[utoipa::path(
    post, path = "/admin/v1/migrations/current/promote", tag = TAG, security(("token" = [])),
    request_body = PromoteBody,
    responses((status = 200, body = Value), (status = 404, body = ProblemDocument, content_type = "application/problem+json"), (status = 409, body = ProblemDocument, content_type = "application/problem+json")),
)]
async fn promote(ready: Ready, Json(body): Json<PromoteBody>) -> Steered {
    let command = Command::Promote {
        to_end: body.to_end,
    };
    steer(ready, command, body.who, body.why).await
}

/// Traffic to 0 % at once, then take the candidate away.
#[utoipa::path(
    post, path = "/admin/v1/migrations/current/rollback", tag = TAG, security(("token" = [])),
    request_body = CommandBody,
    responses((status = 200, body = Value), (status = 404, body = ProblemDocument, content_type = "application/problem+json"), (status = 409, body = ProblemDocument, content_type = "application/problem+json")),
)]
async fn rollback(ready: Ready, Json(body): Json<CommandBody>) -> Steered {
    steer(ready, Command::Rollback, body.who, body.why).await
}

/// The stage's gate may open.
#[utoipa::path(
    post, path = "/admin/v1/migrations/current/approve", tag = TAG, security(("token" = [])),
    request_body = CommandBody,
    responses((status = 200, body = Value), (status = 404, body = ProblemDocument, content_type = "application/problem+json"), (status = 409, body = ProblemDocument, content_type = "application/problem+json")),
)]
async fn approve(ready: Ready, Json(body): Json<CommandBody>) -> Steered {
    steer(ready, Command::Approve, body.who, body.why).await
}

/// Take the old pool out of service, for good.
#[utoipa::path(
    post, path = "/admin/v1/migrations/current/decommission", tag = TAG, security(("token" = [])),
    request_body = CommandBody,
    responses((status = 200, body = Value), (status = 404, body = ProblemDocument, content_type = "application/problem+json"), (status = 409, body = ProblemDocument, content_type = "application/problem+json")),
)]
async fn decommission(ready: Ready, Json(body): Json<CommandBody>) -> Steered {
    steer(ready, Command::Decommission, body.who, body.why).await
}

/// Stand for a line of the production checklist, in the journal of the newest migration.
#[utoipa::path(
    post, path = "/admin/v1/migrations/current/sign", tag = TAG, security(("token" = [])),
    request_body = SignBody,
    responses((status = 200, body = Value), (status = 404, body = ProblemDocument, content_type = "application/problem+json"), (status = 422, body = ProblemDocument, content_type = "application/problem+json", description = "That is no name of a line, or it does not say why")),
)]
async fn sign(ready: Ready, Json(body): Json<SignBody>) -> Steered {
    let line: Result<ChecklistLine, _> = body.line.parse();
    let line = line.map_err(|error| Problem::invalid("line", error.to_string()))?;
    steer(ready, Command::Sign { line }, body.who, body.why).await
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EventsParams {
    /// Only events after this one; 0 for all.
    after: Option<u64>,
    /// At most so many, 1 to 1000; 100 where it is not given.
    limit: Option<usize>,
}

/// A migration's journal, the oldest first.
#[utoipa::path(
    get, path = "/admin/v1/migrations/{id}/events", tag = TAG, security(("token" = [])),
    params(("id" = String, Path, description = "A migration's id, or `current`"), EventsParams),
    responses((status = 200, body = Value), (status = 404, body = ProblemDocument, content_type = "application/problem+json")),
)]
async fn events(
    Ready(house): Ready,
    Named(id): Named,
    Asked(asked): Asked<EventsParams>,
) -> Result<axum::Json<Value>, Problem> {
    let id = match (id.as_str(), house.migrations.status()) {
        ("current", Some(status)) => status.id.clone(),
        _ => MigrationId::from_text(id),
    };
    let mut events = house
        .migrations
        .events(&id, asked.after.unwrap_or(0), limit(asked.limit)?)
        .await?;
    for entry in &mut events {
        entry.event = entry.event.shown();
    }
    Ok(axum::Json(json!({"id": id, "events": events})))
}
