//! The archive: a gzipped tar whose bytes say nothing of when and where it was made.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use super::build::Source;
use super::layers::{Layers, SUMS};

/// What anybody may read: who offers the archive to others is seldom who has made it. A temporary file
/// is its maker's alone, and keeps that mode under its new name.
const FOR_ALL: u32 = 0o644;

/// Writes it, whole or not at all. Answers its sum.
pub(super) fn write(archive: &Path, source: &Source, layers: &Layers) -> Result<String> {
    let mut sums = String::new();
    for (path, file) in layers.files() {
        writeln!(sums, "{}  {path}", sum(&file.bytes))?;
    }
    let mut files: Vec<(&str, &[u8], bool)> = layers
        .files()
        .map(|(path, file)| (path, file.bytes.as_slice(), file.executable))
        .collect();
    files.push((SUMS, sums.as_bytes(), false));
    files.sort_unstable();
    let bytes = pack(source, &files)?;
    let folder = archive.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)
        .with_context(|| format!("cannot write into {}", folder.display()))?;
    file.write_all(&bytes)
        .and_then(|()| for_all(file.path()))
        .and_then(|()| file.as_file().sync_all())
        .with_context(|| format!("cannot write {}", archive.display()))?;
    file.persist(archive)
        .with_context(|| format!("cannot put {} in its place", archive.display()))?;
    let sum = sum(&bytes);
    let name = archive.file_name().unwrap_or_default().to_string_lossy();
    let beside = archive.with_file_name(format!("{name}.sha256"));
    fs::write(&beside, format!("{sum}  {name}\n"))
        .and_then(|()| for_all(&beside))
        .with_context(|| format!("cannot write {}", beside.display()))?;
    Ok(sum)
}

fn for_all(path: &Path) -> std::io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(FOR_ALL))
}

fn pack(source: &Source, files: &[(&str, &[u8], bool)]) -> Result<Vec<u8>> {
    // No name and no time in gzip's own header.
    let gzip = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::best());
    let mut tar = Builder::new(gzip);
    let mut folders = std::collections::BTreeSet::new();
    let root = source.name();
    folder(&mut tar, &root, source)?;
    for &(path, bytes, executable) in files {
        for (end, _) in path.match_indices('/') {
            if folders.insert(path[..end].to_owned()) {
                folder(&mut tar, &format!("{root}/{}", &path[..end]), source)?;
            }
        }
        let mode = if executable { 0o755 } else { 0o644 };
        let mut header = header(source, EntryType::Regular, mode);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, format!("{root}/{path}"), bytes)
            .with_context(|| format!("cannot pack {path}"))?;
    }
    let gzip = tar.into_inner().context("cannot end the archive")?;
    gzip.finish().context("cannot end the archive")
}

fn folder<W: std::io::Write>(tar: &mut Builder<W>, path: &str, source: &Source) -> Result<()> {
    let mut header = header(source, EntryType::Directory, 0o755);
    header.set_size(0);
    tar.append_data(&mut header, format!("{path}/"), std::io::empty())
        .with_context(|| format!("cannot pack {path}"))
}

fn header(source: &Source, kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(source.time);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// SHA-256 of a file, in hexadecimal.
pub(super) fn sum_of(file: &Path) -> Result<String> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(sum(&bytes))
}

fn sum(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut text, byte| {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn source() -> Source {
        Source {
            version: "1.2.3".to_owned(),
            commit: "abc".to_owned(),
            time: 1_000_000,
            target: "t".to_owned(),
        }
    }

    fn layers(order: &[&str]) -> Layers {
        let mut layers = Layers::default();
        for path in order {
            let put = layers.put(path, path.as_bytes().to_vec(), *path == "bin/x", "base");
            put.expect("new");
        }
        layers
    }

    #[test]
    fn the_same_files_give_the_same_bytes_and_their_sums_are_inside() {
        let folder = tempfile::tempdir().expect("a folder");
        let (one, two) = (
            folder.path().join("1.tar.gz"),
            folder.path().join("2.tar.gz"),
        );
        let first = write(&one, &source(), &layers(&["bin/x", "a"])).expect("written");
        let second = write(&two, &source(), &layers(&["a", "bin/x"])).expect("written");
        assert_eq!(first, second);
        assert_eq!(first, sum_of(&one).expect("read"));
        for written in [one.clone(), folder.path().join("1.tar.gz.sha256")] {
            let mode = fs::metadata(&written).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o644, "{} is for all", written.display());
        }
        let packed = fs::File::open(&one).expect("there");
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(packed));
        let mut seen = Vec::new();
        for entry in tar.entries().expect("a tar") {
            let mut entry = entry.expect("an entry");
            let header = entry.header();
            assert_eq!(header.mtime().expect("a time"), 1_000_000);
            assert_eq!(header.uid().expect("an owner"), 0);
            let mode = header.mode().expect("a mode");
            let path = entry.path().expect("a path").display().to_string();
            let mut text = String::new();
            entry.read_to_string(&mut text).expect("text");
            seen.push((path, mode, text));
        }
        let paths: Vec<&str> = seen.iter().map(|(path, ..)| path.as_str()).collect();
        let root = source().name();
        let expected =
            ["", "SHA256SUMS", "a", "bin/", "bin/x"].map(|path| format!("{root}/{path}"));
        assert_eq!(paths, expected);
        assert_eq!(seen[4].1, 0o755);
        assert_eq!(seen[2].1, 0o644);
        assert!(
            seen[1].2.contains(&format!("{}  bin/x\n", sum(b"bin/x"))),
            "{}",
            seen[1].2
        );
    }
}
