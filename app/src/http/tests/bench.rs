//! A house of fakes, and requests to it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use dspex_flags::{FlagStore, Flags, MemoryStore};
use dspex_migration::{MemoryJournal, MemoryRecorder};
use dspex_pool::testing::FakePool;
use dspex_pool::{PoolError, SharedPool};
use dspex_router::{MemoryCatalog, MemorySessions};
use dspex_telemetry::Prometheus;
use http_body_util::BodyExt as _;
use serde_json::Value;
use sqlx::sqlite::SqlitePoolOptions;
use tempfile::TempDir;
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt as _;

use crate::assemble::{House, Materials};
use crate::auth::Tokens;
use crate::candidate::ground::Solid;
use crate::config::{Config, Sources};
use crate::configurations::Configurations;
use crate::http::hosts::AllowedHosts;
use crate::http::json::BodyLimits;
use crate::http::{AppState, app};
use crate::notify::{MemoryCursors, Receivers};
use crate::paths::DataDir;
use crate::pools::{PoolSource, PoolVersion};
use crate::resting::RestingPool;
use crate::switches;
use crate::tasks::Tasks;

pub(super) const ADMIN: &str = "the-admins-token-in-tests";

/// Gives out one fake as the candidate.
struct Fakes {
    configurations: Arc<Configurations>,
    candidate: FakePool,
    rehearsals: Arc<Semaphore>,
}

#[async_trait]
impl PoolSource for Fakes {
    fn find(&self, name: &str, version: Option<u32>) -> Result<PoolVersion, String> {
        self.configurations.find(name, version)
    }

    async fn interpreter(&self, _: &PoolVersion) -> Result<String, String> {
        Ok("a fake".to_owned())
    }

    async fn start(&self, _: &PoolVersion) -> Result<SharedPool, PoolError> {
        Ok(self.candidate.shared())
    }

    /// A pool that echoes, whatever it is asked, once a test lets it start.
    async fn rehearse(&self, pool: &PoolVersion, workers: usize) -> Result<SharedPool, PoolError> {
        let started = self.rehearsals.acquire().await;
        drop(started);
        Ok(FakePool::sized(&pool.label(), workers, workers).shared())
    }
}

pub(super) struct Bench {
    pub(super) stable: FakePool,
    pub(super) candidate: FakePool,
    pub(super) state: AppState,
    pub(super) tasks: Tasks,
    /// Without a permit no rehearsal pool starts.
    pub(super) rehearsals: Arc<Semaphore>,
    _folder: TempDir,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.tasks.stop.cancel();
    }
}

/// An answer, read whole.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Answer {
    #[track_caller]
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text)
            .unwrap_or_else(|error| panic!("{error}: {} {:?}", self.status, self.text))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Checks that this is a whole problem document of this status, and answers it.
    #[track_caller]
    pub(super) fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(self.headers.get_all("content-type").iter().count(), 1);
        let problem = self.json();
        assert_eq!(problem["status"], status, "{problem}");
        for member in ["type", "title", "detail", "instance"] {
            assert!(problem[member].is_string(), "{member}: {problem}");
        }
        assert_eq!(problem["request_id"].as_str(), self.header("x-request-id"));
        if matches!(status, 429 | 503) {
            let seconds = self.header("retry-after").expect("says when to come back");
            assert!(seconds.parse::<u64>().unwrap() >= 1);
        }
        problem
    }
}

/// The configuration of tests: two lanes, short limits.
pub(super) fn config() -> Config {
    config_with(&[])
}

/// The same, and these settings.
fn config_with(set: &[&str]) -> Config {
    let all = [
        "lanes.stable=v1",
        "lanes.candidate=v2",
        "pools.v1.kind=pool-v2",
        "server.max_body=64KiB",
        "migration.acknowledge_within=2s",
    ];
    Config::load(&Sources {
        set: all.iter().chain(set).map(|set| (*set).to_owned()).collect(),
        ..Sources::default()
    })
    .unwrap()
}

impl Bench {
    /// A house that is ready.
    pub(super) async fn ready() -> Self {
        Self::starting().finish().await
    }

    /// A house that is ready, whose programs API wants this token.
    pub(super) async fn guarded(token: &str) -> Self {
        let token = Some(("TOKEN", Some(token.to_owned())));
        Self::starting_with(token, &config()).finish().await
    }

    /// A house that is ready, with its flags in this store and with these settings.
    pub(super) async fn with_flags(store: Arc<dyn FlagStore>, set: &[&str]) -> Self {
        let config = config_with(set);
        Self::starting_with(None, &config)
            .furnish(store, config)
            .await
    }

    async fn finish(self) -> Self {
        self.furnish(Arc::new(MemoryStore::new()), config()).await
    }

    async fn furnish(self, store: Arc<dyn FlagStore>, config: Config) -> Self {
        let bench = self;
        let declarations = dspex_flags::dspex::declarations();
        let flags = Flags::open_layered(store, declarations, config.flag_layers())
            .await
            .unwrap();
        let config = Arc::new(config);
        let database = SqlitePoolOptions::new()
            .max_connections(1)
            // Where a test pauses the clock, it runs on while the database's own thread works.
            .acquire_timeout(Duration::from_secs(1 << 30))
            .connect("sqlite::memory:")
            .await
            .unwrap();
        let configurations =
            Configurations::open(database.clone(), database, Arc::clone(&config), None);
        let configurations = Arc::new(configurations.await.unwrap());
        let pools: Arc<dyn PoolSource> = Arc::new(Fakes {
            configurations: Arc::clone(&configurations),
            candidate: bench.candidate.clone(),
            rehearsals: Arc::clone(&bench.rehearsals),
        });
        let materials = Materials {
            config,
            switches: watch::Sender::new(switches::of(&flags.snapshot())),
            flags,
            catalog: Arc::new(MemoryCatalog::new()),
            sessions: Arc::new(MemorySessions::new()),
            journal: Arc::new(MemoryJournal::new()),
            recorder: Arc::new(MemoryRecorder::default()),
            stable: RestingPool::up(
                configurations.active().unwrap(),
                bench.stable.shared(),
                Arc::clone(&pools),
                bench.tasks.tracker.clone(),
            ),
            configurations,
            ground: Arc::new(Solid),
            pools,
            receivers: Receivers {
                hooks: Vec::new(),
                cursors: Arc::new(MemoryCursors::default()),
            },
            prometheus: Prometheus::new().unwrap(),
        };
        let house = House::build(materials, &bench.tasks).await.unwrap();
        bench.state.ready(Arc::new(house));
        bench
    }

    /// A server whose workers are still being started.
    pub(super) fn starting() -> Self {
        Self::starting_with(None, &config())
    }

    fn starting_with(programs: Option<(&str, Option<String>)>, config: &Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::new(folder.path());
        let (tokens, _) = Tokens::open(&data, Some(ADMIN), programs).unwrap();
        Self {
            stable: FakePool::new("v1"),
            candidate: FakePool::new("v2"),
            state: AppState::new(
                tokens,
                BodyLimits {
                    size: config.server.max_body.0,
                    depth: config.server.max_json_depth,
                    time: Duration::from_millis(300),
                },
                config.flags.ofrep,
                AllowedHosts::new(&["dspex.example".to_owned()], config.server.bind),
            ),
            tasks: Tasks::default(),
            rehearsals: Arc::new(Semaphore::new(1)),
            _folder: folder,
        }
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Answer {
        let response = app(self.state.clone()).oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        if let Some(length) = head.headers.get("content-length") {
            assert_eq!(length.to_str().unwrap(), bytes.len().to_string());
        }
        Answer {
            status: head.status,
            headers: head.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send(request("GET", path, None)).await
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(request("POST", path, Some(body))).await
    }

    /// With the admin token.
    pub(super) async fn admin(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let mut request = request(method, path, body);
        let token = format!("Bearer {ADMIN}").parse().unwrap();
        request.headers_mut().insert("authorization", token);
        self.send(request).await
    }

    /// Makes the callable `echo`.
    pub(super) async fn create_echo(&self) {
        let body = serde_json::json!({"id": "echo", "kind": "callable", "target": "m:echo"});
        let made = self.post("/v1/programs", body).await;
        assert_eq!(made.status, 201, "{made:?}");
    }
}

pub(super) fn request(method: &str, path: &str, body: Option<Value>) -> Request<Body> {
    let request = Request::builder().method(method).uri(path);
    match body {
        None => request.body(Body::empty()),
        Some(body) => request
            .header("content-type", "application/json")
            .body(Body::from(body.to_string())),
    }
    .unwrap()
}
