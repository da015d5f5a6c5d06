//! The journal in SQLite, on real files and real time: several processes, a locked file, callers
//! that leave, a controller that dies.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::house::House;
use dspex_flags::{MemoryStore, Percent};
use dspex_migration::{
    Append, Cause, Command, Event, Inbox, Journal, JournalError, MigrationId, Phase, Settings,
    SqliteJournal, Stage, Start,
};
use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions};

/// Longer than anybody holds the file who is only slow.
const PATIENT: Duration = Duration::from_secs(60);

async fn pool(file: &Path, connections: u32, patience: Duration) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .foreign_keys(true)
        .busy_timeout(patience);
    let pool = SqlitePoolOptions::new().max_connections(connections);
    pool.connect_with(options).await.expect("connected")
}

/// As one process opens it: its own connections.
pub(crate) async fn open(file: &Path) -> Arc<SqliteJournal> {
    open_waiting(file, PATIENT).await
}

async fn open_waiting(file: &Path, patience: Duration) -> Arc<SqliteJournal> {
    let (writer, reader) = (pool(file, 1, patience).await, pool(file, 4, patience).await);
    let journal = SqliteJournal::open(writer, reader).await;
    Arc::new(journal.expect("opened"))
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn pause(why: &str) -> Event {
    Event::Paused {
        cause: Cause::Controller { why: why.into() },
    }
}

async fn create(journal: &SqliteJournal) -> Result<MigrationId, JournalError> {
    let plan = Settings::default().plan("v1", "v2", None).expect("valid");
    let id = MigrationId::generate();
    let start = Start {
        plan: &plan,
        who: "ada",
        why: "newer",
        at: Timestamp::UNIX_EPOCH,
    };
    journal.create(&id, start).await.map(|()| id)
}

fn append(expected_seq: u64, events: &[Event]) -> Append<'_> {
    let at = Timestamp::UNIX_EPOCH;
    Append {
        expected_seq,
        events,
        at,
        phase: Phase::Deploy,
        outcome: None,
    }
}

#[tokio::test]
async fn of_two_processes_that_begin_at_once_one_wins() {
    let folder = folder();
    let file = folder.path().join("dspex.db");
    let (one, other) = (open(&file).await, open(&file).await);
    for _ in 0..10 {
        let (first, second) = tokio::join!(create(&one), create(&other));
        let (won, lost) = match (&first, &second) {
            (Ok(won), Err(lost)) | (Err(lost), Ok(won)) => (won, lost),
            both => panic!("{both:?}"),
        };
        assert!(
            matches!(lost, JournalError::AlreadyRunning { id } if id == won),
            "{lost:?}"
        );
        let end = Append {
            phase: Phase::RolledBack,
            ..append(1, &[Event::RolledBack])
        };
        other.append(won, end).await.expect("ended, for both");
    }
    let again = open(&file).await;
    assert_eq!(again.history(100).await.expect("read").len(), 10);
}

#[tokio::test]
async fn a_locked_file_is_said_and_nothing_is_half_written() {
    let folder = folder();
    let file = folder.path().join("dspex.db");
    let journal = open_waiting(&file, Duration::from_millis(300)).await;
    let id = create(&journal).await.expect("begun");
    let locker = pool(&file, 1, PATIENT).await;
    let lock = locker.begin_with("BEGIN IMMEDIATE").await.expect("locked");
    let refused = journal
        .append(&id, append(1, &[pause("a"), pause("b")]))
        .await;
    assert!(
        matches!(&refused, Err(JournalError::Store { problem }) if problem.contains("locked")),
        "{refused:?}"
    );
    assert_eq!(
        journal
            .entries(&id, 0, 10)
            .await
            .expect("readers go on")
            .len(),
        1
    );
    lock.rollback().await.expect("unlocked");
    journal
        .append(&id, append(1, &[pause("a"), pause("b")]))
        .await
        .expect("appended");
    assert_eq!(journal.entries(&id, 0, 10).await.expect("read").len(), 3);
}

#[tokio::test]
async fn a_caller_that_leaves_leaves_no_half_of_a_write() {
    let folder = folder();
    let journal = open(&folder.path().join("dspex.db")).await;
    let id = create(&journal).await.expect("begun");
    let mut last = 1;
    let mut cut_off = 0;
    for round in 0..200_u64 {
        let events = [pause("a"), pause("b"), pause("c")];
        let write = journal.append(&id, append(last, &events));
        // Leaves after a different number of looks at the future each time.
        let mut looks = 0;
        let mut write = std::pin::pin!(write);
        let left = std::future::poll_fn(|context| {
            looks += 1;
            let polled = write.as_mut().poll(context);
            if polled.is_ready() {
                return std::task::Poll::Ready(false);
            }
            if looks > round % 3 {
                return std::task::Poll::Ready(true);
            }
            context.waker().wake_by_ref();
            std::task::Poll::Pending
        })
        .await;
        cut_off += u64::from(left);
        // Whoever comes next waits for the one connection, so it sees what became of the write.
        last = loop {
            let seen = journal.history(1).await.expect("read")[0].last_seq;
            match journal.append(&id, append(seen, &[pause("next")])).await {
                Ok(seq) => break seq,
                Err(JournalError::Conflict { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        };
    }
    assert!(cut_off > 100, "{cut_off} were cut off");
    let entries = journal.entries(&id, 0, 10_000).await.expect("read");
    let gapless: Vec<u64> = (1..=entries.len() as u64).collect();
    assert_eq!(
        entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(),
        gapless
    );
    let count = |why: &str| {
        entries
            .iter()
            .filter(|entry| entry.event == pause(why))
            .count()
    };
    assert_eq!((count("next"), count("a")), (200, count("b")));
    assert_eq!(count("a"), count("c"), "all three or none");
}

#[tokio::test]
async fn a_database_that_is_none_is_said() {
    let folder = folder();
    let file = folder.path().join("dspex.db");
    std::fs::write(
        &file,
        "this is not a database, however long one looks at it".repeat(100),
    )
    .expect("written");
    let options = SqliteConnectOptions::new().filename(&file);
    let pool = SqlitePoolOptions::new().connect_lazy_with(options);
    let refused = SqliteJournal::open(pool.clone(), pool)
        .await
        .expect_err("refused");
    assert!(refused.to_string().contains("not a database"), "{refused}");
}

#[tokio::test]
async fn what_cannot_be_read_is_named_and_not_guessed_at() {
    let folder = folder();
    let file = folder.path().join("dspex.db");
    let journal = open(&file).await;
    let id = create(&journal).await.expect("begun");
    let by_hand = pool(&file, 1, PATIENT).await;
    let spoil = sqlx::query("UPDATE migration_journal SET event = '{\"type\":\"teleported\"}'");
    spoil.execute(&by_hand).await.expect("spoilt");
    let refused = journal.entries(&id, 0, 10).await.expect_err("refused");
    assert!(
        matches!(&refused, JournalError::Corrupt { id: named, .. } if *named == id),
        "{refused}"
    );
    assert!(refused.to_string().contains("teleported"), "{refused}");
}

#[tokio::test]
async fn a_migration_on_a_file_survives_its_controller() {
    let folder = folder();
    let file = folder.path().join("dspex.db");
    let store = Arc::new(MemoryStore::new());
    let mut house = House::with(open(&file).await, store).await;
    let stage = |basis_points, hold| Stage {
        percent: Percent::from_basis_points(basis_points).expect("a share"),
        hold: Duration::from_millis(hold),
        gate: dspex_migration::Gate::Automatic,
    };
    // A look counts for twice its interval at most, so the first stage takes many of them: it is not over
    // by a write that is on its way when the controller is killed.
    let stages = vec![stage(5_000, 3_000), stage(10_000, 400)];
    let settings = Settings {
        stages,
        ..Settings::default()
    };
    house.plan = settings.plan("v1", "v2", None).expect("valid");
    house.plan.thresholds.minimum_samples = 5;
    house.finely();
    house.traffic(10, Duration::from_millis(10));
    let controller = house.start().await;
    let before = controller
        .until(|status| status.healthy_for > Duration::ZERO)
        .await;
    controller.kill().await;
    house.journal = open(&file).await;
    let controller = house.open().await;
    let resumed = controller.migrations.status().expect("read");
    assert_eq!((&resumed.id, resumed.stage), (&before.id, before.stage));
    assert!(resumed.healthy_for >= before.healthy_for);
    let status = controller.until(|status| !status.is_live()).await;
    assert_eq!((status.phase, house.share()), (Phase::Complete, 10_000));
    // Another process asks: the row alone is enough.
    let other = open(&file).await;
    let at = Timestamp::UNIX_EPOCH;
    let post = dspex_migration::Post {
        command: Command::Rollback,
        who: "grace",
        why: "no",
        at,
    };
    other.post(&status.id, post).await.expect("posted");
    let status = controller.until(crate::house::rolled_back).await;
    assert!(status.outcome.as_ref().expect("over").contains("grace: no"));
}
