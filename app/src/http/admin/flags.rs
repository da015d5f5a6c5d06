//! `/admin/v1/flags`: the lever, and the record of who moved it.

use std::collections::BTreeMap;

use dspex_flags::flagd::{self, FlagdError};
use dspex_flags::{FlagError, FlagValue, Revision, Write, dspex};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Newest, TAG, limit, said};
use crate::assemble::House;
use crate::http::error::{Problem, ProblemDocument};
use crate::http::json::Json;
use crate::http::params::{Asked, Named};
use crate::http::state::{AppState, Ready};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, change))
        .routes(routes!(history))
        .routes(routes!(explain))
        .routes(routes!(revert))
        .routes(routes!(export, import))
}

/// Every flag, and who serves which revision.
#[utoipa::path(get, path = "/admin/v1/flags", tag = TAG, security(("token" = [])), responses((status = 200, body = Value)))]
async fn list(Ready(house): Ready) -> axum::Json<Value> {
    let snapshot = house.flags.snapshot();
    let flags: Vec<Value> = house
        .flags
        .declarations()
        .iter()
        .map(|flag| {
            json!({
                "key": flag.key,
                "kind": flag.kind(),
                "value": snapshot.get(&flag.key).ok(),
                "layer": snapshot.explain(&flag.key, None).ok().map(|why| why.layer),
                "rules": snapshot.rules(&flag.key).ok().flatten(),
                "default": flag.default,
                "description": flag.description,
                "owner": flag.owner,
            })
        })
        .collect();
    let acknowledgements: BTreeMap<String, Revision> =
        house.flags.acknowledgements().into_iter().collect();
    axum::Json(json!({
        "revision": snapshot.revision(),
        "store": house.config.flags.store.to_string(),
        "flags": flags,
        "acknowledgements": acknowledgements,
        "store_error": house.flags.store_error().map(|error| error.to_string()),
        // Lowered in this process by a rollback that the store has not taken yet.
        "overridden": snapshot.overridden(),
    }))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ChangeBody {
    /// New values by key, such as `{"gradual_rollout_percentage": 5}`; a flag's rules under its key
    /// and `.rules`, such as `{"telemetry_v2.rules": {"killed": true}}`.
    #[serde(default)]
    #[schema(value_type = Object)]
    set: serde_json::Map<String, Value>,
    /// Keys of which nothing is kept any more: what lies under the store shows again.
    #[serde(default)]
    unset: Vec<String>,
    /// The revision that was seen; where given, nothing is written if it is no longer the newest.
    #[serde(default)]
    expected_revision: Option<u64>,
    /// Who; `admin` where absent.
    #[serde(default)]
    who: Option<String>,
    /// Why. Must be given.
    #[serde(default)]
    why: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct ChangedDocument {
    /// The revision that has the new values.
    revision: u64,
    /// Whether every router serves it already.
    acknowledged: bool,
    /// Who does not, where somebody does not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    laggards: Vec<String>,
}

/// Change flags, all of them or none, and wait until every router serves them.
#[utoipa::path(
    patch, path = "/admin/v1/flags", tag = TAG, security(("token" = [])),
    request_body = ChangeBody,
    responses(
        (status = 200, body = ChangedDocument),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json", description = "No such flag; the nearest is named"),
        (status = 409, body = ProblemDocument, content_type = "application/problem+json", description = "Somebody else wrote in between, or the store is older than what is served; both revisions are named"),
        (status = 422, body = ProblemDocument, content_type = "application/problem+json", description = "A value does not fit its flag"),
    ),
)]
async fn change(
    Ready(house): Ready,
    Json(body): Json<ChangeBody>,
) -> Result<axum::Json<ChangedDocument>, Problem> {
    let set = body.set.iter();
    let mut set = set
        .map(|(key, value)| Ok((key.clone(), house.flags.read_value(key, value)?)))
        .collect::<Result<Vec<_>, FlagError>>()?;
    set.extend(body.unset.into_iter().map(|key| (key, FlagValue::Unset)));
    write(&house, set, body.expected_revision, (body.who, body.why)).await
}

/// Writes for somebody who must say why, and waits until every router serves it.
async fn write(
    house: &House,
    set: Vec<(String, FlagValue)>,
    expected: Option<u64>,
    (who, why): (Option<String>, Option<String>),
) -> Result<axum::Json<ChangedDocument>, Problem> {
    let (who, why) = said(who, why)?;
    for (key, value) in &set {
        dspex::check_rules(key, value)?;
    }
    let write = Write {
        expected: expected.map(Revision::new),
        set,
        who,
        why,
    };
    let revision = house.flags.write(write).await?;
    in_effect(house, revision).await
}

/// Waits until every router serves the revision, or says which do not.
async fn in_effect(
    house: &House,
    revision: Revision,
) -> Result<axum::Json<ChangedDocument>, Problem> {
    let flags = &house.flags;
    let within = house.config.migration.acknowledge_within;
    let laggards = match flags.wait_acknowledged(revision, within).await {
        Ok(()) => None,
        Err(FlagError::NotAcknowledged { laggards, .. }) => Some(laggards),
        Err(other) => return Err(other.into()),
    };
    Ok(axum::Json(ChangedDocument {
        revision: revision.get(),
        acknowledged: laggards.is_none(),
        laggards: laggards.unwrap_or_default(),
    }))
}

/// Who changed what, and why; the newest first.
#[utoipa::path(get, path = "/admin/v1/flags/history", tag = TAG, security(("token" = [])), params(Newest), responses((status = 200, body = Value)))]
async fn history(
    Ready(house): Ready,
    Asked(asked): Asked<Newest>,
) -> Result<axum::Json<Value>, Problem> {
    let changes = house.flags.history(limit(asked.limit)?).await?;
    Ok(axum::Json(json!({"changes": changes})))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ForKey {
    /// The session or request whose bucket is asked for.
    key: Option<String>,
}

/// Why a flag is what it is for a key: which layer, which rule, which bucket.
#[utoipa::path(
    get, path = "/admin/v1/flags/explain/{flag}", tag = TAG, security(("token" = [])),
    params(("flag" = String, Path, description = "The flag's key"), ForKey),
    responses(
        (status = 200, body = Value),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json", description = "No such flag; the nearest is named"),
    ),
)]
async fn explain(
    Ready(house): Ready,
    Named(flag): Named,
    Asked(asked): Asked<ForKey>,
) -> Result<axum::Json<Value>, Problem> {
    let snapshot = house.flags.snapshot();
    let explained = snapshot
        .explain(&flag, asked.key.as_deref())
        .map_err(FlagError::from)?;
    Ok(axum::Json(json!(explained)))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RevertBody {
    /// The revision whose values are to be set again.
    revision: u64,
    /// Who; `admin` where absent.
    #[serde(default)]
    who: Option<String>,
    /// Why. Must be given.
    #[serde(default)]
    why: Option<String>,
}

/// Set everything back to what it was at a revision, as a new revision, and wait until every router
/// serves it.
#[utoipa::path(
    post, path = "/admin/v1/flags/revert", tag = TAG, security(("token" = [])),
    request_body = RevertBody,
    responses(
        (status = 200, body = ChangedDocument),
        (status = 409, body = ProblemDocument, content_type = "application/problem+json", description = "Somebody else wrote in between, or the store is older than what is served; both revisions are named"),
        (status = 422, body = ProblemDocument, content_type = "application/problem+json", description = "That revision has not been, nothing differs from it, or it has rules that nobody would look at"),
    ),
)]
async fn revert(
    Ready(house): Ready,
    Json(body): Json<RevertBody>,
) -> Result<axum::Json<ChangedDocument>, Problem> {
    let (who, why) = said(body.who, body.why)?;
    let to = Revision::new(body.revision);
    let revision = house.flags.revert(to, &who, &why).await?;
    in_effect(&house, revision).await
}

/// Every flag as a definition of flagd, which evaluates it to the same answer.
#[utoipa::path(
    get, path = "/admin/v1/flags/flagd", tag = TAG, security(("token" = [])),
    responses(
        (status = 200, body = Value),
        (status = 422, body = ProblemDocument, content_type = "application/problem+json", description = "A flag that flagd cannot say"),
    ),
)]
async fn export(Ready(house): Ready) -> Result<axum::Json<Value>, Problem> {
    let definitions = flagd::export(&house.flags.snapshot()).map_err(unsayable)?;
    Ok(axum::Json(definitions))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ImportBody {
    /// The document that flagd reads: `{"flags": {…}}`.
    #[schema(value_type = Object)]
    definitions: Value,
    /// The revision that was seen; where given, nothing is written if it is no longer the newest.
    #[serde(default)]
    expected_revision: Option<u64>,
    /// Who; `admin` where absent.
    #[serde(default)]
    who: Option<String>,
    /// Why. Must be given.
    #[serde(default)]
    why: Option<String>,
}

/// Set the flags that flagd's definitions define, all of them or none.
#[utoipa::path(
    post, path = "/admin/v1/flags/flagd", tag = TAG, security(("token" = [])),
    request_body = ImportBody,
    responses(
        (status = 200, body = ChangedDocument),
        (status = 409, body = ProblemDocument, content_type = "application/problem+json", description = "Somebody else wrote in between, or the store is older than what is served; both revisions are named"),
        (status = 422, body = ProblemDocument, content_type = "application/problem+json", description = "A definition that cannot be imported"),
    ),
)]
async fn import(
    Ready(house): Ready,
    Json(body): Json<ImportBody>,
) -> Result<axum::Json<ChangedDocument>, Problem> {
    let set = flagd::import(house.flags.declarations(), &body.definitions).map_err(unsayable)?;
    write(&house, set, body.expected_revision, (body.who, body.why)).await
}

#[expect(clippy::needless_pass_by_value, reason = "`map_err` hands it over so")]
fn unsayable(error: FlagdError) -> Problem {
    Problem::invalid(&error.key, error.problem.clone())
}
