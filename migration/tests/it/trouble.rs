//! The journal cannot be written: the controller holds, says so, and a rollback wins all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use dspex_flags::Revision;
use dspex_flags::testing::FaultyStore;
use dspex_migration::{
    Append, Cause, Command, CommandRow, Entry, Event, Inbox, Journal, JournalError, MemoryJournal,
    MigrationId, Phase, Post, Start, Status, Summary,
};
use dspex_telemetry::Lane;
use jiff::Timestamp;

use crate::house::{Controller, House, at_stage, rolled_back};

const WELL: u8 = 0;
const FULL: u8 = 1;
const HANGS: u8 = 2;

/// A journal whose writes fail or hang, as told.
#[derive(Default)]
struct Troubled {
    inner: MemoryJournal,
    trouble: AtomicU8,
    /// Of reading the entries.
    reading: AtomicU8,
    /// Of reading which migrations there are.
    listing: AtomicU8,
}

impl Troubled {
    async fn write(&self) -> Result<(), JournalError> {
        Self::meet(&self.trouble).await
    }

    async fn meet(trouble: &AtomicU8) -> Result<(), JournalError> {
        match trouble.load(Ordering::SeqCst) {
            WELL => Ok(()),
            FULL => Err(JournalError::Store {
                problem: "database or disk is full".into(),
            }),
            _ => std::future::pending().await,
        }
    }
}

#[async_trait]
impl Journal for Troubled {
    async fn create(&self, id: &MigrationId, start: Start<'_>) -> Result<(), JournalError> {
        self.write().await?;
        self.inner.create(id, start).await
    }

    async fn append(&self, id: &MigrationId, append: Append<'_>) -> Result<u64, JournalError> {
        self.write().await?;
        self.inner.append(id, append).await
    }

    async fn entries(
        &self,
        id: &MigrationId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, JournalError> {
        Self::meet(&self.reading).await?;
        self.inner.entries(id, after, limit).await
    }

    async fn history(&self, limit: usize) -> Result<Vec<Summary>, JournalError> {
        Self::meet(&self.listing).await?;
        self.inner.history(limit).await
    }
}

#[async_trait]
impl Inbox for Troubled {
    async fn post(&self, id: &MigrationId, post: Post<'_>) -> Result<u64, JournalError> {
        self.write().await?;
        self.inner.post(id, post).await
    }

    async fn commands(
        &self,
        id: &MigrationId,
        after: u64,
    ) -> Result<Vec<CommandRow>, JournalError> {
        self.inner.commands(id, after).await
    }

    async fn last_command(&self, id: &MigrationId) -> Result<u64, JournalError> {
        self.inner.last_command(id).await
    }

    async fn news(&self, id: &MigrationId, after: u64) {
        self.inner.news(id, after).await;
    }
}

/// A migration in its second stage.
async fn under_way() -> (House, Arc<Troubled>, Controller) {
    let journal = Arc::new(Troubled::default());
    let house = House::with(journal.clone(), Arc::new(dspex_flags::MemoryStore::new())).await;
    house.traffic(100, Duration::from_secs(5));
    let controller = house.start().await;
    controller
        .until(|status| status.stage == Some(1) && status.healthy_for > Duration::from_secs(60))
        .await;
    (house, journal, controller)
}

#[tokio::test(start_paused = true)]
async fn it_holds_and_says_so_and_goes_on_afterwards() {
    for trouble in [FULL, HANGS] {
        let (house, journal, controller) = under_way().await;
        let before = controller.entries().await;
        journal.trouble.store(trouble, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(3 * 3600)).await;
        let status = controller.migrations.status().expect("one");
        assert!(
            status.reasons[0].contains("journal is not available"),
            "{:?}",
            status.reasons
        );
        assert_eq!((status.stage, house.share()), (Some(1), 1_000));
        assert_eq!(controller.entries().await.len(), before.len());
        journal.trouble.store(WELL, Ordering::SeqCst);
        let began = tokio::time::Instant::now();
        let status = controller.until(|status| status.stage == Some(2)).await;
        // Nothing was credited for the three hours: almost the whole hold was still to come.
        assert!(
            began.elapsed() > Duration::from_secs(3400),
            "{:?}",
            began.elapsed()
        );
        assert!(status.stages[1].healthy >= Duration::from_secs(3600));
    }
}

#[tokio::test(start_paused = true)]
async fn a_persons_rollback_takes_traffic_away_before_it_is_written_down() {
    for trouble in [FULL, HANGS] {
        let (house, journal, controller) = under_way().await;
        journal.trouble.store(trouble, Ordering::SeqCst);
        let refused = controller
            .migrations
            .command(Command::Pause, "ada", "because");
        let refused = tokio::time::timeout(Duration::from_secs(5), refused).await;
        assert!(
            !matches!(refused, Ok(Ok(_))),
            "a pause is not promised in vain"
        );
        let began = tokio::time::Instant::now();
        controller.command(Command::Rollback).await.expect("taken");
        while house.share() != 0 {
            assert!(
                began.elapsed() < Duration::from_secs(5),
                "{:?}",
                began.elapsed()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(
            house.candidate.times("withdraw"),
            0,
            "nothing else is done unwritten"
        );
        assert_eq!(house.share(), 0);
        journal.trouble.store(WELL, Ordering::SeqCst);
        let status = controller.until(rolled_back).await;
        assert!(
            status
                .outcome
                .as_ref()
                .expect("over")
                .contains("ada: because")
        );
        assert_eq!(
            *house
                .candidate
                .share_at_withdrawal
                .lock()
                .expect("unpoisoned"),
            [0]
        );
    }
}

/// Another process holds the database that has both the journal and the flags.
#[tokio::test(start_paused = true)]
async fn traffic_does_not_wait_for_a_store_that_is_locked() {
    for elsewhere in [false, true] {
        let store = Arc::new(FaultyStore::new());
        let journal = Arc::new(Troubled::default());
        let house = House::with(journal.clone(), store.clone()).await;
        house.traffic(100, Duration::from_secs(5));
        let controller = house.start().await;
        let status = controller.until(at_stage(1)).await;
        journal.trouble.store(HANGS, Ordering::SeqCst);
        store.hang_after_writes(true);
        let began = tokio::time::Instant::now();
        let asks = async {
            if elsewhere {
                // It came into the inbox just before.
                let post = Post {
                    command: Command::Rollback,
                    who: "ada",
                    why: "because",
                    at: status.started_at,
                };
                journal.inner.post(&status.id, post).await.expect("posted");
            } else {
                controller.command(Command::Rollback).await.expect("taken");
            }
        };
        let falls = async {
            while house.share() != 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            began.elapsed()
        };
        let ((), fell) = tokio::join!(asks, falls);
        assert!(fell < Duration::from_millis(700), "{elsewhere}: {fell:?}");
        tokio::time::sleep(Duration::from_secs(60)).await;
        let status = controller.migrations.status().expect("one");
        assert!(
            status.paused.is_none(),
            "that is nobody's drift: {status:?}"
        );
        assert_eq!((status.phase, house.share()), (Phase::Rollout, 0));
        journal.trouble.store(WELL, Ordering::SeqCst);
        store.hang_after_writes(false);
        let status = controller.until(rolled_back).await;
        let outcome = status.outcome.as_ref().expect("over");
        assert!(outcome.contains("ada: because"), "{outcome}");
        assert!(!house.flags.snapshot().overridden());
    }
}

#[tokio::test(start_paused = true)]
async fn the_evidence_takes_traffic_away_before_it_is_written_down() {
    let (house, journal, controller) = under_way().await;
    journal.trouble.store(FULL, Ordering::SeqCst);
    house.behave(Lane::Candidate, |how| how.pool_faults = 0.9);
    let began = tokio::time::Instant::now();
    while house.share() != 0 {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "{:?}",
            began.elapsed()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Whatever is seen afterwards, a rollback once decided is not taken back.
    house.behave(Lane::Candidate, |how| how.pool_faults = 0.0);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(
        controller.migrations.status().expect("one").phase,
        Phase::Rollout
    );
    journal.trouble.store(WELL, Ordering::SeqCst);
    let status = controller.until(rolled_back).await;
    assert!(
        status
            .outcome
            .as_ref()
            .expect("over")
            .contains("worker-crashed"),
        "{status:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_rollback_that_was_taken_is_no_error_though_its_entry_cannot_be_read() {
    for trouble in [FULL, HANGS] {
        let (house, journal, controller) = under_way().await;
        journal.reading.store(trouble, Ordering::SeqCst);
        let rollback = controller.command(Command::Rollback);
        let answer = tokio::time::timeout(Duration::from_secs(10), rollback).await;
        answer.expect("it is answered").expect("it is no error");
        journal.reading.store(WELL, Ordering::SeqCst);
        controller.until(rolled_back).await;
        assert_eq!(house.share(), 0);
        // What is over is refused still: it is not the store's trouble.
        let refused = controller.command(Command::Rollback).await;
        refused.expect_err("there is nothing to roll back");
    }
}

/// Another process ends the migration and begins a new one, while a rollback of the old one could
/// not be written down here.
#[tokio::test(start_paused = true)]
async fn a_rollback_of_one_migration_never_hits_the_next() {
    let (house, journal, controller) = under_way().await;
    journal.trouble.store(FULL, Ordering::SeqCst);
    controller.command(Command::Rollback).await.expect("taken");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(house.share(), 0);

    let old = controller.migrations.status().expect("one");
    assert_eq!(old.phase, Phase::Rollout, "it cannot be written down here");
    let cause = Cause::Controller {
        why: "elsewhere".into(),
    };
    let events = [
        Event::RollbackBegan {
            cause,
            scenario: None,
            snapshot: None,
        },
        Event::TrafficZeroed {
            revision: Revision::new(99),
        },
        Event::Withdrawn {
            finished: 0,
            abandoned: 0,
        },
        Event::RolledBack,
    ];
    let at = Timestamp::UNIX_EPOCH;
    let append = Append {
        expected_seq: old.last_seq,
        events: &events,
        at,
        phase: Phase::RolledBack,
        outcome: Some("rolled back: elsewhere"),
    };
    journal
        .inner
        .append(&old.id, append)
        .await
        .expect("written");
    let new = MigrationId::generate();
    let start = Start {
        plan: &house.plan,
        who: "grace",
        why: "mended",
        at,
    };
    journal.inner.create(&new, start).await.expect("begun");

    journal.trouble.store(WELL, Ordering::SeqCst);
    let status = controller
        .until(|status| status.id == new && (rolled_back(status) || at_stage(1)(status)))
        .await;
    assert_eq!(status.phase, Phase::Rollout, "{:?}", status.outcome);
}

#[tokio::test(start_paused = true)]
async fn traffic_is_taken_away_although_the_flags_cannot_be_written() {
    for hangs in [false, true] {
        let store = Arc::new(FaultyStore::new());
        let journal = Arc::new(MemoryJournal::new());
        let house = House::with(journal, store.clone()).await;
        house.traffic(100, Duration::from_secs(5));
        let controller = house.start().await;
        controller.until(at_stage(1)).await;
        if hangs {
            store.hang_after_writes(true);
        } else {
            store.fail_writes(true);
        }
        let began = tokio::time::Instant::now();
        controller.command(Command::Rollback).await.expect("taken");
        while house.share() != 0 {
            assert!(
                began.elapsed() < Duration::from_secs(5),
                "{:?}",
                began.elapsed()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(house.flags.snapshot().overridden());
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let status = controller.migrations.status().expect("one");
        assert_eq!(status.phase, Phase::RollingBack);
        assert!(
            status.reasons[0].contains("not certain to be at 0 %"),
            "{:?}",
            status.reasons
        );
        assert_eq!(
            (house.share(), house.candidate.times("withdraw")),
            (0, 0),
            "nothing else is undone before it is stored"
        );
        store.hang_after_writes(false);
        store.fail_writes(false);
        controller.until(rolled_back).await;
        assert!(house.flags.pending().is_empty());
        assert!(!house.flags.snapshot().overridden());
    }
}

/// Its store takes the write as a low revision, which every router has acknowledged long ago.
#[tokio::test(start_paused = true)]
async fn traffic_is_taken_away_although_the_flags_store_went_back() {
    let store = Arc::new(FaultyStore::new());
    let house = House::with(Arc::new(MemoryJournal::new()), store.clone()).await;
    house.traffic(100, Duration::from_secs(5));
    let controller = house.start().await;
    controller.until(at_stage(1)).await;
    let served = house.flags.snapshot().revision();
    assert!(served > Revision::new(1), "{served}");
    store.lose_everything();
    let began = tokio::time::Instant::now();
    controller.command(Command::Rollback).await.expect("taken");
    while house.share() != 0 {
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{:?}",
            began.elapsed()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(house.flags.snapshot().overridden(), "in this process alone");
    let status = controller
        .until(|status| status.reasons.iter().any(|why| why.contains("not certain")))
        .await;
    assert_eq!(status.phase, Phase::RollingBack);
    assert!(
        status.reasons[0].contains("restored from a backup"),
        "{:?}",
        status.reasons
    );
    assert_eq!(house.candidate.times("withdraw"), 0);
    // Each try is one more revision there, until one is newer than what is served: that is stored,
    // published and acknowledged, and the rollback goes on.
    controller.until(rolled_back).await;
    assert!(house.flags.snapshot().revision() > served);
    assert_eq!(house.share(), 0);
    assert!(house.flags.pending().is_empty());
    assert!(!house.flags.snapshot().overridden());
}

/// Complete, another migration may begin, so the journal is read at every turn. That it cannot be read
/// keeps nobody from a rollback, on whosever word.
#[tokio::test(start_paused = true)]
async fn complete_it_rolls_back_although_the_journal_cannot_be_read() {
    for trouble in [FULL, HANGS] {
        for by_evidence in [false, true] {
            let journal = Arc::new(Troubled::default());
            let store = Arc::new(dspex_flags::MemoryStore::new());
            let house = House::with(journal.clone(), store).await.in_minutes();
            house.traffic(100, Duration::from_secs(5));
            let controller = house.start().await;
            let complete = |status: &Status| status.phase == Phase::Complete;
            controller.until(complete).await;
            journal.listing.store(trouble, Ordering::SeqCst);
            journal.trouble.store(trouble, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(30)).await;
            assert_eq!(house.share(), 10_000);
            let status = controller.migrations.status().expect("one");
            let told = &status.reasons[0];
            assert!(told.contains("journal is not available"), "{told}");
            let began = tokio::time::Instant::now();
            let limit = if by_evidence {
                house.behave(Lane::Candidate, |how| how.pool_faults = 0.9);
                Duration::from_secs(90)
            } else {
                controller.command(Command::Rollback).await.expect("taken");
                Duration::from_secs(4)
            };
            // The store of the flags is well: it is written there, and not in this process alone.
            while house.share() != 0 || house.flags.snapshot().overridden() {
                assert!(began.elapsed() < limit, "{trouble} {by_evidence}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            tokio::time::sleep(Duration::from_secs(600)).await;
            assert_eq!((house.share(), house.candidate.times("withdraw")), (0, 0));
            journal.trouble.store(WELL, Ordering::SeqCst);
            journal.listing.store(WELL, Ordering::SeqCst);
            controller.until(rolled_back).await;
            assert_eq!(house.share(), 0);
        }
    }
}
