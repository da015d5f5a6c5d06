//! The place in which one drill is played: a server of its own, callers, an operator's hands.
//!
//! Invariants: what is asserted is written down as a [`Claim`], whether it held or not, so that a
//! report says what was looked at; a claim that did not hold, and a wait that was in vain, fail the
//! drill, and anything else that goes wrong says that it could not be played.

mod house;
mod operator;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use tempfile::TempDir;

use super::Drill;
use super::config::{Base, FAULTS, ORDERS};
use super::journal::Journal;
use super::observer::Observer;
use super::report::Claim;
use crate::interrupt::Interrupt;
use crate::live::client::Client;
use crate::live::ledger::{Ledger, Sample};
use crate::live::programs::Program;
use crate::live::questions;
use crate::live::server::{Launch, Server, free_port};
use crate::live::setup::Setup;
use crate::live::traffic::{Habits, Scene, Traffic};
use crate::live::watch::Status;

/// How often a wait looks.
const LOOK: Duration = Duration::from_millis(50);
/// Sessions of one crowd; the next crowd's begin behind them.
const CROWD: usize = 1_000_000;

/// Something that had to come did not. It fails the drill.
#[derive(Debug)]
pub(super) struct InVain(String);

impl Display for InVain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InVain {}

/// Why some failed calls do not count against the drill.
pub(super) struct Allowance {
    pub(super) why: &'static str,
    pub(super) allows: Box<dyn Fn(&Sample) -> bool>,
}

/// What the time to a rollback is measured from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trigger {
    pub(super) at: Timestamp,
    /// The same moment by the ledger.
    pub(super) seen: Duration,
    pub(super) what: &'static str,
}

/// A time in which no server ran.
#[derive(Debug, Clone, Copy)]
pub(super) struct Away {
    pub(super) from: Duration,
    /// When the next one said that it serves.
    pub(super) back: Duration,
}

/// See the module.
pub(super) struct Rehearsal<'a> {
    pub(super) drill: &'static Drill,
    pub(super) setup: &'a Setup<'a>,
    pub(super) interrupt: &'a Interrupt,
    /// Whether the short form is asked for, where there is one.
    quick: bool,
    /// Whether the drill has one, and plays it.
    pub(super) shortened: bool,
    pub(super) seed: u64,
    pub(super) ledger: Arc<Ledger>,
    pub(super) claims: Vec<Claim>,
    pub(super) allowances: Vec<Allowance>,
    /// The oldest first.
    pub(super) triggers: Vec<Trigger>,
    pub(super) journals: Vec<Journal>,
    /// Facts that belong into the report and are no claims.
    pub(super) notes: Vec<String>,
    /// When a session could change its side without that being seen from outside, by the drill's own
    /// doing: both lanes had one pool, or the server had lowered the share and could not write it down.
    pub(super) unseen: Vec<(Duration, Duration)>,
    /// When the server was away.
    pub(super) aways: Vec<Away>,
    pub(super) observer: Option<Observer>,
    pub(super) log: PathBuf,
    programs: Vec<Program>,
    launch: Launch,
    client: Client,
    server: Option<Server>,
    crowds: Vec<Traffic>,
    /// Dropped last: everything above may still use it.
    folder: TempDir,
}

impl<'a> Rehearsal<'a> {
    /// An empty place, with these settings over the drills' base. Nothing runs yet.
    pub(super) fn prepare(
        drill: &'static Drill,
        setup: &'a Setup<'a>,
        interrupt: &'a Interrupt,
        quick: bool,
        seed: u64,
    ) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("dspex-drill-")
            .tempdir()
            .context("cannot make a temporary folder")?;
        let log = setup.places.log(&format!("drill-{}", drill.name))?;
        std::fs::write(&log, "").with_context(|| format!("cannot write {}", log.display()))?;
        let launch = Launch {
            binary: setup.binary.clone(),
            folder: folder.path().to_owned(),
            config: String::new(),
            env: Vec::new(),
            under: Vec::new(),
            log: log.clone(),
        };
        // A server that is killed must come back where its callers look for it.
        let port = free_port()?;
        let client = Client::new(&format!("http://127.0.0.1:{port}"), &launch.token());
        let mut rehearsal = Self {
            drill,
            setup,
            interrupt,
            quick,
            shortened: false,
            seed,
            ledger: Arc::new(Ledger::begin()),
            claims: Vec::new(),
            allowances: Vec::new(),
            triggers: Vec::new(),
            journals: Vec::new(),
            notes: Vec::new(),
            unseen: Vec::new(),
            aways: Vec::new(),
            observer: None,
            log,
            programs: Vec::new(),
            launch,
            client,
            server: None,
            crowds: Vec::new(),
            folder,
        };
        rehearsal.configure("", port)?;
        Ok(rehearsal)
    }

    fn configure(&mut self, own: &str, port: u16) -> Result<()> {
        let base = Base {
            port,
            folder: self.folder.path(),
            python: &self.setup.python,
            programs: &self.setup.folder,
            model: self.setup.model.as_ref().map(|model| model.profile()),
        };
        self.launch.config = base.with(own)?;
        Ok(())
    }

    /// Starts the server with these settings over the base, and creates the programs.
    pub(super) fn open(&mut self, own: &str, programs: &[Program]) -> Result<()> {
        let port = self.client.base().rsplit(':').next().unwrap_or_default();
        let port = port.parse().context("the server's address has no port")?;
        self.configure(own, port)?;
        self.server = Some(self.launch.start(self.interrupt)?);
        for program in programs {
            program.create(&self.client)?;
        }
        self.programs = programs.to_vec();
        Ok(())
    }

    /// Changes how the server is started: `env` is added to its environment, `under` runs it.
    pub(super) fn launch_with(&mut self, env: Vec<(String, String)>, under: Vec<String>) {
        (self.launch.env, self.launch.under) = (env, under);
    }

    /// Lets a crowd of callers in, after each has asked every program once.
    pub(super) fn crowd(&mut self, habits: Habits) -> Result<()> {
        self.crowd_of(&self.programs.clone(), habits)
    }

    /// The same, for a crowd that asks these programs only.
    pub(super) fn crowd_of(&mut self, programs: &[Program], habits: Habits) -> Result<()> {
        self.scene(programs, habits, Arc::new(Ledger::begin()))?
            .warm_up()?;
        if self.observer.is_none() {
            self.ledger = Arc::new(Ledger::begin());
            self.observer = Some(Observer::start(&self.client, Arc::clone(&self.ledger)));
        }
        let scene = self.scene(programs, habits, Arc::clone(&self.ledger))?;
        self.crowds.push(Traffic::start(scene));
        Ok(())
    }

    /// Watches without any callers.
    pub(super) fn watch_only(&mut self) {
        self.observer = Some(Observer::start(&self.client, Arc::clone(&self.ledger)));
    }

    fn scene(&self, programs: &[Program], habits: Habits, ledger: Arc<Ledger>) -> Result<Scene> {
        Ok(Scene {
            client: self.client.clone(),
            programs: programs.to_vec(),
            questions: questions::read(&self.setup.folder.join("questions.jsonl"))?,
            exact: self.setup.model.as_ref().is_none_or(|model| model.exact()),
            act: self.drill.name,
            ledger,
            habits,
            first_session: self.crowds.len() * CROWD,
        })
    }

    /// Sends all callers home; each has its last answer by then.
    pub(super) fn calm(&mut self) -> Result<()> {
        let mut result = Ok(());
        for crowd in &mut self.crowds {
            // All are told before any is waited for.
            crowd.leave();
        }
        for mut crowd in self.crowds.drain(..) {
            result = result.and(crowd.stop());
        }
        result
    }

    /// The drill's folder.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The server's database.
    pub(super) fn database(&self) -> PathBuf {
        self.data_dir().join("dspex.db")
    }

    /// The server's data directory.
    pub(super) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// What each run of `order` left.
    pub(super) fn orders(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join(ORDERS)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Whether to play the drill's short form. The report says so, and that is no evidence of the whole.
    pub(super) fn is_short(&mut self) -> bool {
        self.shortened = self.quick;
        self.shortened
    }

    /// Sleeps, until it is interrupted.
    pub(super) fn rest(&self, wait: Duration) -> Result<()> {
        self.interrupt.sleep(wait)
    }

    /// Waits until the migration is as wanted, as of now.
    pub(super) fn until(
        &mut self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Status) -> bool,
    ) -> Result<Status> {
        let since = self.ledger.now();
        let begun = Instant::now();
        let mut last = None;
        loop {
            self.check_server()?;
            let observer = self.observer.as_ref().context("nobody watches")?;
            if let Some(status) = observer.status_after(since) {
                if wanted(&status) {
                    return Ok(status);
                }
                last = Some(status);
            }
            if begun.elapsed() > limit {
                let seen = last.map_or("nothing was seen".to_owned(), |status| {
                    format!(
                        "it is in {} at {} %: {} {}",
                        status.phase,
                        status.percent,
                        status.verdict(),
                        status.reasons.join("; ")
                    )
                });
                return Err(InVain(format!("waited {limit:?} for {what} in vain; {seen}")).into());
            }
            self.interrupt.sleep(LOOK)?;
        }
    }

    /// Waits until the migration serves this share, acknowledged.
    pub(super) fn until_share(&mut self, percent: f64, limit: Duration) -> Result<Status> {
        self.until(&format!("{percent} %"), limit, |status| {
            status.phase == "rollout" && status.acknowledged && status.percent >= percent
        })
    }

    /// Waits until the migration is in this phase.
    pub(super) fn until_phase(&mut self, phase: &str, limit: Duration) -> Result<Status> {
        self.until(phase, limit, |status| status.phase == phase)
    }

    fn check_server(&mut self) -> Result<()> {
        if let Some(server) = &mut self.server {
            server
                .check_alive()
                .map_err(|error| InVain(format!("{error:#}")))?;
        }
        Ok(())
    }

    /// Says that something holds, or does not, and what was seen of it.
    pub(super) fn claim(&mut self, what: impl Into<String>, held: bool, seen: impl Display) {
        self.claims.push(Claim {
            what: what.into(),
            held,
            seen: seen.to_string(),
        });
    }

    /// Takes some failed calls for what they are: the drill's own doing.
    pub(super) fn allow(&mut self, why: &'static str, allows: impl Fn(&Sample) -> bool + 'static) {
        self.allowances.push(Allowance {
            why,
            allows: Box::new(allows),
        });
    }

    /// Keeps the journal of the migration at hand.
    pub(super) fn keep_journal(&mut self) -> Result<&Journal> {
        let current = self.client.get("/admin/v1/migrations/current")?;
        let Some(id) = current["id"].as_str() else {
            bail!("the migration has no id: {current}");
        };
        let journal = Journal::read(&self.client, id)?;
        self.journals.retain(|kept| kept.id != id);
        self.journals.push(journal);
        self.journals.last().context("it was kept just now")
    }

    /// Ends callers, keeps the last journal, ends the server.
    pub(super) fn close(&mut self) -> Result<()> {
        self.calm()?;
        if self.observer.is_some() && self.is_open() {
            // A drill without a migration has none to keep.
            if self.client.get("/admin/v1/migrations/current").is_ok() {
                self.keep_journal()?;
            }
        }
        self.note_first_fault();
        if self.is_open() {
            let ended = self.terminate();
            self.aways.pop();
            let seen = ended.as_ref().err().map_or_else(
                || "it ended with 0 after SIGTERM".to_owned(),
                |error| format!("{error:#}"),
            );
            self.claim(
                "the server ends in order when it is asked to",
                ended.is_ok(),
                seen,
            );
        }
        Ok(())
    }
}
