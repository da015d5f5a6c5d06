//! `/admin/v1/pools`: both lanes, worker by worker.

use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::TAG;
use crate::http::state::{AppState, Ready};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(pools))
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
