//! `/admin/v1/shadow`: copied calls, what their comparison came to, and the differences that were found.
//!
//! Cases hold callers' inputs and outputs, so every route here needs the admin token.

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use dspex_pool::ProgramId;
use dspex_router::Case;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{TAG, limit};
use crate::assemble::House;
use crate::http::error::{Problem, ProblemDocument};
use crate::http::params::{Asked, Named};
use crate::http::state::{AppState, Ready};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(shadow))
        .routes(routes!(cases))
        .routes(routes!(case))
        .routes(routes!(replay))
}

/// Copied calls: the share, what became of them, what they cost, and program by program what their
/// comparison came to.
#[utoipa::path(get, path = "/admin/v1/shadow", tag = TAG, security(("token" = [])), responses((status = 200, body = Value)))]
async fn shadow(Ready(house): Ready) -> axum::Json<Value> {
    axum::Json(json!(house.router.shadow()))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CasesParams {
    /// Only those of this program.
    #[param(value_type = Option<String>)]
    program: Option<ProgramId>,
    /// At most so many, 1 to 1000; 100 where it is not given.
    limit: Option<usize>,
}

/// Calls that the two lanes answered differently, the newest first, without inputs and outputs.
#[utoipa::path(get, path = "/admin/v1/shadow/cases", tag = TAG, security(("token" = [])), params(CasesParams), responses((status = 200, body = Value)))]
async fn cases(
    Ready(house): Ready,
    Asked(params): Asked<CasesParams>,
) -> Result<axum::Json<Value>, Problem> {
    let limit = limit(params.limit)?;
    let cases = house.router.shadow_cases(params.program.as_ref(), limit);
    let cases: Vec<_> = cases.iter().map(|case| case.summary()).collect();
    Ok(axum::Json(json!({ "cases": cases })))
}

/// One difference whole: inputs, both outputs, and which rule found what.
#[utoipa::path(
    get, path = "/admin/v1/shadow/cases/{id}", tag = TAG, security(("token" = [])), params(("id" = u64, Path)),
    responses(
        (status = 200, body = Value),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json", description = "Not kept, or not any more"),
    ),
)]
async fn case(Ready(house): Ready, Named(id): Named) -> Result<axum::Json<Value>, Problem> {
    Ok(axum::Json(json!(*find(&house, &id)?)))
}

/// Run a difference's inputs again on both lanes, and compare as copies are. Nothing is counted.
#[utoipa::path(
    post, path = "/admin/v1/shadow/cases/{id}/replay", tag = TAG, security(("token" = [])), params(("id" = u64, Path)),
    responses(
        (status = 200, body = Value),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json", description = "Not kept, or not any more"),
        (status = 409, body = ProblemDocument, content_type = "application/problem+json", description = "There is no candidate"),
    ),
)]
async fn replay(Ready(house): Ready, Named(id): Named) -> Result<Response, Problem> {
    let case = find(&house, &id)?;
    match house.router.replay_case(&case).await? {
        Some(replay) => {
            let told = |answer: &Result<_, String>| match answer {
                Ok(outputs) => json!({ "outputs": outputs }),
                Err(error) => json!({ "error": error }),
            };
            Ok(axum::Json(json!({
                "case": case.id,
                "stable": told(&replay.stable),
                "candidate": told(&replay.candidate),
                "differences": replay.differences,
                "unjudged": replay.unjudged,
            }))
            .into_response())
        }
        None => Err(Problem::new(
            StatusCode::CONFLICT,
            "no-candidate",
            "No candidate",
            "there is no candidate to run the case on",
        )
        .hint("a migration brings one up")),
    }
}

fn find(house: &House, id: &str) -> Result<Arc<Case>, Problem> {
    let found = id.parse().ok().and_then(|id| house.router.shadow_case(id));
    found.ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "unknown-case",
            "Unknown case",
            format!("no case {id:?} is kept"),
        )
        .hint("GET /admin/v1/shadow/cases lists those that are; the oldest are dropped, and all with the process")
    })
}
