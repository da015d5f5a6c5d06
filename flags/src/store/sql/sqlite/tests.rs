//! What a database adds to the battery: it lasts, others write to it, and it may be broken.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use tempfile::TempDir;

use super::*;
use crate::audit::Write;
use crate::revision::Revision;
use crate::store::FlagStore;
use crate::testing::conformance;
use crate::value::FlagValue;
use crate::{Flags, dspex};

fn options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(Duration::from_secs(60))
}

fn pool(connections: u32, options: SqliteConnectOptions) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .connect_lazy_with(options)
}

/// The store as another process would have it: with connections of its own.
async fn open(file: &Path) -> Result<SqliteStore, FlagError> {
    SqliteStore::open(pool(1, options(file)), pool(4, options(file))).await
}

fn file(folder: &TempDir) -> std::path::PathBuf {
    folder.path().join("flags.db")
}

fn write(key: &str, value: FlagValue) -> Write {
    Write {
        expected: None,
        set: vec![(key.to_owned(), value)],
        who: "test".to_owned(),
        why: "test".to_owned(),
    }
}

fn at() -> Timestamp {
    "2026-01-02T12:00:00Z".parse().unwrap()
}

async fn execute(store: &SqliteStore, sql: &'static str) {
    sqlx::query(sql).execute(&store.writer).await.unwrap();
}

#[tokio::test]
async fn passes_the_battery() {
    let folder = TempDir::new().unwrap();
    let stores = AtomicU32::new(0);
    conformance(|| {
        let number = stores.fetch_add(1, Ordering::Relaxed);
        let file = folder.path().join(format!("{number}.db"));
        async move { Arc::new(open(&file).await.unwrap()) as Arc<dyn FlagStore> }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_the_battery_on_several_threads_with_one_pool_for_all() {
    let folder = TempDir::new().unwrap();
    let stores = AtomicU32::new(0);
    conformance(|| {
        let number = stores.fetch_add(1, Ordering::Relaxed);
        let shared = pool(1, options(&folder.path().join(format!("{number}.db"))));
        async move {
            let store = SqliteStore::open(shared.clone(), shared).await.unwrap();
            Arc::new(store) as Arc<dyn FlagStore>
        }
    })
    .await;
}

#[tokio::test]
async fn values_and_history_outlive_the_process() {
    let folder = TempDir::new().unwrap();
    let store = open(&file(&folder)).await.unwrap();
    store.write(&write("on", true.into()), at()).await.unwrap();
    store.writer.close().await;
    store.reader.close().await;

    let store = open(&file(&folder)).await.unwrap();
    assert_eq!(
        store.load().await.unwrap().values["on"].value,
        FlagValue::Bool(true)
    );
    assert_eq!(store.history(10).await.unwrap().len(), 1);
    assert_eq!(
        store.write(&write("on", false.into()), at()).await.unwrap(),
        Revision::new(2)
    );
}

#[tokio::test]
async fn two_that_open_a_new_database_at_once_both_succeed() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder);
    let (one, other) = tokio::join!(open(&path), open(&path));
    let (one, other) = (one.unwrap(), other.unwrap());
    let revision = one.write(&write("on", true.into()), at()).await.unwrap();
    assert_eq!(other.revision().await.unwrap(), revision);
}

#[tokio::test]
async fn a_value_that_cannot_be_read_is_named() {
    let folder = TempDir::new().unwrap();
    let store = open(&file(&folder)).await.unwrap();
    store
        .write(&write("pool_v2_enabled", true.into()), at())
        .await
        .unwrap();
    for (damage, told) in [
        (
            "UPDATE flags SET value = 'maybe'",
            "the flag store holds `maybe` for `pool_v2_enabled`, which cannot be read: not JSON: \
             expected value at line 1 column 1; set the flag again or repair its row",
        ),
        (
            "UPDATE flags SET value = '7'",
            "the flag store holds `7` for `pool_v2_enabled`, which cannot be read: `7` is neither \
             true nor false; set the flag again or repair its row",
        ),
        (
            "UPDATE flags SET value = '101', kind = 'percent'",
            "the flag store holds `101` for `pool_v2_enabled`, which cannot be read: `101` is not a \
             percentage: it must be between 0 and 100; set the flag again or repair its row",
        ),
        (
            "UPDATE flags SET value = '\"blue\"', kind = 'colour'",
            "the flag store holds `\"blue\"` for `pool_v2_enabled`, which cannot be read: this \
             program knows no flags of kind `colour`; set the flag again or repair its row",
        ),
    ] {
        execute(&store, damage).await;
        assert_eq!(
            store.load().await.unwrap_err().to_string(),
            told,
            "{damage}"
        );
    }

    // A rollback may write over it, and the audit says that nothing readable stood there.
    store
        .write(&write("pool_v2_enabled", false.into()), at())
        .await
        .unwrap();
    let stored = store.load().await.unwrap();
    assert_eq!(
        stored.values["pool_v2_enabled"].value,
        FlagValue::Bool(false)
    );
    assert_eq!(store.history(1).await.unwrap()[0].before, None);
}

#[tokio::test]
async fn flags_do_not_open_on_values_of_another_kind_or_hash() {
    let folder = TempDir::new().unwrap();
    let store = Arc::new(open(&file(&folder)).await.unwrap());
    store
        .write(&write("pool_v2_enabled", true.into()), at())
        .await
        .unwrap();
    let refusal = async || {
        Flags::open(store.clone(), dspex::declarations())
            .await
            .unwrap_err()
    };

    execute(&store, "UPDATE flags SET hash_version = 3").await;
    assert_eq!(
        refusal().await.to_string(),
        "flag `pool_v2_enabled` was written for rollout hash version 3, and this program has \
         version 2: its keys would change sides; use the program that wrote it, or set the flag \
         again"
    );
    execute(&store, "UPDATE flags SET value = '5', kind = 'percent'").await;
    assert_eq!(
        refusal().await.to_string(),
        "the flag store holds `5%` for `pool_v2_enabled`, which cannot be read: the flag takes a \
         bool, not a percent; set the flag again or repair its row"
    );
    // A flag of another version of the program is none of ours.
    execute(&store, "UPDATE flags SET key = 'flag_of_tomorrow'").await;
    assert!(
        Flags::open(store.clone(), dspex::declarations())
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_damaged_history_names_the_flag() {
    let folder = TempDir::new().unwrap();
    let store = open(&file(&folder)).await.unwrap();
    store.write(&write("on", true.into()), at()).await.unwrap();
    execute(&store, "UPDATE flag_changes SET at = 'yesterday'").await;
    let told = store.history(1).await.unwrap_err().to_string();
    assert!(
        told.starts_with(
            "the flag store holds `yesterday` for `on`, which cannot be read: it is not a time"
        ),
        "{told}"
    );
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_refused() {
    let folder = TempDir::new().unwrap();
    let store = open(&file(&folder)).await.unwrap();
    execute(
        &store,
        "INSERT INTO _dspex_flags_migrations (version, description, success, checksum, execution_time)
         VALUES (2, 'of tomorrow', TRUE, x'00', 0)",
    )
    .await;
    let error = open(&file(&folder)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the flag store has schema version 2, and this program knows up to 1: use the newer \
         program, or another database"
    );
}

#[tokio::test]
async fn what_is_no_database_is_refused() {
    let folder = TempDir::new().unwrap();
    std::fs::write(
        file(&folder),
        "these are my notes, not a database ".repeat(100),
    )
    .unwrap();
    let told = open(&file(&folder)).await.unwrap_err().to_string();
    assert!(told.contains("file is not a database"), "{told}");
}

#[tokio::test]
async fn a_database_that_may_not_be_written_is_refused() {
    let folder = TempDir::new().unwrap();
    let store = open(&file(&folder)).await.unwrap();
    // Its last connection removes the log when it closes: not beside the one that may only read.
    store.reader.close().await;
    store.writer.close().await;
    let read_only = || pool(1, options(&file(&folder)).read_only(true));
    let told = SqliteStore::open(read_only(), read_only())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        told.contains("preparing its tables") && told.contains("readonly"),
        "{told}"
    );
}

#[tokio::test]
async fn a_lost_revision_is_an_error_and_not_revision_zero() {
    let folder = TempDir::new().unwrap();
    let store = open(&file(&folder)).await.unwrap();
    execute(&store, "DELETE FROM flag_revision").await;
    for told in [
        store.load().await.unwrap_err().to_string(),
        store.revision().await.unwrap_err().to_string(),
        store
            .write(&write("on", true.into()), at())
            .await
            .unwrap_err()
            .to_string(),
    ] {
        assert!(
            told.contains("the table `flag_revision` has lost its row"),
            "{told}"
        );
    }
}

#[tokio::test]
async fn a_write_that_is_not_polled_keeps_nobody_from_writing() {
    let folder = TempDir::new().unwrap();
    let store = open(&file(&folder)).await.unwrap();
    let (first, second) = (
        write("a", FlagValue::Bool(true)),
        write("b", FlagValue::Bool(true)),
    );
    for polls in 1..10 {
        let mut stalled = store.write(&first, at());
        // Polled a few times, and then left alone wherever it has come to.
        for _ in 0..polls {
            if tokio::time::timeout(Duration::ZERO, &mut stalled)
                .await
                .is_ok()
            {
                break;
            }
        }
        let within = Duration::from_secs(60);
        let written = tokio::time::timeout(within, store.write(&second, at())).await;
        written.expect("the writing connection is free").unwrap();
    }
}

/// What the kernel does for everybody who has a file open: this is told in the README.
#[tokio::test]
async fn a_database_file_that_is_removed_lives_on_for_those_who_have_it_open_alone() {
    let folder = TempDir::new().unwrap();
    let file = file(&folder);
    let shared = pool(1, options(&file));
    let store = SqliteStore::open(shared.clone(), shared).await.unwrap();
    let on = write("pool_v2_enabled", true.into());
    store.write(&on, at()).await.unwrap();
    for suffix in ["", "-wal", "-shm"] {
        let mut name = file.clone().into_os_string();
        name.push(suffix);
        std::fs::remove_file(name).unwrap();
    }
    let off = write("pool_v2_enabled", false.into());
    assert_eq!(store.write(&off, at()).await.unwrap(), Revision::new(2));
    assert_eq!(store.load().await.unwrap().revision, Revision::new(2));
    let started = open(&file).await.unwrap();
    let stored = started.load().await.unwrap();
    assert_eq!((stored.revision, stored.values.len()), (Revision::ZERO, 0));
    assert_eq!(store.revision().await.unwrap(), Revision::new(2), "still");
}
