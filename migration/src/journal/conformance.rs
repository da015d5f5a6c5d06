//! What every journal must do. Each implementation runs it in its tests.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{Append, Journal, Post, Start};
use crate::cause::Cause;
use crate::command::Command;
use crate::error::JournalError;
use crate::event::Event;
use crate::id::MigrationId;
use crate::phase::Phase;
use crate::plan::Plan;
use crate::settings::Settings;

/// Runs the whole battery. `open` makes a new, empty journal each time.
///
/// # Panics
///
/// Where the journal does not conform.
pub async fn run<O, F>(open: O)
where
    O: Fn() -> F,
    F: Future<Output = Arc<dyn Journal>>,
{
    what_was_appended_is_read(&*open().await).await;
    appends_compare_and_set(&*open().await).await;
    at_most_one_is_live(&*open().await).await;
    an_ended_one_may_live_again_alone(&*open().await).await;
    commands_wait_in_order(&*open().await).await;
    news_is_heard(open().await).await;
    unknown_ones_are_named(&*open().await).await;
    writers_at_once_leave_no_gap(open().await).await;
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).expect("a time")
}

fn plan() -> Plan {
    Settings::default()
        .plan("v1", "v2", None)
        .expect("the default plan is valid")
}

fn pause(why: &str) -> Event {
    Event::Paused {
        cause: Cause::Controller {
            why: why.to_owned(),
        },
    }
}

async fn begin(journal: &dyn Journal, second: i64) -> Result<MigrationId, JournalError> {
    let id = MigrationId::generate();
    let plan = plan();
    journal
        .create(
            &id,
            Start {
                plan: &plan,
                who: "ada",
                why: "newer",
                at: at(second),
            },
        )
        .await?;
    Ok(id)
}

async fn append(
    journal: &dyn Journal,
    id: &MigrationId,
    expected_seq: u64,
    events: &[Event],
    phase: Phase,
) -> Result<u64, JournalError> {
    let outcome = (!phase.is_live()).then_some("over");
    journal
        .append(
            id,
            Append {
                expected_seq,
                events,
                at: at(9),
                phase,
                outcome,
            },
        )
        .await
}

async fn what_was_appended_is_read(journal: &dyn Journal) {
    assert!(journal.history(10).await.expect("read").is_empty());
    let id = begin(journal, 1).await.expect("begun");
    let events = [pause("one"), pause("two"), pause("three")];
    let last = append(journal, &id, 1, &events, Phase::Deploy)
        .await
        .expect("appended");
    assert_eq!(last, 4);
    let entries = journal.entries(&id, 0, 100).await.expect("read");
    assert_eq!(
        entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );
    let started = Event::Started {
        plan: plan(),
        who: "ada".into(),
        why: "newer".into(),
    };
    assert_eq!(entries[0].event, started);
    assert_eq!((entries[0].at, entries[3].at), (at(1), at(9)));
    assert_eq!(entries[3].event, pause("three"));
    let piece = journal.entries(&id, 1, 2).await.expect("read");
    assert_eq!(piece, entries[1..3]);
    assert!(journal.entries(&id, 4, 2).await.expect("read").is_empty());
    let summary = journal.history(10).await.expect("read").remove(0);
    assert_eq!(
        (summary.id, summary.phase, summary.last_seq),
        (id, Phase::Deploy, 4)
    );
    assert_eq!(
        (summary.candidate.as_str(), summary.stable.as_str()),
        ("v2", "v1")
    );
    assert_eq!(
        (summary.who.as_str(), summary.why.as_str()),
        ("ada", "newer")
    );
    assert_eq!(
        (summary.started_at, summary.ended_at, summary.outcome),
        (at(1), None, None)
    );
}

async fn appends_compare_and_set(journal: &dyn Journal) {
    let id = begin(journal, 1).await.expect("begun");
    for wrong in [0, 2] {
        let refused = append(journal, &id, wrong, &[pause("no")], Phase::Prepare).await;
        assert!(
            matches!(refused, Err(JournalError::Conflict { expected, actual: 1, .. }) if expected == wrong),
            "{refused:?}"
        );
    }
    assert_eq!(journal.entries(&id, 0, 10).await.expect("read").len(), 1);
}

async fn at_most_one_is_live(journal: &dyn Journal) {
    let first = begin(journal, 1).await.expect("begun");
    let refused = begin(journal, 2).await;
    assert!(
        matches!(&refused, Err(JournalError::AlreadyRunning { id }) if *id == first),
        "{refused:?}"
    );
    assert_eq!(journal.history(10).await.expect("read").len(), 1);
    append(journal, &first, 1, &[Event::RolledBack], Phase::RolledBack)
        .await
        .expect("ended");
    let second = begin(journal, 3).await.expect("the first is over");
    let history = journal.history(10).await.expect("read");
    assert_eq!(
        history.iter().map(|one| &one.id).collect::<Vec<_>>(),
        [&second, &first]
    );
    assert_eq!(history[1].outcome.as_deref(), Some("over"));
    assert_eq!(history[1].ended_at, Some(at(9)));
    assert_eq!(journal.history(1).await.expect("read").len(), 1);
}

async fn an_ended_one_may_live_again_alone(journal: &dyn Journal) {
    let first = begin(journal, 1).await.expect("begun");
    append(journal, &first, 1, &[Event::Completed], Phase::Complete)
        .await
        .expect("ended");
    append(journal, &first, 2, &[pause("again")], Phase::RollingBack)
        .await
        .expect("live again");
    assert_eq!(journal.history(1).await.expect("read")[0].ended_at, None);
    append(journal, &first, 3, &[Event::Completed], Phase::Complete)
        .await
        .expect("ended again");
    let second = begin(journal, 2).await.expect("begun");
    let refused = append(journal, &first, 4, &[pause("no")], Phase::RollingBack).await;
    assert!(
        matches!(&refused, Err(JournalError::AlreadyRunning { id }) if *id == second),
        "{refused:?}"
    );
    assert_eq!(
        journal.entries(&first, 0, 10).await.expect("read").len(),
        4,
        "nothing was kept"
    );
}

async fn commands_wait_in_order(journal: &dyn Journal) {
    let id = begin(journal, 1).await.expect("begun");
    assert!(journal.commands(&id, 0).await.expect("read").is_empty());
    assert_eq!(journal.last_command(&id).await.expect("read"), 0);
    let mut numbers = Vec::new();
    for command in [
        Command::Pause,
        Command::Promote { to_end: true },
        Command::Rollback,
    ] {
        let post = Post {
            command,
            who: "ada",
            why: "because",
            at: at(5),
        };
        numbers.push(journal.post(&id, post).await.expect("posted"));
    }
    assert!(numbers[0] > 0 && numbers.is_sorted(), "{numbers:?}");
    assert_eq!(journal.last_command(&id).await.expect("read"), numbers[2]);
    let rows = journal.commands(&id, 0).await.expect("read");
    assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), numbers);
    assert_eq!(rows[1].command, Command::Promote { to_end: true });
    assert_eq!(
        (rows[1].who.as_str(), rows[1].why.as_str(), rows[1].at),
        ("ada", "because", at(5))
    );
    assert_eq!(
        journal.commands(&id, numbers[1]).await.expect("read"),
        rows[2..]
    );
}

async fn news_is_heard(journal: Arc<dyn Journal>) {
    let id = begin(&*journal, 1).await.expect("begun");
    let post = || async {
        let (command, who, why) = (Command::Pause, "ada", "because");
        let post = Post {
            command,
            who,
            why,
            at: at(5),
        };
        journal.post(&id, post).await.expect("posted")
    };
    let first = post().await;
    let heard = |after, within| tokio::time::timeout(within, journal.news(&id, after));
    heard(0, Duration::from_secs(60))
        .await
        .expect("it is there");
    let nothing = heard(first, Duration::from_millis(400)).await;
    assert!(nothing.is_err(), "there is nothing after it");
    let (heard, _) = tokio::join!(heard(first, Duration::from_secs(60)), post());
    heard.expect("it came while somebody listened");
}

async fn unknown_ones_are_named(journal: &dyn Journal) {
    let id = MigrationId::from_text("m-nobody");
    let post = Post {
        command: Command::Pause,
        who: "ada",
        why: "because",
        at: at(5),
    };
    let unknown = [
        journal.entries(&id, 0, 1).await.map(|_| ()),
        append(journal, &id, 1, &[pause("no")], Phase::Prepare)
            .await
            .map(|_| ()),
        journal.post(&id, post).await.map(|_| ()),
        journal.commands(&id, 0).await.map(|_| ()),
    ];
    for answer in unknown {
        assert!(
            matches!(&answer, Err(JournalError::Unknown { id: named }) if *named == id),
            "{answer:?}"
        );
    }
}

async fn writers_at_once_leave_no_gap(journal: Arc<dyn Journal>) {
    let id = begin(&*journal, 1).await.expect("begun");
    let mut won = 0;
    for seq in 1..=20 {
        let events = [pause("a"), pause("b")];
        let (one, other) = tokio::join!(
            append(&*journal, &id, seq * 2 - 1, &events, Phase::Prepare),
            append(&*journal, &id, seq * 2 - 1, &events, Phase::Prepare),
        );
        let answers = [one, other];
        won += answers.iter().filter(|answer| answer.is_ok()).count();
        let lost = answers
            .iter()
            .any(|answer| matches!(answer, Err(JournalError::Conflict { .. })));
        assert!(lost, "{answers:?}");
    }
    assert_eq!(won, 20, "exactly one of two wins each time");
    let entries = journal.entries(&id, 0, 100).await.expect("read");
    let expected: Vec<u64> = (1..=41).collect();
    assert_eq!(
        entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(),
        expected
    );
}
