//! `dspex serve`, started as a user starts it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};

use super::client::Client;
use super::config::Settings;
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

/// A running server. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Server {
    process: Group,
    client: Client,
    log: PathBuf,
}

impl Server {
    /// Writes the configuration, starts the server and waits until it is ready.
    pub(super) fn start(
        binary: &Path,
        settings: &Settings<'_>,
        log: PathBuf,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let file = settings.data_dir.join("dspex.toml");
        std::fs::write(&file, settings.toml())
            .with_context(|| format!("cannot write {}", file.display()))?;
        let out = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let token = token(settings.data_dir);
        let mut command = Command::new(binary);
        command
            .args(["serve", "--config"])
            .arg(&file)
            .env("DSPEX_ADMIN_TOKEN", &token)
            .env(STAND_IN_KEY, "the stand-in wants no key")
            .stdin(Stdio::null())
            .stdout(out.try_clone().context("cannot share the log")?)
            .stderr(out);
        let mut server = Self {
            process: Group::start(&mut command, GRACE)?,
            client: Client::new("", &token),
            log,
        };
        let base = server.wait_listening(interrupt)?;
        server.client = Client::new(&base, &token);
        Ok(server)
    }

    /// How to talk to it.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Fails where the server has ended by itself.
    pub(super) fn check_alive(&mut self) -> Result<()> {
        if let Some(status) = self.process.ended() {
            bail!("dspex ended by itself ({status}):\n{}", self.last_words());
        }
        Ok(())
    }

    /// Asks it to end, and fails where it does not do so well.
    pub(super) fn stop(mut self) -> Result<()> {
        match self.process.stop() {
            Some(status) if status.success() => Ok(()),
            status => bail!(
                "dspex did not end well after SIGTERM ({status:?}):\n{}",
                self.last_words()
            ),
        }
    }

    /// Waits until the server says that it serves calls, and where.
    fn wait_listening(&mut self, interrupt: &Interrupt) -> Result<String> {
        let progress = Progress::start("dspex serve, pool V1 with 8 workers");
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
            interrupt.sleep(Duration::from_millis(100))?;
        };
        progress.done("ready");
        Ok(base)
    }

    fn listening(&self) -> Option<String> {
        let log = std::fs::read_to_string(&self.log).ok()?;
        // A line that is not whole yet would be half an address.
        log.split_inclusive('\n')
            .filter_map(|line| line.strip_suffix('\n'))
            .find_map(|line| line.strip_prefix(LISTENING).map(str::to_owned))
    }

    fn last_words(&self) -> String {
        format!(
            "{}\n(all of it: {})",
            last_lines(&self.log, 15),
            self.log.display()
        )
    }
}

/// An admin token for one act: the folder's name is random, and nobody else may look into it.
fn token(folder: &Path) -> String {
    let mut hash = Sha256::new();
    hash.update(folder.as_os_str().as_encoded_bytes());
    hash.update(std::process::id().to_be_bytes());
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
