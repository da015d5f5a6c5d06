//! On what, and with what, it was measured.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::places::Places;

/// The form of a date.
const DATE: &str = "%Y-%m-%d %H:%M UTC";

/// Written beside the figures.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Surroundings {
    /// When the run began, UTC.
    pub(crate) date: String,
    /// Of this repository.
    pub(crate) commit: String,
    pub(crate) cpu: String,
    /// Cores that the run may use.
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    /// The system's load over the minute before the run: near 0 on a machine of one's own.
    pub(crate) load_before: f64,
    /// By name: rustc, Python, orjson, DSPy, rivals.
    pub(crate) versions: BTreeMap<String, String>,
}

impl Surroundings {
    /// With the versions of what is measured.
    pub(crate) fn of(places: &Places, mut versions: BTreeMap<String, String>) -> Self {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load_before = load
            .split_whitespace()
            .next()
            .and_then(|first| first.parse().ok())
            .unwrap_or(f64::NAN);
        let cpu_info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let rustc = answer(Command::new("rustc").arg("--version"));
        versions.insert("rustc".to_owned(), rustc.replace("rustc ", ""));
        let mut git = Command::new("git");
        // Twelve digits and no tag: what was found is held against the tree by this text.
        git.args([
            "describe",
            "--always",
            "--dirty",
            "--abbrev=12",
            "--exclude=*",
        ])
        .current_dir(&places.root);
        Self {
            date: Timestamp::now().strftime(DATE).to_string(),
            commit: answer(&mut git),
            cpu: cpu_model(&cpu_info),
            cores: cores().len(),
            kernel: release(&kernel),
            load_before,
            versions,
        }
    }

    /// Says so where others use the machine too: rates are then of little use.
    pub(crate) fn warn_if_busy(&self) {
        let load = self.load_before;
        if load > 0.5 {
            eprintln!("the machine is not idle (load {load}): compare the ratios, not the rates");
        }
    }
}

/// When a date in this form was; none where it is in another.
pub(crate) fn moment(date: &str) -> Option<Timestamp> {
    let civil = DateTime::strptime(DATE, date).ok()?;
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// The numbers of the cores that this process may use.
pub(crate) fn cores() -> Vec<usize> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    core_list(list.unwrap_or_default())
}

/// `0-2,5` as numbers.
fn core_list(text: &str) -> Vec<usize> {
    text.trim()
        .split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.parse().ok()?..=last.parse().ok()?)
        })
        .flatten()
        .collect()
}

/// A kernel's release, without what its builder called it.
fn release(text: &str) -> String {
    let numbers = text.trim().split_once('-');
    numbers
        .map_or(text.trim(), |(numbers, _)| numbers)
        .to_owned()
}

fn cpu_model(cpu_info: &str) -> String {
    let model = cpu_info.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == "model name").then(|| value.trim().to_owned())
    });
    model.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// The versions of an interpreter and of these packages of it, as far as they are installed.
pub(crate) fn python_versions(python: &Path, packages: &[&str]) -> BTreeMap<String, String> {
    const SCRIPT: &str = "\
import importlib.metadata as m, platform, sys
print('Python', platform.python_version())
for name in sys.argv[1:]:
    try:
        print(name, m.version(name))
    except m.PackageNotFoundError:
        pass
";
    answer(Command::new(python).args(["-c", SCRIPT]).args(packages))
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, version)| (name.to_owned(), version.to_owned()))
        .collect()
}

/// What a command prints; that it is unknown where it does not run.
pub(crate) fn answer(command: &mut Command) -> String {
    match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_that_was_written_is_read_to_the_minute() {
        let at: Timestamp = "2026-11-26T17:45:59Z".parse().expect("a time");
        let written = at.strftime(DATE).to_string();
        assert_eq!(written, "2026-11-26 17:45 UTC");
        let read = moment(&written).expect("its own form");
        assert_eq!(read.to_string(), "2026-11-26T17:45:00Z");
        assert_eq!(moment("yesterday"), None);
    }

    #[test]
    fn lists_of_cores_are_read() {
        assert_eq!(core_list(" 0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(core_list("3"), [3]);
        assert_eq!(core_list(""), [0; 0]);
        assert!(!cores().is_empty(), "this process runs somewhere");
    }

    #[test]
    fn the_cpu_has_a_name() {
        let text = "processor\t: 0\nmodel name\t: A Chip @ 2 GHz\nmodel name\t: Another\n";
        assert_eq!(cpu_model(text), "A Chip @ 2 GHz");
        assert_eq!(release("6.1.0-9-custom\n"), "6.1.0");
        assert_eq!(release("6.18"), "6.18");
        assert_eq!(cpu_model(""), std::env::consts::ARCH);
    }
}
