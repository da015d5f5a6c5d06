//! A pool that can rest: its workers are stopped, and the next call starts them again.
//!
//! Invariants:
//! - No call fails because the pool rests, or goes to rest: it waits for the pool to wake, within its
//!   own deadline. Nothing of it was started, so it may go to the workers that come.
//! - At most one start is under way, in a task of its own: who waits for it may leave. One that fails
//!   is told, and tried again while somebody waits.
//! - A pool that was drained stays so: nothing wakes it.
//! - One that a call has woken goes back to rest once nobody has called for long ([`Idle`]); one that was
//!   woken to serve stays awake.

mod idle;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use dspex_pool::{
    Call, Drained, Injected, Pool, PoolError, PoolStatus, Probed, Program, ProgramKey, Reply,
    SharedPool, WorkerFault,
};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

pub(crate) use self::idle::Idle;
use crate::pools::{PoolSource, PoolVersion};

/// How long until a start that failed is tried again. Long enough not to keep a machine busy with
/// it, short against the time that a caller waits.
const AGAIN: Duration = Duration::from_secs(1);

/// The detail of a status that says why the pool did not wake, where it did not.
pub(crate) const TROUBLE: &str = "rest_trouble";

/// How long a program's building waits for a start, where nobody says. Who builds has a limit too.
const PATIENCE: Duration = Duration::from_secs(600);

/// See the module.
pub(crate) struct RestingPool(Arc<Inner>);

struct Inner {
    pool: PoolVersion,
    source: Arc<dyn PoolSource>,
    tracker: TaskTracker,
    stand: watch::Sender<Stand>,
    /// When it was called last.
    called: Mutex<Instant>,
}

/// Where the pool is.
enum Stand {
    /// Its workers run: until it has been idle, where a call has woken it from its rest.
    Up(SharedPool, Option<Idle>),
    /// It has none.
    Resting(Rest),
    /// It has none yet.
    Waking(Rest),
    /// It was drained; the pool, where it had workers.
    Ended(Option<SharedPool>),
}

/// What is known of a pool without workers.
#[derive(Clone)]
struct Rest {
    /// As it was when it had some.
    before: PoolStatus,
    /// Why it did not wake when it was to.
    trouble: Option<String>,
    /// It is not started again before this.
    not_before: Instant,
    /// When it rests again, once a call has woken it.
    idle: Option<Idle>,
}

const NOTHING: Drained = Drained {
    finished: 0,
    abandoned: 0,
};

impl RestingPool {
    /// A pool whose workers run.
    pub(crate) fn up(
        pool: PoolVersion,
        running: SharedPool,
        source: Arc<dyn PoolSource>,
        tracker: TaskTracker,
    ) -> Arc<Self> {
        Self::with(pool, Stand::Up(running, None), source, tracker)
    }

    /// A pool that rests, and does so again as `idle` says.
    pub(crate) fn cold(
        pool: PoolVersion,
        kind: &'static str,
        idle: Option<Idle>,
        source: Arc<dyn PoolSource>,
        tracker: TaskTracker,
    ) -> Arc<Self> {
        let before = PoolStatus {
            name: pool.label(),
            kind,
            ..PoolStatus::default()
        };
        Self::with(
            pool,
            Stand::Resting(Rest::of(&before, idle)),
            source,
            tracker,
        )
    }

    fn with(
        pool: PoolVersion,
        stand: Stand,
        source: Arc<dyn PoolSource>,
        tracker: TaskTracker,
    ) -> Arc<Self> {
        Arc::new(Self(Arc::new(Inner {
            pool,
            source,
            tracker,
            stand: watch::Sender::new(stand),
            called: Mutex::new(Instant::now()),
        })))
    }

    /// Which version of which pool this is.
    pub(crate) fn version(&self) -> &PoolVersion {
        &self.0.pool
    }

    /// Whether it has no workers, and starts some for the next call.
    pub(crate) fn rests(&self) -> bool {
        matches!(
            &*self.0.stand.borrow(),
            Stand::Resting(_) | Stand::Waking(_)
        )
    }

    /// Lets calls in flight finish for at most `idle.drain`, then stops the workers. A call that comes
    /// meanwhile wakes the pool. One that rests already is left so.
    pub(crate) async fn rest(&self, idle: Idle) -> Drained {
        self.0.rest(idle, |_, _| true).await
    }

    /// Begins to start the workers, where the pool rests and was not tried just now; and has it stay
    /// awake, also where a call has woken it before.
    pub(crate) fn wake(&self) {
        self.0.stand.send_if_modified(|stand| {
            match stand {
                Stand::Up(_, idle) => *idle = None,
                Stand::Resting(rest) | Stand::Waking(rest) => rest.idle = None,
                Stand::Ended(_) => {}
            }
            false
        });
        self.begin();
    }

    /// Begins to start the workers, where the pool rests and was not tried just now.
    fn begin(&self) {
        let now = Instant::now();
        let begins = self.0.stand.send_if_modified(|stand| {
            let Stand::Resting(rest) = stand else {
                return false;
            };
            if now < rest.not_before {
                return false;
            }
            *stand = Stand::Waking(rest.clone());
            true
        });
        if begins {
            let inner = Arc::clone(&self.0);
            self.0.tracker.spawn(async move { inner.start().await });
        }
    }

    /// The running pool, once there is one.
    async fn awake(&self, deadline: Instant) -> Result<SharedPool, PoolError> {
        let mut stand = self.0.stand.subscribe();
        loop {
            let until = match &*stand.borrow_and_update() {
                Stand::Up(pool, _) => return Ok(Arc::clone(pool)),
                Stand::Ended(_) => return Err(PoolError::Draining),
                Stand::Waking(_) => deadline,
                Stand::Resting(rest) => rest.not_before.min(deadline),
            };
            self.begin();
            let changed = tokio::time::timeout_at(until, stand.changed()).await;
            if changed.is_err() && until == deadline {
                return Err(self.0.asleep());
            }
        }
    }

    /// Whether calls go elsewhere by now than to this pool.
    fn has_left(&self, running: &SharedPool) -> bool {
        match &*self.0.stand.borrow() {
            Stand::Up(now, _) => !Arc::ptr_eq(now, running),
            Stand::Resting(_) | Stand::Waking(_) => true,
            Stand::Ended(_) => false,
        }
    }
}

impl Rest {
    fn of(before: &PoolStatus, idle: Option<Idle>) -> Self {
        Self {
            before: before.clone(),
            trouble: None,
            not_before: Instant::now(),
            idle,
        }
    }

    fn status(&self, words: &str) -> PoolStatus {
        let words = self.trouble.as_ref().map_or_else(
            || words.to_owned(),
            |trouble| format!("{words}; it did not wake: {trouble}"),
        );
        let mut details = serde_json::Map::new();
        details.insert("rest".to_owned(), json!(words));
        if let Some(trouble) = &self.trouble {
            details.insert(TROUBLE.to_owned(), json!(trouble));
        }
        PoolStatus {
            name: self.before.name.clone(),
            kind: self.before.kind,
            size: self.before.size,
            starts: self.before.starts,
            failures: self.before.failures,
            resting: true,
            details,
            ..PoolStatus::default()
        }
    }
}

impl Inner {
    async fn start(self: Arc<Self>) {
        let began = Instant::now();
        let (source, pool) = (Arc::clone(&self.source), self.pool.clone());
        // A start that panics is one that failed, and must not leave the pool waking for ever.
        let start = self.tracker.spawn(async move { source.start(&pool).await });
        let started = match start.await {
            Ok(started) => started.map_err(|error| error.to_string()),
            Err(_) => Err("its start broke off".to_owned()),
        };
        match &started {
            Ok(_) => {
                tracing::info!(pool = %self.pool, took = ?began.elapsed(), "the pool is awake");
            }
            Err(why) => {
                tracing::error!(pool = %self.pool, why, "the pool does not wake; tried again for the next call");
            }
        }
        let mut unwanted = None;
        let mut woken = None;
        self.called();
        self.stand.send_if_modified(|stand| {
            let Stand::Waking(rest) = stand else {
                unwanted = started.ok();
                return false;
            };
            *stand = match started {
                Ok(pool) => {
                    woken = Some(Arc::clone(&pool));
                    Stand::Up(pool, rest.idle)
                }
                Err(why) => Stand::Resting(Rest {
                    trouble: Some(why),
                    not_before: Instant::now() + AGAIN,
                    before: rest.before.clone(),
                    idle: rest.idle,
                }),
            };
            true
        });
        if let Some(pool) = unwanted {
            // Drained meanwhile.
            pool.drain(Duration::ZERO).await;
        }
        if let Some(pool) = woken {
            self.rest_when_idle(&pool).await;
        }
    }

    fn asleep(&self) -> PoolError {
        let trouble = match &*self.stand.borrow() {
            Stand::Resting(rest) | Stand::Waking(rest) => rest.trouble.clone(),
            Stand::Up(..) | Stand::Ended(_) => None,
        };
        let reason = trouble.map_or_else(
            || "it did not wake in the time of the call".to_owned(),
            |trouble| format!("it does not wake: {trouble}"),
        );
        PoolError::Unavailable {
            reason: format!("the pool {} rests; {reason}", self.pool),
        }
    }
}

impl RestingPool {
    /// The pool with workers, where there is one.
    fn running(&self) -> Option<SharedPool> {
        match &*self.0.stand.borrow() {
            Stand::Up(pool, _) => Some(Arc::clone(pool)),
            Stand::Resting(_) | Stand::Waking(_) | Stand::Ended(_) => None,
        }
    }
}

#[async_trait]
impl Pool for RestingPool {
    async fn execute(&self, call: Call) -> Result<Reply, PoolError> {
        self.0.called();
        loop {
            let running = self.awake(call.deadline).await?;
            match running.execute(call.clone()).await {
                Err(PoolError::Draining) if self.has_left(&running) => {}
                ended => return ended,
            }
        }
    }

    async fn check(&self, program: &Program) -> Result<(), PoolError> {
        loop {
            let running = self.awake(Instant::now() + PATIENCE).await?;
            match running.check(program).await {
                Err(PoolError::Draining) if self.has_left(&running) => {}
                ended => return ended,
            }
        }
    }

    async fn forget(&self, program: &ProgramKey) {
        // Workers that are not there hold nothing.
        if let Some(running) = self.running() {
            running.forget(program).await;
        }
    }

    fn status(&self) -> PoolStatus {
        match &*self.0.stand.borrow() {
            Stand::Up(pool, _) | Stand::Ended(Some(pool)) => pool.status(),
            Stand::Resting(rest) => rest.status("a call wakes it"),
            Stand::Waking(rest) => rest.status("its workers are being started"),
            Stand::Ended(None) => PoolStatus {
                name: self.0.pool.label(),
                draining: true,
                ..PoolStatus::default()
            },
        }
    }

    async fn probe(&self, call: &Call, within: Duration) -> Vec<Probed> {
        match self.running() {
            Some(running) => running.probe(call, within).await,
            None => Vec::new(),
        }
    }

    async fn inject(&self, fault: WorkerFault) -> Result<Injected, PoolError> {
        match self.running() {
            Some(running) => running.inject(fault).await,
            None => Err(self.0.asleep()),
        }
    }

    async fn drain(&self, limit: Duration) -> Drained {
        let mut running = None;
        self.0.stand.send_if_modified(|stand| {
            running = match stand {
                Stand::Up(pool, _) => Some(Arc::clone(pool)),
                Stand::Ended(pool) => pool.clone(),
                Stand::Resting(_) | Stand::Waking(_) => None,
            };
            *stand = Stand::Ended(running.clone());
            true
        });
        match running {
            Some(running) => running.drain(limit).await,
            None => NOTHING,
        }
    }
}

#[cfg(test)]
mod tests;
