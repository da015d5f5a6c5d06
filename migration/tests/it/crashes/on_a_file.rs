//! The same on the journal that is shipped: SQLite, in a file.
//!
//! Invariant: the clock of the simulation stands while SQLite works, which it does in real time.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use dspex_migration::{
    Append, CommandRow, Entry, Inbox, Journal, JournalError, MigrationId, Phase, Post,
    SqliteJournal, Start, Summary,
};
use dspex_telemetry::Lane;
use tokio::runtime::Handle;
use tokio::sync::OnceCell;

use super::{Fate, PLAIN, Story, every_write};

/// Opened at its first use.
struct OnAFile {
    folder: Arc<tempfile::TempDir>,
    journal: OnceCell<Arc<SqliteJournal>>,
}

/// A clock that is paused goes on by itself when nobody has anything to do, but never while a
/// thread is at work for it.
async fn in_no_time<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let handle = Handle::current();
    let done = tokio::task::spawn_blocking(move || handle.block_on(work));
    done.await.expect("done")
}

impl OnAFile {
    fn empty() -> Arc<dyn Journal> {
        Arc::new(Self {
            folder: Arc::new(tempfile::tempdir().expect("a folder")),
            journal: OnceCell::new(),
        })
    }

    async fn journal(&self) -> Arc<SqliteJournal> {
        let folder = self.folder.clone();
        let open = || {
            in_no_time(async move { crate::sqlite::open(&folder.path().join("dspex.db")).await })
        };
        self.journal.get_or_init(open).await.clone()
    }
}

#[async_trait]
impl Journal for OnAFile {
    async fn create(&self, id: &MigrationId, start: Start<'_>) -> Result<(), JournalError> {
        let (journal, id, plan) = (self.journal().await, id.clone(), start.plan.clone());
        let (who, why, at) = (start.who.to_owned(), start.why.to_owned(), start.at);
        in_no_time(async move {
            let start = Start {
                plan: &plan,
                who: &who,
                why: &why,
                at,
            };
            journal.create(&id, start).await
        })
        .await
    }

    async fn append(&self, id: &MigrationId, append: Append<'_>) -> Result<u64, JournalError> {
        let (journal, id, events) = (self.journal().await, id.clone(), append.events.to_vec());
        let (outcome, phase) = (append.outcome.map(str::to_owned), append.phase);
        let (expected_seq, at) = (append.expected_seq, append.at);
        in_no_time(async move {
            let append = Append {
                expected_seq,
                events: &events,
                at,
                phase,
                outcome: outcome.as_deref(),
            };
            journal.append(&id, append).await
        })
        .await
    }

    async fn entries(
        &self,
        id: &MigrationId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, JournalError> {
        let (journal, id) = (self.journal().await, id.clone());
        in_no_time(async move { journal.entries(&id, after, limit).await }).await
    }

    async fn history(&self, limit: usize) -> Result<Vec<Summary>, JournalError> {
        let journal = self.journal().await;
        in_no_time(async move { journal.history(limit).await }).await
    }
}

/// News is looked for as by any journal: several times a second.
#[async_trait]
impl Inbox for OnAFile {
    async fn post(&self, id: &MigrationId, post: Post<'_>) -> Result<u64, JournalError> {
        let (journal, id) = (self.journal().await, id.clone());
        let (command, at) = (post.command, post.at);
        let (who, why) = (post.who.to_owned(), post.why.to_owned());
        in_no_time(async move {
            let post = Post {
                command,
                who: &who,
                why: &why,
                at,
            };
            journal.post(&id, post).await
        })
        .await
    }

    async fn commands(
        &self,
        id: &MigrationId,
        after: u64,
    ) -> Result<Vec<CommandRow>, JournalError> {
        let (journal, id) = (self.journal().await, id.clone());
        in_no_time(async move { journal.commands(&id, after).await }).await
    }

    async fn last_command(&self, id: &MigrationId) -> Result<u64, JournalError> {
        let (journal, id) = (self.journal().await, id.clone());
        in_no_time(async move { journal.last_command(&id).await }).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollback_whose_controller_dies_at_every_write() {
    let story = Story {
        journal: OnAFile::empty,
        spoil: |house| {
            house.behave(Lane::Candidate, |how| how.pool_faults = 0.7);
            house.candidate.withdraw_fails.store(2, Ordering::SeqCst);
        },
        ends: Phase::RolledBack,
        ..PLAIN
    };
    for fate in [Fate::DiesBefore, Fate::DiesAfter, Fate::Errs] {
        let (writes, end) = every_write(fate, &story).await;
        assert!(writes > 7, "{writes}");
        assert_eq!((end.share, end.up), (0, false));
    }
}
