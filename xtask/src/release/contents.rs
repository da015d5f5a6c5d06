//! What every release holds: the binary, what it prints about itself, and the base overlay.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::build::{Source, output};
use super::layers::Layers;
use super::{runbooks, sbom};
use crate::interrupt::Interrupt;

/// Shells, and what their completion scripts are called.
const SHELLS: [(&str, &str); 3] = [
    ("bash", "completions/dspex.bash"),
    ("zsh", "completions/_dspex"),
    ("fish", "completions/dspex.fish"),
];

/// Files of the repository, and where they go.
const FILES: [(&str, &str); 5] = [
    ("app/config/default.toml", "etc/default.toml"),
    ("pool/python/requirements-dspy.txt", "requirements-dspy.txt"),
    ("LICENSE-MIT", "LICENSE-MIT"),
    ("LICENSE-APACHE", "LICENSE-APACHE"),
    ("CHANGELOG.md", "CHANGELOG.md"),
];

/// Puts it all in; `tree` has the commit's files.
pub(super) fn base(
    layers: &mut Layers,
    tree: &Path,
    source: &Source,
    binary: &Path,
    interrupt: &Interrupt,
) -> Result<()> {
    let bytes = fs::read(binary).with_context(|| format!("cannot read {}", binary.display()))?;
    layers.put_built("bin/dspex", bytes, true)?;
    for (shell, path) in SHELLS {
        let script = output(Command::new(binary).args(["completions", shell]))?;
        layers.put_built(path, format!("{script}\n").into_bytes(), false)?;
    }
    pages(layers, source, binary)?;
    interrupt.check()?;
    let bill = sbom::of(tree, source)?;
    layers.put_built("sbom.cdx.json", bill.into_bytes(), false)?;
    for (from, to) in FILES {
        let bytes = fs::read(tree.join(from)).with_context(|| format!("cannot read {from}"))?;
        layers.put(to, bytes, false, "the repository")?;
    }
    runbooks::put(layers, tree, binary)?;
    layers.lay_folder(&tree.join("xtask/overlays"), "xtask/overlays", source)
}

/// Manual pages, as the binary writes them.
fn pages(layers: &mut Layers, source: &Source, binary: &Path) -> Result<()> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    output(
        Command::new(binary)
            .arg("man")
            .arg(folder.path())
            .env("SOURCE_DATE_EPOCH", source.time.to_string()),
    )?;
    for entry in fs::read_dir(folder.path()).context("cannot read the manual pages")? {
        let path = entry.context("cannot read the manual pages")?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let page = fs::read(&path).with_context(|| format!("cannot read {name}"))?;
        layers.put_built(&format!("man/man1/{name}"), page, false)?;
    }
    Ok(())
}
