//! A router between two fake pools, with the flags and the telemetry that it works with.

use std::sync::Arc;
use std::time::Duration;

use dspex_flags::{FlagValue, Flags, MemoryStore, Percent, Revision, Write, dspex};
use dspex_pool::testing::FakePool;
use dspex_pool::{Definition, PoolError, ProgramId, SharedPool};
use dspex_router::{
    Catalog, Draft, Execute, ExecuteFailed, Executed, MemoryCatalog, MemorySessions, Router,
    RouterConfig, RouterParts, SessionStore,
};
use dspex_telemetry::{Lane, LaneWindow, Telemetry};
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// A router whose stable pool is there, and whose candidate is where a test puts it.
pub(crate) struct House {
    pub(crate) router: Arc<Router>,
    pub(crate) stable: FakePool,
    pub(crate) candidate: FakePool,
    pub(crate) flags: Arc<Flags>,
    pub(crate) telemetry: Arc<Telemetry>,
    begun: Instant,
    tracker: TaskTracker,
    stop: CancellationToken,
    _stop_at_the_end: DropGuard,
}

impl House {
    /// Both pools echo; the candidate stands in its lane; no traffic goes there yet.
    pub(crate) async fn new() -> Self {
        Self::with(Arc::new(MemoryCatalog::new()), RouterConfig::default()).await
    }

    pub(crate) async fn with(catalog: Arc<dyn Catalog>, config: RouterConfig) -> Self {
        let stable = FakePool::new("v1");
        let house = Self::on(stable.shared(), catalog, config).await;
        Self { stable, ..house }
    }

    /// As [`House::with`], on a stable pool of the test's own.
    pub(crate) async fn on(
        pool: SharedPool,
        catalog: Arc<dyn Catalog>,
        config: RouterConfig,
    ) -> Self {
        Self::whole(pool, catalog, Arc::new(MemorySessions::new()), config).await
    }

    /// As [`House::on`], with sessions of the test's own.
    pub(crate) async fn whole(
        pool: SharedPool,
        catalog: Arc<dyn Catalog>,
        sessions: Arc<dyn SessionStore>,
        config: RouterConfig,
    ) -> Self {
        let flags = Flags::open(Arc::new(MemoryStore::new()), dspex::declarations())
            .await
            .unwrap();
        let (stable, candidate) = (FakePool::new("v1"), FakePool::new("v2"));
        let telemetry = Telemetry::new(dspex_telemetry::Config::default());
        let tracker = TaskTracker::new();
        let router = Router::new(RouterParts {
            stable: pool,
            flags: flags.clone(),
            telemetry: telemetry.clone(),
            catalog,
            sessions,
            tracker: tracker.clone(),
            config,
        })
        .unwrap();
        router.set_candidate(Some(candidate.shared()));
        let stop = CancellationToken::new();
        let house = Self {
            router,
            stable,
            candidate,
            flags,
            telemetry,
            begun: Instant::now(),
            tracker,
            _stop_at_the_end: stop.clone().drop_guard(),
            stop,
        };
        house
            .tracker
            .spawn(house.router.clone().follow_flags(house.stop.clone()));
        house
            .tracker
            .spawn(house.router.clone().follow_circuits(house.stop.clone()));
        house
    }

    /// A house with all its traffic on the candidate.
    pub(crate) async fn all_on_candidate() -> Self {
        let house = Self::new().await;
        house.percent("100").await;
        house
    }

    /// Lets everything that can go on do so.
    pub(crate) async fn settle(&self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    /// Stops following the flags, and waits until that has stopped.
    pub(crate) async fn stop_following(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }

    pub(crate) async fn set(&self, set: &[(&str, FlagValue)]) -> Revision {
        let write = Write {
            expected: None,
            set: set
                .iter()
                .map(|(k, v)| ((*k).to_owned(), v.clone()))
                .collect(),
            who: "test".to_owned(),
            why: "test".to_owned(),
        };
        self.flags.write(write).await.unwrap()
    }

    /// Sets this, and waits until the router serves it.
    pub(crate) async fn set_and_serve(&self, set: &[(&str, FlagValue)]) {
        let revision = self.set(set).await;
        self.flags
            .wait_acknowledged(revision, Duration::from_secs(60))
            .await
            .unwrap();
    }

    /// Turns the candidate's share to this, and waits until the router serves it.
    pub(crate) async fn percent(&self, percent: &str) {
        let share: Percent = percent.parse().unwrap();
        self.set_and_serve(&[
            (dspex::POOL_V2_ENABLED.key, FlagValue::Bool(true)),
            (
                dspex::GRADUAL_ROLLOUT_PERCENTAGE.key,
                FlagValue::Percent(share),
            ),
        ])
        .await;
    }

    /// Makes the copies that calls leave, until the house stops following its flags.
    pub(crate) fn run_shadow(&self) {
        self.tracker
            .spawn(self.router.clone().run_shadow(self.stop.clone()));
    }

    /// Copies this share of calls, once the router serves it.
    pub(crate) async fn copy_share(&self, percent: &str) {
        let share = FlagValue::Percent(percent.parse().unwrap());
        let revision = self.set(&[(dspex::SHADOW_PERCENTAGE.key, share)]).await;
        self.flags
            .wait_acknowledged(revision, Duration::from_secs(60))
            .await
            .unwrap();
    }

    /// Makes a program that may be repeated, or may not.
    pub(crate) async fn program(&self, id: &str, repeatable: bool) -> ProgramId {
        let draft = Draft {
            repeatable: Some(repeatable),
            ..draft(id)
        };
        self.router
            .create_program(draft)
            .await
            .unwrap()
            .key
            .id
            .clone()
    }

    pub(crate) async fn call(
        &self,
        program: &ProgramId,
        session: &str,
    ) -> Result<Executed, ExecuteFailed> {
        self.router.execute(request(program, session)).await
    }

    pub(crate) fn window(&self, lane: Lane) -> LaneWindow {
        self.telemetry.window(lane, self.begun, Instant::now())
    }

    /// How many attempts of this kind were recorded on this lane.
    pub(crate) fn recorded(&self, lane: Lane, kind: &str) -> u64 {
        self.window(lane).kinds.get(kind).copied().unwrap_or(0)
    }

    /// The name of a lane's circuit's state.
    pub(crate) fn circuit(&self, lane: Lane) -> &'static str {
        let circuits = self.router.health().circuits;
        circuits
            .iter()
            .find(|circuit| circuit.lane == lane)
            .unwrap()
            .state
    }
}

pub(crate) fn definition() -> Definition {
    serde_json::from_value(json!({"kind": "callable", "target": "fixture_programs:echo"})).unwrap()
}

pub(crate) fn draft(id: &str) -> Draft {
    Draft {
        id: Some(id.parse().unwrap()),
        definition: definition(),
        repeatable: None,
        stateful: false,
        side_effects: None,
    }
}

pub(crate) fn inputs() -> Map<String, Value> {
    Map::from_iter([("text".to_owned(), json!("hello"))])
}

pub(crate) fn request(program: &ProgramId, session: &str) -> Execute {
    Execute {
        program: program.clone(),
        inputs: inputs(),
        session: Some(session.into()),
        request_id: "r-1".into(),
        timeout: None,
        caller: None,
        chunks: None,
        lane: None,
    }
}

pub(crate) fn crashed() -> PoolError {
    PoolError::Crashed {
        worker: "v2-0.0".to_owned(),
        reason: "exit code 17".to_owned(),
    }
}

pub(crate) fn hung() -> PoolError {
    PoolError::Hung {
        worker: "v2-0.0".to_owned(),
        reason: "no answer to a ping".to_owned(),
    }
}

pub(crate) fn raised() -> PoolError {
    PoolError::Program {
        exception: "ValueError".to_owned(),
        message: "no".to_owned(),
        traceback: None,
    }
}
