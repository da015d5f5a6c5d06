//! cargo-nextest: the one on the path, or one installed into the cache at a pinned version.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

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
