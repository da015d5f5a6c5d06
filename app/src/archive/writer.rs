//! Writing an archive: beside its place, flushed, then renamed into it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};

use super::{ArchiveError, MANIFEST, Manifest, Member, hex};
use crate::leftovers;

/// How hard it is pressed: gzip's own middle.
const LEVEL: u32 = 6;
/// The system that gzip's header names: none.
const NO_SYSTEM: u8 = 0xff;

/// What a member is made of.
#[derive(Debug)]
pub(crate) enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// This file, which nobody changes meanwhile.
    File(PathBuf),
}

/// An archive that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    /// The file.
    pub(crate) path: PathBuf,
    /// Its length.
    pub(crate) bytes: u64,
    /// SHA-256 of the whole file, as hex.
    pub(crate) sha256: String,
}

/// Writes `folder/name`. `manifest` gets its members from `contents`. Blocks.
///
/// # Errors
/// Where the folder cannot be written; nothing is left behind then.
pub(crate) fn write(
    folder: &Path,
    name: &str,
    mut manifest: Manifest,
    contents: &[(String, Content)],
) -> Result<Written, ArchiveError> {
    if !folder.is_dir() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(ArchiveError::io("cannot make the folder", folder))?;
    }
    manifest.members = contents
        .iter()
        .map(|(name, content)| measure(name, content))
        .collect::<Result<_, _>>()?;
    let path = folder.join(name);
    let aside = Aside::create(folder.join(leftovers::aside(name)))?;
    let (bytes, sha256) = aside
        .fill(&manifest, contents)
        .map_err(ArchiveError::io("cannot write", &path))?;
    aside.take_place_of(&path)?;
    Ok(Written {
        path,
        bytes,
        sha256,
    })
}

/// The SHA-256 of a whole file, as hex: what [`Written::sha256`] was. Blocks.
///
/// # Errors
/// Where it cannot be read.
pub(crate) fn sha256(path: &Path) -> Result<String, ArchiveError> {
    let failed = || ArchiveError::io("cannot read", path);
    let mut hash = Sha256::new();
    let mut file = File::open(path).map_err(failed())?;
    io::copy(&mut file, &mut Hashing(&mut hash)).map_err(failed())?;
    Ok(hex(hash.finalize()))
}

fn measure(name: &str, content: &Content) -> Result<Member, ArchiveError> {
    let mut hash = Sha256::new();
    let bytes = match content {
        Content::Bytes(bytes) => {
            hash.update(bytes);
            bytes.len() as u64
        }
        Content::File(path) => {
            let failed = || ArchiveError::io("cannot read", path);
            let mut file = File::open(path).map_err(failed())?;
            io::copy(&mut file, &mut Hashing(&mut hash)).map_err(failed())?
        }
    };
    Ok(Member {
        name: name.to_owned(),
        bytes,
        sha256: hex(hash.finalize()),
    })
}

/// A file that is not in its place yet. Dropped before, it is gone.
struct Aside {
    path: PathBuf,
    file: File,
}

impl Aside {
    fn create(path: PathBuf) -> Result<Self, ArchiveError> {
        // What an earlier process of this number has left.
        let _ = std::fs::remove_file(&path);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(ArchiveError::io("cannot make", &path))?;
        // Whoever clears away what is left over sees that it is not. Where there are no locks, it is
        // its age that tells.
        let _ = file.try_lock();
        Ok(Self { path, file })
    }

    /// Answers the length and the SHA-256 of the whole file.
    fn fill(
        &self,
        manifest: &Manifest,
        contents: &[(String, Content)],
    ) -> io::Result<(u64, String)> {
        let counted = Counting {
            file: &self.file,
            hash: Sha256::new(),
            bytes: 0,
        };
        let gzip = GzBuilder::new()
            .mtime(0)
            .operating_system(NO_SYSTEM)
            .write(io::BufWriter::new(counted), Compression::new(LEVEL));
        let mut tar = tar::Builder::new(gzip);
        let list = serde_json::to_vec_pretty(manifest)?;
        append(&mut tar, MANIFEST, list.len() as u64, list.as_slice())?;
        for ((name, content), member) in contents.iter().zip(&manifest.members) {
            match content {
                Content::Bytes(bytes) => append(&mut tar, name, member.bytes, bytes.as_slice())?,
                // No more than was measured: one that grew is told by its checksum.
                Content::File(path) => {
                    append(&mut tar, name, member.bytes, File::open(path)?)?;
                }
            }
        }
        let counted = tar
            .into_inner()?
            .finish()?
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        let (bytes, digest) = (counted.bytes, counted.hash.finalize());
        self.file.sync_all()?;
        Ok((bytes, hex(digest)))
    }

    fn take_place_of(&self, path: &Path) -> Result<(), ArchiveError> {
        std::fs::rename(&self.path, path).map_err(ArchiveError::io("cannot make", path))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        // The name is as durable as the file only once its folder is.
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(ArchiveError::io("cannot flush", folder))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // It is not there any more where it took its place.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn append<W: Write>(
    tar: &mut tar::Builder<GzEncoder<W>>,
    name: &str,
    bytes: u64,
    content: impl Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes);
    header.set_mode(0o600);
    tar.append_data(&mut header, name, content.take(bytes))
}

struct Hashing<'a>(&'a mut Sha256);

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Hashes what is really written.
struct Counting<'a> {
    file: &'a File,
    hash: Sha256,
    bytes: u64,
}

impl Write for Counting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
