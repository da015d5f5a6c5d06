//! The router itself: its lanes, the flags that it serves, and how both change while calls run.
//!
//! Invariants: the way of a call only loads pointers; flags are acknowledged after they are served,
//! never before; there is always a pool in the stable lane, and none is taken out of it but for the one that
//! stood in the candidate lane before.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use dspex_flags::{Flags, Snapshot, Subscriber, dspex};
use dspex_pool::SharedPool;
use dspex_telemetry::{Lane, Telemetry};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::catalog::Catalog;
use crate::catalog::cache::Cache;
use crate::circuits::log::CircuitLog;
use crate::config::RouterConfig;
use crate::dispatch::LaneState;
use crate::error::InvalidConfig;
use crate::rescue::Rescue;
use crate::route;
use crate::sessions::SessionStore;
use crate::sessions::states::States;
use crate::shadow::Shadow;
use crate::streams::Streams;

/// The name under which routers acknowledge flags.
const SUBSCRIBER: &str = "router";

/// What a router is made from.
pub struct RouterParts {
    /// The pool that serves now.
    pub stable: SharedPool,
    /// The flags that traffic moves by.
    pub flags: Arc<Flags>,
    /// Where attempts are recorded.
    pub telemetry: Arc<Telemetry>,
    /// Where programs are kept.
    pub catalog: Arc<dyn Catalog>,
    /// Where the states of stateful programs' sessions are kept.
    pub sessions: Arc<dyn SessionStore>,
    /// Where states and programs are written, also for callers that have left: wait for it before the
    /// stores are closed.
    pub tracker: TaskTracker,
    /// Timeouts, limits and circuits.
    pub config: RouterConfig,
}

/// Serves programs from two lanes, and keeps the catalog of programs.
pub struct Router {
    stable: ArcSwap<LaneState>,
    candidate: ArcSwapOption<LaneState>,
    pub(crate) served: ArcSwap<Snapshot>,
    pub(crate) streams: Streams,
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) known: Arc<Cache>,
    pub(crate) sessions: Arc<States>,
    pub(crate) shadow: Arc<Shadow>,
    pub(crate) rescue: Rescue,
    pub(crate) circuits: CircuitLog,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) config: RouterConfig,
    pub(crate) tracker: TaskTracker,
    flags: Arc<Flags>,
    /// Taken by changes only: a new candidate and new flags must not miss one another. Holds the
    /// subscription from the beginning, so that no write counts as acknowledged before
    /// [`Router::follow_flags`] runs.
    changing: Mutex<Option<Subscriber>>,
}

impl Router {
    /// A router without a candidate, serving the flags as they are now.
    ///
    /// Flags that change later are served once [`Router::follow_flags`] runs; until then their
    /// writers wait for this router's acknowledgement.
    ///
    /// # Errors
    ///
    /// Names the first setting that is out of its range.
    pub fn new(parts: RouterParts) -> Result<Arc<Self>, InvalidConfig> {
        parts.config.validate()?;
        let stable = LaneState::new(Lane::Stable, parts.stable, &parts.config.circuit)?;
        let mut subscriber = parts.flags.subscribe(SUBSCRIBER);
        let router = Self {
            stable: ArcSwap::from_pointee(stable),
            candidate: ArcSwapOption::empty(),
            served: ArcSwap::new(subscriber.current()),
            streams: Streams::default(),
            catalog: parts.catalog,
            known: Arc::new(Cache::new()),
            rescue: Rescue::new(&parts.config.retry_budget, &parts.config.recovery)?,
            sessions: Arc::new(States::new(
                parts.sessions,
                parts.config.sessions.clone(),
                parts.tracker.clone(),
            )),
            tracker: parts.tracker,
            shadow: Arc::new(Shadow::new(parts.config.shadow.clone())?),
            circuits: CircuitLog::new(),
            telemetry: parts.telemetry,
            config: parts.config,
            flags: parts.flags,
            changing: Mutex::new(None),
        };
        let stable = router.stable.load();
        router.circuits.watch(Lane::Stable, &stable.circuit);
        drop(stable);
        router.serve(router.served.load_full(), &subscriber);
        *router.changing() = Some(subscriber);
        Ok(Arc::new(router))
    }

    /// Puts a pool into the candidate lane, with a fresh circuit, or takes the one there out. Calls
    /// in flight on a pool taken out run to their end.
    pub fn set_candidate(&self, pool: Option<SharedPool>) {
        let changing = self.changing();
        let lane = pool.map(|pool| {
            let lane = LaneState::new(Lane::Candidate, pool, &self.config.circuit)
                .expect("the same settings made the stable lane's circuit");
            self.stand(&lane);
            Arc::new(lane)
        });
        if lane.is_some() {
            // Before it can be seen: nothing that is found of it is counted for the one before.
            self.shadow.begin_anew();
        }
        self.candidate.store(lane);
        // Sessions that stream on the pool before were not asked whether they want this one.
        self.streams.let_go();
        drop(changing);
    }

    /// Puts the pool of the candidate lane into the stable lane, with its circuit, and answers the
    /// pool that stood there; [`None`], and nothing is changed, where there is no candidate.
    ///
    /// From then on a call of either lane goes to that pool: one that the flags still send to the
    /// candidate finds none, and is stable's. Calls in flight run to their end where they are, so the
    /// pool that is answered is to be drained, and not dropped.
    pub fn promote(&self) -> Option<SharedPool> {
        let changing = self.changing();
        let candidate = self.candidate_lane()?;
        // Stable first: between the two stores the pool stands in both lanes, and never in none.
        let before = self
            .stable
            .swap(Arc::new(candidate.standing_in(Lane::Stable)));
        self.candidate.store(None);
        self.shadow.stable_is_another();
        self.streams.let_go();
        drop(changing);
        Some(Arc::clone(&before.pool))
    }

    /// Takes [`Router::promote`] back: `before` is stable, and the pool that was promoted the candidate
    /// again, with its circuit. Stable's circuit is a fresh one.
    pub fn demote(&self, before: SharedPool) {
        let changing = self.changing();
        let lane = LaneState::new(Lane::Stable, before, &self.config.circuit)
            .expect("the same settings made the lane's first circuit");
        self.stand(&lane);
        let promoted = self.stable_lane();
        self.shadow.stable_is_another();
        self.shadow.begin_anew();
        // The candidate first, as in a promotion: no call finds a lane without a pool.
        self.candidate
            .store(Some(Arc::new(promoted.standing_in(Lane::Candidate))));
        self.stable.store(Arc::new(lane));
        drop(changing);
    }

    /// The pool in the candidate lane.
    pub fn candidate(&self) -> Option<SharedPool> {
        self.candidate_lane().map(|lane| Arc::clone(&lane.pool))
    }

    /// The pool in the stable lane.
    pub fn stable(&self) -> SharedPool {
        Arc::clone(&self.stable.load().pool)
    }

    /// Serves every change of the flags, and acknowledges it, until `stop` or the flags' end.
    ///
    /// New calls go by the new flags before they are acknowledged: the share of traffic, whether
    /// circuits are on (`circuit_breaker`), and whether attempts are recorded (`telemetry_v2`).
    pub async fn follow_flags(self: Arc<Self>, stop: CancellationToken) {
        let subscribed = self.changing().take();
        let mut subscriber = subscribed.unwrap_or_else(|| self.flags.subscribe(SUBSCRIBER));
        // What changed between the making of the router and now.
        self.serve(subscriber.current(), &subscriber);
        loop {
            let changed = tokio::select! {
                () = stop.cancelled() => None,
                changed = subscriber.changed() => changed,
            };
            if let Some(flags) = changed {
                self.serve(flags, &subscriber);
            } else {
                // Kept, not dropped: a router that no longer follows must not be counted as one
                // that serves whatever comes.
                *self.changing() = Some(subscriber);
                return;
            }
        }
    }

    /// Drops the states of sessions that have expired, until `stop`.
    pub async fn sweep_sessions(self: Arc<Self>, stop: CancellationToken) {
        self.sessions.sweep(stop).await;
    }

    fn serve(&self, flags: Arc<Snapshot>, subscriber: &Subscriber) {
        let changing = self.changing();
        let revision = flags.revision();
        let circuits = flags.enabled(&dspex::CIRCUIT_BREAKER);
        let recording = flags.enabled(&dspex::TELEMETRY_V2);
        let rolled_back = route::rolled_back(&flags);
        self.served.store(flags);
        if rolled_back {
            // After it is served: see `Streams::route`.
            self.streams.let_go();
        }
        self.decide(&self.stable.load(), circuits);
        if let Some(candidate) = self.candidate_lane() {
            self.decide(&candidate, circuits);
        }
        self.telemetry.set_enabled(recording);
        drop(changing);
        subscriber.acknowledge(revision);
    }

    /// A lane with a fresh circuit is watched, and its circuit as the flags say.
    fn stand(&self, lane: &LaneState) {
        self.circuits.watch(lane.lane, &lane.circuit);
        self.decide(lane, self.served.load().enabled(&dspex::CIRCUIT_BREAKER));
    }

    pub(crate) fn stable_lane(&self) -> Arc<LaneState> {
        self.stable.load_full()
    }

    pub(crate) fn candidate_lane(&self) -> Option<Arc<LaneState>> {
        self.candidate.load_full()
    }

    pub(crate) fn changing(&self) -> std::sync::MutexGuard<'_, Option<Subscriber>> {
        // Every change below it is a swap of a whole value, so a poisoned lock guards nothing
        // half-done.
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
