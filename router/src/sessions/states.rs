//! How a call of a stateful program comes by its session's state, and leaves the next one.
//!
//! Invariants: the state is read and written under the session's turn; the turn lasts until the
//! write is over, also where the caller has left by then, so the call that follows sees what the
//! store holds; what is over the limit is refused before it is written; a program that is gone leaves
//! no state behind, also where it was deleted under a call.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use dspex_pool::{ProgramKey, SessionState};
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::cache::StateCache;
use super::gone::Gone;
use super::turns::{Turn, Turns};
use super::{Saved, SessionError, SessionKey, SessionStore, SessionTotals, SessionsConfig};
use crate::clock;
use crate::error::RouterError;

/// A state that a call left unchanged is written again only when this part of its life is over: a
/// session that only reads costs no write a call.
const REFRESH: u32 = 10;

/// How often sessions that expired are dropped: a part of their life, within bounds.
const SWEEPS_A_LIFE: u32 = 24;
const SWEEP_AT_LEAST_EVERY: Duration = Duration::from_secs(3_600);
const SWEEP_AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// The sessions of a router.
pub(crate) struct States {
    store: Arc<dyn SessionStore>,
    cache: StateCache,
    turns: Turns,
    config: SessionsConfig,
    /// Sessions dropped because there were too many.
    evicted: AtomicU64,
    gone: Gone,
    writes: TaskTracker,
}

/// A session's turn, with the state that it found.
pub(crate) struct Held {
    program: ProgramKey,
    turn: Turn,
    found: Option<Saved>,
}

impl Held {
    pub(crate) fn state(&self) -> Option<SessionState> {
        self.found.as_ref().map(|saved| saved.state.clone())
    }
}

impl States {
    /// Writes run on `writes`, and outlive their callers: whoever ends the store waits for them.
    pub(crate) fn new(
        store: Arc<dyn SessionStore>,
        config: SessionsConfig,
        writes: TaskTracker,
    ) -> Self {
        Self {
            store,
            cache: StateCache::new(config.cache_bytes),
            turns: Turns::new(config.max_waiting),
            config,
            evicted: AtomicU64::new(0),
            gone: Gone::default(),
            writes,
        }
    }

    /// Waits for the session's turn, until `deadline`, and reads its state.
    pub(crate) async fn take(
        &self,
        program: &ProgramKey,
        session: &Arc<str>,
        deadline: Instant,
    ) -> Result<Held, RouterError> {
        let key = SessionKey {
            version: program.version,
            session: Arc::clone(session),
        };
        let begun = Instant::now();
        let turn = match tokio::time::timeout_at(deadline, self.turns.take(key)).await {
            Ok(Ok(turn)) => turn,
            Ok(Err(full)) => {
                return Err(RouterError::SessionBusy {
                    reason: format!("{} calls of it wait already", full.waiting),
                });
            }
            Err(_) => {
                return Err(RouterError::SessionBusy {
                    reason: format!(
                        "its earlier calls had not ended after {:?}",
                        begun.elapsed()
                    ),
                });
            }
        };
        let oldest = before(clock::wall(), self.config.expire_after);
        let found = match self.cache.get(turn.key()) {
            Some(saved) => Some(saved),
            None => {
                let read = self.store.get(turn.key()).await?;
                if let Some(saved) = &read {
                    self.cache.put(turn.key(), saved.clone());
                }
                read
            }
        };
        let found = found.filter(|saved| saved.used_at >= oldest);
        Ok(Held {
            program: program.clone(),
            turn,
            found,
        })
    }

    /// Keeps what a call left, and answers once it is durable. Goes on where the caller leaves.
    pub(crate) async fn keep(
        self: &Arc<Self>,
        held: Held,
        left: SessionState,
    ) -> Result<(), SessionError> {
        let now = to_millis(clock::wall());
        if let Some(found) = &held.found
            && found.state == left
            && found.used_at >= before(now, self.config.expire_after / REFRESH)
        {
            return Ok(());
        }
        let states = Arc::clone(self);
        let saved = Saved {
            state: left,
            used_at: now,
        };
        let written = self
            .writes
            .spawn(async move { states.write(&held, saved).await });
        written.await.unwrap_or(Err(SessionError::Interrupted))
    }

    async fn write(&self, held: &Held, saved: Saved) -> Result<(), SessionError> {
        let key = held.turn.key();
        if self.gone.contains(key.version) {
            return Ok(());
        }
        let ended = self.store.put(key, &saved, self.config.max_sessions).await;
        match ended {
            Ok(dropped) => {
                self.cache.put(key, saved);
                for key in &dropped {
                    self.cache.remove(key);
                }
                if !dropped.is_empty() {
                    self.evicted.fetch_add(dropped.len() as u64, Relaxed);
                    tracing::warn!(
                        dropped = dropped.len(),
                        limit = self.config.max_sessions,
                        "there are too many sessions; those used longest ago lose their state"
                    );
                }
                // Deleted meanwhile: its states may have been dropped before this one was there.
                if self.gone.contains(key.version) {
                    self.drop_states(&held.program).await;
                }
                Ok(())
            }
            Err(error) => {
                // Whether it was written is not known; the store is asked next time.
                self.cache.remove(key);
                Err(error)
            }
        }
    }

    /// Drops the sessions of a program that is gone.
    pub(crate) async fn forget(&self, program: &ProgramKey) {
        // First: a call that ends from now on keeps nothing, or drops what it kept.
        self.gone.add(program.version);
        self.drop_states(program).await;
    }

    async fn drop_states(&self, program: &ProgramKey) {
        match self.store.forget(program).await {
            Ok(0) => {}
            Ok(sessions) => {
                tracing::info!(program = %program, sessions, "the program's sessions are dropped");
            }
            // Nobody reads them any more, and they expire.
            Err(error) => {
                tracing::warn!(program = %program, %error, "sessions of a deleted program stay until they expire");
            }
        }
        self.cache.forget(program.version);
    }

    /// Drops expired sessions until `stop`.
    pub(crate) async fn sweep(&self, stop: CancellationToken) {
        let every = (self.config.expire_after / SWEEPS_A_LIFE)
            .clamp(SWEEP_AT_MOST_EVERY, SWEEP_AT_LEAST_EVERY);
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let oldest = before(clock::wall(), self.config.expire_after);
            match self.store.sweep(oldest).await {
                Ok(0) => {}
                Ok(sessions) => tracing::info!(sessions, "sessions expired"),
                Err(error) => tracing::warn!(%error, "expired sessions could not be dropped"),
            }
        }
    }

    pub(crate) async fn totals(&self) -> Result<SessionTotals, SessionError> {
        self.store.totals().await
    }

    pub(crate) fn evicted(&self) -> u64 {
        self.evicted.load(Relaxed)
    }
}

/// What the store keeps of a moment.
fn to_millis(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}

/// So long before; the beginning of time where there was no such moment.
fn before(now: Timestamp, ago: Duration) -> Timestamp {
    now.checked_sub(ago).unwrap_or(Timestamp::MIN)
}
