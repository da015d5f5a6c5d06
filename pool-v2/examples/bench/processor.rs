//! Processor time, of this process and of others: what a call costs, whatever else the machine does.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

/// Of all threads of this process, in user and in system mode.
pub(crate) fn own_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// Of all threads that these processes have now.
fn time_of(pids: &[u32]) -> Duration {
    let threads = pids.iter().flat_map(|pid| {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
        tasks.into_iter().flatten().flatten()
    });
    let nanoseconds = threads.filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}

/// Both sides' processor time from one moment on.
pub(crate) struct Meter {
    workers: Vec<u32>,
    own: Duration,
    theirs: Duration,
}

impl Meter {
    pub(crate) fn start(workers: Vec<u32>) -> Self {
        Self {
            own: own_time(),
            theirs: time_of(&workers),
            workers,
        }
    }

    /// Adds what each of this many calls cost, in microseconds, to a result.
    pub(crate) fn stop(&self, calls: usize, result: &mut Value) {
        let each = |spent: Duration| spent.as_secs_f64() * 1e6 / calls.max(1) as f64;
        result["client_cpu_us"] = json!(each(own_time().saturating_sub(self.own)));
        let theirs = time_of(&self.workers).saturating_sub(self.theirs);
        result["worker_cpu_us"] = json!(each(theirs));
    }
}
