//! `/admin/v1/validations`: hold a candidate against stable in rehearsal pools, and look at what was
//! found.

use axum::http::StatusCode;
use dspex_migration::Extent;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{ADMIN, Newest, TAG, limit};
use crate::assemble::House;
use crate::candidate::validator::{Asked, Summary};
use crate::http::error::{Problem, ProblemDocument};
use crate::http::json::Json;
use crate::http::params::{Asked as Query, Named};
use crate::http::state::{AppState, Ready};
use crate::pools::PoolVersion;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(start, validations))
        .routes(routes!(validation, cancel))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct StartBody {
    /// `quick`, or `full` where absent.
    #[schema(value_type = Option<String>)]
    run: Option<Extent>,
    /// What the candidate is held against, such as `v1` or `v2@3`; the pool in the stable lane where absent.
    stable: Option<String>,
    /// The candidate; the pool in the candidate lane where absent, else the configured one.
    candidate: Option<String>,
    /// Who; `admin` where absent.
    who: Option<String>,
}

/// Begin a validation. Pools that serve callers are not touched.
#[utoipa::path(
    post, path = "/admin/v1/validations", tag = TAG, security(("token" = [])),
    request_body = StartBody,
    responses(
        (status = 202, body = Value),
        (status = 409, body = ProblemDocument, content_type = "application/problem+json", description = "A validation runs already"),
        (status = 422, body = ProblemDocument, content_type = "application/problem+json", description = "A pool or a case is not there, or cannot be used"),
    ),
)]
async fn start(
    Ready(house): Ready,
    Json(body): Json<StartBody>,
) -> Result<(StatusCode, axum::Json<Summary>), Problem> {
    let (stable, candidate) = pools(&house, body.stable.as_deref(), body.candidate.as_deref())?;
    let who = body.who.filter(|who| !who.trim().is_empty());
    let asked = Asked {
        extent: body.run.unwrap_or(Extent::Full),
        stable,
        candidate,
        who: who.unwrap_or_else(|| ADMIN.to_owned()),
    };
    let run = house.validations.begin(asked).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(run.summary())))
}

/// Which two pools are meant.
fn pools(
    house: &House,
    stable: Option<&str>,
    candidate: Option<&str>,
) -> Result<(PoolVersion, PoolVersion), Problem> {
    let find = |field: &'static str, written: &str| {
        house
            .find_pool(written)
            .map_err(|reason| Problem::invalid(field, reason))
    };
    let (in_stable, in_candidate) = house.versions();
    let stable = match stable {
        Some(written) => find("stable", written)?,
        None => in_stable,
    };
    if let Some(written) = candidate {
        return Ok((stable, find("candidate", written)?));
    }
    let configured = house.config.lanes.candidate.as_deref();
    let candidate = match (in_candidate, configured) {
        (Some(candidate), _) => candidate,
        (None, Some(configured)) => find("candidate", configured)?,
        (None, None) => {
            return Err(
                Problem::invalid("candidate", "is absent, and none is configured")
                    .hint("name a pool, or set lanes.candidate"),
            );
        }
    };
    if candidate == stable {
        return Err(Problem::invalid(
            "candidate",
            format!("is absent, and the configured one, {candidate}, is stable itself"),
        )
        .hint("name another pool or another version, such as v2@3"));
    }
    Ok((stable, candidate))
}

/// The last validations, the newest first. They are kept in memory: a server that starts has none.
#[utoipa::path(get, path = "/admin/v1/validations", tag = TAG, security(("token" = [])), params(Newest), responses((status = 200, body = Value)))]
async fn validations(
    Ready(house): Ready,
    Query(asked): Query<Newest>,
) -> Result<axum::Json<Value>, Problem> {
    let newest = house.validations.newest().take(limit(asked.limit)?);
    let validations: Vec<Summary> = newest.map(|run| run.summary()).collect();
    Ok(axum::Json(json!({"validations": validations})))
}

/// One validation: how it stands, and what was found so far.
#[utoipa::path(
    get, path = "/admin/v1/validations/{id}", tag = TAG, security(("token" = [])),
    params(("id" = String, Path)),
    responses((status = 200, body = Value), (status = 404, body = ProblemDocument, content_type = "application/problem+json")),
)]
async fn validation(Ready(house): Ready, Named(id): Named) -> Result<axum::Json<Summary>, Problem> {
    let run = house.validations.get(&id).ok_or_else(|| unknown(&id))?;
    Ok(axum::Json(run.summary()))
}

/// Cut a validation off. Its pools are ended; one that has ended already stays as it is.
#[utoipa::path(
    delete, path = "/admin/v1/validations/{id}", tag = TAG, security(("token" = [])),
    params(("id" = String, Path)),
    responses((status = 202, body = Value), (status = 404, body = ProblemDocument, content_type = "application/problem+json")),
)]
async fn cancel(
    Ready(house): Ready,
    Named(id): Named,
) -> Result<(StatusCode, axum::Json<Summary>), Problem> {
    let run = house.validations.get(&id).ok_or_else(|| unknown(&id))?;
    run.cancel();
    Ok((StatusCode::ACCEPTED, axum::Json(run.summary())))
}

fn unknown(id: &str) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "unknown-validation",
        "Unknown validation",
        format!("there is no validation {id:?}"),
    )
    .hint("the last ones are listed at /admin/v1/validations; a server that was started since has none")
}
