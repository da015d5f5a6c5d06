//! The house: its parts and how they hold together.
//!
//! Invariant: this is the one place where parts meet. Each part knows only the traits it was given;
//! stores and pools come in from outside, so that tests can give ones without files and processes.

use std::sync::Arc;
use std::time::Duration;

use dspex_flags::{FlagError, Flags};
use dspex_migration::{Journal, MigrationError, Migrations, Parts, Recorder};
use dspex_pool::{Drained, SharedPool, Switches};
use dspex_router::{Catalog, InvalidConfig, Router, RouterError, RouterParts, SessionStore};
use dspex_telemetry::{Gauges, HostSampler, HostUsage, Prometheus, Telemetry};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::candidate::Deployer;
use crate::candidate::gatekeeper::Webhooks;
use crate::candidate::succession::Heir;
use crate::candidate::validator::Rehearsal;
use crate::candidate::vault::Archives;
use crate::clock;
use crate::config::Config;
use crate::keeper::Keeper;
use crate::pools::PoolSource;
use crate::switches;
use crate::tasks::Tasks;

/// How often Prometheus's observations are folded in: often enough that they do not pile up,
/// seldom enough not to be felt.
const UPKEEP: Duration = Duration::from_secs(5);

/// What the house is built from.
pub(crate) struct Materials {
    pub(crate) config: Arc<Config>,
    pub(crate) flags: Arc<Flags>,
    /// What the pools were told to do by the flags; the house carries changes on.
    pub(crate) switches: watch::Sender<Switches>,
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) sessions: Arc<dyn SessionStore>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) recorder: Arc<dyn Recorder>,
    /// The stable pool, with its workers ready.
    pub(crate) stable: SharedPool,
    /// Where the candidate comes from.
    pub(crate) pools: Arc<dyn PoolSource>,
    pub(crate) prometheus: Prometheus,
}

/// The parts, standing.
pub(crate) struct House {
    pub(crate) config: Arc<Config>,
    pub(crate) router: Arc<Router>,
    pub(crate) flags: Arc<Flags>,
    pub(crate) migrations: Arc<Migrations>,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) prometheus: Prometheus,
    pub(crate) gauges: Gauges,
    pub(crate) host: watch::Receiver<HostUsage>,
    pub(crate) started_at: Timestamp,
    pools: Arc<dyn PoolSource>,
    /// What the pools were told to do by the flags.
    pub(crate) switches: watch::Receiver<Switches>,
    /// Where streamed calls run: they must be polled also while their reader takes nothing.
    pub(crate) calls: TaskTracker,
    deployer: Arc<Deployer>,
    keeper: Arc<Keeper>,
}

/// Why the house cannot stand.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// The flags cannot be had.
    #[error(transparent)]
    Flags(#[from] FlagError),
    /// The router refuses its settings.
    #[error(transparent)]
    Router(#[from] InvalidConfig),
    /// The catalog cannot be read.
    #[error(transparent)]
    Catalog(#[from] RouterError),
    /// The journal cannot be had.
    #[error(transparent)]
    Migrations(#[from] MigrationError),
}

impl House {
    /// Puts the parts together and starts their tasks. When this answers, calls can be served: a
    /// candidate that a migration left in place is up, or its traffic goes to stable.
    ///
    /// # Errors
    /// See [`AssembleError`].
    pub(crate) async fn build(materials: Materials, tasks: &Tasks) -> Result<Self, AssembleError> {
        let config = materials.config;
        let flags = materials.flags;
        let telemetry = Telemetry::with_prometheus(
            dspex_telemetry::Config {
                span: config.telemetry.span,
                slot: config.telemetry.slot,
                max_programs: config.telemetry.max_programs,
            },
            &materials.prometheus,
        );
        let router = Router::new(RouterParts {
            stable: materials.stable,
            flags: Arc::clone(&flags),
            telemetry: Arc::clone(&telemetry),
            catalog: materials.catalog,
            sessions: materials.sessions,
            tracker: tasks.tracker.clone(),
            config: config.router.clone(),
        })?;
        let loaded = router.load().await?;
        tracing::info!(programs = loaded.programs, "the catalog is loaded");
        let deployer = Arc::new(Deployer::new(
            Arc::clone(&router),
            Arc::clone(&materials.pools),
            config.lanes.stable.clone(),
            tasks.tracker.clone(),
        ));
        let migrations = Migrations::open(Parts {
            journal: materials.journal,
            flags: Arc::clone(&flags),
            telemetry: Arc::clone(&telemetry),
            candidate: Arc::clone(&deployer) as _,
            vault: Arc::new(Archives),
            validator: Arc::new(Rehearsal),
            succession: Arc::new(Heir),
            gatekeeper: Arc::new(Webhooks),
            recorder: materials.recorder,
        })
        .await?;
        let (tell_host, host) = watch::channel(HostUsage::default());
        let gauges = Gauges::on(&materials.prometheus);
        let stop = || tasks.stop.clone();
        tasks.run("flags", Arc::clone(&flags).run(config.flags.poll, stop()));
        let pools = flags.subscribe(switches::SUBSCRIBER);
        let switches_now = materials.switches.subscribe();
        tasks.run(
            "switches",
            switches::follow(pools, materials.switches, stop()),
        );
        tasks.run("router", Arc::clone(&router).follow_flags(stop()));
        tasks.run("shadow", Arc::clone(&router).run_shadow(stop()));
        tasks.run("sessions", Arc::clone(&router).sweep_sessions(stop()));
        tasks.run(
            "prometheus",
            materials.prometheus.clone().upkeep(UPKEEP, stop()),
        );
        let interval = config.telemetry.host_interval;
        let host_stop = stop();
        tasks.run("host", async move {
            host_stop
                .run_until_cancelled(sample_host(interval, tell_host))
                .await;
        });
        // Where it does not come up, its calls are answered by stable, and the keeper tries on: a
        // server that does not start would help nobody.
        let keeper = Arc::new(Keeper::new(Arc::clone(&deployer), Arc::clone(&migrations)));
        keeper.bring_up().await;
        tasks.run("candidate", Arc::clone(&keeper).run(stop()));
        tasks.run("migrations", Arc::clone(&migrations).run(stop()));
        Ok(Self {
            config,
            router,
            flags,
            migrations,
            telemetry,
            prometheus: materials.prometheus,
            gauges,
            host,
            started_at: clock::now(),
            pools: materials.pools,
            switches: switches_now,
            calls: tasks.tracker.clone(),
            deployer,
            keeper,
        })
    }

    /// Why the candidate that a migration wants is not up, where it is not.
    pub(crate) fn candidate_trouble(&self) -> Option<String> {
        self.keeper.trouble()
    }

    /// Whether there is a pool of this name; where there is none, what to say about it.
    pub(crate) fn find_pool(&self, name: &str) -> Result<(), String> {
        self.pools.find(name)
    }

    /// Stops both pools: calls in flight may finish for at most `limit`.
    pub(crate) async fn drain(&self, limit: Duration) -> Drained {
        let stable = self.router.stable();
        let (stable, candidate) = tokio::join!(stable.drain(limit), self.deployer.take_down(limit));
        let candidate = candidate.unwrap_or_else(|why| {
            tracing::warn!(why, "the candidate could not be drained");
            Drained {
                finished: 0,
                abandoned: 0,
            }
        });
        Drained {
            finished: stable.finished + candidate.finished,
            abandoned: stable.abandoned + candidate.abandoned,
        }
    }
}

async fn sample_host(interval: Duration, tell: watch::Sender<HostUsage>) {
    let mut sampler = HostSampler::new();
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        tell.send_replace(sampler.sample());
    }
}
