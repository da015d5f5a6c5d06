//! Two real processes write to one database: no update is lost between them.
//!
//! The second process is this test binary again, told by an environment variable to be a writer.

#![expect(
    clippy::unwrap_used,
    reason = "a test: a panic is how it fails, in helpers too"
)]

use std::path::Path;
use std::process::{Command, Stdio};

use dspex_flags::{FlagError, FlagStore, FlagValue, Percent, Revision, SqliteStore, Write};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions};

const DATABASE: &str = "DSPEX_FLAGS_TEST_DATABASE";
const EACH: u16 = 40;

#[tokio::test]
async fn no_update_is_lost_between_processes() {
    if let Some(database) = std::env::var_os(DATABASE) {
        count_up(Path::new(&database)).await;
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("flags.db");
    #[expect(
        clippy::disallowed_methods,
        reason = "the test waits for its children, and their work ends by itself"
    )]
    let writers: Vec<_> = (0..2)
        .map(|_| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "no_update_is_lost_between_processes"])
                .env(DATABASE, &database)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    count_up(&database).await;
    for writer in writers {
        let output = writer.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
    }

    let store = open(&database).await;
    let stored = store.load().await.unwrap();
    let total = 3 * EACH;
    let counted = Percent::from_basis_points(total).unwrap();
    assert_eq!(stored.values["count"].value, FlagValue::Percent(counted));
    assert_eq!(stored.revision, Revision::new(total.into()));
    let history = store.history(usize::MAX).await.unwrap();
    let writers: std::collections::BTreeSet<_> =
        history.iter().map(|change| change.who.as_str()).collect();
    assert_eq!(writers.len(), 3, "three processes wrote: {writers:?}");
    for pair in history.windows(2) {
        assert_eq!(pair[0].before, Some(pair[1].after.clone()));
    }
}

/// Adds a basis point, [`EACH`] times, reading and writing back; a lost race is run again.
async fn count_up(database: &Path) {
    let store = open(database).await;
    let mut added = 0;
    while added < EACH {
        let stored = store.load().await.unwrap();
        let count = match stored.values.get("count").map(|stored| &stored.value) {
            Some(FlagValue::Percent(count)) => count.basis_points(),
            _ => 0,
        };
        let write = Write {
            expected: Some(stored.revision),
            set: vec![(
                "count".to_owned(),
                Percent::from_basis_points(count + 1).unwrap().into(),
            )],
            who: format!("process {}", std::process::id()),
            why: "to count".to_owned(),
        };
        match store.write(&write, jiff::Timestamp::UNIX_EPOCH).await {
            Ok(_) => added += 1,
            Err(FlagError::Conflict { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

async fn open(database: &Path) -> SqliteStore {
    let options = SqliteConnectOptions::new()
        .filename(database)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(std::time::Duration::from_secs(30));
    let pool = |connections| -> SqlitePool {
        SqlitePoolOptions::new()
            .max_connections(connections)
            .connect_lazy_with(options.clone())
    };
    SqliteStore::open(pool(1), pool(4)).await.unwrap()
}
