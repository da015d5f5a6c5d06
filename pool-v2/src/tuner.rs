//! The task that keeps the pool at its size: the configured one, or the optimizer's.
//!
//! Invariant: what it decides is the optimizer's, which is pure; here the pool is only looked at and
//! brought to what was decided, once a second.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dspex_pool::Switches;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::clock;
use crate::fleet::Fleet;
use crate::optimizer::{Decision, Memory, Observation, decide};
use crate::recycle;
use crate::slot::Shared;

/// How often the pool is looked at. Bursts are short.
const LOOK: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(crate) struct Tuner {
    shared: Arc<Shared>,
    fleet: Fleet,
    said: Mutex<Said>,
}

/// What was decided last.
#[derive(Debug)]
struct Said {
    size: usize,
    overflow: usize,
    reason: String,
    at: String,
}

impl Tuner {
    pub(crate) fn new(shared: Arc<Shared>, fleet: Fleet) -> Self {
        let said = Said {
            size: shared.config.workers,
            overflow: 0,
            reason: "as configured".to_owned(),
            at: clock::wall(),
        };
        Self {
            shared,
            fleet,
            said: Mutex::new(said),
        }
    }

    /// Starts the workers of the configured size.
    pub(crate) fn begin(&self) {
        self.switch(self.shared.switches());
        self.fleet.bring_to(self.shared.config.workers, 0);
    }

    /// Looks and acts, until it is dropped.
    pub(crate) async fn run(&self) {
        let mut switches = self.shared.switches.clone();
        let mut memory = Memory::default();
        let mut recycled = None;
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                // An error only says that nobody will switch any more.
                Ok(()) = switches.changed() => {
                    let now = *switches.borrow_and_update();
                    tracing::info!(pool = %self.shared.name, switches = ?now, "the pool was switched");
                    self.switch(now);
                    memory = Memory::default();
                }
            }
            self.look(&mut memory);
            self.recycle(&mut recycled, &mut memory);
        }
    }

    fn switch(&self, switches: Switches) {
        let dispatcher = &self.shared.dispatcher;
        dispatcher.set_affine(switches.enhanced_workers);
        if !switches.enhanced_workers {
            dispatcher.forget_memory();
        }
        self.shared
            .starts
            .circuit()
            .set_enabled(switches.circuit_breaker);
        if !switches.circuit_breaker {
            dispatcher.hope();
        }
    }

    fn look(&self, memory: &mut Memory) {
        let config = &self.shared.config;
        let now = Instant::now();
        let seen = self.observe(memory, now);
        let (size, overflow) = if self.shared.switches().pool_optimizer {
            let decision = decide(&config.optimizer, &seen, memory, now);
            self.tell(&decision);
            (decision.size, decision.overflow)
        } else {
            if (seen.size, seen.overflow) != (config.workers, 0) {
                let reason = "as configured: the switch pool_optimizer is off".to_owned();
                self.tell(&Decision {
                    size: config.workers,
                    overflow: 0,
                    changed: true,
                    reason,
                });
            }
            (config.workers, 0)
        };
        // Also where nothing has changed: a slot that was on its way out comes back now.
        self.fleet.bring_to(size, overflow);
    }

    /// Has one worker replaced, or let go, where one is due and the last one was long enough ago.
    fn recycle(&self, taken: &mut Option<Instant>, memory: &mut Memory) {
        let switches = self.shared.switches();
        if !switches.enhanced_workers {
            return;
        }
        let config = &self.shared.config;
        let dispatcher = &self.shared.dispatcher;
        let now = Instant::now();
        let (size, overflow) = {
            let said = self.lock();
            (said.size, said.overflow)
        };
        // A pool of a fixed size lets nobody go.
        let spare = if switches.pool_optimizer {
            size.saturating_sub(config.optimizer.min)
        } else {
            0
        };
        let pool = recycle::Pool {
            spare,
            taken: *taken,
        };
        let workers = dispatcher.recyclable(now);
        let seen = workers.iter().map(|one| (&one.limits, &one.worker));
        let Some((index, due)) = recycle::next(&config.recycling, seen, &pool, now) else {
            return;
        };
        *taken = Some(now);
        let worker = workers[index];
        if due.cause.is_replaced() {
            dispatcher.ask_replacement(worker.slot, worker.generation, &due.reason);
            return;
        }
        memory.lowered(now);
        self.tell(&Decision {
            size: size - 1,
            overflow,
            changed: true,
            reason: format!("a worker is let go: {}", due.reason),
        });
        self.fleet.bring_to(size - 1, overflow);
    }

    fn observe(&self, memory: &Memory, now: Instant) -> Observation {
        let config = &self.shared.config;
        let (size, overflow) = {
            let said = self.lock();
            (said.size, said.overflow)
        };
        let since = memory.last_change();
        let optimizer = &config.optimizer;
        let pressure =
            self.shared
                .dispatcher
                .pressure(optimizer.window, optimizer.interval, since, now);
        Observation {
            samples: pressure.window.samples,
            utilization: pressure.window.utilization,
            recent: pressure.interval.utilization,
            queued: pressure.queued,
            mean_queued: pressure.interval.queued,
            mean_overflow: pressure.interval.overflow,
            oldest: pressure.oldest_wait,
            wait_p95: pressure.window.wait_p95,
            recent_wait_p95: pressure.interval.wait_p95,
            busy: pressure.busy,
            ready: pressure.ready,
            overflow_ready: pressure.overflow_ready,
            size,
            overflow,
            concurrency: config.concurrency,
        }
    }

    fn tell(&self, decision: &Decision) {
        let mut said = self.lock();
        if decision.changed {
            tracing::info!(
                pool = %self.shared.name,
                size = decision.size,
                overflow = decision.overflow,
                reason = decision.reason,
                "the pool changes its size"
            );
        } else if said.reason == decision.reason {
            return;
        } else {
            tracing::debug!(
                pool = %self.shared.name,
                size = decision.size,
                reason = decision.reason,
                "the pool keeps its size"
            );
        }
        *said = Said {
            size: decision.size,
            overflow: decision.overflow,
            reason: decision.reason.clone(),
            at: clock::wall(),
        };
    }

    /// What was decided last, for people.
    pub(crate) fn figures(&self) -> Value {
        let said = self.lock();
        json!({
            "on": self.shared.switches().pool_optimizer,
            "size": said.size,
            "overflow": said.overflow,
            "reason": said.reason,
            "decided_at": said.at,
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
