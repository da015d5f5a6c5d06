//! An archive that is not what was written is refused, each kind by its own words.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder};
use sha2::Digest as _;

use super::*;

fn manifest() -> Manifest {
    Manifest {
        format: FORMAT,
        kind: Kind::Backup,
        dspex: "0.0.0".to_owned(),
        created_at: "2026-01-01T00:00:00Z".parse().unwrap(),
        reason: "a test".to_owned(),
        contents: BTreeMap::new(),
        remarks: Vec::new(),
        tables: BTreeMap::from([("flags".to_owned(), 3)]),
        looks: BTreeMap::new(),
        members: Vec::new(),
    }
}

fn contents() -> Vec<(String, Content)> {
    vec![
        ("a.txt".to_owned(), Content::Bytes(b"abc".repeat(500))),
        ("b/c.txt".to_owned(), Content::Bytes(Vec::new())),
    ]
}

fn written(folder: &Path) -> PathBuf {
    write(folder, "x.tar.gz", manifest(), &contents())
        .unwrap()
        .path
}

/// An archive of raw members, as somebody else might make one.
fn forged(folder: &Path, members: &[(&str, &[u8])]) -> PathBuf {
    let gzip = GzBuilder::new()
        .operating_system(0xff)
        .write(Vec::new(), Compression::new(6));
    let mut tar = tar::Builder::new(gzip);
    for (name, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_entry_type(tar::EntryType::Regular);
        // By hand: the crate itself refuses names that lead out.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        tar.append(&header, *content).unwrap();
    }
    let path = folder.join("forged.tar.gz");
    std::fs::write(&path, tar.into_inner().unwrap().finish().unwrap()).unwrap();
    path
}

fn forged_with(folder: &Path, name: &str, change: impl Fn(&mut Manifest)) -> PathBuf {
    let mut list = manifest();
    list.members = vec![Member {
        name: name.to_owned(),
        bytes: 3,
        sha256: hex(sha2::Sha256::digest(b"abc")),
    }];
    change(&mut list);
    let list = serde_json::to_vec(&list).unwrap();
    forged(folder, &[(MANIFEST, list.as_slice()), (name, b"abc")])
}

#[test]
fn what_is_extracted_is_what_was_written_and_only_its_owner_may_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let kept = write(folder.path(), "x.tar.gz", manifest(), &contents()).unwrap();
    let file = std::fs::read(&kept.path).unwrap();
    assert_eq!(kept.bytes, file.len() as u64);
    assert_eq!(kept.sha256, hex(sha2::Sha256::digest(&file)));
    assert!(file.starts_with(&BEGINNING));
    let mode = std::fs::metadata(&kept.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let into = folder.path().join("into");
    let read = extract(&kept.path, &into).unwrap();
    assert_eq!(read, manifest_of(&kept.path).unwrap());
    assert_eq!(read.tables, manifest().tables);
    assert_eq!(std::fs::read(into.join("a.txt")).unwrap().len(), 1500);
    assert_eq!(std::fs::read(into.join("b/c.txt")).unwrap(), b"");
    let names: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 2, "nothing is left aside: {names:?}");
}

#[test]
fn a_write_that_fails_leaves_nothing_and_keeps_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let before = std::fs::read(written(folder.path())).unwrap();
    let missing = vec![(
        "a".to_owned(),
        Content::File(folder.path().join("not there")),
    )];
    let failed = write(folder.path(), "x.tar.gz", manifest(), &missing).unwrap_err();
    assert!(failed.to_string().contains("not there"), "{failed}");
    assert_eq!(
        std::fs::read(folder.path().join("x.tar.gz")).unwrap(),
        before
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path());
    let good = std::fs::read(&path).unwrap();
    let damaged = folder.path().join("damaged");
    for (round, at) in (0..good.len()).enumerate() {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        std::fs::write(&damaged, &bytes).unwrap();
        let into = folder.path().join(format!("flip-{round}"));
        let error = extract(&damaged, &into);
        assert!(error.is_err(), "byte {at} of {}", good.len());
        let _ = std::fs::remove_dir_all(into);
    }
    for kept in 0..good.len() {
        std::fs::write(&damaged, &good[..kept]).unwrap();
        let into = folder.path().join("cut");
        let error = extract(&damaged, &into).unwrap_err();
        let told = matches!(
            error,
            ArchiveError::Truncated { .. } | ArchiveError::Foreign { .. }
        );
        assert!(told, "{kept} of {} bytes: {error}", good.len());
        let _ = std::fs::remove_dir_all(into);
    }
    let mut longer = good.clone();
    longer.push(0);
    std::fs::write(&damaged, &longer).unwrap();
    let error = extract(&damaged, &folder.path().join("longer")).unwrap_err();
    assert!(error.to_string().contains("after its end"), "{error}");
}

#[test]
fn a_later_format_is_told_from_a_damaged_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = forged(
        folder.path(),
        &[(MANIFEST, br#"{"format": 2, "dspex": "9.9.9", "else": []}"#)],
    );
    let error = manifest_of(&path).unwrap_err();
    assert!(matches!(error, ArchiveError::Newer { format: 2, .. }));
    assert!(error.to_string().contains("9.9.9"), "{error}");
}

#[test]
fn a_name_that_leads_out_is_refused_before_anything_is_written() {
    for name in ["../evil", "/tmp/evil", "a/../../evil", ""] {
        let folder = tempfile::tempdir().unwrap();
        let path = forged_with(folder.path(), name, |_| {});
        let into = folder.path().join("deep/into");
        let error = extract(&path, &into).unwrap_err();
        assert!(
            matches!(error, ArchiveError::Unsafe { .. }),
            "{name}: {error}"
        );
        assert!(!into.exists() && !folder.path().join("deep/evil").exists());
    }
}

#[test]
fn what_the_manifest_does_not_say_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    type Change<'a> = (&'a str, &'a dyn Fn(&mut Manifest));
    let changes: [Change<'_>; 4] = [
        ("SHA-256", &|list| list.members[0].sha256 = hex([0; 32])),
        ("3 bytes, not 4", &|list| list.members[0].bytes = 4),
        ("stands where b should", &|list| {
            list.members[0].name = "b".to_owned();
        }),
        ("has no a", &|list| list.members.clear()),
    ];
    for (index, (words, change)) in changes.into_iter().enumerate() {
        let path = forged_with(folder.path(), "a", change);
        let error = extract(&path, &folder.path().join(index.to_string())).unwrap_err();
        assert!(matches!(error, ArchiveError::Altered { .. }), "{error}");
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
    let good = forged_with(folder.path(), "a", |_| {});
    extract(&good, &folder.path().join("good")).unwrap();
}

#[test]
fn a_folder_with_something_in_it_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path());
    let into = folder.path().join("into");
    std::fs::create_dir(&into).unwrap();
    std::fs::write(into.join("mine"), "mine").unwrap();
    let error = extract(&path, &into).unwrap_err();
    assert!(matches!(error, ArchiveError::NotEmpty { .. }), "{error}");
    assert_eq!(std::fs::read_dir(&into).unwrap().count(), 1);
}

#[test]
fn other_files_are_said_to_be_other_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letter");
    std::fs::write(&path, "dear aunt, how are you").unwrap();
    let error = manifest_of(&path).unwrap_err();
    assert!(matches!(error, ArchiveError::Foreign { .. }), "{error}");
    let error = manifest_of(folder.path()).unwrap_err();
    assert!(matches!(error, ArchiveError::Foreign { .. }), "{error}");
    let error = manifest_of(&folder.path().join("none")).unwrap_err();
    assert!(matches!(error, ArchiveError::Io { .. }), "{error}");
}
