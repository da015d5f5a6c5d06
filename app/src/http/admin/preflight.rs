//! `/admin/v1/preflight`: what a migration would find before it begins, without beginning one.

use dspex_migration::Check;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::TAG;
use super::migrations::plan;
use crate::http::error::{Problem, ProblemDocument};
use crate::http::params::Asked;
use crate::http::state::{AppState, Ready};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(preflight))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PreflightParams {
    /// The pool that would be brought in, such as `v2` or `v2@3`; the configured candidate where absent.
    candidate: Option<String>,
}

/// Every check of a migration's preflight: what was measured, what is asked for, what to do. Nothing is
/// changed.
#[utoipa::path(
    get, path = "/admin/v1/preflight", tag = TAG, security(("token" = [])), params(PreflightParams),
    responses(
        (status = 200, body = Value),
        (status = 422, body = ProblemDocument, content_type = "application/problem+json", description = "There is no such pool"),
    ),
)]
async fn preflight(
    Ready(house): Ready,
    Asked(params): Asked<PreflightParams>,
) -> Result<axum::Json<Value>, Problem> {
    let plan = plan(&house, params.candidate.as_deref(), None)?;
    let checks: Vec<Check> = house.preflight(&plan).await;
    let fit = checks.iter().all(|check| check.ok);
    Ok(axum::Json(json!({"fit": fit, "checks": checks})))
}
