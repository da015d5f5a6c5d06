//! Memory for two pools side by side, against what a worker was measured to use.

use std::path::{Path, PathBuf};

use super::{Check, mib};

/// Beyond what the candidate's workers are expected to take: programs use more than imports do.
const SPARE_PERCENT: u64 = 20;

/// How much one worker takes, and by what that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PerWorker {
    /// In bytes.
    pub(crate) bytes: u64,
    /// Measured on what.
    pub(crate) measured_on: String,
}

/// The larger of what was measured.
pub(crate) fn larger(one: Option<PerWorker>, other: Option<PerWorker>) -> Option<PerWorker> {
    one.into_iter()
        .chain(other)
        .max_by_key(|worker| worker.bytes)
}

/// The largest of these processes, by the pages that are theirs (PSS). Reading it takes the kernel
/// milliseconds a process.
pub(crate) fn of_workers(whose: &str, pids: &[u32]) -> Option<PerWorker> {
    let measured: Vec<u64> = pids
        .iter()
        .filter_map(|pid| Some(dspex_pool::Memory::of(*pid)?.pss))
        .collect();
    let bytes = *measured.iter().max()?;
    Some(PerWorker {
        bytes,
        measured_on: format!("{whose}, the largest of {} workers", measured.len()),
    })
}

/// Memory that is available, by the tightest of what holds for this process.
///
/// # Errors
/// Where the kernel does not tell.
pub(crate) fn available() -> Result<(u64, String), String> {
    let text = std::fs::read_to_string("/proc/meminfo").map_err(|error| error.to_string())?;
    let machine = kilobytes(&text, "MemAvailable:")
        .ok_or_else(|| "/proc/meminfo has no MemAvailable".to_owned())?;
    let groups = cgroups().into_iter().filter_map(|group| {
        let room = room(&group)?;
        Some((room, format!("left by the cgroup {}", group.display())))
    });
    let machine = (machine, "available on this machine".to_owned());
    Ok(groups
        .chain([machine.clone()])
        .min_by_key(|(room, _)| *room)
        .unwrap_or(machine))
}

fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.split_whitespace().next()?.parse().ok()?;
    number.checked_mul(1024)
}

/// Our cgroup (version 2) and those above it: each may hold us.
pub(super) fn cgroups() -> Vec<PathBuf> {
    let Ok(text) = std::fs::read_to_string("/proc/self/cgroup") else {
        return Vec::new();
    };
    let Some(ours) = text.lines().find_map(|line| line.strip_prefix("0::/")) else {
        return Vec::new();
    };
    let root = Path::new("/sys/fs/cgroup");
    let mut group = root.join(ours);
    let mut all = Vec::new();
    while group.starts_with(root) {
        all.push(group.clone());
        if !group.pop() {
            break;
        }
    }
    all
}

/// What a cgroup leaves of its memory, where it has a limit. Caches that can be given back count as
/// free.
fn room(group: &Path) -> Option<u64> {
    let number = |file: &str| -> Option<u64> {
        let text = std::fs::read_to_string(group.join(file)).ok()?;
        text.trim().parse().ok()
    };
    let limit = number("memory.max")?;
    let used = number("memory.current")?;
    let stat = std::fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let inactive = stat
        .lines()
        .find_map(|line| line.strip_prefix("inactive_file "))
        .and_then(|number| number.trim().parse().ok())
        .unwrap_or(0);
    Some(limit.saturating_sub(used.saturating_sub(inactive)))
}

/// Whether so many more workers fit beside what runs.
pub(crate) fn side_by_side(
    workers: u64,
    per_worker: Option<&PerWorker>,
    available: Result<(u64, String), String>,
) -> Check {
    let name = "memory for both pools side by side";
    let hint = "make memory free, raise its limit, or give the candidate fewer workers";
    let Some(per_worker) = per_worker else {
        let limit = format!("room for {workers} workers");
        let why = "no worker could be measured";
        return Check::unknown(name, why, &limit, "see the check of the environment");
    };
    let need = workers
        .saturating_mul(per_worker.bytes)
        .saturating_mul(100 + SPARE_PERCENT)
        / 100;
    let limit = format!(
        "{}: {workers} workers of {} ({}) and {SPARE_PERCENT} % more",
        mib(need),
        mib(per_worker.bytes),
        per_worker.measured_on
    );
    match available {
        Err(why) => Check::unknown(name, why, &limit, hint),
        Ok((free, by)) => {
            Check::ok(name, format!("{} {by}", mib(free)), &limit).only_if(free >= need, hint)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    fn worker(bytes: u64) -> PerWorker {
        PerWorker {
            bytes,
            measured_on: "a test".to_owned(),
        }
    }

    #[test]
    fn what_does_not_fit_is_unfit_and_what_was_not_measured_is_unknown() {
        let free = |bytes| Ok((bytes, "free".to_owned()));
        let verdict = |per_worker: Option<u64>, free| {
            side_by_side(4, per_worker.map(worker).as_ref(), free).verdict
        };
        assert_eq!(verdict(Some(100 << 20), free(480 << 20)), Verdict::Ok);
        assert_eq!(verdict(Some(100 << 20), free(479 << 20)), Verdict::Unfit);
        assert_eq!(verdict(None, free(u64::MAX)), Verdict::Unknown);
        assert_eq!(verdict(Some(1), Err("no".to_owned())), Verdict::Unknown);
    }

    #[test]
    fn this_machine_and_this_process_are_measured() {
        let (free, by) = available().unwrap();
        assert!(free > 0 && !by.is_empty());
        let us = of_workers("us", &[std::process::id(), u32::MAX]).unwrap();
        assert!(us.bytes > 0);
        assert!(us.measured_on.contains("of 1 workers"), "{us:?}");
        assert_eq!(of_workers("nobody", &[]), None);
        assert_eq!(larger(Some(worker(1)), Some(worker(2))), Some(worker(2)));
    }

    #[test]
    fn a_cgroup_leaves_what_its_limit_does_and_caches_count_as_free() {
        let group = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            std::fs::write(group.path().join(file), text).unwrap();
        };
        write("memory.current", "900\n");
        assert_eq!(room(group.path()), None);
        write("memory.max", "max\n");
        assert_eq!(room(group.path()), None);
        write("memory.max", "1000\n");
        assert_eq!(room(group.path()), Some(100));
        write("memory.stat", "anon 5\ninactive_file 300\n");
        assert_eq!(room(group.path()), Some(400));
    }
}
