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
//! have been idle for `overflow_rest`.

mod config;
mod meter;
mod overflow;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::time::Instant;

pub use self::config::OptimizerConfig;
pub(crate) use self::meter::{Load, Measured, Meter};

/// How long a size that turned out too small is remembered as such. Programs change; a size that
/// was too small this morning may do tonight.
const REMEMBERED: Duration = Duration::from_secs(60 * 60);

/// How much less busy a pool must be than it was when a size turned out too small, before it goes
/// back to that size. Without it a pool would go there every cooldown, and back.
const RELIEF: f64 = 0.9;

/// How long a pool that was made larger is given to have its new workers ready, in intervals. Then
/// it is judged by those that are: a slot whose worker never comes up must not stop growth for ever.
const START_GRACE: u32 = 2;

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
    let due = memory
        .looked
        .is_none_or(|last| now.saturating_duration_since(last) >= config.interval);
    let mut size = seen.size;
    if due {
        memory.looked = Some(now);
        (size, memory.said) = resize(config, seen, memory, now);
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

/// The size, and why.
fn resize(
    config: &OptimizerConfig,
    seen: &Observation,
    memory: &mut Memory,
    now: Instant,
) -> (usize, String) {
    let size = seen.size;
    if size < config.min || size > config.max {
        let bounds = format!("{} to {}", config.min, config.max);
        return (
            size.clamp(config.min, config.max),
            format!("{size} workers are outside the bounds, {bounds}"),
        );
    }
    let hold = |why: String| (size, format!("{size} workers stay: {why}"));
    if seen.samples < config.minimum_samples {
        return hold(format!(
            "{} looks since the last change, {} are needed",
            seen.samples, config.minimum_samples
        ));
    }
    let (Some(utilization), Some(recent)) = (finite(seen.utilization), finite(seen.recent)) else {
        return hold("no worker was ready, so how busy they are is not known".to_owned());
    };
    if let Some((by, why)) = wanted_more(config, seen, memory, utilization, recent, now) {
        if size == config.max {
            return hold(format!("{why}, but {} is the most allowed", config.max));
        }
        let exhausted = seen.queued > 0 && seen.overflow_ready >= config.overflow;
        let cooling = memory.changed_within(config.cooldown, now) == Some(Direction::Down);
        if cooling && !exhausted {
            return hold(format!(
                "{why}, but the size was lowered less than {:?} ago and overflow serves",
                config.cooldown
            ));
        }
        let starting = memory
            .changed_within(config.interval * START_GRACE, now)
            .is_some();
        if seen.ready < size && starting {
            return hold(format!(
                "{why}, but {} of the workers wanted are still starting",
                size - seen.ready
            ));
        }
        memory.too_small = Some(TooSmall {
            size,
            utilization: recent,
            at: now,
        });
        let larger = (size + by).min(config.max);
        return (larger, format!("from {size} to {larger} workers: {why}"));
    }
    match wanted_less(config, seen, memory, utilization, now) {
        Ok(why) => {
            let smaller = size - 1;
            (smaller, format!("from {size} to {smaller} workers: {why}"))
        }
        Err(why) => hold(why),
    }
}

/// How many workers more the load asks for, and why; none where it asks for none.
fn wanted_more(
    config: &OptimizerConfig,
    seen: &Observation,
    memory: &Memory,
    utilization: f64,
    recent: f64,
    now: Instant,
) -> Option<(usize, String)> {
    let most = config.up_by_at_most;
    let stands = seen.mean_queued >= 1.0
        || seen.mean_overflow >= 0.5
        || seen.oldest > config.queue_wait_limit;
    if recent > config.scale_up_utilization && stands {
        // By the queue's depth, and by what brings the busy places back under the target: while
        // overflow serves, the queue is short and says too little.
        let by_queue = (seen.mean_queued / count(seen.concurrency)).ceil();
        let by_load = (count(seen.size) * (recent / config.target_high - 1.0)).ceil();
        let by = whole(by_queue.max(by_load)).clamp(1, most);
        let why = format!(
            "{} busy over the last {:?} (limit {}) and calls queue: {:.1} waiting and {:.1} \
             overflow workers on average",
            share(recent),
            config.interval,
            share(config.scale_up_utilization),
            seen.mean_queued,
            seen.mean_overflow,
        );
        return Some((by, why));
    }
    let wait = seen.wait_p95.filter(|wait| *wait > config.queue_wait_limit);
    let still_worth_it =
        after(utilization, seen.size, seen.size + 1) >= config.scale_down_utilization;
    if let Some(wait) = wait.filter(|_| still_worth_it) {
        let why = format!(
            "calls wait {} at p95 (limit {}) while {} are busy",
            milliseconds(wait),
            milliseconds(config.queue_wait_limit),
            share(utilization),
        );
        return Some((1, why));
    }
    // The drift back into the band takes its time: a whole window that is all above it.
    let whole_window = memory.changed_within(config.window, now).is_none();
    if utilization > config.target_high && recent > config.target_high && whole_window {
        let why = format!(
            "{} busy over the last {:?}, above the target of {}",
            share(utilization),
            config.window,
            share(config.target_high),
        );
        return Some((1, why));
    }
    None
}

/// Why one worker less will do, or why it will not.
fn wanted_less(
    config: &OptimizerConfig,
    seen: &Observation,
    memory: &mut Memory,
    utilization: f64,
    now: Instant,
) -> Result<String, String> {
    let size = seen.size;
    let busy = share(utilization);
    if utilization >= config.target_low {
        return Err(format!("{busy} busy"));
    }
    if size == config.min {
        return Err(format!("{busy} busy, and {size} is the least allowed"));
    }
    if seen.queued > 0 || seen.overflow > 0 {
        return Err(format!("{busy} busy, but calls queue or overflow serves"));
    }
    if let Some(wait) = seen
        .wait_p95
        .filter(|wait| *wait * 2 > config.queue_wait_limit)
    {
        let wait = milliseconds(wait);
        return Err(format!("{busy} busy, but calls wait {wait} at p95"));
    }
    let idle = utilization < config.scale_down_utilization;
    match memory.changed_within(config.cooldown, now) {
        Some(Direction::Up) => {
            return Err(format!("{busy} busy, but the size was raised just now"));
        }
        Some(Direction::Down) if !idle => {
            return Err(format!("{busy} busy, but the size was lowered just now"));
        }
        _ => {}
    }
    let then = after(utilization, size, size - 1);
    let middle = f64::midpoint(config.target_low, config.target_high);
    if then > middle {
        let then = share(then);
        return Err(format!("{busy} busy, and one less would make it {then}"));
    }
    if let Some(small) = memory
        .too_small
        .filter(|small| now.saturating_duration_since(small.at) < REMEMBERED)
        .filter(|small| size - 1 <= small.size && then > small.utilization * RELIEF)
    {
        return Err(format!(
            "{busy} busy, but {} workers at {} were too few less than {REMEMBERED:?} ago",
            small.size,
            share(small.utilization),
        ));
    }
    let limit = if idle {
        config.scale_down_utilization
    } else {
        config.target_low
    };
    Ok(format!("{busy} busy, below {}", share(limit)))
}

/// The utilization of the same load with another size.
fn after(utilization: f64, size: usize, then: usize) -> f64 {
    utilization * count(size) / count(then.max(1))
}

fn finite(number: Option<f64>) -> Option<f64> {
    number.filter(|number| number.is_finite())
}

fn share(fraction: f64) -> String {
    format!("{:.0} %", fraction * 100.0)
}

fn milliseconds(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1000.0)
}

#[expect(clippy::cast_precision_loss, reason = "counts of workers and calls")]
fn count(number: usize) -> f64 {
    number as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a whole, small, non-negative number; what is beyond is cut off"
)]
fn whole(number: f64) -> usize {
    number.max(0.0) as usize
}
