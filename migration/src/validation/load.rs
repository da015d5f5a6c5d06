//! One round of load on one pool: many users, each with calls one after the other.
//!
//! Invariants: the loop is closed, so both pools get the same calls from the same users whatever their
//! speed. An answer that is not the right one is an error, however fast it came, and its latency is not
//! counted: a pool that fails at once is not a fast pool.

use std::time::Duration;

use dspex_pool::SharedPool;
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::confidence::middle;
use super::probe::{Ask, Probe, input};
use super::report::LoadFigures;
use super::sessions::{Session, Turn};

/// What a caller sends beside the figures: a text of a usual question's length.
const TEXT: &str = "Which of these orders were delivered late, and what do the customers say about it? \
    Answer with the numbers of the orders and one sentence for each.";

/// One round's measurements.
#[derive(Debug, Clone)]
pub(super) struct Round {
    pub(super) calls: u64,
    pub(super) errors: u64,
    /// The first error, in words.
    pub(super) first_error: Option<String>,
    pub(super) mean: f64,
    pub(super) p50: f64,
    pub(super) p99: f64,
    /// What a user waits from one answer to the next, from the whole round's time. Its inverse, times
    /// the users, is the throughput.
    pub(super) per_operation: f64,
    pub(super) per_second: f64,
}

/// Runs one round. Times are in milliseconds; those of a round without an answer are no numbers.
pub(super) async fn round(
    pool: &SharedPool,
    probe: &Probe,
    users: usize,
    operations: usize,
    within: Duration,
) -> Round {
    let mut tasks = JoinSet::new();
    let began = Instant::now();
    for user in 0..users {
        let (pool, probe) = (SharedPool::clone(pool), probe.clone());
        tasks.spawn(async move { one_user(&pool, &probe, user, operations, within).await });
    }
    let mut latencies = Vec::with_capacity(users * operations);
    let mut first_error = None;
    // A user whose task broke has answered none of its calls.
    while let Some(ended) = tasks.join_next().await {
        if let Ok(user) = ended {
            latencies.extend(user.latencies);
            first_error = first_error.or(user.first_error);
        }
    }
    let elapsed = millis(began.elapsed());
    latencies.sort_by(f64::total_cmp);
    let answered = latencies.len();
    let calls = users * operations;
    Round {
        calls: calls as u64,
        errors: (calls - answered) as u64,
        first_error,
        mean: latencies.iter().sum::<f64>() / number(answered),
        p50: middle(&latencies),
        p99: nearest_rank(&latencies, 99),
        per_operation: elapsed * number(users) / number(answered),
        per_second: number(answered) * 1_000.0 / elapsed,
    }
}

#[derive(Default)]
struct User {
    latencies: Vec<f64>,
    first_error: Option<String>,
}

/// Echoes, sums and turns of a session, in turn: what pools do in everyday life without a model.
async fn one_user(
    pool: &SharedPool,
    probe: &Probe,
    user: usize,
    operations: usize,
    within: Duration,
) -> User {
    let name = format!("validation-user-{user}");
    let mut session = Session::new(&name);
    let mut seen = User::default();
    for operation in 0..operations {
        let began = Instant::now();
        let wrong = match operation % 3 {
            0 => {
                let value = json!({"text": TEXT, "user": user, "operation": operation});
                let wanted = input("value", value.clone());
                let ask = Ask::new(&probe.echo, input("value", value), within);
                wrong(ask.session(&name, None), pool, &wanted).await
            }
            1 => {
                let inputs = Map::from_iter([
                    ("a".to_owned(), json!(user)),
                    ("b".to_owned(), json!(operation)),
                ]);
                let ask = Ask::new(&probe.add, inputs, within);
                let wanted = input("sum", user + operation);
                wrong(ask.session(&name, None), pool, &wanted).await
            }
            _ => match session.turn(pool, probe, 1, within).await {
                Turn::Kept => None,
                Turn::Told(what) | Turn::Lost(what) => Some(what),
            },
        };
        match wrong {
            None => seen.latencies.push(millis(began.elapsed())),
            wrong => seen.first_error = seen.first_error.or(wrong),
        }
    }
    seen
}

/// What is wrong with the answer; [`None`] where nothing is.
async fn wrong(ask: Ask, pool: &SharedPool, wanted: &Map<String, Value>) -> Option<String> {
    let within = ask.within;
    match ask.of(pool).await {
        None => Some(format!("no answer within {within:?}")),
        Some(Err(error)) => Some(error.to_string()),
        Some(Ok(reply)) if reply.outputs == *wanted => None,
        Some(Ok(reply)) => Some(format!("a wrong answer: {}", Value::Object(reply.outputs))),
    }
}

/// A pool's figures over its rounds.
pub(super) fn figures(rounds: &[Round]) -> LoadFigures {
    let median = |of: fn(&Round) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        Some(middle(&values)).filter(|value| value.is_finite())
    };
    LoadFigures {
        calls: rounds.iter().map(|round| round.calls).sum(),
        errors: rounds.iter().map(|round| round.errors).sum(),
        mean_ms: median(|round| round.mean),
        p50_ms: median(|round| round.p50),
        p99_ms: median(|round| round.p99),
        per_second: median(|round| round.per_second),
    }
}

/// The smallest value that so many per cent of the values do not exceed.
fn nearest_rank(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or(f64::NAN)
}

pub(super) fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1_000.0
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of calls are far below 2^52"
)]
pub(super) fn number(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert!((nearest_rank(&values, 99) - 198.0).abs() < 1e-9);
        assert!((nearest_rank(&values[..1], 99) - 1.0).abs() < 1e-9);
        assert!(nearest_rank(&[], 99).is_nan());
    }
}
