//! What a session costs that the pool remembers, and how soon it is found among all others.

use std::time::{Duration, Instant};

use dspex_pool_v2::bench::Sessions as Known;
use serde_json::{Value, json};

use crate::Outcome;
use crate::order::Sessions;

/// Look-ups behind the percentile.
const LOOK_UPS: usize = 200_000;
const SLOTS: usize = 8;

pub(crate) fn measure(load: &Sessions) -> Outcome<Value> {
    let name = |number: usize| format!("session-{number}");
    let before = resident()?;
    // Twice the room: a session is only sure to be kept while its generation is not full.
    let mut known = Known::new(2 * load.sessions, SLOTS);
    for number in 0..load.sessions {
        let session = name(number);
        let slot = known.look_up(&session).ok_or("a session has no slot")?;
        known.remember(&session, slot);
    }
    let bytes = resident()?.saturating_sub(before) as f64 / load.sessions as f64;
    if known.known() != load.sessions {
        return Err(format!("{} of {} are known", known.known(), load.sessions).into());
    }
    let mut took = Vec::with_capacity(LOOK_UPS);
    for turn in 0..LOOK_UPS {
        // A stride that is prime to the number: neighbours in time are far apart in memory.
        let session = name(turn * 7_919 % load.sessions);
        let began = Instant::now();
        let slot = known.look_up(&session);
        took.push(began.elapsed());
        slot.ok_or("a known session has no slot")?;
    }
    took.sort_unstable();
    let at = |share: usize| took[(LOOK_UPS * share / 100).min(LOOK_UPS - 1)];
    let microseconds = |took: Duration| took.as_secs_f64() * 1e6;
    Ok(json!({
        "bytes": bytes,
        "lookup_p50_us": microseconds(at(50)),
        "lookup_p99_us": microseconds(at(99)),
    }))
}

/// Memory of this process, in bytes.
fn resident() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kilobytes
        .ok_or("the kernel does not tell VmRSS")?
        .parse::<u64>()?
        * 1024)
}
