//! Journals in SQLite, written as a server writes its own, and what it costs to load a long one.

use std::time::Instant;

use dspex_flags::Percent;
use dspex_migration::simulation::{Difference, Load, Traffic};
use dspex_migration::{
    Append, Entry, Event, Journal as _, Ledger, MigrationId, Phase, Plan, SqliteJournal, Start,
    State, Windows, analyse,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqliteSynchronous};
use tempfile::TempDir;

/// Entries of the journal that is loaded.
const ENTRIES: u64 = 100_000;

/// A journal in a folder of its own, written as the server writes its own, with a migration begun.
pub(crate) async fn opened(plan: &Plan) -> (TempDir, SqliteJournal, MigrationId) {
    let folder = tempfile::tempdir().expect("a folder");
    let options = SqliteConnectOptions::new()
        .filename(folder.path().join("dspex.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let pool = SqlitePool::connect_with(options).await.expect("connected");
    let journal = SqliteJournal::open(pool.clone(), pool)
        .await
        .expect("opened");
    let (id, at) = (MigrationId::generate(), Timestamp::UNIX_EPOCH);
    let (who, why) = ("bench", "measured");
    let start = Start { plan, who, why, at };
    journal.create(&id, start).await.expect("created");
    (folder, journal, id)
}

/// Appends events, and answers the state after them.
pub(crate) async fn written(state: State, events: &[Event], journal: &SqliteJournal) -> State {
    let (id, expected_seq) = (state.id.clone(), state.seq);
    let at = Timestamp::UNIX_EPOCH;
    let next = events.iter().fold(state, |state, event| {
        let seq = state.seq + 1;
        let event = event.clone();
        state.next(&Entry { seq, at, event })
    });
    let append = Append {
        expected_seq,
        events,
        at,
        phase: next.phase,
        outcome: None,
    };
    let seq = journal.append(&id, append).await.expect("appended");
    assert_eq!(seq, next.seq, "the journal and the state agree");
    next
}

/// The load of a long journal, of entries as a migration writes them.
pub(crate) async fn load(plan: &Plan) -> Value {
    let (_folder, journal, id) = opened(plan).await;
    let at = Timestamp::UNIX_EPOCH;
    let ticks = ticks(plan);
    let mut seq = 1;
    while seq < ENTRIES {
        let events: Vec<Event> = ticks.iter().cycle().take(1_000).cloned().collect();
        let append = Append {
            expected_seq: seq,
            events: &events,
            at,
            phase: Phase::Rollout,
            outcome: None,
        };
        seq = journal.append(&id, append).await.expect("appended");
    }
    let began = Instant::now();
    let state = State::load(&journal, &id).await.expect("loaded");
    let took = began.elapsed();
    let all = ticks
        .iter()
        .map(|tick| serde_json::to_string(tick).map_or(0, |text| text.len()));
    let bytes = all.sum::<usize>() as u64 * ENTRIES / ticks.len() as u64;
    json!({"entries": state.seq, "bytes": bytes, "seconds": took.as_secs_f64()})
}

/// Ticks as looks at real traffic make them.
fn ticks(plan: &Plan) -> Vec<Event> {
    let mut traffic = Traffic::new(Load::typical(10.0), Difference::default(), 1);
    let (mut windows, mut ledger) = (Windows::default(), Ledger::default());
    (0..200)
        .map(|_| {
            let sample = traffic.sample(
                Percent::from_basis_points(2_500).expect("a share"),
                plan.interval,
            );
            let judged = windows.add(plan, &ledger, 1, &sample);
            let analysis = analyse(&plan.thresholds, &judged.evidence);
            ledger = judged.evidence.ledger;
            Event::Ticked {
                credit_ms: 5_000,
                calls_stable: sample.lanes[0].calls,
                calls_candidate: sample.lanes[1].calls,
                analysis,
                ledger: judged.change,
            }
        })
        .collect()
}
