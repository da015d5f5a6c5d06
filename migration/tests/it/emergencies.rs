//! Emergency acts: by another process, on the stores alone.

use std::sync::Arc;
use std::time::Duration;

use dspex_flags::{FlagStore, MemoryStore};
use dspex_migration::{Inbox, MemoryJournal, MigrationError, Phase, Post, emergency};

use crate::house::{House, at_stage, rolled_back};

struct Stores {
    journal: Arc<MemoryJournal>,
    flags: Arc<MemoryStore>,
}

async fn house() -> (House, Stores) {
    let stores = Stores {
        journal: Arc::new(MemoryJournal::new()),
        flags: Arc::new(MemoryStore::new()),
    };
    let house = House::with(stores.journal.clone(), stores.flags.clone()).await;
    house.traffic(100, Duration::from_secs(5));
    (house, stores)
}

#[tokio::test(start_paused = true)]
async fn a_server_that_lives_obeys_at_once() {
    let (house, stores) = house().await;
    let controller = house.start().await;
    let status = controller.until(at_stage(1)).await;
    let began = tokio::time::Instant::now();
    let posted = emergency::pause(&*stores.journal, "grace", "look at this").await;
    assert_eq!(posted.expect("posted").migration, status.id);
    controller.until(|status| status.paused.is_some()).await;
    emergency::resume(&*stores.journal, "grace", "all well")
        .await
        .expect("posted");
    controller.until(|status| status.paused.is_none()).await;
    let done = emergency::rollback(&*stores.journal, &*stores.flags, "grace", "it burns").await;
    let done = done.expect("signed");
    done.flags.expect("lowered");
    done.command.expect("posted").expect("there is one");
    controller
        .until(|status| status.phase == Phase::RollingBack || rolled_back(status))
        .await;
    assert!(
        began.elapsed() < Duration::from_millis(250),
        "{:?}",
        began.elapsed()
    );
    let status = controller.until(rolled_back).await;
    assert!(
        status
            .outcome
            .as_ref()
            .expect("over")
            .contains("grace: it burns")
    );
    assert_eq!(house.share(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_was_dead_sends_nothing_there_when_it_comes_back() {
    let (house, stores) = house().await;
    let controller = house.start().await;
    let status = controller.until(at_stage(1)).await;
    controller.kill().await;
    // Only the command: the flags' store could not be written.
    let post = Post {
        command: dspex_migration::Command::Rollback,
        who: "grace",
        why: "it\0burns",
        at: status.started_at,
    };
    stores.journal.post(&status.id, post).await.expect("posted");
    assert_eq!(house.share(), 1_000);
    let controller = house.open().await;
    assert_eq!(house.share(), 0, "before anything runs");
    assert!(controller.migrations.candidate_wanted().is_none());
    let status = controller.until(rolled_back).await;
    assert!(status.outcome.as_ref().expect("over").contains("grace"));
}

#[tokio::test(start_paused = true)]
async fn the_flags_are_lowered_whatever_the_journal_says() {
    let (house, stores) = house().await;
    let empty = MemoryJournal::new();
    let controller = house.start().await;
    controller.until(at_stage(1)).await;
    controller.kill().await;
    let unsigned = emergency::rollback(&empty, &*stores.flags, "", "it burns").await;
    assert!(matches!(
        unsigned,
        Err(MigrationError::Unsigned { missing: "who" })
    ));
    let why = "ü".repeat(10_000);
    let done = emergency::rollback(&empty, &*stores.flags, "grace", &why).await;
    let done = done.expect("signed");
    assert!(
        done.command.expect("read").is_none(),
        "there is no migration"
    );
    let stored = stores.flags.load().await.expect("loaded");
    assert_eq!(done.flags.expect("lowered"), stored.revision);
    house.flags.refresh().await.expect("read");
    assert_eq!(house.share(), 0);
    let none = emergency::pause(&empty, "grace", "look").await;
    assert!(matches!(none, Err(MigrationError::None)), "{none:?}");
}
