//! `dspex migrate emergency-…`: acts on the store alone, for the moment when the server does not
//! answer.
//!
//! Invariants: traffic first. The flags say 0 % before anything else is tried, and what could not be
//! written is said. A server that lives and does not obey is told apart from none.

use std::time::Duration;

use clap::Args;
use dspex_migration::emergency::{self, Posted};
use dspex_migration::{Event, Journal as _, MigrationError, MigrationId, SqliteJournal};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cli::client::duration;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::Output;
use crate::cli::settings::Settings;
use crate::cli::style::{Paint, Tone};
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
}

/// The server on this data directory.
#[derive(Debug, Default, Serialize)]
struct Server {
    alive: bool,
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
            Ask::Pause | Ask::Resume => (None, Ok(store.journal().await?)),
        };
        let (posted, server) = match opened {
            Ok(journal) => {
                let before = newest(&journal).await;
                let posted = post(ask, &journal, &who, &why).await?;
                let asked = posted.as_ref().ok().and_then(Option::as_ref);
                let watched = Watched {
                    journal: &journal,
                    dir: store.dir(),
                    ask,
                };
                let server = watched.until_obeyed(asked, before, self.wait).await;
                (posted, server)
            }
            Err(error) => (Err(error.to_string()), Server::of(store.dir())),
        };
        store.close().await;
        let command = posted.as_ref().ok().and_then(Option::as_ref);
        let done = Done {
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
        };
        output.either(&done, |paint| words(ask, &done, paint))?;
        verdict(ask, &done)
    }
}

type Lowered = Result<dspex_flags::Revision, String>;
type Asked = Result<Option<Posted>, String>;

/// Takes traffic to 0 % in the store of the flags, and then only looks for the journal: it may lie
/// elsewhere, or be locked.
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
        // There is nothing to act on.
        Err(neither) if !usable => Err(neither.into()),
        journal => Ok((lowered.map_err(|error| error.to_string()), journal)),
    }
}

/// Leaves in the journal what is asked for.
async fn post(ask: Ask, journal: &SqliteJournal, who: &str, why: &str) -> Result<Asked, Failure> {
    let refused = |error: MigrationError| Failure::new(Exit::Refused, error);
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

    fn look(&mut self, dir: &DataDir) {
        match holder(dir) {
            Holder::Server(pid) => (self.alive, self.pid) = (true, pid),
            Holder::Nobody => self.alive = false,
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
            if all || !server.alive || posted.is_none() || began.elapsed() >= wait {
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

fn words(ask: Ask, done: &Done, paint: Paint) -> String {
    let mut lines = Vec::new();
    match (done.flags_revision, &done.flags_trouble) {
        (Some(revision), _) => lines.push(paint.text(
            Tone::Good,
            &format!("traffic is at 0 % in the store (flags at revision {revision})"),
        )),
        (None, Some(trouble)) => lines.push(paint.text(
            Tone::Bad,
            &format!("traffic could not be taken to 0 %: {trouble}"),
        )),
        (None, None) => {}
    }
    let verb = ask.verb();
    match (&done.migration, done.command, &done.command_trouble) {
        (Some(migration), Some(number), _) => {
            lines.push(format!("{verb} is asked of {migration} (command {number})"));
        }
        (_, _, Some(trouble)) => lines.push(paint.text(
            Tone::Bad,
            &format!("the {verb} could not be left in the journal: {trouble}"),
        )),
        _ => lines.push("there is no migration to be asked: nothing else is to be done".to_owned()),
    }
    lines.extend(server_in_words(ask, done, paint));
    lines.join("\n")
}

fn server_in_words(ask: Ask, done: &Done, paint: Paint) -> Option<String> {
    let server = &done.server;
    let named = match server.pid {
        Some(pid) => format!("the server (pid {pid})"),
        None => "the server".to_owned(),
    };
    if let Some(refused) = &server.refused {
        return Some(paint.text(Tone::Warn, &format!("{named} has refused: {refused}")));
    }
    let traffic = if server.acknowledged {
        ", and every router serves 0 %"
    } else {
        ""
    };
    if server.obeyed {
        return Some(paint.text(Tone::Good, &format!("{named} has obeyed{traffic}")));
    }
    if server.alive {
        // Where nothing was asked, nothing is to be obeyed.
        done.command?;
        return Some(paint.text(Tone::Bad, &format!("{named} lives and has not obeyed")));
    }
    Some(match ask {
        Ask::Rollback => {
            "no server runs here: nothing sends traffic, and the next start obeys before \
                          it serves the candidate (`dspex serve`)"
                .to_owned()
        }
        Ask::Pause | Ask::Resume => {
            "no server runs here: the next start obeys (`dspex serve`)".to_owned()
        }
    })
}

/// What the process ends with.
fn verdict(ask: Ask, done: &Done) -> Result<(), Failure> {
    if done.flags_trouble.is_some() || done.command_trouble.is_some() {
        return Err(
            Failure::new(Exit::Failed, "not everything could be written to the store")
                .hint("run it again: writing it twice does no harm"),
        );
    }
    let server = &done.server;
    if server.refused.is_some() {
        return Err(Failure::silent(Exit::Refused));
    }
    let obeyed = server.obeyed && (server.acknowledged || ask != Ask::Rollback);
    if !server.alive || obeyed || done.command.is_none() {
        return Ok(());
    }
    let stop = match server.pid {
        Some(pid) => format!("end it with `kill -9 {pid}` and start it again with `dspex serve`"),
        None => "end it and start it again with `dspex serve`".to_owned(),
    };
    Err(
        Failure::new(Exit::Failed, "the server lives and has not obeyed in time").hint(
            format_args!(
                "it hangs, or the disk does: {stop}; it comes up with what the store says"
            ),
        ),
    )
}
