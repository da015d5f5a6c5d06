//! The life of a server: from a configuration to the last call's end.
//!
//! Order matters here. The data directory is locked before anything else is touched; the port is
//! taken before workers are started, so that a port in use costs nothing; the server answers
//! (`/healthz`, `/readyz`) while workers start; and on the way out calls end before pools do, and
//! pools before the database.

mod error;
mod fitness;
mod past;
mod signals;
mod stores;

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use dspex_flags::Flags;
use dspex_pool::{PoolError, Spawner};
use dspex_telemetry::{LogError, Prometheus};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::error::ServeError;
use self::past::Past;
pub(crate) use self::stores::Stores;
use crate::assemble::{AssembleError, House, Materials};
use crate::auth::{ADMIN_TOKEN_ENV, FirstToken, TokenError, Tokens};
use crate::candidate::preflight::Machine;
use crate::checks::clock::Witness;
use crate::config::{Config, ConfigError, LogFormat};
use crate::configurations::Configurations;
use crate::flag_store;
use crate::http::hosts::AllowedHosts;
use crate::http::json::BodyLimits;
use crate::http::server::{ConnectionLimits, accept};
use crate::http::{self, AppState};
use crate::notify::{self, Hook, Receivers};
use crate::paths::DataDir;
use crate::pools::{ConfiguredPools, PoolSource as _};
use crate::resting::RestingPool;
use crate::storage::Store;
use crate::switches;
use crate::tasks::Tasks;

/// Runs a server until SIGTERM or SIGINT, on a runtime of its own; a second signal ends the process
/// at once.
///
/// # Errors
/// See [`ServeError`].
pub fn run(config: Config) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| ServeError::Machine {
            what: "the runtime cannot be started",
            reason: error.to_string(),
        })?;
    runtime.block_on(async {
        let stop = signals::stop(&TaskTracker::new()).map_err(|error| ServeError::Machine {
            what: "signals cannot be received",
            reason: error.to_string(),
        })?;
        serve(config, stop).await
    })
}

/// Serves until `stop`, then drains.
///
/// Prints on standard output: the admin token where it was made, and one line with the address once
/// calls are served.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve(config: Config, stop: CancellationToken) -> Result<(), ServeError> {
    init_logs(&config)?;
    let config = Arc::new(config);
    fitness::check_exposure(&config)?;
    let hooks = notify::hooks(&config)?;
    let store = Store::open(
        DataDir::new(&config.server.data_dir),
        config.storage.readers,
        config.storage.busy_timeout,
    )
    .await?;
    let (tokens, first_token) = open_tokens(&config, &store.dir)?;
    let listener = TcpListener::bind(config.server.bind)
        .await
        .map_err(|source| ServeError::Listen {
            address: config.server.bind,
            source,
        })?;
    let address = listener.local_addr().map_err(|source| ServeError::Listen {
        address: config.server.bind,
        source,
    })?;
    let tasks = Tasks::default();
    let state = AppState::new(
        tokens,
        BodyLimits {
            size: config.server.max_body.0,
            depth: config.server.max_json_depth,
            time: config.server.body_timeout,
        },
        config.flags.ofrep,
        AllowedHosts::new(&config.server.allowed_hosts, address),
    );
    let no_more = CancellationToken::new();
    let connections = TaskTracker::new();
    connections.spawn(accept(
        listener,
        http::app(state.clone()),
        ConnectionLimits {
            connections: config.server.max_connections,
            first_byte: config.server.first_byte_timeout,
            headers: config.server.header_timeout,
            write: config.server.write_timeout,
        },
        connections.clone(),
        no_more.clone(),
    ));
    tracing::info!(%address, "answering; starting workers");
    let built = tokio::select! {
        built = build(&config, &store, hooks, &tasks) => Some(built?),
        // Told to end before anything was served: workers end with us.
        () = stop.cancelled() => None,
    };
    let house = built.map(Arc::new);
    if let Some(house) = &house {
        if let Some(first) = first_token
            && let Some(token) = first.keep()?
        {
            say(&format!("admin token (shown this once): {token}"));
        }
        state.ready(Arc::clone(house));
        say(&format!("dspex listening on http://{address}"));
        tracing::info!(%address, "ready");
        stop.cancelled().await;
    }
    tracing::info!("draining");
    state.drain();
    no_more.cancel();
    let limit = config.server.drain_limit;
    let calls_ended = all_ended(&[&connections], limit).await;
    if !calls_ended {
        tracing::warn!(
            ?limit,
            "calls were still in flight at the limit and are cut off"
        );
    }
    // The controller before the pools: it must not take their end for a failure of the candidate.
    // Its journal keeps the migration; the next start goes on with it.
    tasks.stop.cancel();
    if !all_ended(&[&tasks.named], STEP_LIMIT).await {
        tracing::warn!("some tasks did not end in time");
    }
    if let Some(house) = &house {
        let limit = if calls_ended {
            STEP_LIMIT
        } else {
            Duration::ZERO
        };
        let drained = house.drain(limit).await;
        tracing::info!(
            finished = drained.finished,
            abandoned = drained.abandoned,
            "pools ended"
        );
    }
    // What is left are tasks that watch processes, which end with us in any case, and writes of states
    // for callers that have left, which must not find the store closed.
    all_ended(&[&tasks.tracker], STEP_LIMIT).await;
    store.close().await;
    tracing::info!("ended");
    Ok(())
}

/// How long each step after the last call may take. No caller waits for these any more.
const STEP_LIMIT: Duration = Duration::from_secs(5);

/// Whether everything on these trackers ended within the limit.
async fn all_ended(trackers: &[&TaskTracker], limit: Duration) -> bool {
    tokio::time::timeout(limit, async {
        for tracker in trackers {
            tracker.close();
            tracker.wait().await;
        }
    })
    .await
    .is_ok()
}

/// Brings up the stable pool and builds the house on it.
async fn build(
    config: &Arc<Config>,
    store: &Store,
    hooks: Vec<Hook>,
    tasks: &Tasks,
) -> Result<House, ServeError> {
    let machine = |what| move |reason: String| ServeError::Machine { what, reason };
    let package = dspex_pool::python::unpack(&store.dir.python_package())
        .map_err(|error| error.to_string())
        .map_err(machine("the workers' Python package cannot be unpacked"))?;
    let spawner = Spawner::start()
        .map_err(|error| error.to_string())
        .map_err(machine("the thread that starts workers cannot be started"))?;
    let flags = flag_store::open(&config.flags.store, &store.writer, &store.reader)
        .await
        .map_err(AssembleError::from)?;
    let keep = config.migration.recording;
    let stores = Stores::with(flags, keep, store, &tasks.tracker).await?;
    // The flags before the pools: a pool begins as they say.
    let declarations = dspex_flags::dspex::declarations();
    let flags = Flags::open_layered(stores.flags, declarations, config.flag_layers())
        .await
        .map_err(AssembleError::from)?;
    let switches = watch::Sender::new(switches::of(&flags.snapshot()));
    let past = Past::read(&*stores.journal).await?;
    let configurations = Configurations::open(
        store.writer.clone(),
        store.reader.clone(),
        Arc::clone(config),
        past.unfinished(),
    );
    let configurations = configurations.await?;
    let configurations = Arc::new(configurations.writing_on(tasks.tracker.clone()));
    let pools = Arc::new(ConfiguredPools {
        config: Arc::clone(config),
        configurations: Arc::clone(&configurations),
        package,
        spawner,
        tracker: tasks.tracker.clone(),
        switches: switches.subscribe(),
    });
    fitness::check_keys(config);
    let prometheus = Prometheus::new()
        .map_err(|error| error.to_string())
        .map_err(machine("the metrics recorder cannot be made"))?;
    let stable = stable_pool(&past, &configurations, &pools).await?;
    let ground = Machine {
        config: Arc::clone(config),
        configurations: Arc::clone(&configurations),
        pools: Arc::clone(&pools),
        journal: Arc::clone(&stores.journal) as _,
        writer: store.writer.clone(),
        reader: store.reader.clone(),
        started: Witness::now(),
    };
    let materials = Materials {
        ground: Arc::new(ground),
        config: Arc::clone(config),
        flags,
        switches,
        catalog: stores.catalog,
        sessions: stores.sessions,
        journal: stores.journal,
        recorder: stores.recorder,
        configurations,
        stable,
        pools,
        prometheus,
        receivers: Receivers {
            hooks,
            cursors: stores.cursors,
        },
    };
    Ok(House::build(materials, tasks).await?)
}

/// The stable pool, with its workers ready; or resting, where a migration has put it to rest.
async fn stable_pool(
    past: &Past,
    configurations: &Configurations,
    pools: &Arc<ConfiguredPools>,
) -> Result<Arc<RestingPool>, ServeError> {
    let unavailable = |pool: &dyn std::fmt::Display, reason: String| ServeError::Pool {
        pool: pool.to_string(),
        source: PoolError::Unavailable { reason },
    };
    let Some(stable) = configurations.active() else {
        let reason = "no version of it is kept".to_owned();
        return Err(unavailable(&pools.config.lanes.stable, reason));
    };
    let settings = configurations.settings(&stable);
    let settings = settings.map_err(|reason| unavailable(&stable, reason))?;
    let source = || Arc::clone(pools) as _;
    if let Some(idle) = past.rests(&stable) {
        tracing::info!(pool = %stable, "the stable pool rests, as the migration has left it; a call wakes it");
        let tracker = pools.tracker.clone();
        return Ok(RestingPool::cold(
            stable,
            settings.kind(),
            Some(idle),
            source(),
            tracker,
        ));
    }
    fitness::check_python(&stable, &settings, pools).await?;
    let running = pools
        .start(&stable)
        .await
        .map_err(|source| ServeError::Pool {
            pool: stable.to_string(),
            source,
        })?;
    let tracker = pools.tracker.clone();
    Ok(RestingPool::up(stable, running, source(), tracker))
}

fn init_logs(config: &Config) -> Result<(), ServeError> {
    let logs = dspex_telemetry::LogConfig {
        format: match config.log.format {
            LogFormat::Text => dspex_telemetry::LogFormat::Text,
            LogFormat::Json => dspex_telemetry::LogFormat::Json,
        },
        filter: config.log.filter.clone(),
    };
    match dspex_telemetry::init_logs(logs) {
        Ok(()) => Ok(()),
        // A server inside another program logs where that program does.
        Err(LogError::AlreadyInstalled) => Ok(()),
        Err(error) => Err(ConfigError::of("log.filter", error.to_string())
            .written_in(config.origin("log.filter"))
            .into()),
    }
}

fn open_tokens(config: &Config, dir: &DataDir) -> Result<(Tokens, Option<FirstToken>), TokenError> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let programs = config.server.programs_token_env.as_deref();
    Tokens::open(
        dir,
        variable(ADMIN_TOKEN_ENV).as_deref(),
        programs.map(|name| (name, variable(name))),
    )
}

/// One line on standard output. That nobody reads it is no reason to stop serving.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
