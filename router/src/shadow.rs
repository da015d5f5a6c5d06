//! Copies of calls for the other lane, made after the caller has the answer, and compared.
//!
//! Read in this order: [`ShadowConfig`], this file (which calls are copied, and how they are told),
//! `copy` (one copy from the queue to its judgement), `comparer` (the user's own), then `cost`,
//! `noise`, `record`, [`Case`] and [`Replay`].
//!
//! Invariants: no caller waits for a copy, and none gets its answer or its error; a copy is in no
//! lane's window and touches no circuit; a program that acts on the world, a program with a state and
//! a streamed call are never copied. A worker that a copy costs its life is the pool's failure like
//! any other.

mod case;
mod comparer;
mod confidence;
mod config;
mod copy;
mod cost;
mod noise;
mod record;
mod replay;
mod view;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dspex_flags::{Percent, Snapshot, dspex};
use dspex_pool::{Call, Program, ProgramId, Reply};
use dspex_telemetry::Lane;
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio::time::Instant;

pub use self::case::{Case, CaseSummary};
use self::comparer::Comparers;
pub use self::config::{NoiseConfig, ShadowConfig};
use self::cost::Cost;
pub use self::record::ProgramComparison;
use self::record::Record;
pub use self::replay::Replay;
use self::view::Counters;
pub use self::view::{ComparerView, ShadowCounts, ShadowView};
use crate::compare::{Rules, RulesConfig};
use crate::error::InvalidConfig;
use crate::execute::Room;

/// A call whose answer is wanted for a copy.
#[derive(Debug)]
pub(crate) struct Wanted {
    program: Arc<Program>,
    inputs: Arc<Map<String, Value>>,
    request_id: Arc<str>,
    /// The lane whose answers are copied from.
    leading: Lane,
    epoch: u64,
}

/// A call to be copied.
#[derive(Debug)]
struct Job {
    wanted: Wanted,
    outputs: Map<String, Value>,
    /// What the answer cost, as far as it says.
    tokens: u64,
    offered: Instant,
}

/// How one program is compared.
#[derive(Debug)]
struct Comparison {
    rules: Rules,
    comparer: Option<ProgramId>,
}

pub(crate) struct Shadow {
    config: ShadowConfig,
    general: Comparison,
    programs: HashMap<String, Comparison>,
    queue: mpsc::Sender<Job>,
    /// Where the queue ends; taken by whoever makes the copies.
    taken_from: Mutex<Option<mpsc::Receiver<Job>>>,
    counters: Counters,
    cost: Mutex<Cost>,
    record: Mutex<Record>,
    comparers: Mutex<Comparers>,
    /// Counts candidates: a copy for one that is gone is not made, and not counted.
    epoch: AtomicU64,
}

impl Shadow {
    pub(crate) fn new(config: ShadowConfig) -> Result<Self, InvalidConfig> {
        let comparison = |rules: &RulesConfig| {
            let comparer = rules.comparer.clone();
            let rules = Rules::new(rules).map_err(|error| InvalidConfig {
                setting: "shadow.rules",
                value: error.pattern,
                expected: error.problem,
            })?;
            // A comparer judges words and numbers in place of the tiers.
            let rules = match &comparer {
                Some(_) => rules.form_only(),
                None => rules,
            };
            Ok(Comparison { rules, comparer })
        };
        let (queue, taken_from) = mpsc::channel(config.queue);
        let programs = config.programs.iter();
        Ok(Self {
            general: comparison(&config.rules)?,
            programs: programs
                .map(|(name, rules)| Ok((name.clone(), comparison(rules)?)))
                .collect::<Result<_, _>>()?,
            queue,
            taken_from: Mutex::new(Some(taken_from)),
            counters: Counters::default(),
            cost: Mutex::new(Cost::new(
                config.calls_per_minute,
                config.tokens_per_minute,
                Instant::now(),
            )),
            record: Mutex::default(),
            comparers: Mutex::default(),
            epoch: AtomicU64::new(0),
            config,
        })
    }

    /// Another candidate stands in its lane.
    pub(crate) fn begin_anew(&self) {
        let epoch = self.epoch.fetch_add(1, Relaxed) + 1;
        lock(&self.record).begin_anew(epoch);
    }

    /// Another pool is stable; it need not waver where the one before did.
    pub(crate) fn stable_is_another(&self) {
        lock(&self.record).stable_is_another();
    }

    /// A program is gone.
    pub(crate) fn forget(&self, program: &ProgramId) {
        lock(&self.record).forget(program);
    }

    /// Whether a copy of this call is wanted, which nobody has answered yet.
    ///
    /// Each call is drawn by its own request id, and not by its session: a share of sessions would be
    /// a share of callers, who may all ask alike.
    pub(crate) fn wanted(&self, flags: &Snapshot, call: &Call) -> Option<Wanted> {
        if flags.percent(&dspex::SHADOW_PERCENTAGE) == Percent::ZERO
            || !flags.rollout(&dspex::SHADOW_PERCENTAGE, &call.request_id)
        {
            return None;
        }
        self.counters.drawn.fetch_add(1, Relaxed);
        let never = if call.program.side_effects {
            &self.counters.side_effects
        } else if call.program.stateful {
            &self.counters.stateful
        } else if call.chunks.is_some() {
            &self.counters.streamed
        } else {
            return Some(Wanted {
                program: Arc::clone(&call.program),
                inputs: Arc::clone(&call.inputs),
                request_id: Arc::clone(&call.request_id),
                leading: leading(flags),
                epoch: self.epoch.load(Relaxed),
            });
        };
        never.fetch_add(1, Relaxed);
        None
    }

    /// The call was answered by this lane: it is copied once there is time, or dropped.
    pub(crate) fn offer(&self, wanted: Wanted, answered_by: Lane, reply: &Reply) {
        if answered_by != wanted.leading {
            return;
        }
        let outputs = &reply.outputs;
        let limit = self.config.max_copy_bytes;
        let fits = |part: &Map<String, Value>| serde_json::to_writer(Room(limit), part).is_ok();
        if !fits(&wanted.inputs) || !fits(outputs) {
            self.counters.too_large.fetch_add(1, Relaxed);
            return;
        }
        let Ok(place) = self.queue.try_reserve() else {
            self.counters.queue_full.fetch_add(1, Relaxed);
            return;
        };
        place.send(Job {
            wanted,
            outputs: outputs.clone(),
            tokens: cost::tokens(reply),
            offered: Instant::now(),
        });
    }

    fn comparison(&self, program: &ProgramId) -> &Comparison {
        self.programs.get(program.as_str()).unwrap_or(&self.general)
    }
}

/// The lane with the larger share: the other one gets the copies.
pub(crate) fn leading(flags: &Snapshot) -> Lane {
    let half = Percent::HUNDRED.basis_points() / 2;
    let share = flags.percent(&dspex::GRADUAL_ROLLOUT_PERCENTAGE);
    if flags.enabled(&dspex::POOL_V2_ENABLED) && share.basis_points() > half {
        Lane::Candidate
    } else {
        Lane::Stable
    }
}

/// Locks what is whole after every change, also where a panic interrupted somebody.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
