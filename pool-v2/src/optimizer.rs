//! How many workers a pool has: between its bounds, by utilization, queue and waiting time.
//!
//! Invariants: [`decide`] is pure. A size within the bounds never leaves them; it changes by at
//! most `up_by_at_most` upwards and by one downwards; and it is not moved both ways within one
//! `cooldown`, unless calls wait while every overflow worker is in use. What is not known moves
//! nothing: too few looks hold, and say so.
//!
//! Two levers with two paces. The *size* follows the load: it is looked at every `interval`, rises
//! by what the last interval showed and falls by what the whole window showed. *Overflow* workers
//! bridge what the size cannot follow: they are looked at every second, and given back when they
//! have been idle for `overflow_rest`. Only where calls still wait although every overflow worker
//! is in use, and have done so for `minimum_samples` looks, the size does not wait for its interval:
//! a load that grows fivefold would otherwise queue for minutes.

mod config;
mod meter;
mod overflow;
mod size;

#[cfg(test)]
mod shapes;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::time::Instant;

pub use self::config::OptimizerConfig;
pub(crate) use self::meter::{Load, Measured, Meter};

/// What is seen of a pool at one moment. Workers are whole ones; a worker has `concurrency` places.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Observation {
    /// Looks at the pool since its size changed last, within the window. Looks, not calls: that an
    /// idle pool is idle is known although no call says so.
    pub(crate) samples: u64,
    /// Busy places over the places of ready workers within the size, weighted by time, over the
    /// window but not beyond the last change. Above 1 where overflow workers are busy. None where
    /// there was no place.
    pub(crate) utilization: Option<f64>,
    /// The same over the last interval.
    pub(crate) recent: Option<f64>,
    /// Calls waiting now.
    pub(crate) queued: usize,
    /// Calls waiting on average over the last interval.
    pub(crate) mean_queued: f64,
    /// Overflow workers in use on average over the last interval.
    pub(crate) mean_overflow: f64,
    /// How long the oldest waiting call has waited; zero where none waits.
    pub(crate) oldest: Duration,
    /// The 95th percentile of the calls' waits since the size changed last, within the window; none
    /// without calls.
    pub(crate) wait_p95: Option<Duration>,
    /// The same over the last interval. A burst that is over still fills the window.
    pub(crate) recent_wait_p95: Option<Duration>,
    /// Places taken now.
    pub(crate) busy: usize,
    /// Workers that are ready now, without overflow.
    pub(crate) ready: usize,
    /// Overflow workers that are ready now.
    pub(crate) overflow_ready: usize,
    /// Workers wanted now, without overflow.
    pub(crate) size: usize,
    /// Overflow workers wanted now.
    pub(crate) overflow: usize,
    /// Places of one worker.
    pub(crate) concurrency: usize,
}

/// What the pool shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decision {
    /// Workers, without overflow.
    pub(crate) size: usize,
    /// Overflow workers beyond them.
    pub(crate) overflow: usize,
    /// Whether either is another than before.
    pub(crate) changed: bool,
    /// Why, with the figures, for the log and for the pool's status.
    pub(crate) reason: String,
}

/// What an optimizer remembers between two decisions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory {
    /// When the size was looked at last.
    looked: Option<Instant>,
    last_change: Option<(Instant, Direction)>,
    too_small: Option<TooSmall>,
    /// Looks in a row at which calls waited too long although every overflow worker was in use.
    exhausted: u64,
    /// Since when one overflow worker less would have done.
    calm_since: Option<Instant>,
    /// What was said of the size at the last look.
    said: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

/// A size under which calls waited too long.
#[derive(Debug, Clone, Copy)]
struct TooSmall {
    size: usize,
    utilization: f64,
    at: Instant,
}

impl Memory {
    /// When the size was changed last. A [`Meter`] must not be asked beyond it.
    pub(crate) fn last_change(&self) -> Option<Instant> {
        self.last_change.map(|(at, _)| at)
    }

    /// The size was lowered by somebody else: as after every change, it rests.
    pub(crate) fn lowered(&mut self, now: Instant) {
        self.last_change = Some((now, Direction::Down));
    }

    fn changed_within(&self, limit: Duration, now: Instant) -> Option<Direction> {
        self.last_change
            .filter(|(at, _)| now.saturating_duration_since(*at) < limit)
            .map(|(_, direction)| direction)
    }
}

/// What the pool shall be from now on. To be asked every second or so.
pub(crate) fn decide(
    config: &OptimizerConfig,
    seen: &Observation,
    memory: &mut Memory,
    now: Instant,
) -> Decision {
    let (overflow, overflow_says) = overflow::decide(config, seen, memory, now);
    memory.exhausted = if is_exhausted(config, seen) {
        memory.exhausted.saturating_add(1)
    } else {
        0
    };
    let urgent = memory.exhausted >= config.minimum_samples;
    let due = urgent
        || memory
            .looked
            .is_none_or(|last| now.saturating_duration_since(last) >= config.interval);
    let mut size = seen.size;
    if due {
        memory.exhausted = 0;
        memory.looked = Some(now);
        (size, memory.said) = size::decide(config, seen, memory, urgent, now);
        if size != seen.size {
            let direction = if size > seen.size {
                Direction::Up
            } else {
                Direction::Down
            };
            memory.last_change = Some((now, direction));
        }
    }
    let reason = match overflow_says {
        Some(says) if due => format!("{}; {says}", memory.said),
        Some(says) => says,
        None => memory.said.clone(),
    };
    Decision {
        size,
        overflow,
        changed: size != seen.size || overflow != seen.overflow,
        reason,
    }
}

/// Whether calls wait too long although every overflow worker is in use.
fn is_exhausted(config: &OptimizerConfig, seen: &Observation) -> bool {
    let places = (seen.ready + seen.overflow_ready) * seen.concurrency;
    seen.queued > 0
        && seen.oldest > config.queue_wait_limit
        && seen.overflow_ready >= config.overflow
        && seen.busy >= places
}

fn milliseconds(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1000.0)
}

#[expect(clippy::cast_precision_loss, reason = "counts of workers and calls")]
fn count(number: usize) -> f64 {
    number as f64
}
