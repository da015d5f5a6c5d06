//! The copy of the tree, and what is taken out of it.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::repository::tracked;

/// The crate that goes.
const CRATE: &str = "pool-v1";

/// The one file of the app that knows it.
const KIND: &str = "app/src/pools/v1.rs";

/// What was taken out, and what still has its name.
#[derive(Debug)]
pub(super) struct Removed {
    pub(super) paths: Vec<String>,
    pub(super) lines: Vec<String>,
    /// Files that name it and need not: words, tests of names, a feature that is off.
    pub(super) mentions: Vec<String>,
}

/// Copies what git sees into a folder that is made anew, and answers how many files that are.
pub(super) fn copy(from: &Path, to: &Path) -> Result<usize> {
    if to.exists() {
        std::fs::remove_dir_all(to).with_context(|| format!("cannot remove {}", to.display()))?;
    }
    let mut copied = 0;
    for path in tracked(from)? {
        let (source, target) = (from.join(&path), to.join(&path));
        // One that was deleted, and not yet committed as such, is not there any more.
        if !source.is_file() {
            continue;
        }
        if let Some(folder) = target.parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        std::fs::copy(&source, &target).with_context(|| format!("cannot copy {path}"))?;
        copied += 1;
    }
    Ok(copied)
}

/// Takes pool V1 out of the tree at `root`.
pub(super) fn remove(root: &Path) -> Result<Removed> {
    std::fs::remove_dir_all(root.join(CRATE)).with_context(|| format!("cannot remove {CRATE}/"))?;
    std::fs::remove_file(root.join(KIND)).with_context(|| format!("cannot remove {KIND}"))?;
    let mut lines = Vec::new();
    for manifest in ["Cargo.toml", "app/Cargo.toml"] {
        let path = root.join(manifest);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let (text, gone) = without(&text);
        if gone.is_empty() {
            bail!("{manifest} has no line of {CRATE}: the check no longer knows what to remove");
        }
        std::fs::write(&path, text).with_context(|| format!("cannot write {manifest}"))?;
        lines.extend(gone.into_iter().map(|line| format!("{manifest}: {line}")));
    }
    Ok(Removed {
        paths: vec![format!("{CRATE}/"), KIND.to_owned()],
        lines,
        mentions: mentions(root)?,
    })
}

/// A manifest without the crate, and the lines that went or were changed.
fn without(manifest: &str) -> (String, Vec<String>) {
    let (mut text, mut gone) = (String::new(), Vec::new());
    for line in manifest.lines() {
        let name = line.split('=').next().unwrap_or_default().trim();
        let kept = match name {
            "dspex-pool-v1" | "pool-v1" => None,
            // The list of members, and that of the features that are on.
            "members" | "default" => {
                Some(line.replace("\"pool-v1\", ", "").replace("\"pool-v1\"", ""))
            }
            _ => Some(line.to_owned()),
        };
        if kept.as_deref() != Some(line) {
            gone.push(line.trim().to_owned());
        }
        if let Some(kept) = kept {
            text.push_str(&kept);
            text.push('\n');
        }
    }
    (text, gone)
}

fn mentions(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder)
            .with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if std::fs::read_to_string(&path).is_ok_and(|text| text.contains(CRATE)) {
                let path = path.strip_prefix(root).unwrap_or(&path);
                found.push(path.display().to_string());
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_loses_the_crate_and_nothing_else() {
        let manifest = "members = [\"app\", \"pool-v1\", \"pool-v2\"]\n\
                        dspex-pool-v1 = { path = \"pool-v1\" }\n\
                        dspex-pool-v2 = { path = \"pool-v2\" }\n\
                        default = [\"pool-v1\"]\n\
                        pool-v1 = [\"dep:dspex-pool-v1\"]\n\
                        check-cfg = ['cfg(feature, values(\"pool-v1\"))']\n";
        let (text, gone) = without(manifest);
        assert_eq!(
            text,
            "members = [\"app\", \"pool-v2\"]\n\
             dspex-pool-v2 = { path = \"pool-v2\" }\n\
             default = []\n\
             check-cfg = ['cfg(feature, values(\"pool-v1\"))']\n"
        );
        assert_eq!(gone.len(), 4, "{gone:?}");
    }

    #[test]
    fn a_tree_without_the_crate_is_an_error_and_not_a_pass() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert!(remove(folder.path()).is_err());
        for path in [CRATE, "app/src/pools"] {
            std::fs::create_dir_all(folder.path().join(path)).expect("made");
        }
        for path in [KIND, "Cargo.toml", "app/Cargo.toml"] {
            std::fs::write(folder.path().join(path), "name = \"x\"\n").expect("written");
        }
        let error = remove(folder.path()).expect_err("no line to remove");
        assert!(error.to_string().contains("no line"), "{error}");
    }
}
