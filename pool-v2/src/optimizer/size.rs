//! How many workers a pool wants to keep: the rules, from the most urgent to the mildest.
//!
//! Invariant: whatever moves the size has a reason with figures, and so has whatever holds it.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Direction, Memory, Observation, OptimizerConfig, TooSmall, count, is_exhausted, milliseconds,
};

/// How long a size that turned out too small is remembered as such. Programs change; a size that
/// was too small this morning may do tonight.
const REMEMBERED: Duration = Duration::from_secs(60 * 60);

/// How much less busy a pool must be than it was when a size turned out too small, before it goes
/// back to that size. Without it a pool would go there every cooldown, and back.
const RELIEF: f64 = 0.9;

/// How long a pool that was made larger is given to have its new workers ready, in intervals. Then
/// it is judged by those that are: a slot whose worker never comes up must not stop growth for ever.
const START_GRACE: u32 = 2;

/// The size, and why.
pub(super) fn decide(
    config: &OptimizerConfig,
    seen: &Observation,
    memory: &mut Memory,
    urgent: bool,
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
    // The looks that made it urgent are samples enough.
    if seen.samples < config.minimum_samples && !urgent {
        return hold(format!(
            "{} looks since the last change, {} are needed",
            seen.samples, config.minimum_samples
        ));
    }
    let (Some(utilization), Some(recent)) = (finite(seen.utilization), finite(seen.recent)) else {
        return hold("no worker was ready, so how busy they are is not known".to_owned());
    };
    let more = if urgent {
        Some(wanted_at_once(config, seen))
    } else {
        wanted_more(config, seen, memory, utilization, recent, now)
    };
    if let Some((by, why)) = more {
        if size == config.max {
            return hold(format!("{why}, but {} is the most allowed", config.max));
        }
        let cooling = memory.changed_within(config.cooldown, now) == Some(Direction::Down);
        if cooling && !is_exhausted(config, seen) {
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

/// How many workers more, where overflow does not help any more.
fn wanted_at_once(config: &OptimizerConfig, seen: &Observation) -> (usize, String) {
    let by = seen.queued.div_ceil(seen.concurrency.max(1));
    let why = format!(
        "{} calls wait, the oldest for {}, although all {} overflow workers are in use",
        seen.queued,
        milliseconds(seen.oldest),
        seen.overflow_ready,
    );
    (by.clamp(1, config.up_by_at_most), why)
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
    let wait = seen.wait_p95.min(seen.recent_wait_p95);
    let wait = wait.filter(|wait| *wait > config.queue_wait_limit);
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
        Some(Direction::Down) => {
            // The further below the target, the sooner the next one goes.
            let near = (utilization - config.scale_down_utilization)
                / (config.target_low - config.scale_down_utilization);
            let pace = config.cooldown.mul_f64(near.clamp(0.0, 1.0));
            if memory.changed_within(pace, now).is_some() {
                return Err(format!("{busy} busy, but the size was lowered just now"));
            }
        }
        None => {}
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
    format!("{:.1} %", fraction * 100.0)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a whole, small, non-negative number; what is beyond is cut off"
)]
fn whole(number: f64) -> usize {
    number.max(0.0) as usize
}
