//! The versions of pools' configurations: listed, and a new one made.

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::admin::{TAG, said};
use crate::http::error::{Problem, ProblemDocument};
use crate::http::json::Json;
use crate::http::params::Named;
use crate::http::state::{AppState, Ready};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(all))
        .routes(routes!(of_one, put))
}

/// Every version of every pool's configuration. Values of environment variables are not kept: each has
/// a mark that tells a change.
#[utoipa::path(get, path = "/admin/v1/pool-configurations", tag = TAG, security(("token" = [])), responses((status = 200, body = Value)))]
async fn all(Ready(house): Ready) -> axum::Json<Value> {
    axum::Json(json!({"configurations": house.configurations.versions(None)}))
}

/// The versions of one pool's configuration, the newest first.
#[utoipa::path(
    get, path = "/admin/v1/pools/{pool}/configurations", tag = TAG, security(("token" = [])),
    params(("pool" = String, Path)),
    responses(
        (status = 200, body = Value),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json", description = "No such pool"),
    ),
)]
async fn of_one(Ready(house): Ready, Named(name): Named) -> Result<axum::Json<Value>, Problem> {
    let versions = house.configurations.versions(Some(&name));
    if versions.is_empty() {
        let why = house.find_pool(&name).err();
        let why = why.unwrap_or_else(|| format!("{name:?} has no versions of its own"));
        return Err(super::unknown(&house, &name, why));
    }
    Ok(axum::Json(json!({"configurations": versions})))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PutBody {
    /// The section as it would stand under `[pools.NAME]`; what is absent is as by default. `kind` may be
    /// absent where the pool is there.
    #[serde(default)]
    section: Option<Map<String, Value>>,
    /// The same as TOML text, in place of `section`.
    #[serde(default)]
    toml: Option<String>,
    /// Who; `admin` where absent.
    #[serde(default)]
    who: Option<String>,
    /// Why. Must be given.
    #[serde(default)]
    why: Option<String>,
}

/// Make a new version of a pool's configuration, to be brought in by a migration. Nothing is started.
/// One that says what the newest version says makes none, and answers 200.
#[utoipa::path(
    post, path = "/admin/v1/pools/{pool}/configurations", tag = TAG, security(("token" = [])),
    params(("pool" = String, Path)), request_body = PutBody,
    responses(
        (status = 200, body = Value, description = "The newest version says the same already"),
        (status = 201, body = Value),
        (status = 422, body = ProblemDocument, content_type = "application/problem+json", description = "The section cannot be used"),
    ),
)]
async fn put(
    Ready(house): Ready,
    Named(name): Named,
    Json(body): Json<PutBody>,
) -> Result<(StatusCode, axum::Json<Value>), Problem> {
    let (who, why) = said(body.who, body.why)?;
    let section = match (body.section, body.toml) {
        (Some(section), None) => section,
        (None, Some(text)) => in_its_place(table(&text)?, &name),
        _ => {
            return Err(
                Problem::invalid("section", "must be there, or `toml` in its place")
                    .hint("write it as the section [pools.NAME] of the configuration file"),
            );
        }
    };
    let put = house.configurations.put(&name, section, &who, &why).await;
    let put = put?;
    let status = match put.new {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    };
    Ok((
        status,
        axum::Json(json!({"configuration": put.row, "new": put.new})),
    ))
}

/// The section itself, where it stands under its header as in the file.
fn in_its_place(mut table: Map<String, Value>, name: &str) -> Map<String, Value> {
    let inner = match (table.len(), table.get_mut("pools")) {
        (1, Some(Value::Object(pools))) if pools.len() == 1 => pools.remove(name),
        _ => None,
    };
    match inner {
        Some(Value::Object(section)) => section,
        _ => table,
    }
}

/// TOML as JSON.
fn table(text: &str) -> Result<Map<String, Value>, Problem> {
    let table: toml::Table = toml::from_str(text)
        .map_err(|error| Problem::invalid("toml", format!("is not TOML: {}", error.message())))?;
    match serde_json::to_value(table) {
        Ok(Value::Object(table)) => Ok(table),
        _ => Err(Problem::invalid("toml", "must be a table")),
    }
}
