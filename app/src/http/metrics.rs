//! `/metrics`, for Prometheus.

mod figures;

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use dspex_flags::dspex::GRADUAL_ROLLOUT_PERCENTAGE;
use dspex_telemetry::NotificationFigures;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::state::{AppState, Ready};
use crate::assemble::House;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(metrics))
}

/// Metrics in Prometheus's text format.
#[utoipa::path(
    get, path = "/metrics", tag = "state",
    responses((status = 200, body = String, content_type = "text/plain")),
)]
async fn metrics(Ready(house): Ready) -> impl IntoResponse {
    // The state of the house is measured when it is asked for, so it is never stale.
    measure(&house).await;
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        house.prometheus.render(),
    )
}

async fn measure(house: &House) {
    let health = house.router.health();
    let gauges = &house.gauges;
    for status in std::iter::once(&health.stable).chain(&health.candidate) {
        gauges.pool(&status.name, &figures::pool(status));
        gauges.workers(&status.name, figures::workers(status));
    }
    // A pool that is gone must not look alive for ever.
    let standing = |name: &str| {
        name == health.stable.name || health.candidate.as_ref().is_some_and(|c| c.name == name)
    };
    gauges.pools_gone_but(standing);
    // Where the store fails, the last figures stay; every call of a stateful program tells of it.
    if let Ok(sessions) = house.router.sessions().await {
        gauges.sessions(sessions.sessions, sessions.bytes, sessions.evicted);
    }
    for circuit in &health.circuits {
        gauges.circuit(circuit.lane.label(), &figures::circuit(circuit));
    }
    for each in house.router.circuit_transitions() {
        gauges.circuit_transitions(each.lane.label(), each.from, each.to, each.count);
    }
    let rescue = &health.rescue;
    for (rule, seen) in [("failover", &rescue.failover), ("again", &rescue.again)] {
        gauges.rescue(rule, &figures::rescue(seen));
    }
    gauges.retry_budget(&figures::budget(&rescue.budget));
    for (became, calls) in figures::shadow(&house.router.shadow().counts) {
        gauges.shadow(&became, calls);
    }
    gauges.flag_revision(health.flag_revision.get());
    gauges.flag_store_readable(house.flags.store_error().is_none());
    let share = house.flags.snapshot().percent(&GRADUAL_ROLLOUT_PERCENTAGE);
    gauges.rollout_percent(share.percent());
    if let Some(status) = house.migrations.status() {
        gauges.migration(&figures::migration(&status));
    }
    gauges.host(&house.host.borrow());
    for seen in house.outlooks.now() {
        let figures = NotificationFigures {
            delivered: seen.delivered,
            given_up: seen.given_up,
            behind: seen.behind,
            failing: seen.failing_since.is_some(),
        };
        gauges.notifications(&seen.name, figures);
    }
}
