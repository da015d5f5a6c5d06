//! The npm packages of tests, installed into the cache from a lock file.
//!
//! Invariant: a folder that is there is whole: it gets its name once everything is in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::interrupt::Interrupt;
use crate::places::Places;
use crate::process::run_logged;
use crate::progress::Progress;

/// The `node_modules` for that folder's `package-lock.json`; installs it where it is not there yet.
pub(super) fn ensure(places: &Places, folder: &Path, interrupt: &Interrupt) -> Result<PathBuf> {
    let mut hash = Sha256::new();
    for name in FILES {
        let path = folder.join(name);
        hash.update([0]);
        hash.update(fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
    }
    let key: String = hash.finalize()[..6]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let parent = places.cache.join("npm");
    let whole = parent.join(&key);
    let modules = whole.join("node_modules");
    if modules.is_dir() {
        return Ok(modules);
    }
    let making = parent.join(format!("{key}.{}", std::process::id()));
    fs::create_dir_all(&making)
        .with_context(|| format!("cannot make the folder {}", making.display()))?;
    for name in FILES {
        fs::copy(folder.join(name), making.join(name))
            .with_context(|| format!("cannot copy {name}"))?;
    }
    let progress = Progress::start("npm packages");
    let mut install = Command::new("npm");
    install
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(&making);
    run_logged(&mut install, &places.log("npm")?, &progress, interrupt)
        .context("cannot install the npm packages; it takes Node 20 and npm")?;
    progress.done("installed");
    // Another run may have been first; then its folder is as good.
    if fs::rename(&making, &whole).is_err() {
        fs::remove_dir_all(&making)
            .with_context(|| format!("cannot remove {}", making.display()))?;
    }
    Ok(modules)
}

const FILES: [&str; 2] = ["package.json", "package-lock.json"];
