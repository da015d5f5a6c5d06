//! On what, and with what, it was measured.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::contenders::Contenders;
use crate::places::Places;

/// Written beside the figures.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Surroundings {
    /// When the run began, UTC.
    pub(super) date: String,
    /// Of this repository.
    pub(super) commit: String,
    pub(super) cpu: String,
    /// Cores that the run may use.
    pub(super) cores: usize,
    pub(super) kernel: String,
    /// The system's load over the minute before the run: near 0 on a machine of one's own.
    pub(super) load_before: f64,
    /// By name: rustc, Python, orjson, DSPy, rivals.
    pub(super) versions: BTreeMap<String, String>,
}

impl Surroundings {
    pub(super) fn look(places: &Places, contenders: &Contenders) -> Self {
        Self::of(places, python_versions(contenders))
    }

    /// With the versions of what is measured.
    pub(super) fn of(places: &Places, mut versions: BTreeMap<String, String>) -> Self {
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
        git.args(["describe", "--always", "--dirty"])
            .current_dir(&places.root);
        let surroundings = Self {
            date: jiff::Timestamp::now()
                .strftime("%Y-%m-%d %H:%M UTC")
                .to_string(),
            commit: answer(&mut git),
            cpu: cpu_model(&cpu_info),
            cores: cores().len(),
            kernel: kernel.trim().to_owned(),
            load_before,
            versions,
        };
        if load_before > 0.5 {
            eprintln!(
                "the machine is not idle (load {load_before}): compare the ratios, not the rates"
            );
        }
        surroundings
    }
}

/// The numbers of the cores that this process may use.
pub(super) fn cores() -> Vec<usize> {
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

fn cpu_model(cpu_info: &str) -> String {
    let model = cpu_info.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == "model name").then(|| value.trim().to_owned())
    });
    model.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

fn python_versions(contenders: &Contenders) -> BTreeMap<String, String> {
    const SCRIPT: &str = "import importlib.metadata as m, platform; \
        print('Python', platform.python_version()); \
        print('orjson', m.version('orjson')); print('dspy', m.version('dspy'))";
    answer(Command::new(&contenders.python).args(["-c", SCRIPT]))
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, version)| (name.to_owned(), version.to_owned()))
        .collect()
}

/// What a command prints; that it is unknown where it does not run.
fn answer(command: &mut Command) -> String {
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
        assert_eq!(cpu_model(""), std::env::consts::ARCH);
    }
}
