//! The battery on a real server, and what only a server does: it goes away, and it tells of writes.
//!
//! Each test has a server of its own, see [`PostgresServer`].

use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::postgres::PgConnectOptions;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::audit::Write;
use crate::store::FlagStore;
use crate::testing::{PostgresServer, conformance};
use crate::value::FlagValue;
use crate::{Flags, dspex};

/// Long enough that only a fault reaches it: a server of a busy machine takes seconds to let one in.
const DEADLINE: Duration = Duration::from_secs(60);

fn pool(server: &PostgresServer, database: &str) -> PgPool {
    pool_within(DEADLINE, server, database)
}

fn pool_within(limit: Duration, server: &PostgresServer, database: &str) -> PgPool {
    let options: PgConnectOptions = server.url(database).parse().unwrap();
    PgPoolOptions::new()
        .max_connections(4)
        .acquire_timeout(limit)
        .connect_lazy_with(options)
}

/// Tries until it succeeds.
async fn in_time<T>(tries: impl AsyncFn() -> Option<T>) -> T {
    let succeeds = async {
        loop {
            if let Some(done) = tries().await {
                return done;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let done = tokio::time::timeout(DEADLINE, succeeds).await;
    done.expect("it succeeds before the deadline")
}

async fn fresh(server: &PostgresServer, database: &str) -> PgPool {
    let admin = pool(server, "postgres");
    let create = format!("CREATE DATABASE {database}");
    sqlx::query(sqlx::AssertSqlSafe(create))
        .execute(&admin)
        .await
        .unwrap();
    pool(server, database)
}

fn write(key: &str, value: FlagValue) -> Write {
    Write {
        expected: None,
        set: vec![(key.to_owned(), value)],
        who: "test".to_owned(),
        why: "test".to_owned(),
    }
}

#[tokio::test]
async fn passes_the_battery() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let stores = AtomicU32::new(0);
    conformance(|| {
        let database = format!("flags_{}", stores.fetch_add(1, Ordering::Relaxed));
        let server = &server;
        async move {
            let pool = fresh(server, &database).await;
            Arc::new(PostgresStore::open(pool).await.unwrap()) as Arc<dyn FlagStore>
        }
    })
    .await;
}

/// The poll is far away: only the notice can bring the news in time.
#[tokio::test]
async fn a_write_of_another_process_wakes_the_watch() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    fresh(&server, "flags").await;
    let open = async || Arc::new(PostgresStore::open(pool(&server, "flags")).await.unwrap());
    let (ours, theirs) = (open().await, open().await);
    let flags = Flags::open(ours, dspex::declarations()).await.unwrap();
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    tasks.spawn(flags.clone().run(Duration::from_secs(3_600), stop.clone()));
    let mut subscriber = flags.subscribe("router");
    subscriber.current();
    theirs
        .write(&write("pool_v2_enabled", true.into()), crate::clock::now())
        .await
        .unwrap();
    let seen = tokio::time::timeout(DEADLINE, subscriber.changed());
    let seen = seen
        .await
        .expect("it is told")
        .expect("the flags are there");
    assert!(seen.enabled(&dspex::POOL_V2_ENABLED));
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}

#[tokio::test]
async fn while_the_server_is_gone_the_last_flags_serve_and_afterwards_the_newest() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let pool = fresh(&server, "flags").await;
    PostgresStore::open(pool).await.unwrap();
    // So long a server that is gone is looked for.
    let pool = pool_within(Duration::from_secs(4), &server, "flags");
    let flags = in_time(async || {
        let store = PostgresStore::open(pool.clone()).await.ok()?;
        let flags = Flags::open(Arc::new(store), dspex::declarations());
        flags.await.ok()
    })
    .await;
    let written = async |on: bool| {
        let write = write("pool_v2_enabled", on.into());
        flags.write(write).await.ok()?;
        flags.store_error().is_none().then_some(())
    };
    in_time(async || written(true).await).await;
    server.stop();
    assert!(flags.refresh().await.is_err());
    let refused = flags.write(write("pool_v2_enabled", false.into())).await;
    assert!(
        matches!(refused, Err(FlagError::Store { .. })),
        "{refused:?}"
    );
    assert!(flags.store_error().is_some());
    assert!(flags.snapshot().enabled(&dspex::POOL_V2_ENABLED));
    server.resume();
    in_time(async || written(false).await).await;
    assert!(!flags.snapshot().enabled(&dspex::POOL_V2_ENABLED));
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_refused() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let pool = fresh(&server, "flags").await;
    PostgresStore::open(pool.clone()).await.unwrap();
    sqlx::query(
        "INSERT INTO _dspex_flags_migrations (version, description, success, checksum, execution_time)
         VALUES (2, 'of tomorrow', TRUE, '', 0)",
    )
    .execute(&pool)
    .await
    .unwrap();
    let error = PostgresStore::open(pool).await.unwrap_err();
    assert!(
        matches!(error, FlagError::SchemaTooNew { found: 2, known: 1 }),
        "{error}"
    );
}

/// Two servers start at once on an empty database: one makes the tables, the other finds them.
#[tokio::test]
async fn two_may_open_an_empty_database_at_once() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    fresh(&server, "flags").await;
    let (one, other) = tokio::join!(
        PostgresStore::open(pool(&server, "flags")),
        PostgresStore::open(pool(&server, "flags")),
    );
    one.unwrap();
    other.unwrap();
}
