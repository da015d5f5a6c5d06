//! Files from several folders laid over one another.
//!
//! Invariants: a later layer's file takes the place of an earlier one's, and that is told; a folder
//! never takes the place of a file, nor the other way round; nothing leads out of the release.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::build::Source;

/// A file of the release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    pub(super) bytes: Vec<u8>,
    pub(super) executable: bool,
    /// Where it comes from, for people.
    layer: String,
}

/// The release so far, by path with `/` between names.
#[derive(Debug, Default)]
pub(super) struct Layers {
    files: BTreeMap<String, File>,
    told: Vec<String>,
}

impl Layers {
    /// Puts one file in.
    pub(super) fn put(
        &mut self,
        path: &str,
        bytes: Vec<u8>,
        executable: bool,
        layer: &str,
    ) -> Result<()> {
        if path.is_empty() || path.split('/').any(|name| matches!(name, "" | "." | "..")) {
            bail!("{layer}: {path:?} is no path inside a release");
        }
        let above = path
            .match_indices('/')
            .map(|(end, _)| &path[..end])
            .find_map(|above| self.files.get_key_value(above));
        let beneath = format!("{path}/");
        let beneath = self
            .files
            .range(beneath.clone()..)
            .next()
            .filter(|(there, _)| there.starts_with(&beneath));
        if let Some((there, file)) = above.or(beneath) {
            bail!(
                "{layer}: {path} collides with {there} of {}: one is a file where the other needs a folder",
                file.layer
            );
        }
        let file = File {
            bytes,
            executable,
            layer: layer.to_owned(),
        };
        if let Some(before) = self.files.get(path) {
            let how = if before.bytes == file.bytes && before.executable == file.executable {
                "is the same as"
            } else {
                "takes the place of"
            };
            self.told
                .push(format!("{path} of {layer} {how} that of {}", before.layer));
        }
        self.files.insert(path.to_owned(), file);
        Ok(())
    }

    /// Lays a folder over what is there.
    pub(super) fn lay_folder(&mut self, folder: &Path, source: &Source) -> Result<()> {
        let layer = folder.display().to_string();
        if !folder.is_dir() {
            bail!("the overlay {layer} is no folder");
        }
        self.lay(folder, "", &layer, source)
    }

    fn lay(&mut self, folder: &Path, prefix: &str, layer: &str, source: &Source) -> Result<()> {
        let read = || format!("cannot read the overlay {}", folder.display());
        for entry in std::fs::read_dir(folder).with_context(read)? {
            let entry = entry.with_context(read)?;
            let name = entry.file_name();
            let name = name
                .to_str()
                .with_context(|| format!("{layer}: a name in {prefix:?} is not UTF-8"))?;
            let path = format!("{prefix}{name}");
            let kind = entry.file_type().with_context(read)?;
            if kind.is_dir() {
                self.lay(&entry.path(), &format!("{path}/"), layer, source)?;
            } else if kind.is_file() {
                let bytes =
                    std::fs::read(entry.path()).with_context(|| format!("cannot read {path}"))?;
                let mode = entry.metadata().with_context(read)?.permissions().mode();
                let bytes = match String::from_utf8(bytes) {
                    Ok(text) => source.fill(&text).into_bytes(),
                    Err(binary) => binary.into_bytes(),
                };
                self.put(&path, bytes, mode & 0o111 != 0, layer)?;
            } else {
                bail!(
                    "{layer}: {path} is neither a file nor a folder; a release holds nothing else"
                );
            }
        }
        Ok(())
    }

    /// What took the place of what.
    pub(super) fn told(&self) -> &[String] {
        &self.told
    }

    /// All files, by path.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, &File)> {
        self.files.iter().map(|(path, file)| (path.as_str(), file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Source {
        Source {
            version: "1.2.3".to_owned(),
            commit: "abc".to_owned(),
            time: 1,
            dirty: false,
            target: "t".to_owned(),
        }
    }

    #[test]
    fn a_later_layer_wins_and_says_so() {
        let mut layers = Layers::default();
        layers
            .put("etc/x", b"one".to_vec(), false, "base")
            .expect("new");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("etc")).expect("made");
        std::fs::write(folder.path().join("etc/x"), "{{version}}").expect("written");
        std::fs::write(folder.path().join("y"), [0xff, 0xfe]).expect("written");
        layers.lay_folder(folder.path(), &source()).expect("laid");
        assert_eq!(layers.files["etc/x"].bytes, b"1.2.3");
        assert_eq!(layers.files["y"].bytes, [0xff, 0xfe]);
        assert_eq!(layers.told().len(), 1);
        assert!(layers.told()[0].contains("takes the place of that of base"));
        layers
            .put("etc/x", b"1.2.3".to_vec(), false, "third")
            .expect("again");
        assert!(layers.told()[1].contains("is the same as"));
    }

    #[test]
    fn a_file_and_a_folder_of_one_name_are_refused() {
        let mut layers = Layers::default();
        layers.put("a/b", Vec::new(), false, "base").expect("new");
        layers.put("a.txt", Vec::new(), false, "base").expect("new");
        for path in ["a", "a/b/c"] {
            let refused = layers.put(path, Vec::new(), false, "mine").expect_err(path);
            assert!(refused.to_string().contains("a/b of base"), "{refused}");
        }
        for path in ["", "../x", "/x", "a//b", "./a"] {
            assert!(
                layers.put(path, Vec::new(), false, "mine").is_err(),
                "{path}"
            );
        }
    }

    #[test]
    fn a_link_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("x")).expect("linked");
        let refused = Layers::default().lay_folder(folder.path(), &source());
        assert!(
            refused
                .expect_err("refused")
                .to_string()
                .contains("neither a file")
        );
        let missing = folder.path().join("missing");
        assert!(Layers::default().lay_folder(&missing, &source()).is_err());
    }
}
