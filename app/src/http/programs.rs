//! `/v1/programs`: create, list, get, put, delete, versions, execute.

mod draft;
mod execute;
mod stream;
mod versions;

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use dspex_pool::{Program, ProgramId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{Problem, ProblemDocument};
use super::json::Json;
use super::params::{Asked, ProgramName};
use super::state::{AppState, Ready};

const TAG: &str = "programs";

/// Most programs on one page.
const PAGE_LIMIT: usize = 1000;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(get, versions::put, delete))
        .routes(routes!(versions::versions))
        .routes(routes!(execute::execute))
}

/// A program.
#[derive(Debug, Serialize, ToSchema)]
struct ProgramDocument {
    /// Its name.
    id: String,
    /// Counts up over all programs; never used twice.
    version: u64,
    /// Whether a call that may have run may be run again.
    repeatable: bool,
    /// Whether each session has a state of its own.
    stateful: bool,
    /// Whether a call may act on the world beyond its answer; such calls are never copied.
    side_effects: bool,
    /// What a worker builds, as it was given at creation.
    #[schema(value_type = Object)]
    definition: Value,
}

impl ProgramDocument {
    fn of(program: &Program) -> Self {
        Self {
            id: program.key.id.to_string(),
            version: program.key.version,
            repeatable: program.repeatable,
            stateful: program.stateful,
            side_effects: program.side_effects,
            definition: serde_json::to_value(&program.definition).unwrap_or(Value::Null),
        }
    }
}

/// Create a program. It is really built in a worker before it is accepted.
#[utoipa::path(
    post, path = "/v1/programs", tag = TAG,
    request_body(content = draft::DraftBody, description = "The definition's fields stand beside `id`, `repeatable`, `stateful` and `side_effects`, or together under `definition`."),
    responses(
        (status = 201, body = ProgramDocument, headers(("Location" = String))),
        (status = 409, body = ProblemDocument, content_type = "application/problem+json", description = "The name is taken"),
        (status = 422, body = ProblemDocument, content_type = "application/problem+json", description = "The definition is not valid, or no worker can build it"),
    ),
)]
async fn create(
    Ready(house): Ready,
    Json(body): Json<Map<String, Value>>,
) -> Result<Response, Problem> {
    let (lms, allowed) = (&house.config.lms, &house.config.python.allow_modules);
    let draft = draft::read(body, lms, allowed)?;
    let program = house.router.create_program(draft).await?;
    let location = format!("/v1/programs/{}", program.key.id);
    Ok((
        StatusCode::CREATED,
        [(axum::http::header::LOCATION, location)],
        axum::Json(ProgramDocument::of(&program)),
    )
        .into_response())
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// Only programs whose name comes after this one.
    #[param(value_type = Option<String>)]
    after: Option<ProgramId>,
    /// At most so many, 1 to 1000; 100 where it is not given.
    limit: Option<usize>,
}

#[derive(Debug, Serialize, ToSchema)]
struct PageDocument {
    /// In the order of their names.
    programs: Vec<ProgramDocument>,
    /// Give this as `after` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// Programs whose stored definition cannot be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    corrupt: Vec<Value>,
}

/// List programs in the order of their names.
#[utoipa::path(
    get, path = "/v1/programs", tag = TAG, params(ListParams),
    responses((status = 200, body = PageDocument)),
)]
async fn list(
    Ready(house): Ready,
    Asked(params): Asked<ListParams>,
) -> Result<axum::Json<PageDocument>, Problem> {
    let limit = params.limit.unwrap_or(100);
    if !(1..=PAGE_LIMIT).contains(&limit) {
        return Err(Problem::invalid(
            "limit",
            format!("must be 1 to {PAGE_LIMIT}, not {limit}"),
        ));
    }
    let page = house.router.list(params.after.as_ref(), limit).await?;
    Ok(axum::Json(PageDocument {
        programs: page
            .programs
            .iter()
            .map(|program| ProgramDocument::of(program))
            .collect(),
        next: page.next.map(String::from),
        corrupt: page
            .corrupt
            .iter()
            .map(|row| serde_json::json!({"id": row.id, "reason": row.reason}))
            .collect(),
    }))
}

/// Show one program.
#[utoipa::path(
    get, path = "/v1/programs/{id}", tag = TAG, params(("id" = String, Path)),
    responses(
        (status = 200, body = ProgramDocument),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
async fn get(
    Ready(house): Ready,
    ProgramName(id): ProgramName,
) -> Result<axum::Json<ProgramDocument>, Problem> {
    let program = house.router.get(&id).await?;
    Ok(axum::Json(ProgramDocument::of(&program)))
}

/// Delete a program, and every instance of it in the workers.
#[utoipa::path(
    delete, path = "/v1/programs/{id}", tag = TAG, params(("id" = String, Path)),
    responses(
        (status = 204),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
async fn delete(Ready(house): Ready, ProgramName(id): ProgramName) -> Result<StatusCode, Problem> {
    house.router.delete(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}
