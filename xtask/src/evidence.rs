//! What runs of this program found, kept for the checklist: `target/evidence/NAME.json`.
//!
//! Invariant: a piece of evidence says of which commit it is, and when it was found.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::places::Places;

/// Keeps `found`, an object, with the commit and the time.
pub(crate) fn keep(places: &Places, name: &str, mut found: Value) -> Result<()> {
    let path = path(places, name);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    found["commit"] = json!(commit(places));
    found["at"] = json!(jiff::Timestamp::now().to_string());
    let text = serde_json::to_string_pretty(&found)? + "\n";
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Where it lies.
pub(crate) fn path(places: &Places, name: &str) -> PathBuf {
    places.target.join("evidence").join(format!("{name}.json"))
}

/// The commit of the tree, with `-dirty` behind it where there are changes beside it.
pub(crate) fn commit(places: &Places) -> String {
    let mut git = Command::new("git");
    git.args([
        "describe",
        "--always",
        "--dirty",
        "--abbrev=12",
        "--exclude=*",
    ])
    .current_dir(&places.root);
    match git.output() {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => "unknown".to_owned(),
    }
}

/// Whether this is the name of a commit that led to the tree's, or of that itself. A changed tree is no
/// commit, and of a history that is not here nothing is known.
pub(crate) fn led_here(places: &Places, commit: &str) -> bool {
    if !commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return false;
    }
    let mut git = Command::new("git");
    git.args(["merge-base", "--is-ancestor", commit, "HEAD"])
        .current_dir(&places.root);
    git.output().is_ok_and(|output| output.status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_commits_of_this_history_led_here() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let places = Places {
            root: folder.path().to_owned(),
            ..Places::find().expect("a workspace")
        };
        let git = |arguments: &[&str]| {
            let mut git = Command::new("git");
            git.args(["-c", "user.name=test", "-c", "user.email=test@example.org"])
                .args(arguments)
                .current_dir(folder.path());
            assert!(git.output().expect("git runs").status.success());
        };
        let on_it = |message: &str| {
            git(&["commit", "--quiet", "--allow-empty", "-m", message]);
            commit(&places)
        };
        git(&["init", "--quiet"]);
        let (first, second) = (on_it("first"), on_it("second"));
        assert!(led_here(&places, &first) && led_here(&places, &second));
        assert!(!led_here(&places, &format!("{first}-dirty")));
        git(&["checkout", "--quiet", &first]);
        assert!(!led_here(&places, &second), "it came later");
        for other in ["", "unknown", "--all", "fedcba9876543210"] {
            assert!(!led_here(&places, other), "{other:?}");
        }
    }
}
