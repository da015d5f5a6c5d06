//! `/admin/v1`: flags, migrations and their reports, pools, circuits, the preflight, validations, the shadow, events, the audit.
//! Every route here needs the admin token.

mod audit;
mod circuits;
mod events;
mod flags;
mod migrations;
mod pools;
mod preflight;
mod report;
mod shadow;
mod validation;

use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;

use super::error::Problem;
use super::state::AppState;

const TAG: &str = "admin";

/// Who acts where a request does not say.
const ADMIN: &str = "admin";

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .merge(flags::routes())
        .merge(events::routes())
        .merge(audit::routes())
        .merge(report::routes())
        .merge(migrations::routes())
        .merge(pools::routes())
        .merge(circuits::routes())
        .merge(preflight::routes())
        .merge(shadow::routes())
        .merge(validation::routes())
}

/// The query of a list whose newest entries come first.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Newest {
    /// At most so many, 1 to 1000; 100 where it is not given.
    limit: Option<usize>,
}

/// A limit within its range.
fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    match asked.unwrap_or(100) {
        limit @ 1..=1000 => Ok(limit),
        other => Err(Problem::invalid(
            "limit",
            format!("must be 1 to 1000, not {other}"),
        )),
    }
}

/// Who acts, and why: every change says so.
fn said(who: Option<String>, why: Option<String>) -> Result<(String, String), Problem> {
    let words = |text: String| Some(text).filter(|text| !text.trim().is_empty());
    match why.and_then(words) {
        Some(why) => Ok((who.and_then(words).unwrap_or_else(|| ADMIN.to_owned()), why)),
        None => Err(Problem::invalid("why", "must say why this is done")
            .hint("it is kept in the history beside what was done")),
    }
}
