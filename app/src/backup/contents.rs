//! What goes into a backup, and into the archive of a pool.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use dspex_migration::{Journal, MigrationId, Recorder};
use dspex_pool::PoolStatus;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::flags;
use crate::archive::{Content, FORMAT, Kind, Manifest};
use crate::config::Config;

/// What only a running server knows.
#[derive(Debug, Default)]
pub(crate) struct Live {
    /// `/metrics`, as Prometheus reads it.
    pub(crate) metrics: String,
    /// The lanes' windows, as far back as they reach. [`None`] from outside the server.
    pub(crate) windows: Option<Value>,
    /// The pools' statuses. [`None`] from outside the server.
    pub(crate) pools: Option<Value>,
}

/// A pool that is taken away.
pub(crate) struct Subject {
    /// Its name and version.
    pub(crate) pool: String,
    /// Its settings, without the value of any variable.
    pub(crate) settings: Value,
    /// What it looks like at its end: its workers, with the last words and the latest changes of each.
    pub(crate) status: PoolStatus,
    /// What the server knows of it.
    pub(crate) live: Live,
    /// The migration that it went by.
    pub(crate) migration: MigrationId,
    /// Where that migration's journal is read.
    pub(crate) journal: Arc<dyn Journal>,
    /// The migrations that it took part in, that one among them.
    pub(crate) took_part: Vec<MigrationId>,
    /// Where their looks are read.
    pub(crate) recorder: Arc<dyn Recorder>,
}

/// The looks that were recorded of migrations, as a file.
pub(super) struct Looks {
    pub(super) file: PathBuf,
    /// How many there are of each migration.
    pub(super) counts: BTreeMap<String, u64>,
}

/// The member that holds them.
pub(super) const LOOKS: &str = "about/looks.ndjson";

/// Where each thing of the database is, for whoever looks for it.
const IN_DATABASE: [(&str, &str); 6] = [
    ("catalog", "dspex.db: programs, program_history"),
    ("sessions", "dspex.db: session_states"),
    ("flags", "dspex.db: flags, flag_revision, flag_changes"),
    (
        "migrations",
        "dspex.db: migration_status, migration_journal, migration_commands",
    ),
    ("configuration", "about/configuration.json"),
    (
        "pools",
        "dspex.db: pool_configurations; about/pools.json as the file says",
    ),
];

const NO_TOKEN: &str = "The admin token's hash and the values of variables are not in it: a server \
    that is started from it makes a new token, and needs the same variables.";

pub(super) fn backup(
    config: &Config,
    reason: &str,
    now: Timestamp,
    tables: BTreeMap<String, u64>,
    database: PathBuf,
    flags: Option<flags::Copy>,
    live: Option<Live>,
) -> (Manifest, Vec<(String, Content)>) {
    let mut kept = Kept::new(Kind::Backup, reason, now);
    kept.manifest.tables = tables;
    for (what, place) in IN_DATABASE {
        kept.tells(what, place);
    }
    kept.manifest.remarks.push(NO_TOKEN.to_owned());
    kept.members
        .push(("dspex.db".to_owned(), Content::File(database)));
    if let Some(flags::Copy { store, bytes }) = flags {
        kept.tells(
            "flags",
            &format!("{}: all that was in {store}", flags::MEMBER),
        );
        kept.remark(&format!(
            "The flags were kept in {store}. A server serves the copy with flags.store = \
             \"file:{}\" (the file's whole path); restoring writes nothing to where they were kept.",
            flags::MEMBER
        ));
        kept.members
            .push((flags::MEMBER.to_owned(), Content::Bytes(bytes)));
    }
    let settings = |prefix: &str| settings(config, prefix);
    kept.document("about/configuration.json", &settings(""));
    let pools: BTreeMap<&str, Value> = config
        .pools
        .iter()
        .map(|(name, pool)| {
            let section = settings(&format!("pools.{name}."));
            (
                name.as_str(),
                json!({"kind": pool.kind(), "settings": section}),
            )
        })
        .collect();
    let live = live.unwrap_or_else(|| {
        kept.remark("No server answered: there are no metrics, windows or pools' states.");
        Live::default()
    });
    let document = json!({"lanes": settings("lanes."), "pools": pools, "status": live.pools});
    kept.document("about/pools.json", &document);
    kept.measured(live);
    kept.done()
}

pub(super) fn pool(
    config: &Config,
    reason: &str,
    now: Timestamp,
    subject: Subject,
    journal: PathBuf,
    looks: Looks,
) -> (Manifest, Vec<(String, Content)>) {
    let mut kept = Kept::new(Kind::Pool, reason, now);
    let Subject {
        pool,
        settings: own,
        status,
        live,
        migration: _,
        journal: _,
        took_part: _,
        recorder: _,
    } = subject;
    kept.tells("configuration", "about/pool.json");
    kept.tells("workers' last states and words", "about/status.json");
    kept.tells("the migration, with every verdict", "about/journal.ndjson");
    kept.remark(
        "The server keeps no log: its lines, the workers' among them, went to its standard error. \
         What is kept of them is each worker's last failure and its latest changes, in \
         about/status.json.",
    );
    let document = json!({
        "pool": pool,
        "kind": status.kind,
        "settings": own,
        "python": settings(config, "python."),
    });
    kept.document("about/pool.json", &document);
    kept.document("about/status.json", &json!(status));
    kept.members
        .push(("about/journal.ndjson".to_owned(), Content::File(journal)));
    let all: u64 = looks.counts.values().sum();
    kept.tells(
        "what was recorded of each look (pool_metrics)",
        &format!(
            "{LOOKS}: {all} looks of {} migrations, one a line",
            looks.counts.len()
        ),
    );
    kept.manifest.looks = looks.counts;
    kept.members
        .push((LOOKS.to_owned(), Content::File(looks.file)));
    kept.measured(live);
    kept.done()
}

/// The settings whose names begin so, each with where it was written. Values of environment maps are
/// hidden by the configuration itself.
fn settings(config: &Config, prefix: &str) -> Value {
    let entries = config.entries().into_iter();
    entries
        .filter_map(|entry| {
            let name = entry.key.strip_prefix(prefix)?.to_owned();
            let written = json!({"value": entry.value, "origin": entry.origin});
            Some((name, written))
        })
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// A manifest and its members in the making.
struct Kept {
    manifest: Manifest,
    members: Vec<(String, Content)>,
}

impl Kept {
    fn new(kind: Kind, reason: &str, now: Timestamp) -> Self {
        Self {
            manifest: Manifest {
                format: FORMAT,
                kind,
                dspex: env!("CARGO_PKG_VERSION").to_owned(),
                created_at: now,
                reason: reason.to_owned(),
                contents: BTreeMap::new(),
                remarks: Vec::new(),
                tables: BTreeMap::new(),
                looks: BTreeMap::new(),
                members: Vec::new(),
            },
            members: Vec::new(),
        }
    }

    fn tells(&mut self, what: &str, place: &str) {
        let contents = &mut self.manifest.contents;
        contents.insert(what.to_owned(), place.to_owned());
    }

    fn remark(&mut self, remark: &str) {
        self.manifest.remarks.push(remark.to_owned());
    }

    fn document(&mut self, name: &str, document: &Value) {
        let text = format!("{document:#}\n");
        self.members
            .push((name.to_owned(), Content::Bytes(text.into_bytes())));
    }

    fn measured(&mut self, live: Live) {
        if !live.metrics.is_empty() {
            self.tells("metrics", "about/metrics.prom");
            let content = Content::Bytes(live.metrics.into_bytes());
            self.members
                .push(("about/metrics.prom".to_owned(), content));
        }
        if let Some(windows) = live.windows {
            self.tells("the lanes' windows", "about/windows.json");
            self.document("about/windows.json", &windows);
        }
    }

    fn done(self) -> (Manifest, Vec<(String, Content)>) {
        (self.manifest, self.members)
    }
}
