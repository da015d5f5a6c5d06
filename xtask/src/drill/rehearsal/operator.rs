//! What an operator does during a drill: dspex's own command line, and nothing else.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use serde_json::Value;

use super::{Rehearsal, Trigger};
use crate::process::Group;

impl Rehearsal<'_> {
    /// Runs dspex's command line against the server, and answers its JSON.
    pub(in crate::drill) fn dspex(&self, arguments: &[&str]) -> Result<Value> {
        let (code, out, err) = self.dspex_ends(arguments)?;
        ensure!(
            code == Some(0),
            "`dspex {}` ended with {code:?}: {}",
            arguments.join(" "),
            err.trim()
        );
        serde_json::from_str(&out)
            .with_context(|| format!("`dspex {}` printed no JSON: {out}", arguments.join(" ")))
    }

    /// Runs dspex's command line, and answers how it ended and what it printed.
    pub(in crate::drill) fn dspex_ends(
        &self,
        arguments: &[&str],
    ) -> Result<(Option<i32>, String, String)> {
        let output = self
            .command(arguments)
            .output()
            .context("cannot run the dspex binary")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        ))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.launch.binary);
        command
            .args(arguments)
            .arg("--json")
            .env("DSPEX_URL", self.client.base())
            .env("DSPEX_TOKEN", self.client.token())
            .env("USER", "drill")
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// From now on it is measured how fast is reacted to this.
    pub(in crate::drill) fn reacts_to(&mut self, what: &'static str) {
        self.triggers.push(Trigger {
            at: Timestamp::now(),
            seen: self.ledger.now(),
            what,
        });
    }

    /// Starts a migration.
    pub(in crate::drill) fn migrate(&self) -> Result<()> {
        let why = format!("drill {}", self.drill.name);
        self.dspex(&["migrate", "start", "--why", &why]).map(drop)
    }

    /// Starts a migration to this version of a pool.
    pub(in crate::drill) fn migrate_to(&self, candidate: &str) -> Result<()> {
        let why = format!("drill {}", self.drill.name);
        let start = ["migrate", "start", "--candidate", candidate, "--why", &why];
        self.dspex(&start).map(drop)
    }

    /// Asks the migration for something: `pause`, `resume`, `promote`, `rollback`.
    pub(in crate::drill) fn steer(&self, verb: &str) -> Result<()> {
        let why = format!("drill {}", self.drill.name);
        self.dspex(&["migrate", verb, "--why", &why]).map(drop)
    }

    /// Takes traffic back by the store alone, and waits so long for a server that lives. Answers how the
    /// command ended and what it printed.
    pub(in crate::drill) fn emergency_rollback(
        &mut self,
        wait: Duration,
    ) -> Result<(Option<i32>, String, String)> {
        self.reacts_to("the command");
        let why = format!("drill {}", self.drill.name);
        let (config, wait) = (self.launch.file(), format!("{}ms", wait.as_millis()));
        let config = config.to_string_lossy();
        self.dspex_ends(&[
            "migrate",
            "emergency-rollback",
            "--why",
            &why,
            "--config",
            &config,
            "--wait",
            &wait,
        ])
    }

    /// Takes the old pool out of service, and answers how the command ended and what it printed.
    pub(in crate::drill) fn decommission(&self) -> Result<(Option<i32>, String, String)> {
        let why = format!("drill {}", self.drill.name);
        self.dspex_ends(&["decommission", "--why", &why, "--yes"])
    }

    /// Asks for the same, and does not wait until it is gone. Dropping the guard takes the command back,
    /// and not what it has asked for.
    pub(in crate::drill) fn begin_decommission(&self) -> Result<Group> {
        let why = format!("drill {}", self.drill.name);
        self.begin(&["decommission", "--why", &why, "--yes"])
    }

    /// Asks for a rollback, and takes the time of it.
    pub(in crate::drill) fn roll_back(&mut self) -> Result<()> {
        self.reacts_to("the command");
        self.steer("rollback")
    }

    /// Asks for a rollback as [`roll_back`](Self::roll_back) does, and does not wait for the answer:
    /// a server whose store is in trouble may take its time for it. Dropping the guard takes it back.
    pub(in crate::drill) fn ask_for_rollback(&mut self) -> Result<Group> {
        self.reacts_to("the command");
        let why = format!("drill {}", self.drill.name);
        self.begin(&["migrate", "rollback", "--why", &why])
    }

    fn begin(&self, arguments: &[&str]) -> Result<Group> {
        let mut command = self.command(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Group::start(&mut command, Duration::ZERO)
    }
}
