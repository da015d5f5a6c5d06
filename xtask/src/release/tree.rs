//! The tree that a release is made of: what git has at the commit, and nothing of the folder beside it.
//!
//! Invariant: a file that is in no commit cannot reach the archive, and that it stays out is told.

use std::fs;
use std::io::Seek as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::build::output;
use crate::process::describe;

/// So many changes are told by name.
const TOLD: usize = 10;

fn git(root: &Path, arguments: &[&str]) -> Command {
    let mut git = Command::new("git");
    git.arg("-C").arg(root).args(arguments);
    git
}

/// The commit that the working tree stands on, in full.
pub(super) fn head(root: &Path) -> Result<String> {
    output(&mut git(root, &["rev-parse", "HEAD"]))
}

/// When it was made, in seconds since 1970.
pub(super) fn time(root: &Path, commit: &str) -> Result<u64> {
    let time = output(&mut git(root, &["log", "-1", "--format=%ct", commit]))?;
    time.parse().context("the commit's time is no number")
}

/// What lies in the working tree and is in no commit, for people; nothing where all of it is. A file that
/// nobody has added counts: whoever wrote it may take it for a part of the release.
pub(super) fn left_out(root: &Path) -> Result<Option<String>> {
    let status = output(&mut git(
        root,
        &["status", "--porcelain", "--untracked-files=all"],
    ))?;
    let changes: Vec<&str> = status.lines().collect();
    if changes.is_empty() {
        return Ok(None);
    }
    let mut told = changes[..changes.len().min(TOLD)].join("\n  ");
    if changes.len() > TOLD {
        told.push_str(&format!("\n  and {} more", changes.len() - TOLD));
    }
    Ok(Some(told))
}

/// Lays the commit's files into `tree`, which is made anew.
pub(super) fn export(root: &Path, commit: &str, tree: &Path) -> Result<()> {
    if tree.exists() {
        fs::remove_dir_all(tree).with_context(|| format!("cannot remove {}", tree.display()))?;
    }
    fs::create_dir_all(tree).with_context(|| format!("cannot make {}", tree.display()))?;
    let mut packed = tempfile::tempfile().context("cannot make a temporary file")?;
    let mut archive = git(root, &["archive", "--format=tar", commit]);
    archive.stdout(packed.try_clone().context("cannot share a file")?);
    let shown = describe(&archive);
    let done = archive
        .spawn()
        .and_then(|mut child| child.wait())
        .with_context(|| format!("cannot run {shown}"))?;
    if !done.success() {
        bail!("{shown} failed ({done})");
    }
    packed.rewind().context("cannot read a temporary file")?;
    let mut archive = tar::Archive::new(packed);
    // Cargo tells by a file's time whether to build it again: the commit's own would have it take what it
    // built of a younger commit for this one's.
    archive.set_preserve_mtime(false);
    archive
        .unpack(tree)
        .with_context(|| format!("cannot lay out {commit} in {}", tree.display()))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    /// A repository with one commit of long ago.
    fn repository() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("overlays")).expect("made");
        fs::write(folder.path().join("overlays/kept"), "first").expect("written");
        for arguments in [
            &["init", "--quiet"][..],
            &["add", "."],
            &["commit", "--quiet", "--message=x", "--no-gpg-sign"],
        ] {
            let mut git = git(folder.path(), arguments);
            for who in ["AUTHOR", "COMMITTER"] {
                git.env(format!("GIT_{who}_NAME"), "x")
                    .env(format!("GIT_{who}_EMAIL"), "x@example.org")
                    .env(format!("GIT_{who}_DATE"), "1000000000 +0000");
            }
            output(&mut git).expect("git does it");
        }
        folder
    }

    #[test]
    fn what_is_in_no_commit_stays_out_and_is_told() {
        let repository = repository();
        let root = repository.path();
        let commit = head(root).expect("a commit");
        assert_eq!(time(root, &commit).expect("a time"), 1_000_000_000);
        assert_eq!(left_out(root).expect("a status"), None);
        fs::write(root.join("overlays/stray"), "x").expect("written");
        fs::write(root.join("overlays/kept"), "second").expect("written");
        let told = left_out(root).expect("a status").expect("two changes");
        for name in ["overlays/stray", "overlays/kept"] {
            assert!(told.contains(name), "{told}");
        }
        let tree = root.join("tree");
        fs::create_dir_all(tree.join("overlays")).expect("made");
        fs::write(tree.join("overlays/of the last release"), "x").expect("written");
        export(root, &commit, &tree).expect("laid out");
        let there: Vec<_> = fs::read_dir(tree.join("overlays"))
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        assert_eq!(there, ["kept"]);
        let kept = tree.join("overlays/kept");
        assert_eq!(fs::read_to_string(&kept).expect("read"), "first");
        // As young as it looks to cargo.
        let written = fs::metadata(&kept).and_then(|data| data.modified());
        let age = SystemTime::now().duration_since(written.expect("a time"));
        assert!(age.unwrap_or_default() < Duration::from_secs(3_600));
    }

    #[test]
    fn many_changes_are_counted() {
        let repository = repository();
        for number in 0..TOLD + 3 {
            fs::write(repository.path().join(number.to_string()), "x").expect("written");
        }
        let told = left_out(repository.path()).expect("a status");
        assert!(told.expect("changes").ends_with("and 3 more"));
    }

    #[test]
    fn a_commit_that_is_not_there_is_an_error() {
        let repository = repository();
        let tree = repository.path().join("tree");
        assert!(export(repository.path(), "4711", &tree).is_err());
    }
}
