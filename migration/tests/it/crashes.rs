//! `kill -9` at every write of the journal, before it and after it: the same end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use dspex_migration::{
    Append, Command, CommandRow, Entry, Event, Gate, Inbox, Journal, JournalError, MemoryJournal,
    MigrationId, Phase, Post, Retention, Settings, Stage, Start, Status, Step, Summary,
};
use dspex_telemetry::Lane;
use tokio::sync::Notify;

use crate::house::parts::{no, yes};
use crate::house::{Controller, House};

/// A journal in which one append never comes back: before it is written, or after.
struct Deadly {
    inner: MemoryJournal,
    left: AtomicU64,
    after: bool,
    reached: Arc<Notify>,
}

#[async_trait]
impl Journal for Deadly {
    async fn create(&self, id: &MigrationId, start: Start<'_>) -> Result<(), JournalError> {
        self.inner.create(id, start).await
    }

    async fn append(&self, id: &MigrationId, append: Append<'_>) -> Result<u64, JournalError> {
        let deadly = self.left.fetch_sub(1, Ordering::SeqCst) == 1;
        if deadly && !self.after {
            self.reached.notify_one();
            std::future::pending::<()>().await;
        }
        let written = self.inner.append(id, append).await;
        if deadly {
            self.reached.notify_one();
            std::future::pending::<()>().await;
        }
        written
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
impl Inbox for Deadly {
    async fn post(&self, id: &MigrationId, post: Post<'_>) -> Result<u64, JournalError> {
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

/// What is the same, however often the controller died.
#[derive(Debug, PartialEq)]
struct End {
    phase: Phase,
    shares: Vec<u16>,
    share: u16,
    up: bool,
    promoted: bool,
    retired: bool,
    steps: Vec<Step>,
    backup: bool,
    archive: bool,
}

/// What is done to a migration beside killing it.
struct Story {
    spoil: fn(&House),
    /// The old pool is taken out of service once that may be.
    decommission: bool,
}

/// Waits for the end, and asks for what the story wants on the way there.
async fn follow(story: &Story, controller: &Controller) -> Arc<Status> {
    loop {
        let there = |status: &Status| {
            let may_go = status.served_for >= status.retention.decommission_after;
            let waits = story.decommission && status.phase == Phase::Complete && !may_go;
            !status.is_live() && !waits
        };
        let status = controller.until(there).await;
        if !(story.decommission && status.phase == Phase::Complete) {
            return status;
        }
        // Who asks may be told that it was asked already, by a life before this one.
        let _ = controller.command(Command::Decommission).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Runs a migration of three stages, killed at the append with this number. `None` where the
/// migration is over before it.
async fn run(killed_at: u64, after: bool, story: &Story) -> Option<End> {
    let reached = Arc::new(Notify::new());
    let journal = Arc::new(Deadly {
        inner: MemoryJournal::new(),
        left: AtomicU64::new(killed_at),
        after,
        reached: reached.clone(),
    });
    let mut house = House::with(journal, Arc::new(dspex_flags::MemoryStore::new())).await;
    let stage = |basis_points, gate| Stage {
        percent: dspex_flags::Percent::from_basis_points(basis_points).expect("a share"),
        hold: Duration::from_secs(30),
        gate,
    };
    let url = "https://gate.example".to_owned();
    let settings = Settings {
        stages: vec![
            stage(1_000, Gate::Automatic),
            stage(5_000, Gate::Webhook { url }),
            stage(10_000, Gate::Automatic),
        ],
        retention: Retention {
            warm: Duration::from_secs(60),
            decommission_after: Duration::from_secs(90),
        },
        ..Settings::default()
    };
    house.plan = settings.plan("v1", "v2", None).expect("valid");
    house.others.answer([no("not yet"), yes("go")]);
    (story.spoil)(&house);
    house.traffic(100, Duration::from_secs(5));
    let controller = house.start().await;
    let over = tokio::select! {
        biased;
        () = reached.notified() => false,
        _ = follow(story, &controller) => true,
    };
    controller.kill().await;
    if over && killed_at < u64::MAX {
        return None;
    }
    tokio::time::sleep(Duration::from_secs(600)).await;
    let controller = house.open().await;
    let status = follow(story, &controller).await;
    let steps = controller.events().await.into_iter();
    let steps = steps.filter_map(|event| match event {
        Event::StepDone { step, .. } => Some(step),
        _ => None,
    });
    Some(End {
        phase: status.phase,
        shares: status
            .stages
            .iter()
            .map(|stage| stage.percent.basis_points())
            .collect(),
        share: house.share(),
        up: house.candidate.up.load(Ordering::SeqCst),
        promoted: house.others.promoted.load(Ordering::SeqCst),
        retired: house.others.retired.load(Ordering::SeqCst),
        steps: steps.collect(),
        backup: status.backup.is_some(),
        archive: status.archive.is_some(),
    })
}

/// Kills at every append until there is none left, and answers how many there were, and the end.
async fn every_kill_ends_the_same(story: Story) -> (u64, End) {
    let unharmed = run(u64::MAX, false, &story).await.expect("over");
    for number in 1.. {
        for after in [false, true] {
            match run(number, after, &story).await {
                Some(end) => assert_eq!(end, unharmed, "killed at append {number}, after: {after}"),
                None => return (number - 1, unharmed),
            }
        }
    }
    unreachable!("it ends")
}

#[tokio::test(start_paused = true)]
async fn a_good_migration_survives_a_kill_at_every_write() {
    let story = Story {
        spoil: |_| {},
        decommission: false,
    };
    let (writes, end) = every_kill_ends_the_same(story).await;
    assert!(writes > 20, "{writes}");
    assert_eq!(
        (end.phase, end.share, end.up),
        (Phase::Complete, 10_000, true)
    );
}

#[tokio::test(start_paused = true)]
async fn a_rollback_survives_a_kill_at_every_write() {
    let story = Story {
        spoil: |house| {
            house.behave(Lane::Candidate, |how| how.pool_faults = 0.7);
            house.candidate.withdraw_fails.store(2, Ordering::SeqCst);
        },
        decommission: false,
    };
    let (writes, end) = every_kill_ends_the_same(story).await;
    assert!(writes > 7, "{writes}");
    assert_eq!(
        (end.phase, end.share, end.up),
        (Phase::RolledBack, 0, false)
    );
}

#[tokio::test(start_paused = true)]
async fn the_old_pools_end_survives_a_kill_at_every_write() {
    let story = Story {
        spoil: |house| {
            house.others.archive_fails.store(1, Ordering::SeqCst);
            house.others.promote_fails.store(1, Ordering::SeqCst);
            house.others.retire_fails.store(1, Ordering::SeqCst);
        },
        decommission: true,
    };
    let (writes, end) = every_kill_ends_the_same(story).await;
    assert!(writes > 40, "{writes}");
    assert_eq!((end.phase, end.share), (Phase::Decommissioned, 0));
    assert!(
        end.promoted && end.retired && end.archive && end.backup,
        "{end:?}"
    );
    assert_eq!(end.steps.last(), Some(&Step::Retire));
    assert_eq!(end.steps.len(), 10, "each once: {:?}", end.steps);
}

#[tokio::test(start_paused = true)]
async fn the_hold_goes_on_where_it_was_and_nothing_is_credited_for_the_time_between() {
    let house = House::new().await;
    house.traffic(100, Duration::from_secs(5));
    let controller = house.start().await;
    let before = controller
        .until(|status| status.stage == Some(2) && status.healthy_for > Duration::from_secs(3000))
        .await;
    controller.kill().await;
    tokio::time::sleep(Duration::from_secs(5 * 3600)).await;
    assert_eq!(house.share(), 2_500, "traffic goes on without a controller");
    let controller = house.open().await;
    let resumed = controller.migrations.status().expect("read");
    assert_eq!(
        (resumed.stage, resumed.healthy_for),
        (before.stage, before.healthy_for)
    );
    assert_eq!(
        controller
            .migrations
            .candidate_wanted()
            .expect("wanted")
            .candidate,
        "v2"
    );
    let began = tokio::time::Instant::now();
    controller.until(|status| status.stage == Some(3)).await;
    let left = Duration::from_secs(2 * 3600) - before.healthy_for;
    let took = began.elapsed();
    assert!(
        took >= left && took < left + Duration::from_secs(60),
        "{took:?} for {left:?}"
    );
}
