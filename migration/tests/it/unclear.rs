//! A store that writes and then errs: whoever asked is not told that it failed, and nothing is done
//! twice. What becomes of such an append is tried in `crashes`, at every one of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use dspex_flags::MemoryStore;
use dspex_migration::{
    Append, Command, CommandRow, Entry, Event, Inbox, Journal, JournalError, MemoryJournal,
    MigrationId, Post, Start, Summary, emergency,
};

use crate::house::{Controller, House, at_stage, rolled_back};

/// A journal that makes each write, and says that it failed.
#[derive(Default)]
struct Unclear {
    inner: MemoryJournal,
    /// Of commands, and of beginnings.
    errs: AtomicBool,
    /// Nor can what was written be read.
    blind: AtomicBool,
}

fn failed() -> JournalError {
    JournalError::Store {
        problem: "disk I/O error".into(),
    }
}

impl Unclear {
    fn answer<T>(&self, written: T) -> Result<T, JournalError> {
        if self.errs.load(Ordering::SeqCst) {
            return Err(failed());
        }
        Ok(written)
    }

    fn look(&self) -> Result<(), JournalError> {
        if self.blind.load(Ordering::SeqCst) {
            return Err(failed());
        }
        Ok(())
    }
}

#[async_trait]
impl Journal for Unclear {
    async fn create(&self, id: &MigrationId, start: Start<'_>) -> Result<(), JournalError> {
        self.inner.create(id, start).await?;
        self.answer(())
    }

    async fn append(&self, id: &MigrationId, append: Append<'_>) -> Result<u64, JournalError> {
        self.inner.append(id, append).await
    }

    async fn entries(
        &self,
        id: &MigrationId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, JournalError> {
        self.inner.entries(id, after, limit).await
    }

    async fn history(&self, limit: usize) -> Result<Vec<Summary>, JournalError> {
        self.inner.history(limit).await
    }
}

#[async_trait]
impl Inbox for Unclear {
    async fn post(&self, id: &MigrationId, post: Post<'_>) -> Result<u64, JournalError> {
        let number = self.inner.post(id, post).await?;
        self.answer(number)
    }

    async fn commands(
        &self,
        id: &MigrationId,
        after: u64,
    ) -> Result<Vec<CommandRow>, JournalError> {
        self.look()?;
        self.inner.commands(id, after).await
    }

    async fn last_command(&self, id: &MigrationId) -> Result<u64, JournalError> {
        self.inner.last_command(id).await
    }

    async fn news(&self, id: &MigrationId, after: u64) {
        self.inner.news(id, after).await;
    }
}

async fn in_the_second_stage() -> (House, Arc<Unclear>, Controller) {
    let journal = Arc::new(Unclear::default());
    let house = House::with(journal.clone(), Arc::new(MemoryStore::new())).await;
    house.traffic(100, Duration::from_secs(5));
    let controller = house.start().await;
    controller.until(at_stage(1)).await;
    (house, journal, controller)
}

/// What was asked for, and whether it was obeyed, in order.
async fn taken(controller: &Controller) -> Vec<(Command, bool)> {
    let events = controller.events().await.into_iter();
    let taken = events.filter_map(|event| match event {
        Event::Commanded {
            command, refused, ..
        } => Some((command, refused.is_none())),
        _ => None,
    });
    taken.collect()
}

#[tokio::test(start_paused = true)]
async fn a_command_that_was_left_all_the_same_is_done_once_and_no_error() {
    let (house, journal, controller) = in_the_second_stage().await;
    journal.errs.store(true, Ordering::SeqCst);
    let status = controller.command(Command::Pause).await.expect("left");
    assert!(status.paused.is_some(), "{status:?}");
    controller.command(Command::Resume).await.expect("left");
    controller
        .until(|status| status.paused.is_none() && status.acknowledged)
        .await;
    let promote = Command::Promote { to_end: false };
    controller.command(promote).await.expect("left");
    controller.until(at_stage(2)).await;
    assert_eq!(house.share(), 2_500, "one stage further, and no more");
    let begun = emergency::pause(&*journal, "grace", "look").await;
    let number = begun.expect("left").number;
    let status = controller.until(|status| status.paused.is_some()).await;
    assert_eq!(status.last_command, number);
    let all = [
        (Command::Pause, true),
        (Command::Resume, true),
        (promote, true),
        (Command::Pause, true),
    ];
    assert_eq!(taken(&controller).await, all);
}

#[tokio::test(start_paused = true)]
async fn a_rollback_that_was_left_all_the_same_is_one_rollback() {
    let (house, journal, controller) = in_the_second_stage().await;
    journal.errs.store(true, Ordering::SeqCst);
    controller.command(Command::Rollback).await.expect("taken");
    assert_eq!(house.share(), 0);
    controller.until(rolled_back).await;
    let events = controller.events().await;
    let count = |wanted: fn(&Event) -> bool| events.iter().filter(|event| wanted(event)).count();
    let began = count(|event| matches!(event, Event::RollbackBegan { .. }));
    let zeroed = count(|event| matches!(event, Event::TrafficZeroed { .. }));
    assert_eq!((began, zeroed), (1, 1), "{events:#?}");
    assert_eq!(house.candidate.times("withdraw"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_migration_that_was_begun_all_the_same_is_no_error() {
    let journal = Arc::new(Unclear::default());
    journal.errs.store(true, Ordering::SeqCst);
    let house = House::with(journal, Arc::new(MemoryStore::new())).await;
    house.traffic(100, Duration::from_secs(5));
    let controller = house.start().await;
    controller.until(at_stage(0)).await;
    assert_eq!(house.candidate.times("deploy"), 1);
    assert_eq!(house.journal.history(10).await.expect("read").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_found_out_is_said_to_be_uncertain() {
    let (_house, journal, controller) = in_the_second_stage().await;
    journal.errs.store(true, Ordering::SeqCst);
    journal.blind.store(true, Ordering::SeqCst);
    let refused = controller.command(Command::Pause).await;
    let refused = refused.expect_err("it may have failed");
    assert!(refused.contains("disk I/O error"), "{refused}");
    assert!(refused.contains("cannot be told"), "{refused}");
    // It was left, and is taken once the inbox can be read.
    journal.blind.store(false, Ordering::SeqCst);
    controller.until(|status| status.paused.is_some()).await;
    assert_eq!(taken(&controller).await, [(Command::Pause, true)]);
}
