//! `dspex serve`, started as a user starts it, ended as users and machines end it.

use std::fs::OpenOptions;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use sha2::{Digest as _, Sha256};

use super::client::Client;
use super::model::STAND_IN_KEY;
use crate::interrupt::Interrupt;
use crate::process::{Group, last_lines};
use crate::progress::Progress;

/// How long the workers may take to come up: eight interpreters importing DSPy on a small machine.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// What the server prints on standard output once it serves calls, before its address.
const LISTENING: &str = "dspex listening on ";
/// The server drains within 25 s; a little more, and it is killed.
const GRACE: Duration = Duration::from_secs(30);

/// How a server is started.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub(crate) binary: PathBuf,
    /// Where `dspex.toml` goes. Its name is random, and nobody else may look into it.
    pub(crate) folder: PathBuf,
    /// The text of `dspex.toml`.
    pub(crate) config: String,
    /// Added to the environment.
    pub(crate) env: Vec<(String, String)>,
    /// What the server is started by, such as `prlimit` with its arguments.
    pub(crate) under: Vec<String>,
    /// Where its output goes, behind what is there.
    pub(crate) log: PathBuf,
}

/// A running server. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    process: Group,
    client: Client,
    log: PathBuf,
    /// Where this server's words begin in the log.
    log_from: u64,
}

impl Launch {
    /// The configuration's file.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.join("dspex.toml")
    }

    /// The admin token: the same for every server of this folder.
    pub(crate) fn token(&self) -> String {
        token(&self.folder)
    }

    /// Writes the configuration, starts the server and waits until it is ready.
    pub(crate) fn start(&self, interrupt: &Interrupt) -> Result<Server> {
        let mut server = self.begin()?;
        server.wait_listening(interrupt)?;
        Ok(server)
    }

    /// Starts the server and waits for nothing. It has no address until it is ready.
    pub(crate) fn begin(&self) -> Result<Server> {
        let file = self.file();
        std::fs::write(&file, &self.config)
            .with_context(|| format!("cannot write {}", file.display()))?;
        let out = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("cannot write {}", self.log.display()))?;
        let log_from = out.metadata().context("cannot look at the log")?.len();
        let token = self.token();
        let mut command = match self.under.split_first() {
            None => Command::new(&self.binary),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(&self.binary);
                command
            }
        };
        command
            .args(["serve", "--config"])
            .arg(&file)
            .env("DSPEX_ADMIN_TOKEN", &token)
            .env(STAND_IN_KEY, "the stand-in wants no key")
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(out.try_clone().context("cannot share the log")?)
            .stderr(out);
        Ok(Server {
            process: Group::start(&mut command, GRACE)?,
            client: Client::new("", &token),
            log: self.log.clone(),
            log_from,
        })
    }
}

impl Server {
    /// How to talk to it.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Fails where the server has ended by itself.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        if let Some(status) = self.process.ended() {
            bail!("dspex ended by itself ({status}):\n{}", self.last_words());
        }
        Ok(())
    }

    /// Asks it to end, and fails where it does not do so well.
    pub(crate) fn stop(mut self) -> Result<()> {
        match self.process.stop() {
            Some(status) if status.success() => Ok(()),
            status => bail!(
                "dspex did not end well after SIGTERM ({status:?}):\n{}",
                self.last_words()
            ),
        }
    }

    /// SIGKILL to the server alone: what it started has to end without it.
    pub(crate) fn kill(mut self) {
        self.process.kill_leader();
    }

    /// Its process.
    pub(crate) fn pid(&self) -> i32 {
        self.process.id()
    }

    /// Any other signal to the server alone.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Waits until the server says that it serves calls, and where.
    pub(crate) fn wait_listening(&mut self, interrupt: &Interrupt) -> Result<()> {
        let progress = Progress::start("dspex serve");
        let deadline = Instant::now() + READY_WITHIN;
        let base = loop {
            if let Some(base) = self.listening() {
                break base;
            }
            self.check_alive()?;
            if Instant::now() > deadline {
                bail!(
                    "dspex was not ready within {READY_WITHIN:?}:\n{}",
                    self.last_words()
                );
            }
            progress.tick(&last_lines(&self.log, 1));
            interrupt.sleep(Duration::from_millis(50))?;
        };
        progress.done("ready");
        self.client = Client::new(&base, self.client.token());
        Ok(())
    }

    fn listening(&self) -> Option<String> {
        listening(&self.log, self.log_from)
    }

    fn last_words(&self) -> String {
        format!(
            "{}\n(all of it: {})",
            last_lines(&self.log, 15),
            self.log.display()
        )
    }
}

/// A port that nobody has now. Whoever is told it takes it a moment later.
pub(crate) fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").context("there is no free port")?;
    Ok(listener
        .local_addr()
        .context("a port without a number")?
        .port())
}

/// The address in the log, behind this place.
fn listening(log: &Path, from: u64) -> Option<String> {
    let mut file = std::fs::File::open(log).ok()?;
    file.seek(SeekFrom::Start(from)).ok()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    // A line that is not whole yet would be half an address.
    String::from_utf8_lossy(&bytes)
        .split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n'))
        .find_map(|line| line.strip_prefix(LISTENING).map(str::to_owned))
}

/// An admin token for one folder: its name is random, and nobody else may look into it.
fn token(folder: &Path) -> String {
    let mut hash = Sha256::new();
    hash.update(folder.as_os_str().as_encoded_bytes());
    hash.update(std::process::id().to_be_bytes());
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_line_of_this_servers_own_is_its_address() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = folder.path().join("log");
        let before = "dspex listening on http://127.0.0.1:1\n";
        std::fs::write(&log, format!("{before}dspex listening on http://127.0.0"))
            .expect("written");
        assert_eq!(
            listening(&log, 0).as_deref(),
            Some("http://127.0.0.1:1"),
            "the first server's"
        );
        let from = u64::try_from(before.len()).expect("short");
        assert_eq!(listening(&log, from), None);
    }
}
