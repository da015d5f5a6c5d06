//! A store that refuses one entry of the journal: that a certain step is done. The migration stands in
//! that step for as long as this is there, whatever the step has come to, and whatever the machine's speed.
//!
//! It is a trigger in the server's database, put there as any other process could. All else is
//! written, so it is no trouble of the store that a rollback would have to go round.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::rehearsal::Rehearsal;

const SCRIPT: &str = "\
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
database.execute(sys.argv[2])
";

/// See the module. Dropped, it is gone.
pub(super) struct Refusal {
    python: PathBuf,
    database: PathBuf,
}

impl Refusal {
    /// From now on this step is never done.
    pub(super) fn of(drill: &Rehearsal<'_>, step: &str) -> Result<Self> {
        let refusal = Self {
            python: drill.setup.python.clone(),
            database: drill.database(),
        };
        refusal.run(&format!(
            "CREATE TRIGGER drill_refuses BEFORE INSERT ON migration_journal \
             WHEN json_extract(NEW.event, '$.type') = 'step_done' \
             AND json_extract(NEW.event, '$.step') = '{step}' \
             BEGIN SELECT RAISE(ABORT, 'a drill refuses this entry'); END"
        ))?;
        Ok(refusal)
    }

    /// The entry is written at the next try.
    pub(super) fn lift(self) -> Result<()> {
        self.remove()
    }

    fn remove(&self) -> Result<()> {
        self.run("DROP TRIGGER IF EXISTS drill_refuses")
    }

    fn run(&self, statement: &str) -> Result<()> {
        let output = Command::new(&self.python)
            .args(["-c", SCRIPT])
            .arg(&self.database)
            .arg(statement)
            .stdin(Stdio::null())
            .output()
            .context("cannot start Python")?;
        ensure!(
            output.status.success(),
            "the server's database does not take {statement:?}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(())
    }
}

impl Drop for Refusal {
    fn drop(&mut self) {
        // Where it fails, an error is on its way already, and the database goes with its folder.
        let _ = self.remove();
    }
}
