//! `kill -9` at every write of the journal, before it and after it, and a write that is made and
//! answered by an error: the same end.

mod on_a_file;
mod stories;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use dspex_migration::{
    Append, Command, CommandRow, Entry, Event, Gate, Inbox, Journal, JournalError, MemoryJournal,
    MigrationId, Phase, Post, Retention, Settings, Stage, Start, Status, Step, Summary,
};
use tokio::sync::Notify;

use crate::house::parts::{no, yes};
use crate::house::{Controller, House};

/// What becomes of one append.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    /// Its process is killed before it is written.
    DiesBefore,
    /// Its process is killed after it was written.
    DiesAfter,
    /// It is written, and answered by an error: the disk failed after the commit.
    Errs,
}

/// A journal in which one append meets its fate.
struct Deadly {
    inner: Arc<dyn Journal>,
    /// Appends so far.
    made: AtomicU64,
    /// The number of the one, from 1.
    number: u64,
    fate: Fate,
    reached: Arc<Notify>,
}

impl Deadly {
    async fn die(&self) {
        self.reached.notify_one();
        std::future::pending::<()>().await;
    }

    fn is_reached(&self) -> bool {
        self.made.load(Ordering::SeqCst) >= self.number
    }
}

#[async_trait]
impl Journal for Deadly {
    async fn create(&self, id: &MigrationId, start: Start<'_>) -> Result<(), JournalError> {
        self.inner.create(id, start).await
    }

    async fn append(&self, id: &MigrationId, append: Append<'_>) -> Result<u64, JournalError> {
        let fatal = self.made.fetch_add(1, Ordering::SeqCst) + 1 == self.number;
        if fatal && self.fate == Fate::DiesBefore {
            self.die().await;
        }
        let written = self.inner.append(id, append).await;
        match self.fate {
            Fate::Errs if fatal => Err(JournalError::Store {
                problem: "disk I/O error".into(),
            }),
            Fate::DiesAfter if fatal => {
                self.die().await;
                written
            }
            _ => written,
        }
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

/// A migration, and what happens to it beside its controller's death.
#[derive(Clone, Copy)]
struct Story {
    journal: fn() -> Arc<dyn Journal>,
    spoil: fn(&House),
    /// What a person asks for, given where it is and what was asked so far.
    asks: fn(&Status, &[CommandRow]) -> Option<Command>,
    ends: Phase,
}

/// Nobody asks for anything, and it ends well.
const PLAIN: Story = Story {
    journal: || Arc::new(MemoryJournal::new()),
    spoil: |_| {},
    asks: |_, _| None,
    ends: Phase::Complete,
};

/// Waits for the end, and asks for what the story wants on the way there.
async fn follow(story: &Story, controller: &Controller) -> Arc<Status> {
    loop {
        let id = controller.migrations.status().expect("one").id.clone();
        let asked = controller.migrations.commands(&id).await.expect("read");
        let asks = |status: &Status| (story.asks)(status, &asked);
        let there = |status: &Status| status.phase == story.ends || asks(status).is_some();
        let status = controller.until(there).await;
        if status.phase == story.ends {
            return status;
        }
        // Who asks may be told that it was asked already, by a life before this one.
        let _ = controller
            .command(asks(&status).expect("it was to be asked"))
            .await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Runs a migration of three stages, in which the append with this number meets its fate. `None`
/// where the migration is over before it. With the end, what happened, but for looks and refusals.
async fn run(number: u64, fate: Fate, story: &Story) -> Option<(End, Vec<String>)> {
    let reached = Arc::new(Notify::new());
    let journal = Arc::new(Deadly {
        inner: (story.journal)(),
        made: AtomicU64::new(0),
        number,
        fate,
        reached: reached.clone(),
    });
    let store = Arc::new(dspex_flags::MemoryStore::new());
    let mut house = House::with(journal.clone(), store).await;
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
    let mut controller = house.start().await;
    let over = tokio::select! {
        biased;
        () = reached.notified() => None,
        status = follow(story, &controller) => Some(status),
    };
    let status = match over {
        Some(_) if number < u64::MAX && !journal.is_reached() => return None,
        Some(status) => status,
        None => {
            controller.kill().await;
            tokio::time::sleep(Duration::from_secs(600)).await;
            controller = house.open().await;
            follow(story, &controller).await
        }
    };
    let events = controller.events().await;
    // Looks depend on the time that was lost, and so does how often somebody asks too early.
    let told = |event: &&Event| match event {
        Event::Ticked { .. } | Event::Watched { .. } => false,
        Event::Commanded { refused, .. } => refused.is_none(),
        _ => true,
    };
    let happened = events.iter().filter(told).map(|event| {
        let event = serde_json::to_value(event).expect("written");
        event["type"].as_str().expect("tagged").to_owned()
    });
    let happened = happened.collect();
    let steps = events.iter().filter_map(|event| match event {
        Event::StepDone { step, .. } => Some(*step),
        _ => None,
    });
    let stages = status.stages.iter();
    let end = End {
        phase: status.phase,
        shares: stages.map(|stage| stage.percent.basis_points()).collect(),
        share: house.share(),
        up: house.candidate.up.load(Ordering::SeqCst),
        promoted: house.others.promoted.load(Ordering::SeqCst),
        retired: house.others.retired.load(Ordering::SeqCst),
        steps: steps.collect(),
        backup: status.backup.is_some(),
        archive: status.archive.is_some(),
    };
    Some((end, happened))
}

/// Each append in turn meets this fate, until there is none left; answers how many there were, and
/// the end.
async fn every_write(fate: Fate, story: &Story) -> (u64, End) {
    let (unharmed, told) = run(u64::MAX, fate, story).await.expect("over");
    for number in 1.. {
        let Some((end, happened)) = run(number, fate, story).await else {
            return (number - 1, unharmed);
        };
        assert_eq!(end, unharmed, "{fate:?} at append {number}");
        if fate == Fate::Errs {
            assert_eq!(happened, told, "each once; at append {number}");
        }
    }
    unreachable!("it ends")
}

/// All three fates.
async fn every_fate_ends_the_same(story: &Story) -> (u64, End) {
    let (_, errs) = every_write(Fate::Errs, story).await;
    let (_, before) = every_write(Fate::DiesBefore, story).await;
    let (writes, after) = every_write(Fate::DiesAfter, story).await;
    assert_eq!((&errs, &before), (&after, &after));
    (writes, after)
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
