//! What is known of a pool's workers: how many are in which state, their memory, how often a session
//! found its worker again, and what the pool is switched to do.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

use super::grown;
use crate::sink::Sink;

const WORKERS: &str = "dspex_workers";
const MEMORY: &str = "dspex_worker_memory_bytes";
const HITS: &str = "dspex_affinity_hits_total";
const MISSES: &str = "dspex_affinity_misses_total";
const SWITCH: &str = "dspex_pool_switch";

/// What a pool says of its workers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkerFigures {
    /// How many workers are in each state; every state should be named, so that one that is left
    /// goes to 0.
    pub states: Vec<(&'static str, u64)>,
    /// Their own memory together, in bytes, where the pool measures it.
    pub memory: Option<u64>,
    /// Calls of a session that found its worker again, and that did not, since the pool was made.
    pub affinity: Option<(u64, u64)>,
    /// What the pool is switched to do, by name. A handful.
    pub switches: Vec<(String, bool)>,
}

/// What was told last, by pool.
#[derive(Debug, Default)]
pub(super) struct Told(Mutex<HashMap<String, WorkerFigures>>);

impl Told {
    pub(super) fn tell(&self, sink: &Sink, pool: &str, figures: WorkerFigures) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = told.entry(pool.to_owned()).or_default();
        sink.with(|| set(pool, last, &figures));
        *last = figures;
    }

    /// Gauges go to 0, counters stay.
    pub(super) fn gone(&self, sink: &Sink, pool: &str) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(last) = told.get_mut(pool) else {
            return;
        };
        let nothing = WorkerFigures {
            states: last.states.iter().map(|(state, _)| (*state, 0)).collect(),
            memory: last.memory.map(|_| 0),
            affinity: None,
            switches: last
                .switches
                .iter()
                .map(|(switch, _)| (switch.clone(), false))
                .collect(),
        };
        sink.with(|| set(pool, last, &nothing));
        *last = nothing;
    }
}

fn set(pool: &str, last: &WorkerFigures, now: &WorkerFigures) {
    let pool = || pool.to_owned();
    for (state, workers) in &now.states {
        gauge!(WORKERS, "pool" => pool(), "state" => *state).set(*workers as f64);
    }
    match (now.memory, last.memory) {
        (Some(bytes), _) => gauge!(MEMORY, "pool" => pool()).set(bytes as f64),
        // It was measured once and is not any more: no rule may take the old figure for health.
        (None, Some(_)) => gauge!(MEMORY, "pool" => pool()).set(f64::NAN),
        (None, None) => {}
    }
    if let Some((hits, misses)) = now.affinity {
        let (hits_before, misses_before) = last.affinity.unwrap_or_default();
        counter!(HITS, "pool" => pool()).increment(grown(hits_before, hits));
        counter!(MISSES, "pool" => pool()).increment(grown(misses_before, misses));
    }
    for (switch, on) in &now.switches {
        let value = if *on { 1.0 } else { 0.0 };
        gauge!(SWITCH, "pool" => pool(), "switch" => switch.clone()).set(value);
    }
}

pub(super) fn describe() {
    describe_gauge!(WORKERS, "Workers in each state.");
    describe_gauge!(
        MEMORY,
        Unit::Bytes,
        "The workers' own memory together; NaN once it is not measured any more."
    );
    describe_counter!(HITS, "Calls of a session that found its worker again.");
    describe_counter!(MISSES, "Calls of a session that did not find its worker.");
    describe_gauge!(
        SWITCH,
        "1 where the pool is switched to do this, 0 where not."
    );
}
