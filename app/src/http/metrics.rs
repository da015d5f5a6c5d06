//! `/metrics`, for Prometheus.

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use dspex_flags::dspex::GRADUAL_ROLLOUT_PERCENTAGE;
use dspex_pool::PoolStatus;
use dspex_telemetry::{CircuitPhase, PoolFigures};
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
    measure(&house);
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        house.prometheus.render(),
    )
}

fn measure(house: &House) {
    let health = house.router.health();
    let gauges = &house.gauges;
    gauges.pool(&health.stable.name, &figures(&health.stable));
    match &health.candidate {
        Some(candidate) => gauges.pool(&candidate.name, &figures(candidate)),
        // A candidate that is gone must not look alive for ever.
        None => {
            if let Some(candidate) = &house.config.lanes.candidate {
                gauges.pool_gone(candidate);
            }
        }
    }
    for circuit in &health.circuits {
        let phase = match circuit.state {
            "open" => CircuitPhase::Open,
            "half_open" => CircuitPhase::HalfOpen,
            _ => CircuitPhase::Closed,
        };
        gauges.circuit_state(&circuit.lane.to_string(), phase);
    }
    gauges.flag_revision(health.flag_revision.get());
    let share = house.flags.snapshot().percent(&GRADUAL_ROLLOUT_PERCENTAGE);
    gauges.rollout_percent(share.percent());
    gauges.host(&house.host.borrow());
}

fn figures(status: &PoolStatus) -> PoolFigures {
    PoolFigures {
        ready: status.ready as u64,
        size: status.size as u64,
        in_flight: status.in_flight as u64,
        queued: status.queued as u64,
        starts: status.starts,
        failures: status.failures,
    }
}
