//! What a controller pays when it starts: a journal of 100,000 entries, read and folded. The limit is
//! one second.

use criterion::{Criterion, criterion_group, criterion_main};
use dspex_flags::Percent;
use dspex_migration::{
    Action, Analysis, Append, Event, Journal, LaneSeen, LedgerChange, MigrationId, Phase, Reason,
    Settings, SqliteJournal, Start, State, Verdict,
};
use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const ENTRIES: u64 = 100_000;

/// Entries written at once.
const PIECE: u64 = 10_000;

/// A look as it is written down in a busy stage: a few notes beside the two lanes.
fn look() -> Event {
    let reason = |rule: &'static str, text: &str| Reason {
        rule: rule.into(),
        text: text.into(),
        verdict: Verdict::Healthy,
        action: Action::Note,
        value: Some(83.1),
        limit: Some(80.0),
        needs: None,
        degraded: None,
    };
    let lane = LaneSeen {
        calls: 1_234,
        failed: 3,
        pool_faults: 0,
        p50_ms: Some(812.4),
        p99_ms: Some(1_904.7),
        overhead_p99_ms: Some(8.3),
    };
    Event::Ticked {
        credit_ms: 5_000,
        calls_stable: 95,
        calls_candidate: 5,
        analysis: Analysis {
            verdict: Verdict::Healthy,
            reasons: vec![
                reason("cpu", "the host's CPU is at 83.1 %, limit 80 %"),
                reason(
                    "memory_growth",
                    "the growth of memory is not known yet: 1 of 4 workers measured for 12m",
                ),
                reason(
                    "p99_ratio",
                    "p99 of qa is not compared: 34 more calls on the candidate",
                ),
            ],
            seconds: 60.0,
            stable: lane,
            candidate: lane,
        },
        ledger: LedgerChange::default(),
    }
}

async fn written(folder: &TempDir) -> (SqliteJournal, MigrationId) {
    let options = SqliteConnectOptions::new()
        .filename(folder.path().join("dspex.db"))
        .create_if_missing(true);
    let pool = SqlitePool::connect_with(options).await.expect("connected");
    let journal = SqliteJournal::open(pool.clone(), pool)
        .await
        .expect("opened");
    let (id, at) = (MigrationId::generate(), Timestamp::UNIX_EPOCH);
    let plan = Settings::default().plan("v1", "v2", None).expect("valid");
    let (who, why) = ("ada", "newer");
    let start = Start {
        plan: &plan,
        who,
        why,
        at,
    };
    journal.create(&id, start).await.expect("begun");
    let events = vec![look(); usize::try_from(PIECE).expect("small")];
    for expected_seq in (1..ENTRIES).step_by(events.len()) {
        let append = Append {
            expected_seq,
            events: &events,
            at,
            phase: Phase::Rollout,
            outcome: None,
        };
        journal.append(&id, append).await.expect("appended");
    }
    (journal, id)
}

fn journal(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let (journal, id) = runtime.block_on(written(&folder));
    let mut group = criterion.benchmark_group("journal");
    group.sample_size(10);
    group.bench_function("load 100,000 entries", |bench| {
        bench.iter(|| {
            let state = runtime
                .block_on(State::load(&journal, &id))
                .expect("loaded");
            assert!(state.seq >= ENTRIES && state.percent() == Percent::ZERO);
        });
    });
    group.finish();
}

criterion_group!(benches, journal);
criterion_main!(benches);
