//! CPU and memory of the machine, from `/proc`.
//!
//! CPU is the share of time between two samples that was neither idle nor waiting for I/O, over
//! all cores. Memory is what is not available (`MemAvailable`), because free memory alone says
//! nothing on a machine that caches files. What cannot be read is `None`.

use procfs::{Current, CurrentSI, KernelStats, Meminfo};
use serde::{Deserialize, Serialize};

/// The machine's usage at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostUsage {
    /// CPU in use since the sample before, 0 to 100 over all cores. `None` in the first sample.
    pub cpu_percent: Option<f64>,
    /// Memory that is not available to new work, 0 to 100.
    pub memory_percent: Option<f64>,
    /// All memory, in bytes.
    pub memory_total_bytes: Option<u64>,
    /// Memory available to new work, in bytes.
    pub memory_available_bytes: Option<u64>,
}

/// Takes samples; remembers the last one, because CPU usage is a difference.
#[derive(Debug, Default)]
pub struct HostSampler {
    before: Option<Ticks>,
    cpu_percent: Option<f64>,
    warned: bool,
}

/// Clock ticks since the machine started, over all cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticks {
    busy: u64,
    all: u64,
}

impl HostSampler {
    /// A sampler that has seen nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the machine's usage now. Two small reads from `/proc`: microseconds, no disk.
    pub fn sample(&mut self) -> HostUsage {
        let ticks = self
            .told("/proc/stat", KernelStats::current())
            .map(|stats| {
                let cpu = stats.total;
                let idle = cpu.idle + cpu.iowait.unwrap_or(0);
                // `guest` is part of `user` already.
                let busy = cpu.user
                    + cpu.nice
                    + cpu.system
                    + cpu.irq.unwrap_or(0)
                    + cpu.softirq.unwrap_or(0)
                    + cpu.steal.unwrap_or(0);
                Ticks {
                    busy,
                    all: busy + idle,
                }
            });
        let memory = self.told("/proc/meminfo", Meminfo::current());
        self.advance(ticks);
        let total = memory.as_ref().map(|memory| memory.mem_total);
        let available = memory.and_then(|memory| memory.mem_available);
        HostUsage {
            cpu_percent: self.cpu_percent,
            memory_percent: total.zip(available).and_then(|(t, a)| memory_percent(t, a)),
            memory_total_bytes: total,
            memory_available_bytes: available,
        }
    }

    fn advance(&mut self, now: Option<Ticks>) {
        let Some(now) = now else {
            self.before = None;
            self.cpu_percent = None;
            return;
        };
        match self.before {
            // The kernel counts in hundredths of a second. Two samples within one of them measure
            // nothing: the last figure is still the newest there is.
            Some(before) if now.all == before.all => {}
            Some(before) => {
                self.cpu_percent = cpu_percent(before, now);
                self.before = Some(now);
            }
            None => self.before = Some(now),
        }
    }

    fn told<T>(&mut self, file: &str, read: procfs::ProcResult<T>) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(error) => {
                if !std::mem::replace(&mut self.warned, true) {
                    tracing::warn!(file, %error, "the host's usage cannot be read");
                }
                None
            }
        }
    }
}

fn cpu_percent(before: Ticks, now: Ticks) -> Option<f64> {
    // Idle time may run backwards a little on some machines; such a stretch measures nothing.
    let all = now.all.checked_sub(before.all).filter(|&all| all > 0)?;
    let busy = now.busy.checked_sub(before.busy)?;
    Some((busy as f64 / all as f64 * 100.0).min(100.0))
}

fn memory_percent(total: u64, available: u64) -> Option<f64> {
    let used = total.checked_sub(available)?;
    (total > 0).then(|| used as f64 / total as f64 * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_a_difference_between_two_samples() {
        let mut sampler = HostSampler::new();
        sampler.advance(Some(Ticks {
            busy: 100,
            all: 1_000,
        }));
        assert_eq!(sampler.cpu_percent, None);
        sampler.advance(Some(Ticks {
            busy: 130,
            all: 1_100,
        }));
        assert_eq!(sampler.cpu_percent, Some(30.0));
        sampler.advance(Some(Ticks {
            busy: 130,
            all: 1_100,
        }));
        assert_eq!(sampler.cpu_percent, Some(30.0), "no time has passed");
        sampler.advance(Some(Ticks {
            busy: 230,
            all: 1_200,
        }));
        assert_eq!(sampler.cpu_percent, Some(100.0));
    }

    #[test]
    fn counters_that_run_backwards_or_vanish_measure_nothing() {
        let mut sampler = HostSampler::new();
        sampler.advance(Some(Ticks {
            busy: 100,
            all: 1_000,
        }));
        sampler.advance(Some(Ticks {
            busy: 90,
            all: 1_100,
        }));
        assert_eq!(sampler.cpu_percent, None);
        sampler.advance(Some(Ticks {
            busy: 100,
            all: 1_200,
        }));
        assert_eq!(sampler.cpu_percent, Some(10.0));
        sampler.advance(None);
        assert_eq!(sampler.cpu_percent, None);
    }

    #[test]
    fn memory_that_is_not_available_is_used() {
        assert_eq!(memory_percent(1_000, 250), Some(75.0));
        assert_eq!(memory_percent(0, 0), None);
        assert_eq!(memory_percent(10, 20), None);
    }

    #[test]
    fn this_machine_is_measured() {
        let mut sampler = HostSampler::new();
        let first = sampler.sample();
        assert_eq!(first.cpu_percent, None);
        assert!(
            first.memory_percent.is_some_and(|p| p > 0.0 && p < 100.0),
            "{first:?}"
        );
        assert!(
            first.memory_available_bytes < first.memory_total_bytes,
            "{first:?}"
        );

        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
        // This very loop keeps a core busy; but the one tick that a sample may be over may be another
        // core's, which was idle.
        let cpu = loop {
            match sampler.sample().cpu_percent {
                Some(cpu) if cpu > 0.0 => break cpu,
                measured => assert!(
                    tokio::time::Instant::now() < deadline,
                    "a busy machine is measured as {measured:?}"
                ),
            }
        };
        assert!(cpu <= 100.0, "{cpu}");
    }
}
