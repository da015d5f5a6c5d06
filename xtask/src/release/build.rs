//! The release binary, built so that the machine and the folder leave no trace in it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use cargo_metadata::MetadataCommand;

use crate::interrupt::Interrupt;
use crate::places::Places;
use crate::process::run_logged;
use crate::progress::Progress;

/// What the release is made of.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// The workspace's version.
    pub(super) version: String,
    /// The commit, in full.
    pub(super) commit: String,
    /// When it was made, in seconds since 1970: the time of everything in the archive.
    pub(super) time: u64,
    /// The machine it is for, as rustc names it.
    pub(super) target: String,
}

impl Source {
    /// Of this commit of the repository at `root`, whose files lie in `tree`.
    pub(super) fn of(root: &Path, commit: &str, tree: &Path) -> Result<Self> {
        let rustc = output(Command::new("rustc").arg("-vV").current_dir(tree))?;
        let target = rustc
            .lines()
            .find_map(|line| line.strip_prefix("host: "))
            .context("rustc does not say which machine it builds for")?;
        let metadata = MetadataCommand::new()
            .manifest_path(tree.join("Cargo.toml"))
            .no_deps()
            .exec()
            .context("cargo metadata failed for the commit's tree")?;
        let version = metadata
            .packages
            .iter()
            .find(|package| package.name.as_str() == "dspex")
            .context("the workspace has no package dspex")?
            .version
            .to_string();
        Ok(Self {
            version,
            commit: commit.to_owned(),
            time: super::tree::time(root, commit)?,
            target: target.to_owned(),
        })
    }

    /// The folder in the archive, and the archive's own name.
    pub(super) fn name(&self) -> String {
        format!("dspex-{}-{}", self.version, self.target)
    }

    /// A text of the overlay with what is known here filled in.
    pub(super) fn fill(&self, text: &str) -> String {
        text.replace("{{version}}", &self.version)
            .replace("{{commit}}", &self.commit)
            .replace("{{target}}", &self.target)
    }
}

/// Builds the binary from `tree`.
pub(super) fn binary(
    places: &Places,
    source: &Source,
    tree: &Path,
    target: &Path,
    interrupt: &Interrupt,
) -> Result<PathBuf> {
    let progress = Progress::start("building the release binary");
    let cargo_home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))
        .context("neither CARGO_HOME nor a home folder is known")?;
    let sysroot = output(
        Command::new("rustc")
            .args(["--print", "sysroot"])
            .current_dir(tree),
    )?;
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    let flags = [
        remap(tree, "/dspex"),
        remap(target, "/target"),
        remap(&cargo_home, "/cargo"),
        remap(Path::new(&sysroot), "/rust"),
    ];
    let mut command = Command::new(Places::cargo());
    command
        .current_dir(tree)
        .args(["build", "--release", "--locked", "-p", "dspex"])
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_INCREMENTAL", "0")
        .env("SOURCE_DATE_EPOCH", source.time.to_string())
        // `/v1/status` says it.
        .env("DSPEX_COMMIT", &source.commit)
        // Flags separated by 0x1f: paths may hold spaces.
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env(
            "CFLAGS",
            format!(
                "-ffile-prefix-map={}=/cargo -ffile-prefix-map={}=/target",
                cargo_home.display(),
                target.display()
            ),
        )
        .env_remove("RUSTFLAGS");
    run_logged(
        &mut command,
        &places.log("release-build")?,
        &progress,
        interrupt,
    )?;
    progress.done("built");
    Ok(target.join("release/dspex"))
}

/// What a short command prints, without the line's end; an error where it fails.
pub(super) fn output(command: &mut Command) -> Result<String> {
    let shown = crate::process::describe(command);
    let done = command
        .output()
        .with_context(|| format!("cannot run {shown}"))?;
    if !done.status.success() {
        bail!(
            "{shown} failed ({}): {}",
            done.status,
            String::from_utf8_lossy(&done.stderr).trim()
        );
    }
    let text = String::from_utf8(done.stdout).with_context(|| format!("{shown}: not UTF-8"))?;
    Ok(text.trim_end().to_owned())
}
