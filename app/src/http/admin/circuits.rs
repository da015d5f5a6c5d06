//! `/admin/v1/circuits`: the lanes' circuits, what they went through, and the lever by which a person
//! decides for one.
//!
//! Invariant: a mode is set for a reason, by somebody, and both are in the audit. It is this process's: it
//! outlives neither the process nor the pool whose circuit it is.

use axum::http::StatusCode;
use dspex_router::{CircuitHealth, CircuitMode, InHand, circuit_effect};
use dspex_telemetry::Lane;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{TAG, said};
use crate::http::error::{Problem, ProblemDocument};
use crate::http::json::Json;
use crate::http::params::Named;
use crate::http::state::{AppState, Ready};

/// Changes that are shown; the feed of events has all that are kept.
const SHOWN: usize = 50;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(circuits))
        .routes(routes!(set))
}

/// A circuit, and what its mode does to calls.
fn shown(circuit: &CircuitHealth) -> Value {
    let mut shown = json!(circuit);
    shown["effect"] = json!(circuit_effect(circuit.lane, circuit.mode));
    shown
}

/// Both lanes' circuits: state, who decides for them, what that does to calls, and the last changes, the
/// newest first.
#[utoipa::path(get, path = "/admin/v1/circuits", tag = TAG, security(("token" = [])), responses((status = 200, body = Value)))]
async fn circuits(Ready(house): Ready) -> axum::Json<Value> {
    let circuits: Vec<Value> = house.router.health().circuits.iter().map(shown).collect();
    let changes = house.router.circuit_changes(0);
    let changes: Vec<_> = changes.iter().rev().take(SHOWN).map(|one| &**one).collect();
    axum::Json(json!({"circuits": circuits, "changes": changes}))
}

/// Who decides for a circuit.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Mode {
    /// The circuit itself, where the flag `circuit_breaker` is on.
    Automatic,
    /// It lets no call through.
    ForcedOpen,
    /// It lets every call through, and counts.
    MetricsOnly,
    /// It lets every call through, and counts nothing.
    Disabled,
}

impl From<Mode> for CircuitMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Automatic => Self::Automatic,
            Mode::ForcedOpen => Self::ForcedOpen,
            Mode::MetricsOnly => Self::MetricsOnly,
            Mode::Disabled => Self::Disabled,
        }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ModeBody {
    /// Who decides from now on, until it is set again, the pool leaves its lane for good, or the server ends.
    mode: Mode,
    /// Who; `admin` where absent.
    #[serde(default)]
    who: Option<String>,
    /// Why. Must be given.
    #[serde(default)]
    why: Option<String>,
}

/// Decide for a lane's circuit, or give it back to itself. Not kept: a server that starts anew decides for
/// itself. The answer is the circuit as it is then, with what its mode does to calls (`effect`).
#[utoipa::path(
    put, path = "/admin/v1/circuits/{lane}", tag = TAG, security(("token" = [])),
    params(("lane" = String, Path, description = "`stable` or `candidate`")),
    request_body = ModeBody,
    responses(
        (status = 200, body = Value),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json", description = "No such lane, or no pool in it"),
        (status = 422, body = ProblemDocument, content_type = "application/problem+json", description = "No such mode, or no reason"),
    ),
)]
async fn set(
    Ready(house): Ready,
    Named(lane): Named,
    Json(body): Json<ModeBody>,
) -> Result<axum::Json<Value>, Problem> {
    let known = Lane::ALL.into_iter().find(|each| each.label() == lane);
    let Some(known) = known else {
        let detail = format!("there is no lane {lane:?}");
        return Err(no_circuit(detail).hint("the lanes are `stable` and `candidate`"));
    };
    let (who, why) = said(body.who, body.why)?;
    let by = InHand { who, why };
    match house.router.set_circuit_mode(known, body.mode.into(), by) {
        Some(circuit) => Ok(axum::Json(shown(&circuit))),
        None => Err(no_circuit(format!("no pool stands in the {known} lane"))
            .hint("a migration brings a candidate up")),
    }
}

fn no_circuit(detail: String) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "unknown-circuit",
        "Unknown circuit",
        detail,
    )
}
