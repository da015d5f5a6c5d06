//! One battery for every store of session states, and what only a store on disk can get wrong.

use std::sync::Arc;

use dspex_pool::ProgramKey;
use dspex_router::sessions::{Saved, SessionError, SessionKey, SessionTotals};
use dspex_router::{MemorySessions, SessionStore, SqliteSessions};
use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::value::RawValue;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

pub(crate) fn key(version: u64, session: &str) -> SessionKey {
    SessionKey {
        version,
        session: session.into(),
    }
}

pub(crate) fn saved(state: &str, second: i64) -> Saved {
    Saved {
        state: RawValue::from_string(state.to_owned()).unwrap().into(),
        used_at: Timestamp::from_second(second).unwrap(),
    }
}

fn program(version: u64) -> ProgramKey {
    ProgramKey {
        id: "p".parse().unwrap(),
        version,
    }
}

async fn battery(store: Arc<dyn SessionStore>) {
    what_is_kept_is_found_as_it_was_written(&*store).await;
    the_oldest_make_room_and_never_the_newest(&*store).await;
    what_is_forgotten_or_expired_is_gone(&*store).await;
    of_many_at_once_each_is_kept(store).await;
}

async fn what_is_kept_is_found_as_it_was_written(store: &dyn SessionStore) {
    assert_eq!(store.totals().await.unwrap(), SessionTotals::default());
    assert_eq!(store.get(&key(1, "a")).await.unwrap(), None);
    let odd = saved("{\"ä\": [1, null,\n 1.10, \"'\\\"%_\\u0000\"]}", 5);
    store.put(&key(1, "a"), &odd, 10).await.unwrap();
    assert_eq!(store.get(&key(1, "a")).await.unwrap(), Some(odd.clone()));
    for other in [key(2, "a"), key(1, "A"), key(1, "a ")] {
        assert_eq!(store.get(&other).await.unwrap(), None, "{other:?}");
    }
    let next = saved("7", 6);
    store.put(&key(1, "a"), &next, 10).await.unwrap();
    assert_eq!(store.get(&key(1, "a")).await.unwrap(), Some(next));
    let totals = store.totals().await.unwrap();
    assert_eq!((totals.sessions, totals.bytes), (1, 1));
    assert_eq!(store.forget(&program(1)).await.unwrap(), 1);
    assert_eq!(store.totals().await.unwrap(), SessionTotals::default());
}

async fn the_oldest_make_room_and_never_the_newest(store: &dyn SessionStore) {
    for number in 0..5 {
        let at = saved("true", number);
        store
            .put(&key(1, &number.to_string()), &at, 5)
            .await
            .unwrap();
    }
    // Used again, so no longer the oldest.
    store.put(&key(1, "0"), &saved("true", 9), 5).await.unwrap();
    let dropped = store.put(&key(2, "0"), &saved("true", 9), 5).await.unwrap();
    assert_eq!(dropped, [key(1, "1")]);
    assert_eq!(store.get(&key(1, "1")).await.unwrap(), None);
    // A lower limit drops all that is too many; what is written is never dropped for itself.
    let dropped = store.put(&key(1, "4"), &saved("true", 0), 1).await.unwrap();
    assert_eq!(dropped.len(), 4, "{dropped:?}");
    assert_eq!(
        store.totals().await.unwrap(),
        SessionTotals {
            sessions: 1,
            bytes: 4
        }
    );
    assert!(store.get(&key(1, "4")).await.unwrap().is_some());
    store.forget(&program(1)).await.unwrap();
}

async fn what_is_forgotten_or_expired_is_gone(store: &dyn SessionStore) {
    // At once, because a store may let them share a sync.
    let writes = (0..2_500).map(|number| async move {
        let at = saved("[]", number);
        let key = key(7, &number.to_string());
        store.put(&key, &at, 10_000).await.unwrap();
    });
    join_all(writes).await;
    store
        .put(&key(8, "x"), &saved("[]", 3_000), 10_000)
        .await
        .unwrap();
    let before = Timestamp::from_second(2_400).unwrap();
    assert_eq!(store.sweep(before).await.unwrap(), 2_400);
    assert_eq!(store.sweep(before).await.unwrap(), 0);
    assert_eq!(store.get(&key(7, "2399")).await.unwrap(), None);
    assert!(store.get(&key(7, "2400")).await.unwrap().is_some());
    assert_eq!(store.forget(&program(7)).await.unwrap(), 100);
    assert_eq!(store.forget(&program(7)).await.unwrap(), 0);
    assert_eq!(store.totals().await.unwrap().sessions, 1);
    store.forget(&program(8)).await.unwrap();
}

async fn of_many_at_once_each_is_kept(store: Arc<dyn SessionStore>) {
    let mut writes = JoinSet::new();
    for number in 0..300 {
        let store = Arc::clone(&store);
        writes.spawn(async move {
            let text = number.to_string();
            store
                .put(&key(9, &text), &saved(&text, 1), 1_000)
                .await
                .unwrap();
        });
    }
    while let Some(written) = writes.join_next().await {
        written.unwrap();
    }
    for number in 0..300 {
        let text = number.to_string();
        let found = store.get(&key(9, &text)).await.unwrap();
        assert_eq!(found, Some(saved(&text, 1)));
    }
    assert_eq!(store.totals().await.unwrap().sessions, 300);
}

pub(crate) async fn open(file: &std::path::Path) -> (SqliteSessions, SqlitePool) {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal);
    let pool = |connections| {
        SqlitePoolOptions::new()
            .max_connections(connections)
            .connect_with(options.clone())
    };
    let writer = pool(1).await.unwrap();
    let reader = pool(2).await.unwrap();
    let store = SqliteSessions::open(writer.clone(), reader, TaskTracker::new())
        .await
        .unwrap();
    (store, writer)
}

#[tokio::test]
async fn memory_passes_the_battery() {
    battery(Arc::new(MemorySessions::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_passes_the_battery() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(&folder.path().join("dspex.db")).await;
    battery(Arc::new(store)).await;
}

#[tokio::test]
async fn a_row_that_holds_no_state_is_told_and_takes_no_other_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let (store, writer) = open(&folder.path().join("dspex.db")).await;
    for session in ["a", "b"] {
        store
            .put(&key(1, session), &saved("1", 1), 10)
            .await
            .unwrap();
    }
    sqlx::query("UPDATE session_states SET state = '{' WHERE session = 'a'")
        .execute(&writer)
        .await
        .unwrap();
    let told = store.get(&key(1, "a")).await.unwrap_err().to_string();
    assert!(
        told.contains("session \"a\" of program version 1"),
        "{told}"
    );
    assert!(store.get(&key(1, "b")).await.unwrap().is_some());
}

#[tokio::test]
async fn tables_of_a_newer_program_are_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let (store, writer) = open(&folder.path().join("dspex.db")).await;
    store.put(&key(1, "a"), &saved("1", 1), 10).await.unwrap();
    sqlx::query(
        "INSERT INTO _dspex_sessions_migrations
         (version, description, installed_on, success, checksum, execution_time)
         VALUES (2, 'from the future', CURRENT_TIMESTAMP, 1, x'00', 0)",
    )
    .execute(&writer)
    .await
    .unwrap();
    let again = SqliteSessions::open(writer.clone(), writer.clone(), TaskTracker::new());
    let error = again.await.unwrap_err();
    assert!(
        matches!(error, SessionError::SchemaTooNew { found: 2, known: 1 }),
        "{error:?}"
    );
    assert_eq!(
        error.to_string(),
        "the store of session states has schema version 2, and this program knows up to 1: use the \
         newer program, or another database"
    );
    assert_eq!(store.get(&key(1, "a")).await.unwrap(), Some(saved("1", 1)));
}
