//! A PostgreSQL server for a test: a cluster of its own in a temporary folder, on a free port of the
//! loopback. Its programs are looked for in `DSPEX_POSTGRES_BIN`, in the places where distributions put
//! them, and on the path. Where there are none a test says so and passes, but not under `CI`.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// A server that ends with the test.
pub(crate) struct Postgres {
    folder: tempfile::TempDir,
    bin: PathBuf,
    port: u16,
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test that waits for each program it starts, and ends the server before itself"
)]
fn program(path: &Path) -> Command {
    let mut command = Command::new(path);
    if rustix::process::getuid().is_root() {
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

impl Postgres {
    /// A running server; none where there are no programs of it.
    pub(crate) fn start() -> Option<Self> {
        let Some(bin) = installed() else {
            eprintln!("skipped: there is no PostgreSQL on this machine");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        if rustix::process::getuid().is_root() {
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

    /// Its address, as a configuration has it.
    pub(crate) fn url(&self) -> String {
        format!("postgres://flags@127.0.0.1:{}/postgres", self.port)
    }

    /// Ends it at once, as a crash would.
    pub(crate) fn stop(&self) {
        assert!(self.control("stop").success());
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
        command.status().unwrap()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // It may have been stopped by the test.
        self.control("stop");
    }
}
