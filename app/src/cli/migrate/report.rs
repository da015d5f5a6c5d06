//! `dspex migrate report`: what is to be learnt from a migration.

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use dspex_migration::{Entry, Journal as _, MigrationId, SqliteJournal, report};

use super::MIGRATIONS;
use crate::cli::client::{Client, Remote};
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::Output;
use crate::cli::settings::Settings;
use crate::offline::Offline;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dspex migrate report                                   # the last migration, as Markdown
  dspex migrate report --format html --output report.html
  dspex migrate report m-0198… --offline --data-dir data # from the store, without a server")]
pub(super) struct Report {
    /// The migration; the current or last one where it is not given.
    id: Option<String>,
    /// The same, as an option.
    #[arg(long = "id", value_name = "ID", conflicts_with = "id")]
    id_option: Option<String>,
    /// How it is written; md where it is not given, json with --json.
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Written>,
    /// Write it into this file.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Ask no server: read the store of the configured data directory.
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Written {
    // No doc comments: the help shows them in a list of their own.
    Md,
    Html,
    Json,
}

impl Written {
    fn media(self) -> &'static str {
        match self {
            Self::Md => "text/markdown",
            Self::Html => "text/html",
            Self::Json => "application/json",
        }
    }
}

impl Report {
    pub(super) async fn run(self, remote: &Remote, output: Output) -> Result<(), Failure> {
        let written = match self.format {
            Some(written) => written,
            None if output.json => Written::Json,
            None => Written::Md,
        };
        let id = self.id.or(self.id_option);
        let text = if self.offline {
            of_the_store(self.settings, id, written).await?
        } else {
            let answer = of_the_server(&remote.client()?, id.as_deref(), written).await;
            match answer {
                // The store of this machine is the server's only where the server is of this machine.
                Err(failure) if failure.exit == Exit::Unreachable && remote.is_local() => {
                    output.note(&format!("{}; reading the store", failure.message));
                    let stored = of_the_store(self.settings, id, written).await;
                    stored.map_err(|_| failure)?
                }
                answer => answer?,
            }
        };
        match self.output {
            Some(path) => {
                std::fs::write(&path, &text).map_err(|error| {
                    let path = path.display();
                    Failure::new(
                        Exit::Failed,
                        format_args!("{path} cannot be written: {error}"),
                    )
                })?;
                output.note(&format!("written to {}", path.display()));
                Ok(())
            }
            None => {
                // As it is: the report has escaped what others wrote.
                let mut out = std::io::stdout().lock();
                out.write_all(text.as_bytes())?;
                out.flush()?;
                Ok(())
            }
        }
    }
}

async fn of_the_server(
    client: &Client,
    id: Option<&str>,
    written: Written,
) -> Result<String, Failure> {
    let path = [&MIGRATIONS[..], &[id.unwrap_or("current"), "report"]].concat();
    client.get(&path).text_as(written.media()).await
}

async fn of_the_store(
    settings: Settings,
    id: Option<String>,
    written: Written,
) -> Result<String, Failure> {
    let store = Offline::of(&settings.load()?)?;
    let read = read(&store.journal().await?, id).await;
    store.close().await;
    let (id, entries) = read?;
    let report = report(&id, &entries).map_err(|error| Failure::new(Exit::Unfit, error))?;
    Ok(match written {
        Written::Md => report.markdown(),
        Written::Html => report.html(),
        Written::Json => {
            let json = serde_json::to_string_pretty(&report);
            json.map_err(std::io::Error::from)? + "\n"
        }
    })
}

/// The whole journal of a migration, or of the newest one.
async fn read(
    journal: &SqliteJournal,
    id: Option<String>,
) -> Result<(MigrationId, Vec<Entry>), Failure> {
    let refused = |error: dspex_migration::JournalError| Failure::new(Exit::Refused, error);
    let id = match id {
        Some(id) => MigrationId::from_text(id),
        None => {
            let newest = journal.history(1).await.map_err(refused)?.pop();
            let none = || Failure::new(Exit::Refused, super::show::NONE);
            newest.ok_or_else(none)?.id
        }
    };
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let after = entries.last().map_or(0, |entry| entry.seq);
        let page = journal.entries(&id, after, 10_000).await.map_err(refused)?;
        if page.is_empty() {
            return Ok((id, entries));
        }
        entries.extend(page);
    }
}
