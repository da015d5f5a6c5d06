//! Backups of a database that is written to, proven, restored, and bounded in number.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dspex_flags::{FileStore, Flags, Write};
use dspex_migration::recording_conformance::look;
use dspex_migration::{
    Event, Gate, Journal as _, JournalError, MemoryJournal, MemoryRecorder, MigrationId, Phase,
    Recorded, Recorder, Step,
};
use dspex_pool::PoolStatus;
use dspex_router::Catalog as _;
use serde_json::json;
use tokio_util::task::TaskTracker;

use super::*;
use crate::config::Sources;
use crate::serve::Stores;
use crate::storage::Store;

fn config(dir: &Path, more: &[&str]) -> Config {
    let mut set = vec![format!("server.data_dir={:?}", dir.display().to_string())];
    set.extend(more.iter().map(|setting| (*setting).to_owned()));
    Config::load(&Sources {
        set,
        ..Sources::default()
    })
    .unwrap()
}

/// A server's stores with a program and a few flags in them.
async fn lived_in(dir: &Path) -> (Store, Stores) {
    let store = Store::open(DataDir::new(dir), 2, Duration::from_secs(5))
        .await
        .unwrap();
    let stores = Stores::open(&store, &TaskTracker::new()).await.unwrap();
    let declared = dspex_flags::dspex::declarations();
    Flags::open(Arc::clone(&stores.flags) as _, declared)
        .await
        .unwrap();
    add(&stores, "qa").await;
    (store, stores)
}

async fn add(stores: &Stores, id: &str) {
    let version = stores.catalog.reserve().await.unwrap();
    let program = serde_json::from_value(json!({
        "key": {"id": id, "version": version},
        "definition": {"kind": "callable", "target": "m:f"},
        "repeatable": true,
    }))
    .unwrap();
    let now = clock::now();
    stores.catalog.keep(&program, None, now).await.unwrap();
}

fn live() -> Live {
    Live {
        metrics: "dspex_calls_total 1\n".to_owned(),
        windows: Some(json!({"stable": {"calls": 1}})),
        pools: None,
    }
}

#[tokio::test]
async fn a_backup_beside_a_server_is_proven_and_restores_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), &["pools.v2.env.SECRET=hush-hush"]);
    let (store, stores) = lived_in(dir.path()).await;
    let written = create(&config, "a test", Some(live())).await.unwrap();
    // What comes later is not in it.
    add(&stores, "later").await;
    let backups = DataDir::new(dir.path()).backups();
    let proof = prove(&written.path, &backups).await.unwrap();
    assert_eq!((proof.programs, proof.sessions), (1, 0), "{proof:?}");
    assert!(proof.tables > 8 && proof.rows > 3, "{proof:?}");
    assert_eq!(proof.members, 5, "{proof:?}");
    let into = dir.path().join("restored");
    let manifest = restore(&written.path, &into).await.unwrap();
    assert_eq!(manifest.reason, "a test");
    assert!(!manifest.remarks.is_empty());
    for member in &manifest.members {
        let bytes = std::fs::read(into.join(&member.name)).unwrap();
        let secret = bytes.windows(9).any(|window| window == b"hush-hush");
        assert!(!secret, "{} tells a secret", member.name);
    }
    // A second server may be started from it beside the first.
    let (again, _) = lived_in_before(&into).await;
    again.close().await;
    let refused = restore(&written.path, &into).await.unwrap_err();
    assert!(refused.to_string().contains("not empty"), "{refused}");
    let left: Vec<_> = std::fs::read_dir(&backups).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing else is left: {left:?}");
    store.close().await;
}

async fn lived_in_before(dir: &Path) -> (Store, usize) {
    let store = Store::open(DataDir::new(dir), 2, Duration::from_secs(5))
        .await
        .unwrap();
    let stores = Stores::open(&store, &TaskTracker::new()).await.unwrap();
    let programs = stores.catalog.list(None, 10).await.unwrap().programs.len();
    assert_eq!(programs, 1);
    (store, programs)
}

#[tokio::test]
async fn flags_that_are_kept_elsewhere_are_in_the_backup_and_proven() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = dir.path().join("elsewhere.json");
    let setting = format!("flags.store=file:{}", elsewhere.display());
    let config = config(dir.path(), &[&setting]);
    let (store, _) = lived_in(dir.path()).await;
    let declared = dspex_flags::dspex::declarations;
    let kept = Arc::new(FileStore::open(&elsewhere).await.unwrap());
    let lever = Flags::open(kept, declared()).await.unwrap();
    for on in [true, false, true] {
        let write = Write {
            expected: None,
            set: vec![("pool_optimizer".to_owned(), on.into())],
            who: "ada".to_owned(),
            why: "a test".to_owned(),
        };
        lever.write(write).await.unwrap();
    }
    let written = create(&config, "a test", None).await.unwrap();
    let proof = prove(&written.path, dir.path()).await.unwrap();
    // The database's own are at another revision.
    assert_eq!(proof.flag_revision, 3, "{proof:?}");
    let into = dir.path().join("restored");
    let manifest = restore(&written.path, &into).await.unwrap();
    assert!(manifest.contents["flags"].starts_with("flags.json"));
    let restored = flags_of(&manifest, &into).expect("it has them");
    let restored = Arc::new(FileStore::open(restored).await.unwrap());
    let restored = Flags::open(restored, declared()).await.unwrap();
    assert_eq!(restored.history(10).await.unwrap().len(), 3);
    // What cannot be read is not left out.
    std::fs::write(&elsewhere, "not flags").unwrap();
    let error = create(&config, "a test", None).await.unwrap_err();
    assert!(matches!(error, BackupError::Flags { .. }), "{error}");
    store.close().await;
}

#[tokio::test]
async fn a_backup_that_lacks_rows_is_not_proven() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), &[]);
    let (store, _) = lived_in(dir.path()).await;
    store.close().await;
    let scratch = dir.path().join("copy.db");
    let database = DataDir::new(dir.path()).database();
    let mut tables = snapshot::take(&database, &scratch, Duration::from_secs(1))
        .await
        .unwrap();
    *tables.get_mut("programs").unwrap() += 1;
    let (manifest, members) =
        contents::backup(&config, "a lie", clock::now(), tables, scratch, None, None);
    assert!(
        manifest
            .remarks
            .iter()
            .any(|remark| remark.contains("No server")),
        "{manifest:?}"
    );
    let folder = dir.path().join("lies");
    let written = archive::write(&folder, "backup-x.tar.gz", manifest, &members).unwrap();
    let error = prove(&written.path, &folder).await.unwrap_err();
    assert!(
        error.to_string().contains("programs had 2 rows, and has 1"),
        "{error}"
    );
}

#[tokio::test]
async fn the_oldest_backups_are_let_go_and_the_newest_never() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), &["storage.keep_backups=2"]);
    let (store, _) = lived_in(dir.path()).await;
    let mut written = Vec::new();
    for round in 0..4 {
        let backup = create(&config, &format!("round {round}"), None).await;
        written.push(backup.unwrap().path);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let backups = DataDir::new(dir.path()).backups();
    let kept: Vec<_> = list(&backups).unwrap();
    let paths: Vec<_> = kept.iter().map(|listed| listed.path.clone()).collect();
    assert_eq!(paths, [written[3].clone(), written[2].clone()]);
    assert!(
        kept.iter()
            .all(|listed| listed.manifest.is_ok() && listed.bytes > 0)
    );
    store.close().await;
}

#[tokio::test]
async fn the_backup_of_a_migration_is_kept_until_that_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), &["storage.keep_backups=2"]);
    let (store, stores) = lived_in(dir.path()).await;
    let id = MigrationId::from_text("m");
    let plan = dspex_migration::Settings::default().plan("v1", "v2", None);
    let at = clock::now();
    let start = dspex_migration::Start {
        plan: &plan.unwrap(),
        who: "ada",
        why: "a test",
        at,
    };
    stores.journal.create(&id, start).await.unwrap();
    let back_up = async || {
        // Names are in the order of milliseconds.
        tokio::time::sleep(Duration::from_millis(2)).await;
        create(&config, "a test", None).await.unwrap()
    };
    let first = back_up().await;
    let append = async |expected_seq, event, phase| {
        let append = dspex_migration::Append {
            expected_seq,
            events: &[event],
            at,
            phase,
            outcome: None,
        };
        stores.journal.append(&id, append).await.unwrap();
    };
    let saved = Event::StepDone {
        step: Step::Backup,
        checks: Vec::new(),
        // The data directory was elsewhere then.
        saved: Some(Saved {
            place: format!(
                "/elsewhere/{}",
                first.path.file_name().unwrap().to_string_lossy()
            ),
            bytes: first.bytes,
            sha256: first.sha256.clone(),
        }),
        removed: None,
    };
    append(1, saved, Phase::Deploy).await;
    let kept = || {
        let listed = list(&DataDir::new(dir.path()).backups()).unwrap();
        let paths: Vec<_> = listed.into_iter().map(|listed| listed.path).collect();
        paths
    };
    let mut written = Vec::new();
    for _ in 0..4 {
        written.push(back_up().await.path);
    }
    assert_eq!(
        kept(),
        [written[3].clone(), written[2].clone(), first.path.clone()]
    );
    // Complete, and yet it may be taken back.
    append(2, Event::Completed, Phase::Complete).await;
    let fifth = back_up().await.path;
    assert_eq!(kept(), [fifth.clone(), written[3].clone(), first.path]);
    append(3, Event::RolledBack, Phase::RolledBack).await;
    let last = back_up().await.path;
    assert_eq!(kept(), [last, fifth]);
    store.close().await;
}

#[tokio::test]
async fn without_a_database_there_is_nothing_to_back_up() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir.path().join("nowhere"), &[]);
    let error = create(&config, "a test", None).await.unwrap_err();
    assert!(matches!(error, BackupError::NoDatabase(_)), "{error}");
    assert!(!dir.path().join("nowhere").exists(), "nothing is made");
}

#[tokio::test]
async fn an_archive_of_a_pool_is_no_backup() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), &[]);
    let id = MigrationId::from_text("m");
    let journal = Arc::new(MemoryJournal::new());
    let mut plan = dspex_migration::Settings::default()
        .plan("v1", "v2", None)
        .unwrap();
    plan.stages[0].gate = Gate::Webhook {
        url: "https://gate.example/s3cret".to_owned(),
    };
    let at = clock::now();
    let start = dspex_migration::Start {
        plan: &plan,
        who: "ada",
        why: "a test",
        at,
    };
    journal.create(&id, start).await.unwrap();
    // More than one page of it.
    let events = vec![Event::Demoted; 450];
    let append = dspex_migration::Append {
        expected_seq: 1,
        events: &events,
        at,
        phase: Phase::Prepare,
        outcome: None,
    };
    journal.append(&id, append).await.unwrap();
    let recorder = Arc::new(MemoryRecorder::default());
    let earlier = MigrationId::from_text("m-0");
    for seq in 1..=205 {
        recorder.record(look(&earlier, seq));
    }
    recorder.record(look(&id, 3));
    recorder.record(look(&MigrationId::from_text("another"), 1));
    let subject = Subject {
        pool: "v2@1".to_owned(),
        settings: json!({}),
        status: PoolStatus::default(),
        live: live(),
        took_part: vec![id.clone(), earlier.clone()],
        migration: id,
        journal,
        recorder,
    };
    let written = archive_pool(&config, "migration m", subject).await.unwrap();
    let manifest = archive::manifest_of(&written.path).unwrap();
    assert_eq!(manifest.kind, Kind::Pool);
    assert!(manifest.remarks[0].contains("keeps no log"));
    let into = dir.path().join("read");
    archive::extract(&written.path, &into).unwrap();
    let lines = std::fs::read_to_string(into.join("about/journal.ndjson")).unwrap();
    assert_eq!(lines.lines().count(), 451);
    for (line, seq) in lines.lines().zip(1..) {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(entry["seq"], seq);
    }
    assert!(!lines.contains("s3cret"), "a gate's address is not kept");
    let left = std::fs::read_dir(DataDir::new(dir.path()).archives()).unwrap();
    assert_eq!(left.count(), 1, "nothing else is left");
    let lines = std::fs::read_to_string(into.join("about/looks.ndjson")).unwrap();
    assert_eq!(lines.lines().count(), 206);
    for (line, seq) in lines.lines().zip([3].into_iter().chain(1..)) {
        let look: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(look["seq"], seq);
        assert_eq!(look["lanes"].as_array().unwrap().len(), 2);
    }
    let counts = [("m".to_owned(), 1), ("m-0".to_owned(), 205)];
    assert_eq!(manifest.looks, counts.into());
    let proof = prove(&written.path, dir.path()).await.unwrap();
    assert_eq!((proof.kind, proof.looks), (Kind::Pool, 206));
    assert_eq!(proof.members, manifest.members.len());
    let error = restore(&written.path, &dir.path().join("no"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("archive of a pool"), "{error}");
    let mut saved = Saved {
        place: format!("/moved/since/{}", name_of(&written.path)),
        bytes: written.bytes,
        sha256: written.sha256,
    };
    let data_dir = DataDir::new(dir.path());
    let found = archived_looks(&data_dir, &saved).await.unwrap();
    assert_eq!(found.as_ref(), Some(&manifest.looks));
    saved.sha256 = "0".repeat(64);
    let error = archived_looks(&data_dir, &saved).await.unwrap_err();
    assert!(matches!(error, BackupError::Changed { .. }), "{error}");
    std::fs::remove_file(&written.path).unwrap();
    let found = archived_looks(&data_dir, &saved).await.unwrap();
    assert_eq!(found, None);
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// Lets go of the oldest look after each page that is read, as a busy store may.
struct Forgetful(MemoryRecorder, MigrationId);

#[async_trait::async_trait]
impl Recorder for Forgetful {
    fn record(&self, look: Recorded) {
        self.0.record(look);
    }

    async fn looks(
        &self,
        migration: &MigrationId,
        skip: u64,
        limit: u64,
    ) -> Result<Vec<Recorded>, JournalError> {
        let all = self.0.looks(&self.1, 0, u64::MAX).await?;
        let page = self.0.looks(migration, skip, limit).await?;
        self.0.remove(&self.1).await?;
        all.into_iter().skip(1).for_each(|look| self.0.record(look));
        Ok(page)
    }

    async fn remove(&self, migration: &MigrationId) -> Result<u64, JournalError> {
        self.0.remove(migration).await
    }

    async fn settled(&self) {}

    fn lost(&self) -> u64 {
        0
    }
}

#[tokio::test]
async fn looks_that_were_let_go_meanwhile_are_no_archive() {
    let dir = tempfile::tempdir().unwrap();
    let id = MigrationId::from_text("m");
    let recorder = Forgetful(MemoryRecorder::default(), id.clone());
    for seq in 1..=250 {
        recorder.record(look(&id, seq));
    }
    let path = dir.path().join("looks");
    let error = looks::write(&recorder, &[id], &path).await.unwrap_err();
    assert!(error.to_string().contains("let go"), "{error}");
}
