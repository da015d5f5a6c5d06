//! Room on the disk of the data directory, against what a migration will write there.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::{Check, mib};

/// What is left for everything else: less than this, and the journal may have no room when it
/// matters.
pub(crate) const SPARE: u64 = 64 << 20;
/// A database that is younger has not grown long enough to say how fast it does.
const GROWN: Duration = Duration::from_secs(3600);
/// Copies of the database that lie on the disk at once: the one that a backup is made of, the backup,
/// and a restored one while it is proven.
const COPIES: u64 = 3;

/// What a migration needs of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Need {
    /// The database with its log.
    pub(crate) database: u64,
    /// What it is expected to grow by, from how it has grown so far.
    pub(crate) growth: u64,
}

impl Need {
    /// Measures the database in this folder. `lasts`: how long the migration will take at the least.
    ///
    /// # Errors
    /// Where it cannot be measured.
    pub(crate) fn measure(
        database: &Path,
        lasts: Duration,
        now: Timestamp,
    ) -> std::io::Result<Self> {
        let file = std::fs::metadata(database)?;
        let log = database.with_extension("db-wal");
        let bytes = file.len() + std::fs::metadata(log).map_or(0, |log| log.len());
        // Where the file system does not tell when it was made, it counts as new.
        let age = file
            .created()
            .ok()
            .and_then(|made| Timestamp::try_from(made).ok())
            .and_then(|made| Duration::try_from(now.duration_since(made)).ok())
            .unwrap_or_default();
        Ok(Self {
            database: bytes,
            growth: growth(bytes, age, lasts),
        })
    }

    pub(crate) fn total(self) -> u64 {
        let copies = self.database.saturating_mul(COPIES);
        copies.saturating_add(self.growth).saturating_add(SPARE)
    }
}

/// As it has grown, so it will; as much again where it is too young to say.
fn growth(bytes: u64, age: Duration, lasts: Duration) -> u64 {
    if age < GROWN {
        return bytes;
    }
    // f64 is exact enough for an estimate of bytes, and what is too large becomes the largest.
    let grown = bytes as f64 * (lasts.as_secs_f64() / age.as_secs_f64());
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float becomes the nearest number that there is"
    )]
    let grown = grown as u64;
    grown
}

/// Free bytes for us, on the file system of this folder.
///
/// # Errors
/// Where the kernel does not tell.
pub(crate) fn free(folder: &Path) -> std::io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Whether there is room for a backup, an archive, the journal and what else is written meanwhile.
pub(crate) fn room(folder: &Path, need: std::io::Result<Need>) -> Check {
    let name = "room on the disk for backup, journal and metrics";
    let hint = "make room on the disk, or choose another folder with server.data_dir";
    let measured = need.and_then(|need| Ok((need, free(folder)?)));
    match measured {
        Err(error) => Check::unknown(name, error, "enough", hint),
        Ok((need, free)) => {
            let limit = format!(
                "{}: {COPIES} times the database of {}, {} of growth, and {} to spare",
                mib(need.total()),
                mib(need.database),
                mib(need.growth),
                mib(SPARE)
            );
            Check::ok(name, format!("{} free", mib(free)), &limit)
                .only_if(free >= need.total(), hint)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_as_it_was_and_the_young_are_taken_to_double() {
        let (hour, day) = (Duration::from_secs(3600), Duration::from_secs(86_400));
        assert_eq!(growth(1000, Duration::ZERO, day), 1000);
        assert_eq!(growth(1000, 10 * hour, hour), 100);
        assert_eq!(growth(1000, hour, day), 24_000);
        assert_eq!(growth(u64::MAX, hour, day), u64::MAX);
    }

    #[test]
    fn too_little_room_is_unfit_and_none_measured_is_unknown() {
        let folder = tempfile::tempdir().unwrap();
        let need = |database| {
            Ok(Need {
                database,
                growth: 0,
            })
        };
        let check = room(folder.path(), need(1 << 60));
        assert_eq!(check.verdict, super::super::Verdict::Unfit, "{check:?}");
        let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
        let check = room(folder.path(), Err(missing));
        assert_eq!(check.verdict, super::super::Verdict::Unknown, "{check:?}");
    }

    #[test]
    fn a_database_is_measured_with_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("dspex.db");
        std::fs::write(&database, [0; 100]).unwrap();
        std::fs::write(folder.path().join("dspex.db-wal"), [0; 11]).unwrap();
        let now = crate::clock::now();
        let need = Need::measure(&database, Duration::from_secs(60), now).unwrap();
        assert_eq!((need.database, need.growth), (111, 111));
        assert_eq!(need.total(), 4 * 111 + SPARE);
    }
}
