//! `/admin/v1/migrations/{id}/report`: what is to be learnt from a migration.

use axum::http::header::{ACCEPT, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use dspex_migration::{Entry, MigrationId, Migrations, Report, report};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::TAG;
use crate::http::error::{Problem, ProblemDocument};
use crate::http::params::Named;
use crate::http::state::{AppState, Ready};

/// Entries read at once.
const PAGE: usize = 10_000;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(of))
}

/// What is to be learnt from a migration: JSON, or a page or Markdown where `Accept` asks for it.
#[utoipa::path(
    get, path = "/admin/v1/migrations/{id}/report", tag = TAG, security(("token" = [])),
    params(
        ("id" = String, Path, description = "A migration's id, or `current`"),
        ("Accept" = Option<String>, Header, description = "`application/json`, `text/html` or `text/markdown`"),
    ),
    responses(
        (status = 200, content((Value = "application/json"), (String = "text/html"), (String = "text/markdown"))),
        (status = 404, body = ProblemDocument, content_type = "application/problem+json"),
        (status = 406, body = ProblemDocument, content_type = "application/problem+json", description = "None of the types that there are"),
    ),
)]
async fn of(
    Ready(house): Ready,
    Named(id): Named,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let Some(media) = Media::of(accept) else {
        return Err(Problem::new(
            StatusCode::NOT_ACCEPTABLE,
            "not-acceptable",
            "Not acceptable",
            "a report is application/json, text/html or text/markdown",
        ));
    };
    let id = match (id.as_str(), house.migrations.status()) {
        ("current", Some(status)) => status.id.clone(),
        _ => MigrationId::from_text(id),
    };
    let entries = whole(&house.migrations, &id).await?;
    // A long journal takes a moment, which is not taken from callers.
    let made = tokio::task::spawn_blocking(move || {
        report(&id, &entries).map(|report| media.render(&report))
    });
    match made.await {
        Ok(Ok(Ok(response))) => Ok(response),
        Ok(Ok(Err(error))) => Err(broken(&error)),
        Ok(Err(error)) => Err(broken(&error)),
        Err(error) => Err(broken(&error)),
    }
}

fn broken(error: &dyn std::error::Error) -> Problem {
    tracing::error!(%error, "a report could not be made");
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "report",
        "No report",
        "the report could not be made of this journal",
    )
}

async fn whole(migrations: &Migrations, id: &MigrationId) -> Result<Vec<Entry>, Problem> {
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let after = entries.last().map_or(0, |entry| entry.seq);
        let page = migrations.events(id, after, PAGE).await?;
        let ended = page.len() < PAGE;
        entries.extend(page);
        if ended {
            return Ok(entries);
        }
    }
}

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Media {
    Json,
    Html,
    Markdown,
}

impl Media {
    /// The first of ours that is asked for. Weights are not looked at: who asks for several takes any.
    fn of(accept: Option<&str>) -> Option<Self> {
        let Some(accept) = accept else {
            return Some(Self::Json);
        };
        accept.split(',').find_map(|asked| {
            let media = asked.split(';').next().unwrap_or_default().trim();
            match media.to_ascii_lowercase().as_str() {
                "text/html" => Some(Self::Html),
                "text/markdown" => Some(Self::Markdown),
                "application/json" | "application/*" | "*/*" => Some(Self::Json),
                _ => None,
            }
        })
    }

    fn render(self, report: &Report) -> Result<Response, serde_json::Error> {
        let text = |kind, text: String| ([(CONTENT_TYPE, kind)], text).into_response();
        Ok(match self {
            Self::Json => text("application/json", serde_json::to_string(report)?),
            Self::Markdown => text("text/markdown; charset=utf-8", report.markdown()),
            Self::Html => (
                [
                    (CONTENT_TYPE, "text/html; charset=utf-8"),
                    // As in the page itself: nothing is asked for, nothing runs.
                    (
                        CONTENT_SECURITY_POLICY,
                        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox",
                    ),
                ],
                report.html(),
            )
                .into_response(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_type_of_ours_is_taken() {
        for (accept, media) in [
            (None, Some(Media::Json)),
            (Some("*/*"), Some(Media::Json)),
            (
                Some("text/html,application/xhtml+xml,*/*;q=0.8"),
                Some(Media::Html),
            ),
            (Some("text/markdown; charset=utf-8"), Some(Media::Markdown)),
            (Some("image/png"), None),
        ] {
            assert_eq!(Media::of(accept), media, "{accept:?}");
        }
    }
}
