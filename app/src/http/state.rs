//! What handlers share: the tokens and limits, the house once it is assembled, and where the
//! server is in its life.
//!
//! Invariant: a handler sees the house only while the server is ready; before and after, callers
//! get a problem document that says so.

use std::sync::{Arc, OnceLock};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::Serialize;
use tokio::sync::watch;

use super::error::Problem;
use super::hosts::AllowedHosts;
use super::json::BodyLimits;
use crate::assemble::House;
use crate::auth::Tokens;
use crate::config::OfrepLimits;

/// Where the server is in its life. It only goes on, never back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Life {
    /// Workers are being started.
    Starting,
    /// Serving.
    Ready,
    /// Calls in flight finish; no new ones are taken.
    Draining,
}

/// Shared by every handler; cheap to clone.
#[derive(Clone)]
pub(crate) struct AppState(Arc<Shared>);

struct Shared {
    tokens: Tokens,
    limits: BodyLimits,
    ofrep: OfrepLimits,
    hosts: AllowedHosts,
    house: OnceLock<Arc<House>>,
    life: watch::Sender<Life>,
}

impl AppState {
    /// A server that is starting.
    pub(crate) fn new(
        tokens: Tokens,
        limits: BodyLimits,
        ofrep: OfrepLimits,
        hosts: AllowedHosts,
    ) -> Self {
        Self(Arc::new(Shared {
            tokens,
            limits,
            ofrep,
            hosts,
            house: OnceLock::new(),
            life: watch::Sender::new(Life::Starting),
        }))
    }

    /// The house stands: from now on the server is ready.
    pub(crate) fn ready(&self, house: Arc<House>) {
        // The first house stays; there is only ever one.
        let _ = self.0.house.set(house);
        self.advance(Life::Ready);
    }

    /// Takes no new calls from now on.
    pub(crate) fn drain(&self) {
        self.advance(Life::Draining);
    }

    fn advance(&self, to: Life) {
        self.0.life.send_if_modified(|life| {
            let on = to > *life;
            *life = to.max(*life);
            on
        });
    }

    pub(super) fn life(&self) -> Life {
        *self.0.life.borrow()
    }

    /// Waits until no new calls are taken: what would go on for ever ends then.
    pub(super) async fn draining(&self) {
        let mut life = self.0.life.subscribe();
        // The sender lives as long as we do.
        let _ = life.wait_for(|life| *life == Life::Draining).await;
    }

    pub(super) fn tokens(&self) -> &Tokens {
        &self.0.tokens
    }

    pub(super) fn body_limits(&self) -> BodyLimits {
        self.0.limits
    }

    pub(super) fn ofrep_limits(&self) -> OfrepLimits {
        self.0.ofrep
    }

    pub(super) fn hosts(&self) -> &AllowedHosts {
        &self.0.hosts
    }

    /// The house, whether or not it takes calls.
    pub(super) fn house(&self) -> Option<&Arc<House>> {
        self.0.house.get()
    }
}

/// The house, while it takes calls.
pub(super) struct Ready(pub(super) Arc<House>);

impl FromRequestParts<AppState> for Ready {
    type Rejection = Problem;

    async fn from_request_parts(_: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        match (state.life(), state.house()) {
            (Life::Draining, _) => Err(Problem::draining()),
            (Life::Ready, Some(house)) => Ok(Self(Arc::clone(house))),
            _ => Err(Problem::starting()),
        }
    }
}
