//! cargo-nextest: the one on the path, or one installed into the cache at a pinned version.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::interrupt::Interrupt;
use crate::places::Places;
use crate::process::run_logged;
use crate::progress::Progress;

/// What is installed where none is found.
const VERSION: &str = "0.9.151";

/// A test runner that answers.
#[derive(Debug)]
pub(crate) enum Runner {
    /// `cargo nextest` finds it.
    OnPath,
    /// The one in the cache.
    Cached(PathBuf),
}

impl Runner {
    /// Puts the runner's name in front of its arguments.
    pub(crate) fn arguments(&self, cargo: &mut Command) {
        if let Self::Cached(binary) = self {
            // Cargo looks for its subcommands on the path.
            let folder = binary.parent().map(PathBuf::from).unwrap_or_default();
            let path = std::env::var_os("PATH").unwrap_or_default();
            let folders = std::iter::once(folder).chain(std::env::split_paths(&path));
            if let Ok(joined) = std::env::join_paths(folders) {
                cargo.env("PATH", joined);
            }
        }
        cargo.arg("nextest");
    }

    /// Everything that cargo calls a test, but for those of the documentation.
    pub(crate) fn suite(&self, cargo: &mut Command) {
        self.arguments(cargo);
        cargo
            .args(["run", "--no-fail-fast"])
            .args(EVERYTHING)
            .args(["--profile", profile()]);
    }
}

/// All crates, with all that they can be built with.
pub(crate) const EVERYTHING: [&str; 2] = ["--workspace", "--all-features"];

fn profile() -> &'static str {
    match std::env::var_os("CI") {
        Some(_) => "ci",
        None => "default",
    }
}

/// Finds the runner, or installs it.
pub(crate) fn ensure(places: &Places, interrupt: &Interrupt) -> Result<Runner> {
    if answers(Command::new(Places::cargo()).args(["nextest", "--version"])) {
        return Ok(Runner::OnPath);
    }
    let tools = places.cache.join("tools");
    let binary = tools.join("bin/cargo-nextest");
    if !answers(Command::new(&binary).args(["nextest", "--version"])) {
        let progress = Progress::start(&format!("cargo-nextest {VERSION}, from source"));
        let mut install = Command::new(Places::cargo());
        install
            .args(["install", "--locked", "cargo-nextest", "--version", VERSION])
            // Without self-update, which would bring a TLS stack along.
            .args(["--no-default-features", "--features", "default-no-update"])
            .arg("--root")
            .arg(&tools)
            .current_dir(&places.root);
        run_logged(
            &mut install,
            &places.log("cargo-nextest")?,
            &progress,
            interrupt,
        )
        .context("cannot install cargo-nextest")?;
        progress.done("installed");
    }
    Ok(Runner::Cached(binary))
}

fn answers(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Takes the report of an earlier run away: should the tests not run this time, it would be taken for
/// theirs.
pub(super) fn forget(root: &Path) -> Result<()> {
    let path = report(root);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// How the tests of each binary went, by the runner's own report.
pub(crate) fn counts(root: &Path) -> Result<Vec<Value>> {
    let path = report(root);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(suites(&text))
}

/// The runner's own folder is in the workspace, wherever cargo's target folder is.
fn report(root: &Path) -> PathBuf {
    root.join("target/nextest")
        .join(profile())
        .join("junit.xml")
}

/// One object for each `<testsuite>` element. Its attributes are all that is read of the report.
fn suites(junit: &str) -> Vec<Value> {
    let attribute = |element: &str, name: &str| {
        let start = element.find(&format!(" {name}=\""))? + name.len() + 3;
        let rest = &element[start..];
        Some(rest[..rest.find('"')?].to_owned())
    };
    junit
        .split("<testsuite ")
        .skip(1)
        .filter_map(|rest| {
            let element = format!(" {}", &rest[..rest.find('>')?]);
            let number = |name| attribute(&element, name)?.parse::<u64>().ok();
            let failed = number("failures")? + number("errors").unwrap_or(0);
            Some(json!({
                "binary": attribute(&element, "name")?,
                "tests": number("tests")?,
                "failed": failed,
            }))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_run_left_is_not_counted() {
        let root = tempfile::tempdir().expect("a folder");
        forget(root.path()).expect("none was there");
        let path = report(root.path());
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        let suite = r#"<testsuite name="dspex::it" tests="2" errors="0" failures="0"/>"#;
        std::fs::write(&path, suite).expect("written");
        assert_eq!(counts(root.path()).expect("there").len(), 1);
        forget(root.path()).expect("it is there");
        assert!(counts(root.path()).is_err());
    }

    #[test]
    fn suites_are_counted() {
        let junit = r#"<testsuites name="x" tests="3" failures="1">
            <testsuite name="dspex::it" tests="2" disabled="0" errors="0" failures="1"><testcase/></testsuite>
            <testsuite name="dspex-flags" tests="1" disabled="0" errors="0" failures="0"/></testsuites>"#;
        assert_eq!(
            suites(junit),
            [
                json!({ "binary": "dspex::it", "tests": 2, "failed": 1 }),
                json!({ "binary": "dspex-flags", "tests": 1, "failed": 0 }),
            ]
        );
        assert!(suites("no report").is_empty());
    }
}
