//! Whether the candidate that is up works: asked of its workers, and not of its figures.
//!
//! Invariants:
//! - No caller waits for any of it: faults meet idle workers, and stable is only asked while it has
//!   room. The candidate has no traffic yet.
//! - Nothing of it is in a window that a stage is judged by: calls go to the pools themselves, past
//!   what records; the one that must be recorded ends before the first stage begins, and a stage is
//!   judged by its own time alone.

use std::sync::Arc;
use std::time::Duration;

use dspex_migration::{Check, Thresholds};
use dspex_pool::python::PROBE_MODULE;
use dspex_pool::{
    Call, Definition, Fault, PoolError, PoolStatus, Probed, Program, ProgramKey, SharedPool,
    WorkerFault,
};
use dspex_router::Router;
use dspex_telemetry::{Lane, Prometheus, Telemetry};
use serde_json::{Map, Value};
use tokio::time::Instant;

/// The name of the program that is called. No program in the catalog has version 0.
const PROBE: &str = "dspex-probe";
/// How long one worker may take to answer. Its first call builds the program.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// How long the pool may take to have all its workers again: as long as a pool's start may.
const RECOVERS_WITHIN: Duration = Duration::from_secs(30);
/// How long an idle worker to break is waited for, and room on stable, in all.
const IDLE_WITHIN: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(10);
/// Calls on each pool, by turns.
const ROUNDS: usize = 25;
/// So many of stable's calls, at the least, say how fast it is.
const ENOUGH: usize = 5;
/// Less than this is the machine's noise and not a difference of pools, whatever the plan's floor: a median
/// of so few calls has no bounds.
const NOISE: Duration = Duration::from_millis(20);
/// What is asked for where stable cannot be measured: the limit on overhead.
const ALONE: Duration = Duration::from_millis(200);

/// What is looked at, and with what.
pub(super) struct Verification<'a> {
    pub(super) candidate: SharedPool,
    pub(super) router: &'a Router,
    pub(super) telemetry: &'a Telemetry,
    pub(super) prometheus: &'a Prometheus,
    /// How much slower than stable the candidate may be: as the plan's rule on medians says, which rolls back.
    pub(super) speed: Speed,
}

/// How much slower is no trouble yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Speed {
    /// As a multiple of stable's median.
    ratio: f64,
    /// Or by this much. A busy machine makes calls of a millisecond wait for tens of them.
    floor: Duration,
}

impl Speed {
    pub(super) fn of(thresholds: &Thresholds) -> Self {
        Self {
            ratio: thresholds.median_ratio.limit,
            floor: thresholds.latency_floor.max(NOISE),
        }
    }

    /// The slowest median that is no trouble beside this one.
    fn most(self, stable: Duration) -> Duration {
        let multiple = Duration::try_from_secs_f64(stable.as_secs_f64() * self.ratio);
        multiple
            .unwrap_or(Duration::MAX)
            .max(stable.saturating_add(self.floor))
    }
}

impl Verification<'_> {
    /// Every check, the fault last: it disturbs what the others measure.
    pub(super) async fn run(&self) -> Vec<Check> {
        let checks = vec![
            self.workers_answer().await,
            self.is_as_fast_as_stable().await,
            self.is_seen_in_metrics().await,
            self.recovers_from_a_crash().await,
        ];
        let program = program();
        self.candidate.forget(&program.key).await;
        self.router.stable().forget(&program.key).await;
        checks
    }

    async fn workers_answer(&self) -> Check {
        let asked = "a probe";
        let probed = self.candidate.probe(&call(asked), ANSWERS_WITHIN).await;
        let size = self.candidate.status().size;
        let silent: Vec<String> = probed
            .iter()
            .filter_map(|probed| {
                let why = unanswered(probed, asked)?;
                Some(format!("{}: {why}", probed.worker))
            })
            .collect();
        let answered = probed.len() - silent.len();
        let mut value = format!("{answered} of {size}");
        for why in &silent {
            value.push_str("; ");
            value.push_str(why);
        }
        check(
            "each worker of the candidate answers a call",
            answered >= size.max(1),
            value,
            format!("all of them, each within {} s", ANSWERS_WITHIN.as_secs()),
            "see the workers under `dspex pools`, and their words in the server's log",
        )
    }

    async fn is_as_fast_as_stable(&self) -> Check {
        let stable = self.router.stable();
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        let mut trouble = None;
        // For all rounds together: a pool whose callers never leave it any room must not keep a
        // migration from beginning.
        let until = Instant::now() + IDLE_WITHIN;
        for _ in 0..ROUNDS {
            match time(&self.candidate).await {
                Ok(took) => ours.push(took),
                Err(error) => trouble = Some(error.to_string()),
            }
            if has_room(&stable, until).await
                && let Ok(took) = time(&stable).await
            {
                theirs.push(took);
            }
        }
        let stable = median(&mut theirs).filter(|_| theirs.len() >= ENOUGH);
        judge_speed(median(&mut ours), stable, self.speed, trouble)
    }

    /// The way of a call, whole: by the lane's circuit, into the windows and the metrics.
    async fn is_seen_in_metrics(&self) -> Check {
        let name = "a call on the candidate is seen in the metrics";
        let limit = "one more in the lane's window and in dspex_calls_total".to_owned();
        let hint = "set the flag telemetry_v2, without which the lanes cannot be judged";
        let counts = || {
            let recorded = self.telemetry.recorded(Lane::Candidate);
            (recorded, calls_in(&self.prometheus.render()))
        };
        let before = counts();
        let answer = self.router.probe_candidate(call("metrics")).await;
        if answer.is_none() {
            let value = "the router has no candidate".to_owned();
            return check(name, false, value, limit, hint);
        }
        let after = counts();
        let value = format!(
            "{} to {} in the window, {} to {} in the metrics",
            before.0, after.0, before.1, after.1
        );
        let ok = after.0 == before.0 + 1 && after.1 == before.1 + 1;
        check(name, ok, value, limit, hint)
    }

    async fn recovers_from_a_crash(&self) -> Check {
        let name = "the candidate recovers from a crash of a worker";
        let seconds = RECOVERS_WITHIN.as_secs();
        let limit = format!("all workers answer again within {seconds} s");
        let hint = "see in the server's log why a worker does not start again";
        let before = self.candidate.status();
        let began = Instant::now();
        let injected = loop {
            match self.candidate.inject(WorkerFault::Crash).await {
                Ok(injected) => break injected,
                Err(PoolError::Exhausted { .. }) if began.elapsed() < IDLE_WITHIN => {
                    tokio::time::sleep(LOOK).await;
                }
                Err(error) => {
                    let value = format!("not measured: {error}");
                    return check(name, false, value, limit, hint);
                }
            }
        };
        let broken = Instant::now();
        let back = |now: &PoolStatus| now.starts > before.starts && now.ready >= now.size.max(1);
        while !back(&self.candidate.status()) {
            if broken.elapsed() > RECOVERS_WITHIN {
                let now = self.candidate.status();
                let value = format!(
                    "{} was killed, and {} of {} workers are ready after {seconds} s",
                    injected.worker, now.ready, now.size
                );
                return check(name, false, value, limit, hint);
            }
            tokio::time::sleep(LOOK).await;
        }
        let took = broken.elapsed();
        let asked = "after the crash";
        let probed = self.candidate.probe(&call(asked), ANSWERS_WITHIN).await;
        let silent = probed
            .iter()
            .find_map(|probed| Some((&probed.worker, unanswered(probed, asked)?)));
        let ok = silent.is_none() && !probed.is_empty();
        let value = match silent {
            None => format!(
                "{} was killed; all were back after {} ms",
                injected.worker,
                took.as_millis()
            ),
            Some((worker, why)) => {
                format!(
                    "{} was killed, and {worker} does not answer: {why}",
                    injected.worker
                )
            }
        };
        check(name, ok, value, limit, hint)
    }
}

fn check(
    name: &str,
    ok: bool,
    value: impl Into<String>,
    limit: impl Into<String>,
    hint: &str,
) -> Check {
    Check {
        name: name.to_owned(),
        ok,
        value: value.into(),
        limit: limit.into(),
        hint: (!ok).then(|| hint.to_owned()),
    }
}

/// A harmless program that every worker of ours can run.
fn program() -> Arc<Program> {
    Arc::new(Program {
        key: ProgramKey {
            id: PROBE.parse().expect("the name is valid"),
            version: 0,
        },
        definition: Definition::Callable {
            target: format!("{PROBE_MODULE}:echo")
                .parse()
                .expect("the target is valid"),
        },
        repeatable: true,
        stateful: false,
        side_effects: false,
    })
}

fn call(value: &str) -> Call {
    Call {
        request_id: PROBE.into(),
        session: None,
        caller: None,
        program: program(),
        inputs: Arc::new(Map::from_iter([("value".to_owned(), Value::from(value))])),
        state: None,
        chunks: None,
        deadline: Instant::now() + ANSWERS_WITHIN,
    }
}

/// Why a worker's answer is none. A script that is older than callables refuses the program in its
/// own words: that is an answer too.
fn unanswered(probed: &Probed, asked: &str) -> Option<String> {
    match &probed.answer {
        Ok(reply) if reply.outputs.get("value") == Some(&Value::from(asked)) => None,
        Ok(reply) => Some(format!("it answered {:?}", reply.outputs)),
        Err(error) if error.fault() == Fault::Pool => Some(error.to_string()),
        Err(PoolError::ProgramTimeout { after }) => Some(format!("no answer within {after:?}")),
        Err(_) => None,
    }
}

async fn time(pool: &SharedPool) -> Result<Duration, PoolError> {
    let call = call("speed");
    let began = Instant::now();
    pool.execute(call).await?;
    Ok(began.elapsed())
}

/// Waits until the pool has room that no caller wants; `false` where it has none until then.
async fn has_room(pool: &SharedPool, until: Instant) -> bool {
    loop {
        let status = pool.status();
        if status.queued == 0 && status.in_flight < status.capacity {
            return true;
        }
        if Instant::now() > until {
            return false;
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn median(times: &mut [Duration]) -> Option<Duration> {
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

fn judge_speed(
    candidate: Option<Duration>,
    stable: Option<Duration>,
    speed: Speed,
    trouble: Option<String>,
) -> Check {
    let name = "the candidate is about as fast as stable";
    let hint = "see whether the machine is busy, and what the candidate's workers do";
    let millis = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1000.0);
    let (most, limit) = match stable {
        Some(stable) => {
            let most = speed.most(stable);
            (
                most,
                format!("{}; stable's median is {}", millis(most), millis(stable)),
            )
        }
        None => {
            let limit = format!("{}; stable could not be measured", millis(ALONE));
            (ALONE, limit)
        }
    };
    match candidate {
        Some(median) => {
            let value = format!("a median of {} over {ROUNDS} calls", millis(median));
            check(
                name,
                median <= most && trouble.is_none(),
                told(value, trouble),
                limit,
                hint,
            )
        }
        None => {
            let value = told("no call was answered".to_owned(), trouble);
            check(name, false, value, limit, hint)
        }
    }
}

fn told(value: String, trouble: Option<String>) -> String {
    match trouble {
        None => value,
        Some(trouble) => format!("{value}; {trouble}"),
    }
}

/// The calls on the candidate that Prometheus is told of, however they ended.
fn calls_in(metrics: &str) -> u64 {
    let of_candidate = metrics.lines().filter(|line| {
        line.starts_with("dspex_calls_total{") && line.contains(r#"lane="candidate""#)
    });
    of_candidate
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests;
