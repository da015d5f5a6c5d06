//! Who may ask, and how often.
//!
//! Invariant: what is kept of callers is bounded, whatever they call themselves.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{FromRequestParts as _, Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use uuid::Uuid;

use super::events::Ids;
use super::refusal::Refusal;
use crate::config::OfrepLimits;
use crate::http::access::bearer;
use crate::http::caller::Caller;
use crate::http::state::AppState;

/// What lets callers in.
#[derive(Debug)]
pub(super) struct Gate {
    limits: OfrepLimits,
    allowances: Mutex<HashMap<String, Allowance>>,
    pub(super) streams: Arc<Semaphore>,
    pub(super) ids: Ids,
    /// Opens the event stream where a token is needed: an `EventSource` cannot send one. It opens
    /// nothing else, and ends with this process.
    pub(super) ticket: String,
}

/// What a caller may still ask.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    left: f64,
    at: Instant,
}

impl Gate {
    pub(super) fn new(limits: OfrepLimits) -> Self {
        Self {
            limits,
            allowances: Mutex::default(),
            streams: Arc::new(Semaphore::new(limits.streams)),
            ids: Ids::default(),
            ticket: Uuid::new_v4().simple().to_string(),
        }
    }

    /// Takes one evaluation of the caller's allowance, or says when there will be one.
    fn take(&self, caller: &str, now: Instant) -> Result<(), Duration> {
        let mut allowances = self
            .allowances
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let limits = self.limits;
        let (per_second, burst) = (f64::from(limits.per_second), f64::from(limits.burst));
        let refilled = |allowance: &Allowance| {
            let since = now.saturating_duration_since(allowance.at).as_secs_f64();
            since.mul_add(per_second, allowance.left).min(burst)
        };
        if allowances.len() >= limits.callers && !allowances.contains_key(caller) {
            // Whoever has a full allowance again is as good as never seen.
            allowances.retain(|_, allowance| refilled(allowance) < burst);
            if allowances.len() >= limits.callers {
                allowances.clear();
            }
        }
        let new = Allowance {
            left: burst,
            at: now,
        };
        let allowance = allowances.entry(caller.to_owned()).or_insert(new);
        let left = refilled(allowance);
        *allowance = Allowance { left, at: now };
        if left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - left) / per_second));
        }
        allowance.left -= 1.0;
        Ok(())
    }
}

/// The token of a request: a bearer's or an API key's, as the protocol has both.
pub(super) fn token(headers: &HeaderMap) -> Option<&str> {
    let key = || headers.get("x-api-key")?.to_str().ok();
    bearer(headers).or_else(key)
}

/// Lets those in who may call programs, as often as they may.
pub(super) async fn evaluations(
    State((state, gate)): State<(AppState, Arc<Gate>)>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let presented = token(request.headers());
    if !state.tokens().programs(presented) {
        return Err(match presented {
            None => Refusal::unauthorized(),
            Some(_) => Refusal::forbidden(),
        });
    }
    let (mut head, body) = request.into_parts();
    let caller = Caller::from_request_parts(&mut head, &state).await;
    let Caller(caller) = caller.map_err(|problem| Refusal::of_problem(&problem))?;
    gate.take(caller.as_deref().unwrap_or(""), Instant::now())
        .map_err(|after| Refusal::too_many("this caller asks too often", after))?;
    Ok(next.run(Request::from_parts(head, body)).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: OfrepLimits = OfrepLimits {
        per_second: 1_000,
        burst: 2_000,
        callers: 500,
        streams: 1,
    };

    fn taken(gate: &Gate, caller: &str, now: Instant) -> usize {
        (0..10_000)
            .take_while(|_| gate.take(caller, now).is_ok())
            .count()
    }

    #[tokio::test]
    async fn an_allowance_ends_is_refilled_and_is_each_caller_s_own() {
        let gate = Gate::new(LIMITS);
        let now = Instant::now();
        assert_eq!(taken(&gate, "ada", now), 2_000);
        let after = gate.take("ada", now).unwrap_err();
        assert!(after > Duration::ZERO && after <= Duration::from_millis(1));
        assert!(gate.take("bob", now).is_ok());
        assert!(gate.take("ada", now + after).is_ok());
        let later = now + Duration::from_secs(60);
        assert_eq!(
            taken(&gate, "ada", later),
            2_000,
            "a pause saves up no more than that"
        );
    }

    #[tokio::test]
    async fn the_configuration_says_how_often() {
        let gate = Gate::new(OfrepLimits {
            per_second: 2,
            burst: 3,
            ..LIMITS
        });
        let now = Instant::now();
        assert_eq!(taken(&gate, "ada", now), 3);
        let after = gate.take("ada", now).unwrap_err();
        assert_eq!(after, Duration::from_millis(500));
        assert_eq!(taken(&gate, "ada", now + Duration::from_secs(1)), 2);
    }

    #[tokio::test]
    async fn no_more_callers_are_kept_than_are_told_apart() {
        let gate = Gate::new(LIMITS);
        let now = Instant::now();
        for number in 0..3 * LIMITS.callers {
            assert!(gate.take(&number.to_string(), now).is_ok());
        }
        assert!(gate.allowances.lock().unwrap().len() <= LIMITS.callers);
    }
}
