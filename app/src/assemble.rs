//! The house: its parts and how they hold together.
//!
//! Invariant: this is the one place where parts meet. Each part knows only the traits it was given;
//! stores and pools come in from outside, so that tests can give ones without files and processes.

use std::sync::Arc;
use std::time::Duration;

use dspex_flags::{FlagError, Flags};
use dspex_migration::{
    Candidate as _, Check, Journal, MigrationError, Migrations, Parts, Plan, Recorder,
};
use dspex_pool::{Drained, Switches};
use dspex_router::{Catalog, InvalidConfig, Router, RouterError, RouterParts, SessionStore};
use dspex_telemetry::{Gauges, HostSampler, HostUsage, Prometheus, Telemetry};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::candidate::gatekeeper::WebhookGates;
use crate::candidate::ground::Ground;
use crate::candidate::validator::{ValidationParts, Validations};
use crate::candidate::vault::Archives;
use crate::candidate::{Deployer, DeployerParts};
use crate::clock;
use crate::config::Config;
use crate::configurations::Configurations;
use crate::keeper::Keeper;
use crate::notify::{self, CursorError, Outlooks, Receivers};
use crate::paths::DataDir;
use crate::pools::{PoolSource, PoolVersion, Wanted};
use crate::resting::RestingPool;
use crate::switches;
use crate::tasks::Tasks;
use crate::webhook::Webhooks;

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
    /// The configurations of pools, and which is stable.
    pub(crate) configurations: Arc<Configurations>,
    /// The stable pool.
    pub(crate) stable: Arc<RestingPool>,
    /// Where the candidate comes from.
    pub(crate) pools: Arc<dyn PoolSource>,
    /// The machine, the database and the files that migrations stand on.
    pub(crate) ground: Arc<dyn Ground>,
    pub(crate) prometheus: Prometheus,
    /// Who is told of what happens to migrations.
    pub(crate) receivers: Receivers,
}

/// The parts, standing.
pub(crate) struct House {
    pub(crate) config: Arc<Config>,
    pub(crate) router: Arc<Router>,
    pub(crate) flags: Arc<Flags>,
    pub(crate) migrations: Arc<Migrations>,
    pub(crate) validations: Arc<Validations>,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) prometheus: Prometheus,
    pub(crate) gauges: Gauges,
    pub(crate) host: watch::Receiver<HostUsage>,
    pub(crate) started_at: Timestamp,
    pub(crate) configurations: Arc<Configurations>,
    pools: Arc<dyn PoolSource>,
    /// What the pools were told to do by the flags.
    pub(crate) switches: watch::Receiver<Switches>,
    /// Where streamed calls run: they must be polled also while their reader takes nothing.
    pub(crate) calls: TaskTracker,
    /// How it goes with those who are told of migrations.
    pub(crate) outlooks: Outlooks,
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
    /// What receivers were told cannot be had.
    #[error(transparent)]
    Notifications(#[from] CursorError),
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
            stable: Arc::clone(&materials.stable) as _,
            flags: Arc::clone(&flags),
            telemetry: Arc::clone(&telemetry),
            catalog: materials.catalog,
            sessions: materials.sessions,
            tracker: tasks.tracker.clone(),
            config: config.router.clone(),
        })?;
        let loaded = router.load().await?;
        tracing::info!(programs = loaded.programs, "the catalog is loaded");
        let deployer = Arc::new(Deployer::new(DeployerParts {
            router: Arc::clone(&router),
            pools: Arc::clone(&materials.pools),
            configurations: Arc::clone(&materials.configurations),
            flags: Arc::clone(&flags),
            stable: materials.stable,
            data_dir: DataDir::new(&config.server.data_dir),
            ground: Arc::clone(&materials.ground),
            telemetry: Arc::clone(&telemetry),
            prometheus: materials.prometheus.clone(),
            recorder: Arc::clone(&materials.recorder),
            tracker: tasks.tracker.clone(),
        }));
        let validations = Validations::new(ValidationParts {
            router: Arc::clone(&router),
            pools: Arc::clone(&materials.pools),
            config: Arc::clone(&config),
            tracker: tasks.tracker.clone(),
            stop: tasks.stop.clone(),
        });
        let journal = materials.journal;
        let webhooks = Webhooks::new();
        let gates = WebhookGates::new(
            webhooks.clone(),
            notify::secret(config.webhooks.secret_env.as_deref()),
            config.webhooks.timeout,
        );
        let vault = Archives {
            ground: materials.ground,
            configurations: Arc::clone(&materials.configurations),
            router: Arc::clone(&router),
            telemetry: Arc::clone(&telemetry),
            prometheus: materials.prometheus.clone(),
            journal: Arc::clone(&journal),
            recorder: Arc::clone(&materials.recorder),
            span: config.telemetry.span,
        };
        let migrations = Migrations::open(Parts {
            journal: Arc::clone(&journal),
            flags: Arc::clone(&flags),
            telemetry: Arc::clone(&telemetry),
            candidate: Arc::clone(&deployer) as _,
            validator: Arc::clone(&validations) as _,
            vault: Arc::new(vault),
            succession: Arc::clone(&deployer) as _,
            gatekeeper: Arc::new(gates),
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
        tasks.run("circuits", Arc::clone(&router).follow_circuits(stop()));
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
        let outlooks = notify::begin(
            materials.receivers,
            webhooks,
            &config,
            &journal,
            &migrations,
            tasks,
        );
        Ok(Self {
            config,
            router,
            flags,
            migrations,
            validations,
            telemetry,
            prometheus: materials.prometheus,
            gauges,
            host,
            started_at: clock::now(),
            configurations: materials.configurations,
            pools: materials.pools,
            switches: switches_now,
            calls: tasks.tracker.clone(),
            outlooks,
            deployer,
            keeper,
        })
    }

    /// Why the candidate that a migration wants is not up, where it is not.
    pub(crate) fn candidate_trouble(&self) -> Option<String> {
        self.keeper.trouble()
    }

    /// What a migration by this plan would find before it begins. Changes nothing.
    pub(crate) async fn preflight(&self, plan: &Plan) -> Vec<Check> {
        self.deployer.preflight(plan).await
    }

    /// Which version a person means by `v2` or `v2@3`; where there is none, what to say about it.
    pub(crate) fn find_pool(&self, written: &str) -> Result<PoolVersion, String> {
        let wanted: Wanted = written.parse().map_err(|error| format!("{error}"))?;
        self.pools.find(&wanted.name, wanted.version)
    }

    /// Which versions stand in the stable and in the candidate lane, or come up there.
    pub(crate) fn versions(&self) -> (PoolVersion, Option<PoolVersion>) {
        let stable = self.deployer.stable().version().clone();
        (stable, self.deployer.candidate_version())
    }

    /// Stops both pools: calls in flight may finish for at most `limit`.
    pub(crate) async fn drain(&self, limit: Duration) -> Drained {
        let stable = self.router.stable();
        let (stable, candidate, _) = tokio::join!(
            stable.drain(limit),
            self.deployer.take_down(limit),
            self.deployer.drain_former(limit)
        );
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
