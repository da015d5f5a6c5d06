//! A candidate that does what a test tells it to.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use dspex_flags::Flags;
use dspex_migration::{Candidate, Check, Differences, Plan};
use dspex_pool::{Drained, PoolStatus};

use super::effective;

/// What the simulated candidate is told to do wrong, and what was asked of it.
#[derive(Default)]
pub struct Simulated {
    pub up: AtomicBool,
    pub deploy_fails: AtomicBool,
    pub deploy_hangs: AtomicBool,
    pub preflight_fails: AtomicBool,
    pub verify_fails: AtomicBool,
    pub verify_hangs: AtomicBool,
    pub withdraw_fails: AtomicU64,
    pub worker_failures: AtomicU64,
    /// What copied calls came to.
    pub differences: Mutex<Vec<Differences>>,
    pub asked: Mutex<Vec<&'static str>>,
    /// The effective share of traffic at the moment of each withdrawal, in basis points.
    pub share_at_withdrawal: Mutex<Vec<u16>>,
    pub flags: Mutex<Option<Arc<Flags>>>,
}

impl Simulated {
    fn note(&self, what: &'static str) {
        self.asked.lock().expect("unpoisoned").push(what);
    }

    pub fn compare(&self, differences: Vec<Differences>) {
        *self.differences.lock().expect("unpoisoned") = differences;
    }

    pub fn times(&self, what: &str) -> usize {
        self.asked
            .lock()
            .expect("unpoisoned")
            .iter()
            .filter(|asked| **asked == what)
            .count()
    }
}

pub fn check(name: &str, fails: bool) -> Vec<Check> {
    let value = if fails { "3.8" } else { "3.12" };
    vec![Check {
        name: name.into(),
        ok: !fails,
        value: value.into(),
        limit: "at least 3.10".into(),
        hint: fails.then(|| "install a newer one".into()),
    }]
}

pub fn pool_status(name: &str, failures: u64) -> PoolStatus {
    PoolStatus {
        name: name.into(),
        kind: "simulated",
        size: 4,
        ready: 4,
        in_flight: 0,
        capacity: 4,
        queued: 0,
        starts: 4 + failures,
        failures,
        draining: false,
        ..PoolStatus::default()
    }
}

#[async_trait]
impl Candidate for Simulated {
    async fn preflight(&self, _: &Plan) -> Vec<Check> {
        self.note("preflight");
        check("python", self.preflight_fails.load(Ordering::SeqCst))
    }

    async fn deploy(&self, _: &Plan) -> Result<(), String> {
        self.note("deploy");
        if self.deploy_hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        if self.deploy_fails.load(Ordering::SeqCst) {
            return Err("worker v2-0.1 exited with code 1: no module named dspy".into());
        }
        self.up.store(true, Ordering::SeqCst);
        Ok(())
    }

    async fn verify(&self, _: &Plan) -> Vec<Check> {
        self.note("verify");
        if self.verify_hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        check("workers", self.verify_fails.load(Ordering::SeqCst))
    }

    fn wake_stable(&self) {
        self.note("wake_stable");
    }

    async fn withdraw(&self, _: Duration) -> Result<Drained, String> {
        self.note("withdraw");
        let flags = self
            .flags
            .lock()
            .expect("unpoisoned")
            .clone()
            .expect("set by the house");
        self.share_at_withdrawal
            .lock()
            .expect("unpoisoned")
            .push(effective(&flags));
        let failing = self.withdraw_fails.load(Ordering::SeqCst);
        if failing > 0 {
            self.withdraw_fails.store(failing - 1, Ordering::SeqCst);
            return Err("worker v2-2.1 (pid 4711) does not end".into());
        }
        self.up.store(false, Ordering::SeqCst);
        Ok(Drained {
            finished: 3,
            abandoned: 0,
        })
    }

    fn statuses(&self) -> (PoolStatus, Option<PoolStatus>) {
        let failures = self.worker_failures.load(Ordering::SeqCst);
        let candidate = self
            .up
            .load(Ordering::SeqCst)
            .then(|| pool_status("v2", failures));
        (pool_status("v1", 0), candidate)
    }

    fn differences(&self) -> Vec<Differences> {
        self.differences.lock().expect("unpoisoned").clone()
    }
}
