//! `/admin/v1/pools`: both lanes, worker by worker, and one pool whole.

mod configurations;

use axum::http::StatusCode;
use dspex_pool::PoolStatus;
use dspex_router::RouterHealth;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::TAG;
use crate::assemble::House;
use crate::config::nearest;
use crate::http::error::{Problem, ProblemDocument};
use crate::http::params::Named;
use crate::http::state::{AppState, Ready};
use crate::pools::PoolVersion;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(pools))
        .routes(routes!(pool))
        .merge(configurations::routes())
}

/// Both lanes' pools, worker by worker, and the pools that there are, each with its newest version and
/// the version that stands in a lane.
#[utoipa::path(get, path = "/admin/v1/pools", tag = TAG, security(("token" = [])), responses((status = 200, body = Value)))]
async fn pools(Ready(house): Ready) -> axum::Json<Value> {
    let health = house.router.health();
    let configured: Vec<Value> = house
        .configurations
        .all_newest()
        .into_iter()
        .map(|newest| {
            let name = &newest.pool.name;
            let stands: Vec<u32> = standing(&house, &health, name)
                .into_iter()
                .map(|stands| stands.pool.version)
                .collect();
            json!({
                "name": name,
                "kind": newest.config["kind"],
                "newest": newest.pool.version,
                "standing": stands,
            })
        })
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
/// is configured and not up. Where two versions of it stand, `v2@3` names one; `v2` is stable's.
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
    let version = house
        .find_pool(&name)
        .map_err(|why| unknown(&house, &name, why))?;
    let stands = standing(&house, &health, &version.name);
    let stands = stands
        .into_iter()
        .find(|stands| !name.contains('@') || stands.pool == version);
    let (lane, status) = stands.as_ref().map(|s| (s.lane, s.status)).unzip();
    let version = stands.map_or(version, |stands| stands.pool);
    let row = house.configurations.versions(Some(&version.name));
    let row = row.into_iter().find(|row| row.pool == version);
    let circuit = health
        .circuits
        .iter()
        .find(|circuit| Some(circuit.lane.label()) == lane);
    let switches = *house.switches.borrow();
    Ok(axum::Json(json!({
        "name": version.name,
        "version": version.version,
        "kind": row.map(|row| row.config["kind"].clone()),
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

/// A pool that stands in a lane.
struct Stands<'a> {
    pool: PoolVersion,
    lane: &'static str,
    status: &'a PoolStatus,
}

/// The versions of this pool that stand in a lane, stable's first.
fn standing<'a>(house: &House, health: &'a RouterHealth, name: &str) -> Vec<Stands<'a>> {
    let (stable, candidate) = house.versions();
    let stable = Some((stable, "stable", &health.stable));
    let candidate = candidate
        .zip(health.candidate.as_ref())
        .map(|(pool, status)| (pool, "candidate", status));
    stable
        .into_iter()
        .chain(candidate)
        .filter(|(pool, _, _)| pool.name == name)
        .map(|(pool, lane, status)| Stands { pool, lane, status })
        .collect()
}

fn unknown(house: &House, name: &str, why: String) -> Problem {
    let rows = house.configurations.all_newest();
    let known = rows.iter().map(|row| row.pool.name.as_str());
    let problem = Problem::new(StatusCode::NOT_FOUND, "unknown-pool", "Unknown pool", why);
    let name = name.split('@').next().unwrap_or(name);
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
