//! What processes left half-made in the data directory when they were killed: found by the exact names
//! that this program gives such files, and removed.
//!
//! Invariants: nothing is removed whose name is not one of these, in the one folder that such names are
//! used in; nothing that a living process holds locked; nothing that is younger than a minute, because
//! between its making and its lock there is a moment. Links are not followed.

use std::fs::{File, Metadata, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use crate::clock;
use crate::paths::DataDir;

/// Begins the name of a folder for what is only needed meanwhile; 32 hex digits follow.
pub(crate) const SCRATCH: &str = ".scratch-";

/// Begins the name of a file that proves that a folder can be written; the process's number follows.
pub(crate) const PROBE: &str = ".probe-";

/// The draft of the admin token's hash.
const TOKEN: &str = "admin.token.new";

/// Younger ones are left alone.
const YOUNG: Duration = Duration::from_secs(60);

/// Whether a name is one of ours, for what is found by it.
type Ours = fn(&str, &Metadata) -> bool;

/// A file that is not in its place yet: `.NAME.PID`.
pub(crate) fn aside(name: &str) -> String {
    format!(".{name}.{}", std::process::id())
}

/// Removes what is left over, and answers what that was.
///
/// # Errors
/// Where a folder cannot be read, or something in it not removed; the rest may be gone then.
pub(crate) fn clear(dir: &DataDir) -> Result<Vec<PathBuf>, String> {
    let mut removed = Vec::new();
    let python = dir.python_package();
    let packages = entries(&python)?
        .into_iter()
        .map(|folder| folder.join("dspex_worker"));
    let places: [(Vec<PathBuf>, Ours); 3] = [
        (vec![dir.backups(), dir.archives()], of_archives),
        (vec![dir.path().to_owned()], |name, found| {
            name == TOKEN && found.is_file()
        }),
        (packages.collect(), |name, found| {
            found.is_file() && stem_of_aside(name).is_some_and(|stem| stem.ends_with(".py"))
        }),
    ];
    for (folders, ours) in places {
        for folder in folders {
            for path in entries(&folder)? {
                if is_left_over(&path, ours) {
                    remove(&path)?;
                    tracing::info!(path = %path.display(), "a left-over file is removed");
                    removed.push(path);
                }
            }
        }
    }
    Ok(removed)
}

/// What is in a folder; nothing where there is none, or it is none.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, String> {
    match std::fs::read_dir(folder) {
        Ok(found) => Ok(found.filter_map(|entry| Some(entry.ok()?.path())).collect()),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(Vec::new())
        }
        Err(error) => Err(format!("{} cannot be read: {error}", folder.display())),
    }
}

fn is_left_over(path: &Path, ours: Ours) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let found = std::fs::symlink_metadata(path);
    let (Some(name), Ok(found)) = (name, found) else {
        return false;
    };
    ours(name, &found) && is_old(&found) && is_free(path)
}

fn is_old(found: &Metadata) -> bool {
    let modified = found.modified().ok().map(Timestamp::try_from);
    let Some(Ok(modified)) = modified else {
        return false;
    };
    let age = clock::now().duration_since(modified);
    Duration::try_from(age).is_ok_and(|age| age >= YOUNG)
}

/// Whether no living process holds it.
fn is_free(path: &Path) -> bool {
    let Ok(file) = File::open(path) else {
        // Gone meanwhile, or not ours to read: whoever it belongs to, it stays.
        return false;
    };
    match file.try_lock() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => false,
    }
}

fn remove(path: &Path) -> Result<(), String> {
    let is_folder = std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    let removed = match is_folder {
        true => std::fs::remove_dir_all(path),
        false => std::fs::remove_file(path),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(format!(
            "the left-over {} cannot be removed: {error}",
            path.display()
        )),
        _ => Ok(()),
    }
}

/// Half an archive, a scratch folder, a probe.
fn of_archives(name: &str, found: &Metadata) -> bool {
    if let Some(apart) = name.strip_prefix(SCRATCH) {
        return found.is_dir() && is_hex(apart, 32);
    }
    if !found.is_file() {
        return false;
    }
    match name.strip_prefix(PROBE) {
        Some(pid) => is_number(pid),
        None => stem_of_aside(name).is_some_and(is_archive),
    }
}

/// `NAME` of `.NAME.PID`.
fn stem_of_aside(name: &str) -> Option<&str> {
    let (stem, pid) = name.strip_prefix('.')?.rsplit_once('.')?;
    is_number(pid).then_some(stem)
}

/// `backup-20260102T030405.678Z-0123abcd.tar.gz`, or the same with `pool-`.
fn is_archive(name: &str) -> bool {
    let stem = name.strip_suffix(".tar.gz").unwrap_or_default();
    let rest = stem
        .strip_prefix("backup-")
        .or_else(|| stem.strip_prefix("pool-"));
    rest.and_then(|rest| rest.split_once('-'))
        .is_some_and(|(at, apart)| is_moment(at) && is_hex(apart, 8))
}

fn is_moment(text: &str) -> bool {
    const FORM: &[u8] = b"00000000T000000.000Z";
    let fits = |(found, form): (u8, &u8)| match form {
        b'0' => found.is_ascii_digit(),
        form => found == *form,
    };
    text.len() == FORM.len() && text.bytes().zip(FORM).all(fits)
}

fn is_hex(text: &str, digits: usize) -> bool {
    let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.len() == digits && text.bytes().all(hex)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts something there, an hour old.
    fn plant(path: &Path, is_folder: bool) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        match is_folder {
            true => std::fs::create_dir(path).unwrap(),
            false => std::fs::write(path, "half").unwrap(),
        }
        age(path);
    }

    fn age(path: &Path) {
        let then = clock::now() - jiff::SignedDuration::from_hours(1);
        File::open(path).unwrap().set_modified(then.into()).unwrap();
    }

    #[test]
    fn what_is_left_over_goes_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::new(folder.path());
        let scratch = format!("{SCRATCH}{}", "0f".repeat(16));
        let left: Vec<PathBuf> = [
            dir.backups().join(&scratch),
            dir.archives().join(&scratch),
            dir.archives().join(".probe-17"),
            dir.archives()
                .join(".pool-20260102T030405.678Z-0123abcd.tar.gz.4711"),
            dir.backups()
                .join(".backup-20260102T030405.678Z-0123abcd.tar.gz.1"),
            dir.path().join(TOKEN),
            dir.python_package()
                .join("dspex-worker-00/dspex_worker/.main.py.9"),
        ]
        .into();
        for path in &left {
            let name = path.file_name().unwrap().to_str().unwrap();
            plant(path, name.starts_with(SCRATCH));
        }
        std::fs::write(left[0].join("dspex.db"), "half a copy").unwrap();
        age(&left[0]);
        let stays: Vec<PathBuf> = [
            "archives/pool-20260102T030405.678Z-0123abcd.tar.gz",
            "archives/.pool-20260102T030405.678Z-0123abcd.tar.gz",
            "archives/.pool-notes.tar.gz.17",
            "archives/.pool-20260102T030405.678Z-0123abcz.tar.gz.17",
            "archives/.probe-",
            "archives/.probe-17a",
            "archives/.scratch-17",
            "backups/notes.txt",
            "backups/.main.py.9",
            "admin.token.sha256",
            ".probe-17",
            "python/dspex-worker-00/dspex_worker/main.py",
        ]
        .iter()
        .map(|path| dir.path().join(path))
        .collect();
        for path in &stays {
            plant(path, false);
        }
        // A file by the name of a folder, a link by the name of a file.
        let file = dir.archives().join(format!("{SCRATCH}{}", "ab".repeat(16)));
        plant(&file, false);
        let link = dir.archives().join(".probe-18");
        std::os::unix::fs::symlink(&stays[0], &link).unwrap();
        let mut removed = clear(&dir).unwrap();
        removed.sort();
        let mut expected = left;
        expected.sort();
        assert_eq!(removed, expected);
        assert!(removed.iter().all(|path| !path.exists()));
        for path in stays.iter().chain([&file, &link]) {
            assert!(path.exists(), "{}", path.display());
        }
        assert!(clear(&dir).unwrap().is_empty(), "a second time");
    }

    #[test]
    fn what_is_in_use_or_new_stays() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::new(folder.path());
        let (held, new) = (
            dir.archives().join(".probe-1"),
            dir.archives().join(".probe-2"),
        );
        plant(&held, false);
        std::fs::write(&new, "").unwrap();
        let lock = File::open(&held).unwrap();
        lock.lock().unwrap();
        assert!(clear(&dir).unwrap().is_empty());
        drop(lock);
        assert_eq!(clear(&dir).unwrap(), [held]);
        assert!(new.exists());
    }

    #[test]
    fn a_folder_that_is_not_there_holds_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::new(folder.path().join("nowhere"));
        assert!(clear(&dir).unwrap().is_empty());
    }
}
