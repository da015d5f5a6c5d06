//! The state of the house as metrics: pools, circuits, flags, migrations, host. Whoever knows a figure sets
//! it, every few seconds or when it changes; none of this is on the way of a call.

mod circuits;
mod migration;
mod notifications;
mod rescue;
mod workers;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge};

pub use self::circuits::{CircuitFigures, CircuitPhase};
pub use self::migration::MigrationFigures;
pub use self::notifications::NotificationFigures;
pub use self::rescue::{BudgetFigures, RescueFigures};
pub use self::workers::WorkerFigures;
use crate::sink::Sink;
use crate::{HostUsage, Prometheus};

const POOL_READY: &str = "dspex_pool_ready";
const POOL_SIZE: &str = "dspex_pool_size";
const POOL_IN_FLIGHT: &str = "dspex_pool_in_flight";
const POOL_QUEUED: &str = "dspex_pool_queued";
const POOL_STARTS: &str = "dspex_pool_starts_total";
const POOL_FAILURES: &str = "dspex_pool_failures_total";
const SHADOW_CALLS: &str = "dspex_shadow_calls_total";
const FLAG_STORE_READABLE: &str = "dspex_flag_store_readable";
const FLAG_REVISION: &str = "dspex_flag_revision";
const ROLLOUT_PERCENT: &str = "dspex_rollout_percent";
const SESSIONS: &str = "dspex_sessions";
const SESSION_BYTES: &str = "dspex_session_bytes";
const SESSIONS_EVICTED: &str = "dspex_sessions_evicted_total";
const HOST_CPU: &str = "dspex_host_cpu_percent";
const HOST_MEMORY: &str = "dspex_host_memory_percent";

/// What a pool says of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolFigures {
    /// How many workers take calls.
    pub ready: u64,
    /// How many workers there should be.
    pub size: u64,
    /// How many calls are under way.
    pub in_flight: u64,
    /// How many calls wait for a worker.
    pub queued: u64,
    /// How many workers this pool has started since it was made.
    pub starts: u64,
    /// How many workers of this pool have failed since it was made.
    pub failures: u64,
}

/// Sets the figures.
pub struct Gauges {
    sink: Sink,
    revision: Gauge,
    rollout: Gauge,
    pools: Mutex<HashMap<String, PoolHandles>>,
    workers: workers::Told,
}

struct PoolHandles {
    ready: Gauge,
    size: Gauge,
    in_flight: Gauge,
    queued: Gauge,
    starts: Counter,
    failures: Counter,
    last: PoolFigures,
}

impl Gauges {
    /// Sets figures on whichever metrics recorder this process has installed by now.
    #[must_use]
    pub fn new() -> Self {
        Self::build(Sink::Installed)
    }

    /// Sets figures on `prometheus`, installed or not.
    #[must_use]
    pub fn on(prometheus: &Prometheus) -> Self {
        Self::build(Sink::Own(prometheus.clone()))
    }

    fn build(sink: Sink) -> Self {
        let (revision, rollout) = sink.with(|| {
            describe();
            (gauge!(FLAG_REVISION), gauge!(ROLLOUT_PERCENT))
        });
        Self {
            sink,
            revision,
            rollout,
            pools: Mutex::default(),
            workers: workers::Told::default(),
        }
    }

    /// Tells a pool's figures. `starts` and `failures` may begin at 0 again when a pool of the
    /// same name is made anew; the counters then go on from where they were.
    pub fn pool(&self, pool: &str, figures: &PoolFigures) {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if !pools.contains_key(pool) {
            let handles = self.sink.with(|| PoolHandles::new(pool));
            pools.insert(pool.to_owned(), handles);
        }
        if let Some(handles) = pools.get_mut(pool) {
            handles.set(figures);
        }
    }

    /// Tells what a pool says of its workers. Counts may begin at 0 again, as in [`Gauges::pool`].
    pub fn workers(&self, pool: &str, figures: WorkerFigures) {
        self.workers.tell(&self.sink, pool, figures);
    }

    /// Tells how many sessions of stateful programs have a state, how large these are together in
    /// bytes, and how many lost theirs so far because there were too many.
    pub fn sessions(&self, sessions: u64, bytes: u64, evicted: u64) {
        self.sink.with(|| {
            gauge!(SESSIONS).set(sessions as f64);
            gauge!(SESSION_BYTES).set(bytes as f64);
            counter!(SESSIONS_EVICTED).absolute(evicted);
        });
    }

    /// Tells how it goes with one receiver of notifications.
    pub fn notifications(&self, receiver: &str, figures: NotificationFigures) {
        self.sink.with(|| notifications::tell(receiver, figures));
    }

    /// Tells where the newest migration is.
    pub fn migration(&self, figures: &MigrationFigures) {
        self.sink.with(|| migration::tell(figures));
    }

    /// Tells of the calls that one rule, such as `failover`, sent once more.
    pub fn rescue(&self, rule: &'static str, figures: &RescueFigures) {
        self.sink.with(|| rescue::tell(rule, figures));
    }

    /// Tells what is left to send calls once more.
    pub fn retry_budget(&self, figures: &BudgetFigures) {
        self.sink.with(|| rescue::tell_budget(figures));
    }

    /// Tells that a pool is gone: its gauges go to 0, its counters stay.
    pub fn pool_gone(&self, pool: &str) {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handles) = pools.get_mut(pool) {
            handles.set(&PoolFigures::default());
        }
        self.workers.gone(&self.sink, pool);
    }

    /// Tells of every pool that was told of before, and is not one of these, that it is gone.
    pub fn pools_gone_but(&self, standing: impl Fn(&str) -> bool) {
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<String> = pools
            .keys()
            .filter(|name| !standing(name))
            .cloned()
            .collect();
        drop(pools);
        for name in gone {
            self.pool_gone(&name);
        }
    }

    /// Tells a circuit's state and mode: 1 for those it is in, 0 for the others.
    pub fn circuit(&self, circuit: &str, figures: &CircuitFigures) {
        self.sink.with(|| circuits::tell(circuit, figures));
    }

    /// Tells how often a lane's circuits went from one state to another so far.
    pub fn circuit_transitions(
        &self,
        circuit: &str,
        from: &'static str,
        to: &'static str,
        count: u64,
    ) {
        self.sink
            .with(|| circuits::transitions(circuit, from, to, count));
    }

    /// Tells how many calls that were drawn for a copy have come to this end so far, such as `copied`
    /// or `queue_full`.
    pub fn shadow(&self, became: &str, calls: u64) {
        self.sink
            .with(|| counter!(SHADOW_CALLS, "became" => became.to_owned()).absolute(calls));
    }

    /// Tells whether the flags' store can be read; while it cannot, the last good flags are served.
    pub fn flag_store_readable(&self, readable: bool) {
        let value = if readable { 1.0 } else { 0.0 };
        self.sink.with(|| gauge!(FLAG_STORE_READABLE).set(value));
    }

    /// Tells the revision of the flags that the router serves.
    pub fn flag_revision(&self, revision: u64) {
        // Exact up to 2^53 revisions.
        self.revision.set(revision as f64);
    }

    /// Tells the share of traffic, 0 to 100, that the candidate is given.
    pub fn rollout_percent(&self, percent: f64) {
        self.rollout.set(percent);
    }

    /// Tells the host's usage. What is not known is NaN, which no rule takes for health.
    pub fn host(&self, usage: &HostUsage) {
        self.sink.with(|| {
            gauge!(HOST_CPU).set(usage.cpu_percent.unwrap_or(f64::NAN));
            gauge!(HOST_MEMORY).set(usage.memory_percent.unwrap_or(f64::NAN));
        });
    }
}

impl Default for Gauges {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gauges")
            .field("sink", &self.sink)
            .finish_non_exhaustive()
    }
}

impl PoolHandles {
    fn new(pool: &str) -> Self {
        let gauge = |name: &'static str| gauge!(name, "pool" => pool.to_owned());
        let counter = |name: &'static str| counter!(name, "pool" => pool.to_owned());
        Self {
            ready: gauge(POOL_READY),
            size: gauge(POOL_SIZE),
            in_flight: gauge(POOL_IN_FLIGHT),
            queued: gauge(POOL_QUEUED),
            starts: counter(POOL_STARTS),
            failures: counter(POOL_FAILURES),
            last: PoolFigures::default(),
        }
    }

    fn set(&mut self, figures: &PoolFigures) {
        for (gauge, value) in [
            (&self.ready, figures.ready),
            (&self.size, figures.size),
            (&self.in_flight, figures.in_flight),
            (&self.queued, figures.queued),
        ] {
            gauge.set(value as f64);
        }
        self.starts
            .increment(grown(self.last.starts, figures.starts));
        self.failures
            .increment(grown(self.last.failures, figures.failures));
        self.last = *figures;
    }
}

/// By how much a count grew; one that fell began anew at 0.
fn grown(before: u64, now: u64) -> u64 {
    now.checked_sub(before).unwrap_or(now)
}

fn describe() {
    circuits::describe();
    migration::describe();
    notifications::describe();
    rescue::describe();
    workers::describe();
    describe_gauge!(SESSIONS, "Sessions of stateful programs that have a state.");
    describe_gauge!(
        SESSION_BYTES,
        Unit::Bytes,
        "The states of sessions together."
    );
    describe_counter!(
        SESSIONS_EVICTED,
        "Sessions that lost their state because there were too many."
    );
    describe_gauge!(POOL_READY, "Workers that take calls.");
    describe_gauge!(POOL_SIZE, "Workers that there should be.");
    describe_gauge!(POOL_IN_FLIGHT, "Calls under way.");
    describe_gauge!(POOL_QUEUED, "Calls that wait for a worker.");
    describe_counter!(POOL_STARTS, "Workers started.");
    describe_counter!(POOL_FAILURES, "Workers that failed.");
    describe_counter!(
        SHADOW_CALLS,
        "Calls drawn for a copy, and what became of them."
    );
    describe_gauge!(
        FLAG_STORE_READABLE,
        "1 while the flags' store can be read, 0 while the last good flags are served."
    );
    describe_gauge!(
        FLAG_REVISION,
        "Revision of the flags that the router serves."
    );
    describe_gauge!(
        ROLLOUT_PERCENT,
        Unit::Percent,
        "Share of traffic given to the candidate."
    );
    describe_gauge!(
        HOST_CPU,
        Unit::Percent,
        "CPU in use on the host; NaN while not known."
    );
    describe_gauge!(
        HOST_MEMORY,
        Unit::Percent,
        "Memory in use on the host; NaN while not known."
    );
}
