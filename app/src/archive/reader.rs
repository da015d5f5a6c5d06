//! Reading an archive, and proving it meanwhile.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use flate2::read::GzDecoder;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{ArchiveError, BEGINNING, FORMAT, MANIFEST, Manifest, Member, hex};

/// A manifest is a list; a longer one is no manifest.
const LONGEST_MANIFEST: u64 = 16 << 20;

type Stream = GzDecoder<io::BufReader<File>>;

/// The manifest alone. The members are not looked at.
///
/// # Errors
/// See [`ArchiveError`].
pub(crate) fn manifest_of(path: &Path) -> Result<Manifest, ArchiveError> {
    let mut tar = tar::Archive::new(open(path)?);
    let mut entries = entries(path, &mut tar)?;
    first(path, &mut entries)
}

/// Extracts the members into a folder, which must be empty or not there. Blocks.
///
/// # Errors
/// See [`ArchiveError`]. What was extracted by then stays: the folder was the caller's to give.
pub(crate) fn extract(path: &Path, into: &Path) -> Result<Manifest, ArchiveError> {
    let mut tar = tar::Archive::new(open(path)?);
    let mut entries = entries(path, &mut tar)?;
    let manifest = first(path, &mut entries)?;
    empty(into)?;
    for member in &manifest.members {
        let entry = entries.next().ok_or_else(|| ArchiveError::Truncated {
            path: path.to_owned(),
            what: format!("{} is missing", member.name),
        })?;
        let entry = entry.map_err(|error| ArchiveError::reading(path, error))?;
        unpack(path, entry, member, into)?;
    }
    match entries.next() {
        None => {}
        Some(Err(error)) => return Err(ArchiveError::reading(path, error)),
        Some(Ok(entry)) => {
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            return Err(altered(path, format!("the manifest has no {name}")));
        }
    }
    drop(entries);
    end(path, tar.into_inner())?;
    Ok(manifest)
}

fn altered(path: &Path, what: String) -> ArchiveError {
    ArchiveError::Altered {
        path: path.to_owned(),
        what,
    }
}

fn open(path: &Path) -> Result<Stream, ArchiveError> {
    let failed = || ArchiveError::io("cannot read", path);
    let mut file = File::open(path).map_err(failed())?;
    let foreign = |reason: &str| ArchiveError::Foreign {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    if !file.metadata().map_err(failed())?.is_file() {
        return Err(foreign("it is not a file"));
    }
    let mut beginning = [0; BEGINNING.len()];
    match file.read_exact(&mut beginning) {
        Ok(()) if beginning == BEGINNING => {}
        Ok(()) => return Err(foreign("it does not begin like one")),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(foreign("it is shorter than any"));
        }
        Err(error) => return Err(failed()(error)),
    }
    io::Seek::rewind(&mut file).map_err(failed())?;
    Ok(GzDecoder::new(io::BufReader::new(file)))
}

fn entries<'a>(
    path: &Path,
    tar: &'a mut tar::Archive<Stream>,
) -> Result<tar::Entries<'a, Stream>, ArchiveError> {
    tar.entries()
        .map_err(|error| ArchiveError::reading(path, error))
}

fn first(path: &Path, entries: &mut tar::Entries<'_, Stream>) -> Result<Manifest, ArchiveError> {
    let foreign = |reason: String| ArchiveError::Foreign {
        path: path.to_owned(),
        reason,
    };
    let entry = entries
        .next()
        .ok_or_else(|| foreign("it is empty".to_owned()))?
        .map_err(|error| ArchiveError::reading(path, error))?;
    if *entry.path_bytes() != *MANIFEST.as_bytes() {
        return Err(foreign(format!("its first member is not {MANIFEST}")));
    }
    let mut text = Vec::new();
    entry
        .take(LONGEST_MANIFEST)
        .read_to_end(&mut text)
        .map_err(|error| ArchiveError::reading(path, error))?;
    let damaged = |error: serde_json::Error| altered(path, format!("its manifest: {error}"));
    let value: Value = serde_json::from_slice(&text).map_err(damaged)?;
    // Before anything else of it is understood: a later format may be another in everything.
    let format = value.get("format").and_then(Value::as_u64);
    match format {
        Some(format) if format > u64::from(FORMAT) => {
            let by = value.get("dspex").and_then(Value::as_str);
            return Err(ArchiveError::Newer {
                path: path.to_owned(),
                format,
                by: by.unwrap_or("of an unknown release").to_owned(),
            });
        }
        Some(_) => {}
        None => return Err(altered(path, "its manifest names no format".to_owned())),
    }
    let manifest: Manifest = serde_json::from_value(value).map_err(damaged)?;
    match manifest.members.iter().find(|member| !member.is_safe()) {
        Some(member) => Err(ArchiveError::Unsafe {
            path: path.to_owned(),
            member: member.name.clone(),
        }),
        None => Ok(manifest),
    }
}

fn empty(into: &Path) -> Result<(), ArchiveError> {
    if !into.exists() {
        return DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(into)
            .map_err(ArchiveError::io("cannot make the folder", into));
    }
    let mut there =
        std::fs::read_dir(into).map_err(ArchiveError::io("cannot read the folder", into))?;
    match there.next() {
        None => Ok(()),
        Some(_) => Err(ArchiveError::NotEmpty {
            path: into.to_owned(),
        }),
    }
}

fn unpack(
    path: &Path,
    mut entry: tar::Entry<'_, Stream>,
    member: &Member,
    into: &Path,
) -> Result<(), ArchiveError> {
    let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    if name != member.name || !entry.header().entry_type().is_file() {
        return Err(altered(
            path,
            format!("{name} stands where {} should", member.name),
        ));
    }
    let target = into.join(&member.name);
    let failed = || ArchiveError::io("cannot write", &target);
    if let Some(folder) = target.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(failed())?;
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&target)
        .map_err(failed())?;
    let mut hash = Sha256::new();
    let mut bytes = 0;
    let mut piece = vec![0; 64 << 10];
    loop {
        let read = entry
            .read(&mut piece)
            .map_err(|error| ArchiveError::reading(path, error))?;
        if read == 0 {
            break;
        }
        hash.update(&piece[..read]);
        bytes += read as u64;
        file.write_all(&piece[..read]).map_err(failed())?;
    }
    if bytes != member.bytes {
        let what = format!("{name} has {bytes} bytes, not {}", member.bytes);
        return Err(altered(path, what));
    }
    let found = hex(hash.finalize());
    if found != member.sha256 {
        let what = format!("{name} has the SHA-256 {found}, not {}", member.sha256);
        return Err(altered(path, what));
    }
    file.sync_all().map_err(failed())
}

/// Reads to the end of the stream, which proves its checksum, and of the file.
fn end(path: &Path, mut stream: Stream) -> Result<(), ArchiveError> {
    let mut rest = Vec::new();
    // The padding of tar's last block.
    (&mut stream)
        .take(1 << 20)
        .read_to_end(&mut rest)
        .map_err(|error| ArchiveError::reading(path, error))?;
    let mut file = stream.into_inner();
    let beyond = file
        .read(&mut [0; 1])
        .map_err(|error| ArchiveError::reading(path, error))?;
    if beyond > 0 || rest.iter().any(|byte| *byte != 0) {
        return Err(altered(
            path,
            "there is more in it after its end".to_owned(),
        ));
    }
    Ok(())
}
