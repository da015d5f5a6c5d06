//! The battery on a real server, and what only a server does: it goes away, and it tells of writes.
//!
//! Each test has a cluster of its own in a temporary folder, on a free port of the loopback. The
//! server's programs are looked for in `DSPEX_POSTGRES_BIN`, in the places where distributions put
//! them, and on the path. Where there are none the tests say so and pass, but not under `CI`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::postgres::PgConnectOptions;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::audit::Write;
use crate::store::FlagStore;
use crate::testing::conformance;
use crate::value::FlagValue;
use crate::{Flags, dspex};

/// A server that ends with the test.
struct Server {
    folder: TempDir,
    bin: PathBuf,
    port: u16,
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test that waits for each program it starts, and ends the server before itself"
)]
fn program(path: &Path) -> Command {
    let mut command = Command::new(path);
    if is_root() {
        // A server refuses to run as root.
        let mut as_nobody = Command::new("setpriv");
        as_nobody
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
            .arg(path);
        command = as_nobody;
    }
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// By the owner of what this process makes: there is nothing else in std to ask.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    TempDir::new().unwrap().path().metadata().unwrap().uid() == 0
}

fn installed() -> Option<PathBuf> {
    let named = std::env::var_os("DSPEX_POSTGRES_BIN").map(PathBuf::from);
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let versions = versions.flatten().map(|entry| entry.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let mut folders = named.into_iter().chain(versions).chain(path);
    let found = folders.find(|folder| folder.join("initdb").is_file());
    assert!(
        found.is_some() || std::env::var_os("CI").is_none(),
        "there is no PostgreSQL here, and CI may skip nothing: set DSPEX_POSTGRES_BIN"
    );
    found
}

impl Server {
    fn start() -> Option<Self> {
        let Some(bin) = installed() else {
            eprintln!("skipped: there is no PostgreSQL on this machine");
            return None;
        };
        let folder = TempDir::new().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        if is_root() {
            for path in [folder.path(), &data] {
                std::os::unix::fs::chown(path, Some(65_534), Some(65_534)).unwrap();
            }
        }
        let made = program(&bin.join("initdb"))
            .args(["--auth=trust", "--username=flags", "--no-sync", "--pgdata"])
            .arg(&data)
            .status()
            .unwrap();
        assert!(made.success(), "initdb: {made}");
        let mut server = Self {
            folder,
            bin,
            port: 0,
        };
        // Another process may take the port before the server does: then with another.
        for _ in 0..10 {
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            server.port = free.local_addr().unwrap().port();
            drop(free);
            if server.control("start").success() {
                return Some(server);
            }
        }
        panic!("the server does not start");
    }

    fn control(&self, verb: &str) -> std::process::ExitStatus {
        let data = self.folder.path().join("data");
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off",
            self.port
        );
        let mut command = program(&self.bin.join("pg_ctl"));
        command
            .args([verb, "--wait", "--silent", "--pgdata"])
            .arg(&data);
        if verb == "start" {
            command.args(["--options", &options, "--log"]);
            command.arg(data.join("log"));
        } else {
            command.args(["--mode", "immediate"]);
        }
        command.status().unwrap()
    }

    fn pool(&self, database: &str) -> PgPool {
        let options = PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.port)
            .username("flags")
            .database(database);
        PgPoolOptions::new()
            .max_connections(4)
            .acquire_timeout(Duration::from_secs(2))
            .connect_lazy_with(options)
    }

    async fn fresh(&self, database: &str) -> PgPool {
        let admin = self.pool("postgres");
        let create = format!("CREATE DATABASE {database}");
        sqlx::query(sqlx::AssertSqlSafe(create))
            .execute(&admin)
            .await
            .unwrap();
        self.pool(database)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have been stopped by the test.
        self.control("stop");
    }
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
    let Some(server) = Server::start() else {
        return;
    };
    let stores = AtomicU32::new(0);
    conformance(|| {
        let database = format!("flags_{}", stores.fetch_add(1, Ordering::Relaxed));
        let server = &server;
        async move {
            let pool = server.fresh(&database).await;
            Arc::new(PostgresStore::open(pool).await.unwrap()) as Arc<dyn FlagStore>
        }
    })
    .await;
}

/// The poll is far away: only the notice can bring the news in time.
#[tokio::test]
async fn a_write_of_another_process_wakes_the_watch() {
    let Some(server) = Server::start() else {
        return;
    };
    server.fresh("flags").await;
    let open = async || Arc::new(PostgresStore::open(server.pool("flags")).await.unwrap());
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
    let seen = tokio::time::timeout(Duration::from_secs(60), subscriber.changed());
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
    let Some(server) = Server::start() else {
        return;
    };
    let pool = server.fresh("flags").await;
    let store = Arc::new(PostgresStore::open(pool).await.unwrap());
    let flags = Flags::open(store, dspex::declarations()).await.unwrap();
    flags
        .write(write("pool_v2_enabled", true.into()))
        .await
        .unwrap();
    assert!(server.control("stop").success());
    assert!(flags.refresh().await.is_err());
    let refused = flags.write(write("pool_v2_enabled", false.into())).await;
    assert!(
        matches!(refused, Err(FlagError::Store { .. })),
        "{refused:?}"
    );
    assert!(flags.store_error().is_some());
    assert!(flags.snapshot().enabled(&dspex::POOL_V2_ENABLED));
    assert!(server.control("start").success());
    flags
        .write(write("pool_v2_enabled", false.into()))
        .await
        .unwrap();
    assert!(flags.store_error().is_none());
    assert!(!flags.snapshot().enabled(&dspex::POOL_V2_ENABLED));
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_refused() {
    let Some(server) = Server::start() else {
        return;
    };
    let pool = server.fresh("flags").await;
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
    let Some(server) = Server::start() else {
        return;
    };
    server.fresh("flags").await;
    let (one, other) = tokio::join!(
        PostgresStore::open(server.pool("flags")),
        PostgresStore::open(server.pool("flags")),
    );
    one.unwrap();
    other.unwrap();
}
