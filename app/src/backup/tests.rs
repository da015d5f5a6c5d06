//! Backups of a database that is written to, proven, restored, and bounded in number.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dspex_flags::Flags;
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
        contents::backup(&config, "a lie", clock::now(), tables, scratch, None);
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
    let subject = Subject {
        pool: "v2@1".to_owned(),
        settings: json!({}),
        status: PoolStatus::default(),
        live: live(),
        journal: json!([]),
    };
    let written = archive_pool(&config, "migration m", subject).await.unwrap();
    let manifest = archive::manifest_of(&written.path).unwrap();
    assert_eq!(manifest.kind, Kind::Pool);
    assert!(manifest.remarks[0].contains("keeps no log"));
    let error = prove(&written.path, dir.path()).await.unwrap_err();
    assert!(error.to_string().contains("archive of a pool"), "{error}");
}
