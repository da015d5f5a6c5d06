//! `/v1/programs`: create, list, get, delete, execute.

mod draft;

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use dspex_pool::{PoolError, Program, ProgramId};
use dspex_router::{Execute, RouterError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::context::{LANE, RequestId, Session};
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
        .routes(routes!(get, delete))
        .routes(routes!(execute))
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
            definition: serde_json::to_value(&program.definition).unwrap_or(Value::Null),
        }
    }
}

/// Create a program. It is really built in a worker before it is accepted.
#[utoipa::path(
    post, path = "/v1/programs", tag = TAG,
    request_body(content = draft::DraftBody, description = "The definition's fields stand beside `id` and `repeatable`, or together under `definition`."),
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
    let draft = draft::read(body, &house.config.lms)?;
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

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ExecuteBody {
    /// Inputs by name.
    #[schema(value_type = Object)]
    inputs: Map<String, Value>,
    /// How long the call may take, in milliseconds; the server's own limit where it is not given.
    #[serde(default)]
    timeout_ms: Option<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
struct ExecuteDocument {
    /// Outputs by name.
    #[schema(value_type = Object)]
    outputs: Map<String, Value>,
    /// `stable` or `candidate`.
    lane: String,
    /// The worker that answered.
    worker: String,
    /// Whether the candidate had failed the call before stable answered it.
    failed_over: bool,
    /// The whole call, in milliseconds.
    total_ms: f64,
    /// The part inside the program, in milliseconds, where the worker reported it.
    #[serde(skip_serializing_if = "Option::is_none")]
    program_ms: Option<f64>,
    /// As in the `X-Request-Id` header.
    request_id: String,
}

fn millis(duration: Duration) -> f64 {
    // Microseconds are as fine as anybody reads.
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// Execute a program once.
#[utoipa::path(
    post, path = "/v1/programs/{id}/execute", tag = TAG,
    params(
        ("id" = String, Path),
        ("X-Session-Id" = Option<String>, Header, description = "Calls of one session go the same way through a rollout"),
        ("X-Request-Id" = Option<String>, Header, description = "1 to 128 visible ASCII characters; made where absent"),
    ),
    request_body = ExecuteBody,
    responses(
        (status = 200, body = ExecuteDocument, headers(("X-Dspex-Lane" = String), ("X-Request-Id" = String))),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json", description = "No such program"),
        (status = 422, body = ProblemDocument, content_type = "application/problem+json", description = "The inputs do not fit the program"),
        (status = 429, body = ProblemDocument, content_type = "application/problem+json", description = "The model's provider asks for fewer calls"),
        (status = 500, body = ProblemDocument, content_type = "application/problem+json", description = "The program raised an exception"),
        (status = 502, body = ProblemDocument, content_type = "application/problem+json", description = "The worker ended during the call, or the provider failed"),
        (status = 503, body = ProblemDocument, content_type = "application/problem+json", description = "No worker was free in time"),
        (status = 504, body = ProblemDocument, content_type = "application/problem+json", description = "The program did not answer in time"),
    ),
)]
async fn execute(
    Ready(house): Ready,
    ProgramName(program): ProgramName,
    Session(session): Session,
    RequestId(request_id): RequestId,
    Json(body): Json<ExecuteBody>,
) -> Response {
    let request = Execute {
        program,
        inputs: body.inputs,
        session,
        request_id: request_id.to_string(),
        timeout: body.timeout_ms.map(Duration::from_millis),
    };
    match house.router.execute(request).await {
        Ok(done) => {
            let lane = done.lane.to_string();
            let document = ExecuteDocument {
                outputs: done.outputs,
                lane: lane.clone(),
                worker: done.worker.to_string(),
                failed_over: done.failed_over,
                total_ms: millis(done.total),
                program_ms: done.program_time.map(millis),
                request_id: request_id.to_string(),
            };
            (lane_header(Some(&lane)), axum::Json(document)).into_response()
        }
        Err(failed) => {
            let lane = failed.lane.map(|lane| lane.to_string());
            let problem = match failed.error {
                RouterError::Pool(PoolError::Rejected { message }) => no_longer_built(&message),
                error => error.into(),
            };
            (lane_header(lane.as_deref()), problem.into_response()).into_response()
        }
    }
}

/// A program that was built when it was created and cannot be built now: what changed is this
/// installation, so the caller is not at fault.
fn no_longer_built(message: &str) -> Problem {
    tracing::warn!(message, "a program can no longer be built");
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "program-not-built",
        "The program can no longer be built",
        message,
    )
    .hint("`dspex doctor` looks at keys, modules and Python")
}

fn lane_header(lane: Option<&str>) -> HeaderMap {
    lane.and_then(|lane| HeaderValue::from_str(lane).ok())
        .map(|lane| (LANE, lane))
        .into_iter()
        .collect()
}
