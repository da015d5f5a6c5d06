//! Descriptors and processes that the system leaves us, against what a candidate's workers take.

use rustix::process::{Resource, getrlimit};

use super::Check;
use super::memory::cgroups;

/// What the server holds open for one worker: its wire (or two pipes), two pipes of its log, a handle on
/// its process and the watch on that.
const FILES_OF_A_WORKER: u64 = 5;
/// What else may be opened meanwhile beside callers' connections: a backup, the database, a spare.
const FILES_TO_SPARE: u64 = 32;
/// Processes beside the workers and their threads: a fork server, the guardian, the look into the
/// environment.
const PROCESSES_TO_SPARE: u64 = 8;

/// Descriptors for so many more workers, and as many connections as are allowed.
pub(crate) fn files(workers: u64, connections: u64) -> Check {
    let name = "file descriptors for both pools side by side";
    let hint = "raise it with `ulimit -n`, or lower server.max_connections";
    let need = workers * FILES_OF_A_WORKER + FILES_TO_SPARE;
    let limit = format!(
        "{need} more for {workers} workers beside the server's own and {connections} connections"
    );
    let open = std::fs::read_dir("/proc/self/fd").map(|open| open.count() as u64);
    match (getrlimit(Resource::Nofile).current, open) {
        (None, _) => Check::ok(name, "unlimited", &limit),
        (Some(_), Err(error)) => Check::unknown(name, error, &limit, "mount /proc"),
        (Some(granted), Ok(open)) => {
            // Connections that are open now are among those that are open anyway.
            let left = granted.saturating_sub(open.max(connections));
            let value = format!("{left} left of {granted}; {open} are open");
            Check::ok(name, value, &limit).only_if(left >= need, hint)
        }
    }
}

/// Processes and threads for so many more workers.
pub(crate) fn processes(workers: u64, each: u64) -> Check {
    let name = "processes and threads for both pools side by side";
    let hint = "raise `ulimit -u` or the cgroup's pids.max, or give the candidate fewer workers";
    let need = workers * each + PROCESSES_TO_SPARE;
    let limit = format!("{need} more: {workers} workers of up to {each}, and some to spare");
    match tightest() {
        Err(why) => Check::unknown(name, why, &limit, "mount /proc"),
        Ok((left, by)) => {
            Check::ok(name, format!("{left} left by {by}"), &limit).only_if(left >= need, hint)
        }
    }
}

/// The least that is left, and by what.
fn tightest() -> Result<(u64, String), String> {
    let number =
        |path: &str| -> Option<u64> { std::fs::read_to_string(path).ok()?.trim().parse().ok() };
    let most = number("/proc/sys/kernel/threads-max")
        .ok_or_else(|| "/proc/sys/kernel/threads-max cannot be read".to_owned())?;
    let (all, ours) = threads()?;
    let mut left = vec![(most.saturating_sub(all), "the kernel".to_owned())];
    // Nobody holds the superuser to it.
    if !rustix::process::geteuid().is_root()
        && let Some(granted) = getrlimit(Resource::Nproc).current
    {
        left.push((granted.saturating_sub(ours), "`ulimit -u`".to_owned()));
    }
    for group in cgroups() {
        let path = |file: &str| group.join(file).display().to_string();
        if let (Some(most), Some(now)) = (number(&path("pids.max")), number(&path("pids.current")))
        {
            let by = format!("the cgroup {}", group.display());
            left.push((most.saturating_sub(now), by));
        }
    }
    left.into_iter()
        .min_by_key(|(left, _)| *left)
        .ok_or_else(|| "nothing is known".to_owned())
}

/// Threads of the machine, and of our user.
fn threads() -> Result<(u64, u64), String> {
    use std::os::unix::fs::MetadataExt as _;
    let us = rustix::process::geteuid().as_raw();
    let (mut all, mut ours) = (0, 0);
    for entry in std::fs::read_dir("/proc").map_err(|error| error.to_string())? {
        let Ok(entry) = entry else { continue };
        let is_process = entry.file_name().as_encoded_bytes()[0].is_ascii_digit();
        // One that has ended meanwhile has no threads.
        let Ok(status) = std::fs::read_to_string(entry.path().join("status")) else {
            continue;
        };
        let threads = status
            .lines()
            .find_map(|line| line.strip_prefix("Threads:"))
            .and_then(|number| number.trim().parse::<u64>().ok());
        let Some(threads) = threads.filter(|_| is_process) else {
            continue;
        };
        all += threads;
        if entry.metadata().is_ok_and(|owner| owner.uid() == us) {
            ours += threads;
        }
    }
    Ok((all, ours))
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_few_workers_fit_and_a_million_do_not() {
        assert_eq!(files(1, 16).verdict, Verdict::Ok, "{:?}", files(1, 16));
        assert_eq!(
            processes(1, 8).verdict,
            Verdict::Ok,
            "{:?}",
            processes(1, 8)
        );
        let many = files(1 << 40, 16);
        assert!(many.verdict == Verdict::Unfit || many.value == "unlimited");
        assert_eq!(processes(1 << 40, 8).verdict, Verdict::Unfit);
    }

    #[test]
    fn our_own_threads_are_counted() {
        let (all, ours) = threads().unwrap();
        assert!(ours > 0 && all >= ours);
    }
}
