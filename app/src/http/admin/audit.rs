//! `/admin/v1/audit`: who did what, and why: changes of flags, what was asked of migrations, and modes of
//! circuits, as one list. The modes are those that this process was told; they end with it.
//!
//! Invariant: the newest first, by the moment that each was written at. A page is a page: an entry is on
//! one of them, however many are asked for.

use dspex_flags::Change;
use dspex_migration::Summary;
use dspex_router::{CircuitChange, CircuitDeed};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{TAG, limit};
use crate::assemble::House;
use crate::http::error::Problem;
use crate::http::params::Asked;
use crate::http::state::{AppState, Ready};

/// Changes of flags, and migrations, that are looked through. Older ones are in their own histories.
const LOOKED_THROUGH: usize = 1_000;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(audit))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Page {
    /// At most so many, 1 to 1000; 100 where it is not given.
    limit: Option<usize>,
    /// Leave out so many of the newest; `next` of the page before.
    offset: Option<usize>,
    /// Only what this one did.
    who: Option<String>,
}

/// One deed.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Deed {
    at: Timestamp,
    who: String,
    why: String,
    /// `flag`, `migration`, `command` or `circuit`.
    kind: &'static str,
    what: Value,
}

/// Who did what, and why: changes of flags, migrations that were started, commands to them, and modes of
/// circuits since this server started.
#[utoipa::path(get, path = "/admin/v1/audit", tag = TAG, security(("token" = [])), params(Page), responses((status = 200, body = Value)))]
async fn audit(
    Ready(house): Ready,
    Asked(page): Asked<Page>,
) -> Result<axum::Json<Value>, Problem> {
    let limit = limit(page.limit)?;
    let offset = page.offset.unwrap_or(0);
    let mut deeds = deeds(&house).await?;
    if let Some(who) = &page.who {
        deeds.retain(|deed| deed.who == *who);
    }
    let all = deeds.len();
    let shown: Vec<Deed> = deeds.into_iter().skip(offset).take(limit).collect();
    let next = offset.saturating_add(shown.len());
    Ok(axum::Json(json!({
        "audit": shown,
        "next": (next < all).then_some(next),
    })))
}

async fn deeds(house: &House) -> Result<Vec<Deed>, Problem> {
    let mut deeds: Vec<Deed> = Vec::new();
    let changes = house.flags.history(LOOKED_THROUGH).await?;
    deeds.extend(changes.into_iter().map(changed));
    let migrations = house.migrations.history(LOOKED_THROUGH).await?;
    for migration in &migrations {
        deeds.push(started(migration));
        let commands = house.migrations.commands(&migration.id).await?;
        deeds.extend(commands.into_iter().map(|row| Deed {
            at: row.at,
            who: row.who,
            why: row.why,
            kind: "command",
            what: json!({"migration": migration.id, "command": row.command, "number": row.id}),
        }));
    }
    let circuits = house.router.circuit_changes(0);
    deeds.extend(circuits.iter().filter_map(|change| in_hand(change)));
    // Of one moment, the last one written first.
    deeds.reverse();
    deeds.sort_by_key(|deed| std::cmp::Reverse(deed.at));
    Ok(deeds)
}

fn changed(change: Change) -> Deed {
    Deed {
        at: change.at,
        who: change.who,
        why: change.why,
        kind: "flag",
        what: json!({"flag": change.key, "revision": change.revision, "before": change.before,
            "after": change.after}),
    }
}

/// A mode that a person set.
fn in_hand(change: &CircuitChange) -> Option<Deed> {
    let CircuitDeed::Mode { mode, by: Some(by) } = &change.what else {
        return None;
    };
    Some(Deed {
        at: change.at,
        who: by.who.clone(),
        why: by.why.clone(),
        kind: "circuit",
        what: json!({"lane": change.lane, "mode": mode}),
    })
}

fn started(migration: &Summary) -> Deed {
    Deed {
        at: migration.started_at,
        who: migration.who.clone(),
        why: migration.why.clone(),
        kind: "migration",
        what: json!({"migration": migration.id, "stable": migration.stable,
            "candidate": migration.candidate}),
    }
}
