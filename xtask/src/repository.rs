//! What git knows of the repository.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The files that git tracks, and those that it would track if they were added now: by their paths from
/// the root, with `/` between the parts. One that was deleted and not yet committed as such is among them.
pub(crate) fn tracked(root: &Path) -> Result<Vec<String>> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root)
        .output()
        .context("cannot run git, which knows the repository's files")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("git ls-files failed: {}", said.trim());
    }
    let paths = String::from_utf8_lossy(&output.stdout);
    Ok(paths.split_terminator('\0').map(str::to_owned).collect())
}
