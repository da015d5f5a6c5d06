//! `dspex migrate emergency-…`: acts on the store alone, for the moment when the server does not
//! answer.
//!
//! Invariants: traffic first. The flags say 0 % before anything else is tried, and what could not be
//! written is said. A server that lives and does not obey is told apart from none.

mod words;

use std::time::Duration;

use clap::Args;
use dspex_migration::emergency::{self, Posted};
use dspex_migration::{Event, Journal as _, MigrationError, MigrationId, SqliteJournal};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use self::words::{locked, remedy, unlock, verdict, words};
use crate::cli::client::duration;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::Output;
use crate::cli::settings::Settings;
use crate::cli::who::Who;
use crate::offline::{Holder, Offline, OfflineError, holder};
use crate::paths::DataDir;

/// How often the store is looked at for what the server made of it.
const LOOK: Duration = Duration::from_millis(100);

/// Who asks by the store, why, and where the store is.
#[derive(Debug, Args)]
pub(super) struct Emergency {
    /// Why, for the journal.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "asked for on the command line"
    )]
    pub(super) why: String,
    #[command(flatten)]
    pub(super) who: Who,
    /// How long to wait for a server that lives to obey.
    #[arg(long, value_parser = duration, default_value = "10s", value_name = "DURATION")]
    pub(super) wait: Duration,
    #[command(flatten)]
    pub(super) settings: Settings,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    Rollback,
    Pause,
    Resume,
}

impl Ask {
    /// As a server is asked for it.
    pub(super) fn verb(self) -> &'static str {
        match self {
            Self::Rollback => "rollback",
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }
}

/// What was done, and what the server made of it.
#[derive(Debug, Serialize)]
struct Done {
    /// The revision of the flags that takes traffic to 0 %; none where no traffic was asked to move.
    flags_revision: Option<u64>,
    /// Why it could not be written, where it could not.
    flags_trouble: Option<String>,
    migration: Option<MigrationId>,
    /// The command's number in the inbox; none where there was nothing to be asked.
    command: Option<u64>,
    command_trouble: Option<String>,
    server: Server,
    /// What to do where something could not be written.
    #[serde(skip)]
    remedy: String,
}

/// The server on this data directory.
#[derive(Debug, Default, Serialize)]
struct Server {
    /// None where the data directory cannot be seen, and so not who holds it.
    alive: Option<bool>,
    pid: Option<u32>,
    /// Whether it has taken the command.
    obeyed: bool,
    /// Whether it has said that every router serves 0 %.
    acknowledged: bool,
    /// Why it has refused, where it has.
    refused: Option<String>,
}

impl From<OfflineError> for Failure {
    fn from(error: OfflineError) -> Self {
        let hint = error.hint();
        Self::new(Exit::Unfit, error).hint(hint)
    }
}

impl Emergency {
    /// As a server is asked for it.
    pub(super) fn body(&self) -> Value {
        json!({"why": self.why, "who": self.who.clone().name()})
    }

    pub(super) async fn run(self, ask: Ask, output: Output) -> Result<(), Failure> {
        let store = Offline::of(&self.settings.load()?)?;
        let (who, why) = (self.who.name(), self.why);
        let (lowered, opened) = match ask {
            Ask::Rollback => {
                let (flags, journal) = first_the_traffic(&store, &who, &why).await?;
                (Some(flags), journal)
            }
            Ask::Pause | Ask::Resume => {
                let opened = store.journal().await;
                let opened = opened.map_err(|error| {
                    kept_locked(&error, store.dir()).unwrap_or_else(|| error.into())
                })?;
                (None, Ok(opened))
            }
        };
        let mut missing = None;
        let (posted, server) = match opened {
            Ok(journal) => {
                let before = newest(&journal).await;
                let posted = post(ask, &journal, store.dir(), &who, &why).await?;
                let asked = posted.as_ref().ok().and_then(Option::as_ref);
                let watched = Watched {
                    journal: &journal,
                    dir: store.dir(),
                    ask,
                };
                let server = watched.until_obeyed(asked, before, self.wait).await;
                (posted, server)
            }
            Err(error) => {
                missing = matches!(error, OfflineError::NoDatabase(_)).then(|| error.hint());
                (Err(error.to_string()), Server::of(store.dir()))
            }
        };
        let inside = store.has_the_flags();
        store.close().await;
        let command = posted.as_ref().ok().and_then(Option::as_ref);
        let mut done = Done {
            flags_revision: lowered
                .as_ref()
                .and_then(|flags| flags.as_ref().ok().map(|revision| revision.get())),
            flags_trouble: lowered
                .as_ref()
                .and_then(|flags| flags.as_ref().err().cloned()),
            migration: command.map(|posted| posted.migration.clone()),
            command: command.map(|posted| posted.number),
            command_trouble: posted.as_ref().err().cloned(),
            server,
            remedy: String::new(),
        };
        done.remedy = match missing {
            Some(hint) => hint.to_owned(),
            None => remedy(&done, inside),
        };
        output.either(&done, |paint| words(ask, &done, paint))?;
        verdict(ask, &done)
    }
}

type Lowered = Result<dspex_flags::Revision, String>;
type Asked = Result<Option<Posted>, String>;

/// Takes traffic to 0 % in the store of the flags, and then only looks for the journal: it may lie
/// elsewhere, be gone, or be locked.
async fn first_the_traffic(
    store: &Offline,
    who: &str,
    why: &str,
) -> Result<(Lowered, Result<SqliteJournal, OfflineError>), Failure> {
    let flags = store.flags().await;
    let usable = flags.is_ok();
    let lowered = match flags {
        Ok(flags) => emergency::lower(&*flags, who, why).await,
        Err(error) => Err(error),
    };
    let journal = store.journal().await;
    match journal {
        // There is nothing to act on. A lock has a holder, though, which is told with it; and of two stores
        // the trouble of each is.
        Err(neither) if !usable && store.has_the_flags() && !locked(&neither.to_string()) => {
            Err(neither.into())
        }
        journal => Ok((lowered.map_err(|error| error.to_string()), journal)),
    }
}

/// Names whoever keeps the database locked, where that is the trouble.
fn kept_locked(trouble: &impl std::fmt::Display, dir: &DataDir) -> Option<Failure> {
    let trouble = trouble.to_string();
    locked(&trouble).then(|| Failure::new(Exit::Unfit, &trouble).hint(unlock(&Server::of(dir))))
}

/// Leaves in the journal what is asked for.
async fn post(
    ask: Ask,
    journal: &SqliteJournal,
    dir: &DataDir,
    who: &str,
    why: &str,
) -> Result<Asked, Failure> {
    let refused = |error: MigrationError| {
        kept_locked(&error, dir).unwrap_or_else(|| Failure::new(Exit::Refused, error))
    };
    let posted = match ask {
        Ask::Rollback => {
            let posted = emergency::ask(journal, who, why).await;
            return Ok(posted.map_err(|error| error.to_string()));
        }
        Ask::Pause => emergency::pause(journal, who, why).await,
        Ask::Resume => emergency::resume(journal, who, why).await,
    };
    posted.map(|posted| Ok(Some(posted))).map_err(refused)
}

/// The newest migration's last entry, so that only what comes after is looked at.
async fn newest(journal: &SqliteJournal) -> u64 {
    let newest = journal.history(1).await;
    let newest = newest.ok().and_then(|mut all| all.pop());
    newest.map_or(0, |migration| migration.last_seq)
}

impl Server {
    /// Who is there now.
    fn of(dir: &DataDir) -> Self {
        let mut server = Self::default();
        server.look(dir);
        server
    }

    fn lives(&self) -> bool {
        self.alive == Some(true)
    }

    fn look(&mut self, dir: &DataDir) {
        match holder(dir) {
            Holder::Server(pid) => (self.alive, self.pid) = (Some(true), pid),
            Holder::Nobody => self.alive = Some(false),
            Holder::Unseen => self.alive = None,
        }
    }
}

/// Where it is seen what a server makes of it.
struct Watched<'a> {
    journal: &'a SqliteJournal,
    dir: &'a DataDir,
    ask: Ask,
}

impl Watched<'_> {
    /// Waits until the server has obeyed, for at most `wait`.
    async fn until_obeyed(
        &self,
        posted: Option<&Posted>,
        mut after: u64,
        wait: Duration,
    ) -> Server {
        let began = Instant::now();
        let mut server = Server::default();
        loop {
            server.look(self.dir);
            if let Some(posted) = posted {
                after = self.read(posted, after, &mut server).await;
            }
            let all = server.refused.is_some()
                || (server.obeyed && (server.acknowledged || self.ask != Ask::Rollback));
            if all || !server.lives() || posted.is_none() || began.elapsed() >= wait {
                return server;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Reads what is new in the journal.
    async fn read(&self, posted: &Posted, mut after: u64, server: &mut Server) -> u64 {
        // A store that cannot be read now is read at the next look.
        let entries = self.journal.entries(&posted.migration, after, 1_000).await;
        for entry in entries.unwrap_or_default() {
            after = entry.seq;
            match entry.event {
                Event::Commanded {
                    command_id,
                    refused,
                    ..
                } if command_id == posted.number => {
                    server.obeyed = refused.is_none();
                    server.refused = refused;
                }
                // Another's rollback is as good.
                Event::RollbackBegan { .. } => server.obeyed = true,
                Event::TrafficZeroed { .. } => server.acknowledged = true,
                _ => {}
            }
        }
        after
    }
}
