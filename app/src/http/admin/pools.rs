//! `/admin/v1/pools`: both lanes, worker by worker, and one pool whole.

use axum::http::StatusCode;
use dspex_pool::PoolStatus;
use dspex_router::RouterHealth;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::TAG;
use crate::config::nearest;
use crate::http::error::{Problem, ProblemDocument};
use crate::http::params::Named;
use crate::http::state::{AppState, Ready};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(pools))
        .routes(routes!(pool))
}

/// Both lanes' pools, worker by worker, and the pools that are configured.
#[utoipa::path(get, path = "/admin/v1/pools", tag = TAG, security(("token" = [])), responses((status = 200, body = Value)))]
async fn pools(Ready(house): Ready) -> axum::Json<Value> {
    let health = house.router.health();
    let configured: Vec<Value> = house
        .config
        .pools
        .iter()
        .map(|(name, settings)| json!({"name": name, "kind": settings.kind()}))
        .collect();
    axum::Json(json!({
        "stable": health.stable,
        "candidate": health.candidate,
        "circuits": health.circuits,
        "configured": configured,
    }))
}

/// One pool whole: its workers with health, time in state, memory and history, its details, its
/// lane's circuit, and the switches that the flags set. `lane` and `status` are null for a pool that
/// is configured and not up.
#[utoipa::path(
    get, path = "/admin/v1/pools/{pool}", tag = TAG, security(("token" = [])),
    params(("pool" = String, Path)),
    responses(
        (status = 200, body = Value),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json", description = "No such pool"),
    ),
)]
async fn pool(Ready(house): Ready, Named(name): Named) -> Result<axum::Json<Value>, Problem> {
    let health = house.router.health();
    let standing = standing(&health, &name);
    let configured = house.config.pool(&name).map(|settings| settings.kind());
    let (lane, status) = standing.unzip();
    let Some(kind) = configured.or(status.map(|status| status.kind)) else {
        return Err(unknown(
            &name,
            house.config.pools.keys().map(String::as_str),
        ));
    };
    let circuit = health
        .circuits
        .iter()
        .find(|circuit| Some(circuit.lane.label()) == lane);
    let switches = *house.switches.borrow();
    Ok(axum::Json(json!({
        "name": name,
        "kind": kind,
        "lane": lane,
        "status": status,
        "circuit": circuit,
        "switches": {
            "enhanced_workers": switches.enhanced_workers,
            "pool_optimizer": switches.pool_optimizer,
            "circuit_breaker": switches.circuit_breaker,
        },
    })))
}

/// The pool of this name, where it stands in a lane.
fn standing<'a>(health: &'a RouterHealth, name: &str) -> Option<(&'static str, &'a PoolStatus)> {
    let stable = std::iter::once(("stable", &health.stable));
    let candidate = health.candidate.iter().map(|pool| ("candidate", pool));
    stable.chain(candidate).find(|(_, pool)| pool.name == name)
}

fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Problem {
    let problem = Problem::new(
        StatusCode::NOT_FOUND,
        "unknown-pool",
        "Unknown pool",
        format!("there is no pool {name:?}"),
    );
    match nearest(name, known.clone()) {
        Some(near) => problem
            .with("nearest", near)
            .hint(format!("did you mean {near:?}?")),
        None => problem.hint(format!(
            "configured: {}",
            known.collect::<Vec<_>>().join(", ")
        )),
    }
}
