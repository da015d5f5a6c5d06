//! Workers beyond the size, for as long as calls wait too long for one.
//!
//! Invariants: never more than the settings allow; what is still starting is waited for before
//! more are asked for; one at a time is given back, and only after a time in which one less would
//! have done.

use tokio::time::Instant;

use super::{Memory, Observation, OptimizerConfig, milliseconds};

/// How many overflow workers there shall be, and why where that is another number.
pub(super) fn decide(
    config: &OptimizerConfig,
    seen: &Observation,
    memory: &mut Memory,
    now: Instant,
) -> (usize, Option<String>) {
    let places = seen.concurrency.max(1);
    let has = seen.overflow;
    if has > config.overflow {
        let why = format!("{has} overflow workers are more than {}", config.overflow);
        return (config.overflow, Some(why));
    }
    let waited = seen.oldest > config.queue_wait_limit;
    if waited && seen.queued > 0 {
        memory.calm_since = None;
        let starting = has.saturating_sub(seen.overflow_ready);
        let needed = seen.queued.div_ceil(places);
        let more = needed.saturating_sub(starting).min(config.overflow - has);
        if more > 0 {
            let why = format!(
                "{more} more overflow workers: {} calls wait, the oldest for {} (limit {})",
                seen.queued,
                milliseconds(seen.oldest),
                milliseconds(config.queue_wait_limit),
            );
            return (has + more, Some(why));
        }
        return (has, None);
    }
    if has == 0 {
        memory.calm_since = None;
        return (0, None);
    }
    // What is ready, not what is wanted: a worker that is not there takes no call.
    let without_one = (seen.ready + seen.overflow_ready).saturating_sub(1) * places;
    // A place must stay free: with all of them taken the next call would wait at once.
    let calm = seen.queued == 0 && seen.busy < without_one;
    if !calm {
        memory.calm_since = None;
        return (has, None);
    }
    let since = *memory.calm_since.get_or_insert(now);
    if now.saturating_duration_since(since) < config.overflow_rest {
        return (has, None);
    }
    // The next one is given back after a rest of its own.
    memory.calm_since = None;
    let why = format!(
        "an overflow worker is given back: {} of {} places are taken and none was missed for {:?}",
        seen.busy,
        without_one + places,
        config.overflow_rest,
    );
    (has - 1, Some(why))
}
