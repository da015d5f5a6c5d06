//! `overload`: twice as many calls as the pool can answer.

use std::time::Duration;

use anyhow::Result;

use super::BASELINE;
use crate::drill::rehearsal::Rehearsal;
use crate::drill::took_place;
use crate::live::ledger::{Kind, Sample, quantile};
use crate::live::programs::Program;
use crate::live::traffic::Habits;

/// Calls that the pool runs at once.
const AT_ONCE: usize = 4;
/// How long each load lasts.
const LOAD: Duration = Duration::from_secs(10);
/// What is asked for, in capacities. Callers wake a little late, and what arrives is less.
const ASKED: f64 = 2.1;
/// What must arrive, in capacities.
const TWICE: f64 = 1.8;
/// How many times the latency alone an accepted call may take. Behind the four that run at most four wait,
/// so the wait is that of one call more; a third is for callers and server, who share the workers' cores.
const CALLS: u32 = 3;
/// What a loaded machine of two cores may add to a call, however short it is.
const SLACK: Duration = Duration::from_millis(100);

/// One pool, and no migration: what is asked is whether a server says no in time.
const SETTINGS: &str = r#"
[lanes]
stable = "v2"
candidate = ""
[pools.v2]
workers = 1
concurrency = 4
queue_limit = 4
queue_wait = "250ms"
"#;

/// What one load came to.
struct Load {
    offered: f64,
    answered: f64,
    p99: Duration,
}

pub(in crate::drill) fn play(drill: &mut Rehearsal<'_>) -> Result<()> {
    drill.allow(
        "twice what the pool can answer is offered, so about half has to be refused, and is told \
         when to come back",
        |sample| matches!(&sample.failure, Some(failure) if failure.kind == Kind::Refused),
    );
    drill.open(SETTINGS, &[Program::Callable])?;
    // As many as the pool takes at once, who do not read their answers: its capacity.
    let full = Habits {
        seats: AT_ONCE,
        calls: 8,
        patience: Duration::ZERO,
        pause: Duration::ZERO,
    };
    let capacity = load(drill, full)?;
    // Many callers, each of whom is slow: the rate is theirs, and not the pool's.
    let seats = 48_u32;
    let cycle = Duration::from_secs_f64(f64::from(seats) / (ASKED * capacity.answered));
    let twice = Habits {
        seats: seats as usize,
        // A caller waits two pauses on average.
        pause: cycle.saturating_sub(capacity.p99 / 2) / 2,
        ..full
    };
    let over = load(drill, twice)?;
    let refused = drill
        .ledger
        .samples()
        .iter()
        .filter(|sample| sample.failure.is_some())
        .count();
    drill.claims.push(took_place("calls were refused", refused));
    let ratio = over.offered / capacity.answered;
    drill.claim(
        "about twice the capacity was offered",
        ratio >= TWICE,
        format!(
            "{:.0} calls/s, {ratio:.2} times the {:.0} that it can answer",
            over.offered, capacity.answered
        ),
    );
    let limit = latency_limit(capacity.p99);
    drill.claim(
        "accepted calls keep their latency: the wait for those before them comes on top, and no more",
        over.p99 <= limit,
        format!(
            "p99 {:?} alone, {:?} under twice the load (limit {limit:?})",
            capacity.p99, over.p99
        ),
    );
    let kept = over.answered / capacity.answered;
    drill.claim(
        "refusing costs little: most of the capacity is still there",
        kept >= 0.7,
        format!(
            "{:.0} calls/s answered, {:.0} %",
            over.answered,
            kept * 100.0
        ),
    );
    // And when the rush is over, it is over.
    let after = load(drill, full)?;
    drill.claim(
        "afterwards it is as before",
        after.answered >= 0.7 * capacity.answered,
        format!("{:.0} calls/s", after.answered),
    );
    Ok(())
}

fn latency_limit(alone: Duration) -> Duration {
    alone * CALLS + SLACK
}

fn load(drill: &mut Rehearsal<'_>, habits: Habits) -> Result<Load> {
    drill.crowd(habits)?;
    drill.rest(BASELINE)?;
    let from = drill.ledger.now();
    drill.rest(LOAD)?;
    let until = drill.ledger.now();
    drill.calm()?;
    let samples = drill.ledger.samples();
    let within: Vec<&Sample> = samples
        .iter()
        .filter(|sample| sample.started >= from && sample.started < until)
        .collect();
    let mut took: Vec<Duration> = within
        .iter()
        .filter(|sample| sample.failure.is_none())
        .map(|sample| sample.ended.saturating_sub(sample.started))
        .collect();
    took.sort_unstable();
    let rate = |count: usize| {
        #[expect(clippy::cast_precision_loss, reason = "counts of a drill fit a float")]
        let count = count as f64;
        count / (until - from).as_secs_f64()
    };
    Ok(Load {
        offered: rate(within.len()),
        answered: rate(took.len()),
        p99: quantile(&took, 99).unwrap_or(Duration::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_waited_out_the_queue_do_not_keep_their_latency() {
        let settings: toml::Table = SETTINGS.parse().expect("TOML");
        let pool = &settings["pools"]["v2"];
        assert_eq!(pool["queue_limit"], pool["concurrency"], "one call more");
        assert_eq!(pool["queue_wait"].as_str(), Some("250ms"));
        let alone = Duration::from_millis(22);
        let limit = latency_limit(alone);
        assert!(limit < alone + Duration::from_millis(250), "{limit:?}");
        assert!(limit > 2 * alone, "{limit:?}");
    }
}
