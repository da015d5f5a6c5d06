//! Files from several folders laid over one another.
//!
//! Invariants: a later layer's file takes the place of an earlier one's, and that is told; a folder
//! never takes the place of a file, nor the other way round; nothing leads out of the release. What the
//! build made, and what the release says of itself, nothing takes the place of.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::build::Source;

/// The sums of all other files.
pub(super) const SUMS: &str = "SHA256SUMS";

/// A file of the release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    pub(super) bytes: Vec<u8>,
    pub(super) executable: bool,
    /// Where it comes from, for people.
    layer: String,
    /// Whether it is the binary, or what was made with it.
    built: bool,
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
        let file = File {
            bytes,
            executable,
            layer: layer.to_owned(),
            built: false,
        };
        self.insert(path, file)
    }

    /// Puts in the binary, or what was made with it.
    pub(super) fn put_built(&mut self, path: &str, bytes: Vec<u8>, executable: bool) -> Result<()> {
        let file = File {
            bytes,
            executable,
            layer: "the build".to_owned(),
            built: true,
        };
        self.insert(path, file)
    }

    fn insert(&mut self, path: &str, file: File) -> Result<()> {
        let layer = &file.layer;
        let odd = path
            .chars()
            .any(|letter| letter.is_control() || letter == '\\');
        if odd || path.split('/').any(|name| matches!(name, "" | "." | "..")) {
            bail!("{layer}: {path:?} is no path inside a release");
        }
        if path.split('/').next() == Some(SUMS) {
            bail!(
                "{layer}: {path} cannot be laid over a release, which writes {SUMS} itself, last and over \
                 all of its files; take it out of there"
            );
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
        if let Some(before) = self.files.get(path) {
            if before.built {
                bail!(
                    "{layer}: {path} cannot be laid over {}'s own, which is what the release and its bill of \
                     materials are about; take it out of there, or give it another name",
                    before.layer
                );
            }
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

    /// Lays a folder over what is there, as the layer of this name.
    pub(super) fn lay_folder(&mut self, folder: &Path, layer: &str, source: &Source) -> Result<()> {
        if !folder.is_dir() {
            bail!("the overlay {layer} is no folder");
        }
        self.lay(folder, "", layer, source)
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

    /// The paths of files that are not the same here and there.
    pub(super) fn differing(&self, other: &Self) -> Vec<String> {
        let paths: BTreeSet<&String> = self.files.keys().chain(other.files.keys()).collect();
        let content = |layers: &Self, path: &String| {
            let file = layers.files.get(path)?;
            Some((file.bytes.clone(), file.executable))
        };
        paths
            .into_iter()
            .filter(|path| content(self, path) != content(other, path))
            .cloned()
            .collect()
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
        layers
            .lay_folder(folder.path(), "mine", &source())
            .expect("laid");
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
        for path in ["", "../x", "/x", "a//b", "./a", "a\nb", "a\\b"] {
            assert!(
                layers.put(path, Vec::new(), false, "mine").is_err(),
                "{path}"
            );
        }
    }

    #[test]
    fn what_the_release_writes_itself_is_not_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join(SUMS), "0  x\n").expect("written");
        let refused = Layers::default().lay_folder(folder.path(), "mine", &source());
        let words = refused.expect_err("refused").to_string();
        assert!(words.starts_with("mine: SHA256SUMS "), "{words}");
        let mut layers = Layers::default();
        layers
            .put_built("bin/dspex", b"one".to_vec(), true)
            .expect("new");
        for path in ["bin/dspex", "SHA256SUMS/x"] {
            let refused = layers.put(path, b"two".to_vec(), true, "mine");
            let words = refused.expect_err(path).to_string();
            assert!(words.starts_with(&format!("mine: {path} ")), "{words}");
        }
        assert_eq!(layers.files["bin/dspex"].bytes, b"one");
        assert!(layers.told().is_empty());
    }

    #[test]
    fn two_releases_are_told_apart_by_file() {
        let with = |files: &[(&str, &str, bool)]| {
            let mut layers = Layers::default();
            for (path, text, executable) in files {
                let bytes = text.as_bytes().to_vec();
                layers.put(path, bytes, *executable, "base").expect("new");
            }
            layers
        };
        let one = with(&[("a", "1", false), ("b", "1", false), ("c", "1", false)]);
        let two = with(&[
            ("a", "1", false),
            ("b", "2", false),
            ("c", "1", true),
            ("d", "", false),
        ]);
        assert_eq!(one.differing(&two), ["b", "c", "d"]);
        assert!(one.differing(&one).is_empty());
    }

    #[test]
    fn a_link_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("x")).expect("linked");
        let refused = Layers::default().lay_folder(folder.path(), "mine", &source());
        assert!(
            refused
                .expect_err("refused")
                .to_string()
                .contains("neither a file")
        );
        let missing = folder.path().join("missing");
        assert!(
            Layers::default()
                .lay_folder(&missing, "mine", &source())
                .is_err()
        );
    }
}
