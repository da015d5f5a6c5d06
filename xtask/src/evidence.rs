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
