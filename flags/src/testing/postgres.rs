//! A PostgreSQL server for a test.

use std::hash::{BuildHasher as _, RandomState};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use tempfile::TempDir;

/// A PostgreSQL server that ends with its test: a cluster of its own in a temporary folder, on a free
/// port of the loopback, with the user `flags`, who needs no password. Its programs are looked for in
/// `DSPEX_POSTGRES_BIN`, in the places where distributions put them, and on the path.
///
/// Its methods panic where the server does not do as it is told.
#[derive(Debug)]
pub struct PostgresServer {
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
    let ours = TempDir::new().and_then(|folder| folder.path().metadata());
    ours.expect("a temporary folder is made").uid() == 0
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

/// A port below those that a kernel gives out by itself: nobody is given it while the server is stopped,
/// so that the server finds it free when it comes back.
fn free_port() -> u16 {
    const FIRST: u16 = 15_000;
    const PORTS: u16 = 16_000;
    let anywhere = RandomState::new().hash_one(std::process::id());
    (0..u64::from(PORTS))
        .filter_map(|next| u16::try_from(anywhere.wrapping_add(next) % u64::from(PORTS)).ok())
        .map(|place| FIRST + place)
        .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("the loopback has a free port")
}

impl PostgresServer {
    /// A running server; `None` where its programs are not installed, so that a test can say so and
    /// pass.
    ///
    /// # Panics
    /// Where it does not start; and under `CI`, which may skip nothing, where it is not installed.
    #[must_use]
    pub fn start() -> Option<Self> {
        let Some(bin) = installed() else {
            eprintln!("skipped: there is no PostgreSQL on this machine");
            return None;
        };
        let folder = TempDir::new().expect("a temporary folder is made");
        let data = folder.path().join("data");
        std::fs::create_dir(&data).expect("the folder is empty");
        if is_root() {
            for path in [folder.path(), &data] {
                std::os::unix::fs::chown(path, Some(65_534), Some(65_534))
                    .expect("root may give it away");
            }
        }
        let made = program(&bin.join("initdb"))
            .args(["--auth=trust", "--username=flags", "--no-sync", "--pgdata"])
            .arg(&data)
            .status()
            .expect("initdb runs");
        assert!(made.success(), "initdb: {made}");
        let mut server = Self {
            folder,
            bin,
            port: 0,
        };
        // Another process may take the port before the server does: then with another.
        for _ in 0..10 {
            server.port = free_port();
            if server.control("start").success() {
                return Some(server);
            }
        }
        panic!("the server does not start");
    }

    /// The address of a database on it, as a configuration has it. Of the databases, `postgres` is
    /// there from the beginning.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://flags@127.0.0.1:{}/{database}", self.port)
    }

    /// Ends it at once, as a crash would.
    pub fn stop(&self) {
        assert!(self.control("stop").success(), "the server does not end");
    }

    /// Starts it again, with the data that it had and on the same port.
    pub fn resume(&self) {
        assert!(self.control("start").success(), "the server does not start");
    }

    fn control(&self, verb: &str) -> ExitStatus {
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
        command.status().expect("pg_ctl runs")
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // It may have been stopped by the test.
        self.control("stop");
    }
}
