//! The archive as a stranger finds it: unpacked into an empty folder, by another user where we may
//! become one, driven by its own scripts, and each part held against the tool that will read it.

mod emergency;
mod named;
mod run;
mod tools;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::archive::sum_of;
use super::build::Source;
use crate::interrupt::Interrupt;
use crate::places::Places;

/// The release, unpacked.
#[derive(Debug)]
pub(super) struct Unpacked {
    /// `bin`, `etc` and the rest are in here.
    pub(super) root: PathBuf,
    /// A folder for what the check needs beside it.
    pub(super) around: PathBuf,
    /// The user and group that it is run as, where it is not ourselves.
    pub(super) user: Option<u32>,
}

/// One line of the report.
pub(super) struct Row {
    pub(super) what: &'static str,
    pub(super) outcome: Result<String>,
}

/// Everything; the report goes to standard output.
pub(super) fn run(
    archive: &Path,
    source: &Source,
    places: &Places,
    interrupt: &Interrupt,
) -> Result<bool> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let unpacked = unpack(archive, source, folder.path())?;
    let mut rows = vec![Row {
        what: "checksums",
        outcome: sums(&unpacked.root),
    }];
    let done = run::rehearse(&unpacked, source, interrupt);
    interrupt.check()?;
    match done {
        Ok(done) => rows.extend([
            Row {
                what: "bin/dspex names the version and the commit of the archive",
                outcome: done.named,
            },
            Row {
                what: "bin/pause_rollout, bin/resume_rollout, bin/emergency_rollback, in a migration",
                outcome: done.emergency,
            },
            Row {
                what: "bin/migrate_pool, end to end",
                outcome: done.migrated,
            },
            Row {
                what: "metrics of dashboard and alerts exist",
                outcome: done
                    .metrics
                    .and_then(|metrics| tools::metrics(&unpacked.root, &metrics)),
            },
        ]),
        Err(error) => rows.push(Row {
            what: "bin/dspex serve",
            outcome: Err(error),
        }),
    }
    rows.extend(tools::all(&unpacked.root, places, interrupt));
    interrupt.check()?;
    let user = match unpacked.user {
        Some(user) => format!("as user {user}"),
        None => "as this user: only root can become another".to_owned(),
    };
    println!("\n{}, unpacked into an empty folder, {user}", source.name());
    let mut well = true;
    for Row { what, outcome } in &rows {
        match outcome {
            Ok(told) => println!("  passed  {what}: {told}"),
            Err(error) => {
                well = false;
                println!("  FAILED  {what}: {error:#}");
            }
        }
    }
    Ok(well)
}

fn unpack(archive: &Path, source: &Source, around: &Path) -> Result<Unpacked> {
    let packed = fs::File::open(archive).context("cannot read the archive")?;
    // Where it lies, another user may not be let in; what is ours is the file's own mode.
    let mode = packed.metadata().context("cannot look at the archive")?;
    let mode = mode.permissions().mode() & 0o777;
    if mode & 0o444 != 0o444 {
        bail!("the archive has mode {mode:o}: others cannot read it");
    }
    let root = around.join(source.name());
    let user = rustix::process::geteuid().is_root().then_some(65_534);
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--gzip", "--file", "-", "--directory"])
        .arg(around)
        .stdin(Stdio::from(packed));
    if let Some(user) = user {
        hand_over(around, user)?;
        tar.uid(user).gid(user);
    }
    let done = tar.output().context("cannot run tar")?;
    if !done.status.success() {
        let words = String::from_utf8_lossy(&done.stderr);
        bail!("the archive cannot be unpacked: {}", words.trim());
    }
    Ok(Unpacked {
        root,
        around: around.to_owned(),
        user,
    })
}

/// Gives the folder and what is in it to another user.
pub(super) fn hand_over(path: &Path, user: u32) -> Result<()> {
    std::os::unix::fs::lchown(path, Some(user), Some(user))
        .with_context(|| format!("cannot give {} away", path.display()))?;
    if path.is_dir() && !path.is_symlink() {
        for entry in
            fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?
        {
            hand_over(&entry?.path(), user)?;
        }
    }
    Ok(())
}

/// Every file is as `SHA256SUMS` says, and there is none that it does not name.
fn sums(root: &Path) -> Result<String> {
    let text = fs::read_to_string(root.join("SHA256SUMS")).context("no SHA256SUMS")?;
    let mut named = vec![PathBuf::from("SHA256SUMS")];
    for line in text.lines() {
        let (sum, path) = line.split_once("  ").context("a line without a sum")?;
        if sum_of(&root.join(path))? != sum {
            bail!("{path} is not as SHA256SUMS says");
        }
        named.push(PathBuf::from(path));
    }
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if !named.iter().any(|named| root.join(named) == path) {
                bail!("{} is not in SHA256SUMS", path.display());
            }
        }
    }
    Ok(format!("{} files", named.len() - 1))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::super::archive;
    use super::super::layers::Layers;
    use super::*;

    fn source() -> Source {
        Source {
            version: "1.2.3".to_owned(),
            commit: "abc".to_owned(),
            time: 0,
            target: "t".to_owned(),
        }
    }

    #[test]
    fn an_archive_is_unpacked_by_the_user_who_will_run_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let (archive, around) = (folder.path().join("x.tar.gz"), folder.path().join("around"));
        fs::create_dir(&around).expect("made");
        if rustix::process::geteuid().is_root() {
            // Its way must be open, as that of a machine's temporary folder is.
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("ours");
        }
        let mut layers = Layers::default();
        let put = layers.put("bin/x", b"x".to_vec(), true, "base");
        put.expect("new");
        archive::write(&archive, &source(), &layers).expect("written");
        let unpacked = unpack(&archive, &source(), &around).expect("unpacked");
        let file = fs::metadata(unpacked.root.join("bin/x")).expect("there");
        let owner = rustix::process::geteuid().as_raw();
        assert_eq!(file.uid(), unpacked.user.unwrap_or(owner));
        assert_eq!(file.mode() & 0o111, 0o111, "it can be run");
        sums(&unpacked.root).expect("as its sums say");
    }

    #[test]
    fn an_archive_that_only_its_maker_can_read_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let archive = folder.path().join("x.tar.gz");
        fs::write(&archive, "").expect("written");
        fs::set_permissions(&archive, fs::Permissions::from_mode(0o600)).expect("ours");
        let error = unpack(&archive, &source(), folder.path()).expect_err("refused");
        assert!(error.to_string().contains("600"), "{error}");
    }
}
