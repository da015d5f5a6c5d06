//! `PUT /v1/programs/{id}` and `GET /v1/programs/{id}/versions`: new versions, and those before.

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use dspex_router::Put;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{ProgramDocument, TAG, draft};
use crate::http::error::{Problem, ProblemDocument};
use crate::http::json::Json;
use crate::http::params::{Asked, ProgramName};
use crate::http::state::Ready;

/// Most versions on one page: as many as are remembered.
const PAGE_LIMIT: usize = dspex_router::catalog::VERSIONS;

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PutParams {
    /// The version that is to be replaced; another one is answered 409.
    expect: Option<u64>,
}

/// Create a program of this name, or a new version of it. New calls get the new version as soon as
/// this is answered; calls in flight end on the one they began with. A body that says the same as the
/// version that is served makes none.
#[utoipa::path(
    put, path = "/v1/programs/{id}", tag = TAG, params(("id" = String, Path), PutParams),
    request_body(content = draft::DraftBody, description = "As for `POST /v1/programs`."),
    responses(
        (status = 200, body = ProgramDocument, description = "The version that is served now"),
        (status = 201, body = ProgramDocument, description = "The program is new"),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json", description = "A version was expected, and there is no such program"),
        (status = 409, body = ProblemDocument, content_type = "application/problem+json", description = "Another version is served than was expected"),
        (status = 422, body = ProblemDocument, content_type = "application/problem+json", description = "The definition is not valid, or no worker can build it"),
    ),
)]
pub(super) async fn put(
    Ready(house): Ready,
    ProgramName(id): ProgramName,
    Asked(params): Asked<PutParams>,
    Json(body): Json<Map<String, Value>>,
) -> Result<Response, Problem> {
    let (lms, allowed) = (&house.config.lms, &house.config.python.allow_modules);
    let draft = draft::read(body, lms, allowed)?;
    if draft.id.as_ref().is_some_and(|named| *named != id) {
        return Err(Problem::invalid(
            "id",
            format!(
                "is another than the path's: leave it out, or write {id:?}",
                id = id.as_str()
            ),
        ));
    }
    let put = house.router.put_program(&id, draft, params.expect).await?;
    let (status, program) = match put {
        Put::Created(program) => (StatusCode::CREATED, program),
        Put::Replaced(program) | Put::Unchanged(program) => (StatusCode::OK, program),
    };
    Ok((status, axum::Json(ProgramDocument::of(&program))).into_response())
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct VersionsParams {
    /// Only versions older than this one.
    before: Option<u64>,
    /// At most so many, 1 to 100; 100 where it is not given.
    limit: Option<usize>,
}

/// One version of a program.
#[derive(Debug, Serialize, ToSchema)]
struct VersionDocument {
    #[serde(flatten)]
    program: ProgramDocument,
    /// Since when it was served.
    since: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct VersionsDocument {
    /// The newest first; the first of all is the one that is served.
    versions: Vec<VersionDocument>,
    /// Give this as `before` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
    /// Versions that cannot be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    corrupt: Vec<Value>,
}

/// List the versions of a program, the newest first. The last 100 are remembered.
#[utoipa::path(
    get, path = "/v1/programs/{id}/versions", tag = TAG, params(("id" = String, Path), VersionsParams),
    responses(
        (status = 200, body = VersionsDocument),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn versions(
    Ready(house): Ready,
    ProgramName(id): ProgramName,
    Asked(params): Asked<VersionsParams>,
) -> Result<axum::Json<VersionsDocument>, Problem> {
    let limit = params.limit.unwrap_or(PAGE_LIMIT);
    if !(1..=PAGE_LIMIT).contains(&limit) {
        return Err(Problem::invalid(
            "limit",
            format!("must be 1 to {PAGE_LIMIT}, not {limit}"),
        ));
    }
    let page = house.router.versions(&id, params.before, limit).await?;
    let versions = page.versions.iter().map(|version| VersionDocument {
        program: ProgramDocument::of(&version.program),
        since: version.since.to_string(),
    });
    Ok(axum::Json(VersionsDocument {
        versions: versions.collect(),
        next: page.next,
        corrupt: page
            .corrupt
            .iter()
            .map(|row| serde_json::json!({"id": row.id, "reason": row.reason}))
            .collect(),
    }))
}
