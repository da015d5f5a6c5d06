//! The HTTP face: routes, and the layers around them.
//!
//! Read in this order: [`server`] (connections), [`context`] (what surrounds a request), [`access`]
//! and [`hosts`] (who may ask), [`caller`] (who it is), [`json`] and [`params`] (what is asked), then a file for each resource, and
//! [`error`] (problem documents, and the one file that maps errors to them).

mod access;
mod admin;
mod caller;
mod context;
mod dashboard;
pub(crate) mod error;
mod event_stream;
mod health;
pub(crate) mod hosts;
pub(crate) mod json;
mod linger;
mod metrics;
mod ofrep;
mod params;
mod programs;
pub(crate) mod server;
mod slow_reader;
mod state;
#[cfg(test)]
mod tests;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;

use self::error::{Problem, ProblemDocument};
pub(crate) use self::state::AppState;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "dspex",
        description = "Serves DSPy programs from pools of Python workers, and moves live traffic between pools."
    ),
    tags(
        (name = "programs", description = "Create programs and call them. Open until `server.programs_token_env` is set."),
        (name = "state", description = "What the server is doing."),
        (name = "ofrep", description = "Flags for OpenFeature SDKs: the OpenFeature Remote Evaluation Protocol 0.3. Open as programs are."),
        (name = "admin", description = "Flags, migrations and pools. Needs the admin token."),
    ),
    components(schemas(ProblemDocument)),
    modifiers(&Tokens),
)]
struct Document;

/// Documents how tokens are sent.
struct Tokens;

impl utoipa::Modify for Tokens {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        components.add_security_scheme(
            "token",
            SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)),
        );
    }
}

/// The routes with their documentation.
fn routes(state: &AppState) -> (Router<AppState>, utoipa::openapi::OpenApi) {
    let guarded = |routes: OpenApiRouter<AppState>| {
        routes
            .route_layer(from_fn_with_state(state.clone(), access::programs))
            .route_layer(from_fn_with_state(state.clone(), hosts::ours))
    };
    let admin = admin::routes().route_layer(from_fn_with_state(state.clone(), access::admin));
    OpenApiRouter::with_openapi(Document::openapi())
        .merge(guarded(programs::routes()))
        .merge(guarded(health::guarded()))
        .merge(guarded(metrics::routes()))
        .merge(health::open())
        .merge(ofrep::routes(state).route_layer(from_fn_with_state(state.clone(), hosts::ours)))
        .merge(admin)
        .split_for_parts()
}

/// The application.
pub(crate) fn app(state: AppState) -> Router {
    let (routes, document) = routes(&state);
    routes
        .merge(dashboard::routes())
        .route(
            "/openapi.json",
            get(move || std::future::ready(axum::Json(document.clone()))),
        )
        .fallback(|request: Request| std::future::ready(Problem::no_route(request.uri().path())))
        .method_not_allowed_fallback(|request: Request| {
            std::future::ready(Problem::method_not_allowed(
                request.method().as_str(),
                request.uri().path(),
            ))
        })
        .with_state(state)
        .layer(CatchPanicLayer::custom(context::panicked))
        .layer(from_fn(context::surround))
}
