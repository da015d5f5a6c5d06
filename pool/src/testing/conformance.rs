//! What must hold for every pool: a battery that each pool runs against itself.
//!
//! Invariants: each check gets a pool of its own, freshly started, and the pool is drained after
//! it; a check waits for what it expects with a deadline and never sleeps in hope; every failure is
//! reported with the check's name, and one failure does not hide the next.

mod answers;
mod faults;
mod life;
mod sessions;
mod streams;
mod trials;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::Instant;

use super::fixture_programs::{self, MODULE};
use crate::{PoolError, Reply, SharedPool};

type Fresh = Box<dyn Fn() -> Pin<Box<dyn Future<Output = SharedPool> + Send>> + Send + Sync>;
type Verdict = Result<(), String>;

/// A pool to be judged: how to start one, and what it may run.
pub struct Harness {
    name: String,
    fresh: Fresh,
    /// The Python module with the fixture's callables; on the pool's allow-list.
    pub module: String,
    /// How long a check waits for what must come to pass: a slot coming back, a drain's end.
    pub patience: Duration,
    /// How many calls are sent at the same time where many are.
    pub burst: i64,
    /// Whether the pool sends chunks while a program runs.
    pub streams: bool,
}

impl Harness {
    /// A harness around a factory that starts a fresh pool and returns once it is ready.
    pub fn new<F, Started>(name: &str, fresh: F) -> Self
    where
        F: Fn() -> Started + Send + Sync + 'static,
        Started: Future<Output = SharedPool> + Send + 'static,
    {
        Self {
            name: name.to_owned(),
            fresh: Box::new(move || Box::pin(fresh())),
            module: MODULE.to_owned(),
            patience: Duration::from_secs(20),
            burst: 64,
            streams: false,
        }
    }

    /// The same for a pool that sends chunks while a program runs.
    #[must_use]
    pub fn streaming(self) -> Self {
        Self {
            streams: true,
            ..self
        }
    }

    fn target(&self, attribute: &str) -> String {
        format!("{}:{attribute}", self.module)
    }

    /// A call of the fixture's callable, under the callable's own name and version 1.
    fn call(&self, attribute: &str, inputs: Value) -> crate::Call {
        self.call_within(attribute, inputs, self.patience)
    }

    fn call_within(&self, attribute: &str, inputs: Value, within: Duration) -> crate::Call {
        let program = fixture_programs::program(attribute, 1, &self.target(attribute));
        fixture_programs::call_of(program, inputs, within)
    }

    /// Calls until the pool answers: after a fault, the slot must come back within the patience.
    async fn answers_again(&self, pool: &SharedPool) -> Verdict {
        let until = Instant::now() + self.patience;
        loop {
            let asked = serde_json::json!({"text": "again"});
            match pool.execute(self.call("echo", asked.clone())).await {
                Ok(reply) => return same(&reply.outputs, asked),
                Err(error) if Instant::now() > until => {
                    return Err(format!(
                        "no later call was answered within {:?}: {error}",
                        self.patience
                    ));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Waits until the pool's status is as wanted.
    async fn until(
        &self,
        pool: &SharedPool,
        what: &str,
        wanted: impl Fn(&crate::PoolStatus) -> bool,
    ) -> Verdict {
        let until = Instant::now() + self.patience;
        loop {
            let status = pool.status();
            if wanted(&status) {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(format!("{what} did not come to pass: {status:?}"));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn same(outputs: &Map<String, Value>, wanted: Value) -> Verdict {
    let wanted = fixture_programs::outputs(wanted);
    if *outputs == wanted {
        Ok(())
    } else {
        Err(format!("outputs {outputs:?}, wanted {wanted:?}"))
    }
}

fn answered(ended: Result<Reply, PoolError>, wanted: Value) -> Verdict {
    same(
        &ended.map_err(|error| format!("{error:?}"))?.outputs,
        wanted,
    )
}

fn failed_with(
    ended: Result<impl std::fmt::Debug, PoolError>,
    what: &str,
    wanted: impl Fn(&PoolError) -> bool,
) -> Verdict {
    match ended {
        Err(error) if wanted(&error) => Ok(()),
        other => Err(format!("wanted {what}, got {other:?}")),
    }
}

type Check<'a> = Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>;
type Named = (
    &'static str,
    for<'a> fn(&'a Harness, &'a SharedPool) -> Check<'a>,
);

/// Every check, by name.
const CHECKS: &[Named] = &[
    ("echo answers", |h, p| Box::pin(answers::echo(h, p))),
    ("typed inputs", |h, p| Box::pin(answers::add(h, p))),
    ("inputs that do not fit", |h, p| {
        Box::pin(answers::bad_inputs(h, p))
    }),
    ("check", |h, p| Box::pin(answers::check(h, p))),
    ("two versions", |h, p| Box::pin(answers::two_versions(h, p))),
    ("forget", |h, p| Box::pin(answers::forget(h, p))),
    ("many concurrent calls", |h, p| {
        Box::pin(answers::burst(h, p))
    }),
    ("raises", |h, p| Box::pin(faults::raises(h, p))),
    ("provider's faults", |h, p| Box::pin(faults::provider(h, p))),
    ("outputs that are not JSON", |h, p| {
        Box::pin(faults::not_json(h, p))
    }),
    ("crash", |h, p| Box::pin(faults::crash(h, p))),
    ("deadline", |h, p| Box::pin(faults::deadline(h, p))),
    ("a caller who leaves", |h, p| {
        Box::pin(faults::caller_leaves(h, p))
    }),
    ("a generator's outputs", |h, p| {
        Box::pin(streams::outputs(h, p))
    }),
    ("chunks in order and bounded", |h, p| {
        Box::pin(streams::in_order(h, p))
    }),
    ("a stream that breaks off", |h, p| {
        Box::pin(streams::breaks_off(h, p))
    }),
    ("a stream that nobody reads any more", |h, p| {
        Box::pin(streams::reader_leaves(h, p))
    }),
    ("two sessions", |h, p| Box::pin(sessions::interleaved(h, p))),
    ("a session moves to a fresh pool", |h, p| {
        Box::pin(sessions::moves(h, p))
    }),
    ("a program that keeps no state", |h, p| {
        Box::pin(sessions::refused(h, p))
    }),
    ("every worker answers by itself", |h, p| {
        Box::pin(trials::probe(h, p))
    }),
    ("faults done to idle workers", |h, p| {
        Box::pin(trials::inject(h, p))
    }),
    ("no fault where every worker is busy", |h, p| {
        Box::pin(trials::busy(h, p))
    }),
    ("status", |h, p| Box::pin(life::status(h, p))),
    ("drain", |h, p| Box::pin(life::drain(h, p))),
    ("a drain has a limit", |h, p| {
        Box::pin(life::drain_limit(h, p))
    }),
];

/// Runs the battery.
///
/// # Panics
/// Where any check fails, with the name and the reason of each that did.
pub async fn run(harness: &Harness) {
    let failed = failures(harness).await;
    let told: Vec<_> = failed
        .iter()
        .map(|(name, reason)| format!("  {name}: {reason}"))
        .collect();
    assert!(
        failed.is_empty(),
        "{} fails {} of {} checks:\n{}",
        harness.name,
        failed.len(),
        CHECKS.len(),
        told.join("\n")
    );
}

/// Runs the battery and returns what failed, by name.
pub async fn failures(harness: &Harness) -> Vec<(&'static str, String)> {
    let mut failed = Vec::new();
    for (name, check) in CHECKS {
        let pool = (harness.fresh)().await;
        // A check may be patient a few times over; what outlasts this hangs.
        let verdict = tokio::time::timeout(harness.patience * 4, check(harness, &pool))
            .await
            .unwrap_or_else(|_| Err("did not end".to_owned()));
        if let Err(reason) = verdict {
            failed.push((*name, reason));
        }
        pool.drain(Duration::from_secs(1)).await;
    }
    failed
}
