//! One fault, done to one pool, and what becomes of its calls.

use std::time::Duration;

use dspex_pool::{Injected, PoolError, PoolStatus, Reply, SharedPool, WorkerFault};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::validation::probe::{Ask, Probe, input};
use crate::validation::sessions::{Kept, Session};

/// Sessions that go on while a fault is done.
const SESSIONS: usize = 4;

/// How often a pool is looked at while it recovers: what the time to recover is read to.
const LOOK: Duration = Duration::from_millis(2);

/// What a call past its deadline is given, and how long it would take.
const DEADLINE: Duration = Duration::from_millis(100);
const OUTSTAYS: f64 = 0.5;

/// How long after its deadline a call may be told so: what a look at the clock takes on a busy machine.
const PROMPT: Duration = Duration::from_millis(500);

/// What each call of a burst is given.
const BURST: Duration = Duration::from_secs(1);

/// How one fault ended.
#[derive(Debug, Default)]
pub(super) struct Fallen {
    /// From the fault until the pool was whole again.
    pub(super) recovered: Option<Duration>,
    pub(super) loss: Loss,
    /// Why it did not recover, or could not be tried.
    pub(super) trouble: Option<String>,
}

impl Fallen {
    fn untried(why: String) -> Self {
        Self {
            trouble: Some(why),
            ..Self::default()
        }
    }
}

/// What became of the calls.
#[derive(Debug, Default)]
pub(super) struct Loss {
    pub(super) answered: u64,
    /// Calls that failed and were told so.
    pub(super) told: u64,
    /// Calls that were not told, or answered wrongly, one line each.
    pub(super) lost: Vec<String>,
}

impl Loss {
    pub(super) fn add(&mut self, other: Self) {
        self.answered += other.answered;
        self.told += other.told;
        self.lost.extend(other.lost);
    }
}

/// A worker is lost while sessions go on.
pub(super) async fn lost_worker(
    pool: &SharedPool,
    probe: &Probe,
    fault: WorkerFault,
    patience: Duration,
) -> Fallen {
    if let Err(why) = whole(pool, probe, patience, |_| true).await {
        return Fallen::untried(why);
    }
    let stop = CancellationToken::new();
    let sessions = go_on(pool, probe, patience, &stop);
    let began = Instant::now();
    let recovered = match inject(pool, fault, patience).await {
        Err(error) => Err(format!("the fault could not be done: {error}")),
        Ok((injected, at)) => {
            let gone = |status: &PoolStatus| {
                let mut workers = status.workers.iter();
                !workers.any(|worker| worker.id == injected.worker)
            };
            let whole = whole(pool, probe, patience, gone).await;
            whole.map(|()| at.elapsed())
        }
    };
    tracing::debug!(?fault, ?recovered, took = ?began.elapsed(), "a fault was tried");
    let kept = ended(sessions, &stop).await;
    let loss = Loss {
        answered: kept.answered,
        told: kept.told,
        lost: kept.lost,
    };
    fallen(recovered, loss)
}

/// A call outstays its deadline: its caller must be told in time, and its room must come back.
pub(super) async fn outstayed(pool: &SharedPool, probe: &Probe, patience: Duration) -> Fallen {
    if let Err(why) = whole(pool, probe, patience, |_| true).await {
        return Fallen::untried(why);
    }
    let stop = CancellationToken::new();
    let sessions = go_on(pool, probe, patience, &stop);
    let began = Instant::now();
    let outcome = Ask::new(&probe.sleep, input("seconds", OUTSTAYS), DEADLINE)
        .of(pool)
        .await;
    let told_after = began.elapsed();
    let recovered = whole(pool, probe, patience, |_| true).await;
    let recovered = recovered.map(|()| began.elapsed().saturating_sub(DEADLINE));
    let kept = ended(sessions, &stop).await;
    let mut loss = Loss {
        answered: kept.answered,
        told: kept.told,
        lost: kept.lost,
    };
    match outcome {
        Some(Err(PoolError::ProgramTimeout { .. } | PoolError::Hung { .. }))
            if told_after <= DEADLINE + PROMPT =>
        {
            loss.told += 1;
        }
        Some(Err(PoolError::ProgramTimeout { .. } | PoolError::Hung { .. })) => loss.lost.push(
            format!("the call was given {DEADLINE:?} and told after {told_after:?}"),
        ),
        Some(Err(error)) => loss
            .lost
            .push(format!("the call failed otherwise: {error}")),
        Some(Ok(_)) => loss.lost.push(format!(
            "the call was answered after {told_after:?}, past its deadline"
        )),
        None => loss.lost.push("the call was never told".to_owned()),
    }
    fallen(recovered, loss)
}

/// Many more calls at once than the pool can run in their time.
pub(super) async fn exhaustion(
    pool: &SharedPool,
    probe: &Probe,
    burst: usize,
    patience: Duration,
) -> Fallen {
    if let Err(why) = whole(pool, probe, patience, |_| true).await {
        return Fallen::untried(why);
    }
    let capacity = pool.status().capacity.max(1);
    // A pool that is large for the burst is given longer calls, and more of them.
    let calls = burst.max(capacity * 4);
    let seconds = overload(calls, capacity);
    let mut tasks = JoinSet::new();
    for _ in 0..calls {
        let pool = SharedPool::clone(pool);
        let ask = Ask::new(&probe.sleep, input("seconds", seconds), BURST);
        tasks.spawn(async move { ask.of(&pool).await });
    }
    let mut loss = Loss::default();
    let mut refused = 0;
    while let Some(outcome) = tasks.join_next().await {
        match outcome.unwrap_or(None) {
            Some(Ok(reply)) => note_answer(&reply, seconds, &mut loss),
            Some(Err(
                PoolError::Exhausted { retry_after, .. } | PoolError::TooMany { retry_after, .. },
            )) if !retry_after.is_zero() => refused += 1,
            // Begun before its deadline, and cut there.
            Some(Err(PoolError::ProgramTimeout { .. })) => loss.told += 1,
            Some(Err(error)) => loss.lost.push(format!("not an orderly refusal: {error}")),
            None => loss.lost.push("a call was never told".to_owned()),
        }
    }
    loss.told += refused;
    if refused == 0 {
        loss.lost.push(format!("none of {calls} calls was refused"));
    }
    let began = Instant::now();
    let recovered = whole(pool, probe, patience, |_| true).await;
    fallen(recovered.map(|()| began.elapsed()), loss)
}

/// How long each of these calls sleeps, so that twice the time they have would be needed for all.
fn overload(calls: usize, capacity: usize) -> f64 {
    let [calls, capacity] = [calls, capacity].map(crate::validation::load::number);
    (2.0 * BURST.as_secs_f64() * capacity / calls).clamp(0.005, BURST.as_secs_f64() / 2.0)
}

fn note_answer(reply: &Reply, seconds: f64, loss: &mut Loss) {
    let slept = reply
        .outputs
        .get("slept")
        .and_then(serde_json::Value::as_f64);
    if slept.is_some_and(|slept| (slept - seconds).abs() < 1e-9) {
        loss.answered += 1;
    } else {
        loss.lost
            .push(format!("a wrong answer: {:?}", reply.outputs));
    }
}

fn fallen(recovered: Result<Duration, String>, loss: Loss) -> Fallen {
    let trouble = recovered.as_ref().err().cloned();
    Fallen {
        recovered: recovered.ok(),
        loss,
        trouble,
    }
}

/// Does the fault, as soon as a worker has nothing to do. With the moment after which it was done.
async fn inject(
    pool: &SharedPool,
    fault: WorkerFault,
    patience: Duration,
) -> Result<(Injected, Instant), String> {
    let until = Instant::now() + patience;
    loop {
        let at = Instant::now();
        match tokio::time::timeout_at(until, pool.inject(fault)).await {
            Err(_) => return Err("no worker was idle for it in time".to_owned()),
            Ok(Ok(injected)) => return Ok((injected, at)),
            Ok(Err(PoolError::Exhausted { .. })) if Instant::now() < until => {
                tokio::time::sleep(LOOK).await;
            }
            Ok(Err(error)) => return Err(error.to_string()),
        }
    }
}

fn go_on(
    pool: &SharedPool,
    probe: &Probe,
    patience: Duration,
    stop: &CancellationToken,
) -> JoinSet<Kept> {
    let mut sessions = JoinSet::new();
    for number in 0..SESSIONS {
        let session = Session::new(&format!("validation-goes-on-{number}"));
        let (pool, probe) = (SharedPool::clone(pool), probe.clone());
        sessions.spawn(session.keep_on(pool, probe, patience, stop.clone()));
    }
    sessions
}

async fn ended(mut sessions: JoinSet<Kept>, stop: &CancellationToken) -> Kept {
    stop.cancel();
    let mut all = Kept::default();
    while let Some(ended) = sessions.join_next().await {
        match ended {
            Ok(kept) => all = all.and(kept),
            Err(error) => all.lost.push(error.to_string()),
        }
    }
    all
}

/// Waits until the pool is whole: its status as wanted, every worker ready, and as many calls at once as
/// it has workers answered.
async fn whole(
    pool: &SharedPool,
    probe: &Probe,
    patience: Duration,
    wanted: impl Fn(&PoolStatus) -> bool,
) -> Result<(), String> {
    let until = Instant::now() + patience;
    let mut last = "not looked at".to_owned();
    while Instant::now() < until {
        let status = pool.status();
        let size = status.size.max(1);
        if !wanted(&status) {
            last = "the worker that the fault was done to is still there".to_owned();
        } else if status.ready < size {
            last = format!("{} of {size} workers ready", status.ready);
        } else {
            match tokio::time::timeout_at(until, all_answer(pool, probe, size, patience)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(why)) => last = why,
                Err(_) => "its calls are not answered".clone_into(&mut last),
            }
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(format!(
        "not whole within {}: {last}",
        crate::wording::span(patience)
    ))
}

async fn all_answer(
    pool: &SharedPool,
    probe: &Probe,
    size: usize,
    patience: Duration,
) -> Result<(), String> {
    let calls =
        (0..size).map(|_| Ask::new(&probe.echo, input("value", "whole"), patience).of(pool));
    for outcome in futures_util::future::join_all(calls).await {
        match outcome {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.to_string()),
            None => return Err("a call was not answered".to_owned()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_needs_more_time_than_it_has() {
        for (calls, capacity) in [(256, 2), (256, 8), (2_048, 8), (256, 64)] {
            let needed = overload(calls, capacity) * calls as f64 / capacity as f64;
            assert!(needed >= 1.5 * BURST.as_secs_f64(), "{calls} {capacity}");
        }
    }
}
