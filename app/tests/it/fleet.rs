//! The workers of a server under test, as its admin sees them; signals to them; and figures.

use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde_json::Value;
use tokio::time::Instant;

use crate::house::{House, LONG};

/// One slot's worker at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Slot and generation.
    pub(crate) id: String,
    /// The process, where it takes calls.
    pub(crate) pid: Option<i32>,
    pub(crate) in_flight: u64,
}

/// A pool whole, as `/admin/v1/pools/{pool}` tells it.
pub(crate) async fn pool(house: &House, name: &str) -> Value {
    let mut pool = house.get(&format!("/admin/v1/pools/{name}")).await.ok(200);
    pool["status"].take()
}

/// The workers in slot order.
pub(crate) fn workers(pool: &Value) -> Vec<Seen> {
    let workers = pool["workers"].as_array().unwrap().iter();
    let seen = workers.map(|worker| {
        let serves = worker["state"] == "ready" || worker["state"] == "busy";
        let pid = worker["pid"].as_i64().filter(|_| serves);
        Seen {
            id: worker["id"].as_str().unwrap().to_owned(),
            pid: pid.map(|pid| i32::try_from(pid).unwrap()),
            in_flight: worker["in_flight"].as_u64().unwrap(),
        }
    });
    seen.collect()
}

/// Waits until the pool is as wanted; answers it and how long that took.
pub(crate) async fn until(
    house: &House,
    name: &str,
    what: &str,
    wanted: impl Fn(&Value) -> bool,
) -> (Value, Duration) {
    let began = Instant::now();
    loop {
        let pool = pool(house, name).await;
        if wanted(&pool) {
            return (pool, began.elapsed());
        }
        assert!(
            began.elapsed() < LONG,
            "never {what}: {pool:#}\n{}",
            house.log()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Every worker that the pool wants is there.
pub(crate) fn whole(pool: &Value) -> bool {
    pool["ready"] == pool["size"] && workers(pool).iter().all(|worker| worker.pid.is_some())
}

/// Signals a process of the house. It may have ended by itself a moment ago.
pub(crate) fn signal(pid: i32, signal: Signal) {
    let _ = rustix::process::kill_process(Pid::from_raw(pid).unwrap(), signal);
}

/// Whether a test that has a short and a whole form is to take its time.
pub(crate) fn whole_length() -> bool {
    std::env::var_os("DSPEX_TEST_LONG").is_some()
}

/// Median, 99th percentile and maximum, for people.
pub(crate) fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |percent: usize| times.get(times.len() * percent / 100).or(times.last());
    let [median, most, all] = [50, 99, 100].map(|percent| at(percent).copied().unwrap_or_default());
    format!("p50 {median:.1?}, p99 {most:.1?}, max {all:.1?}")
}
