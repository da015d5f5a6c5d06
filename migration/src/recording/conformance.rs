//! What every recorder must do.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{Keep, Recorded, Recorder};
use crate::analysis::Verdict;
use crate::evidence::Evidence;
use crate::id::MigrationId;
use crate::settings::Settings;
use crate::simulation::{Difference, Load, Traffic};
use crate::thresholds::percent;

/// A look with calls in it, `seq` minutes after the beginning of time.
///
/// # Panics
///
/// Where `seq` is beyond the end of time.
#[must_use]
pub fn look(migration: &MigrationId, seq: u64) -> Recorded {
    let mut traffic = Traffic::new(Load::typical(40.0), Difference::default(), seq);
    let mut sample = traffic.sample(percent(5_000), Duration::from_secs(5));
    sample.differences = Some(Vec::new());
    let seconds = i64::try_from(seq * 60).expect("a time");
    Recorded {
        migration: migration.clone(),
        seq,
        at: Timestamp::from_second(seconds).expect("a time"),
        stage: Some(2),
        watched: false,
        epoch: 3,
        missing: 0,
        pools: ["v1".to_owned(), "v2".to_owned()],
        sample,
        verdict: Verdict::Warning,
        action: None,
        summary: "slow".to_owned(),
    }
}

/// Runs the battery.
///
/// # Panics
///
/// Where the recorder does not do what it must.
pub async fn run<F, R>(make: F)
where
    F: Fn(Keep) -> R,
    R: Future<Output = Arc<dyn Recorder>>,
{
    reads_back_what_is_judged_alike(&*make(Keep::default()).await).await;
    keeps_migrations_apart_and_in_order(&*make(Keep::default()).await).await;
    removes_one_migration_alone(&*make(Keep::default()).await).await;
    let few = Keep {
        looks: 7,
        ..Keep::default()
    };
    bounds_their_number(&*make(few).await).await;
    let some = Keep {
        looks: 20,
        ..Keep::default()
    };
    spares_the_newest_rollout(&*make(some).await).await;
    let short = Keep {
        age: Duration::from_secs(300),
        looks: 50,
    };
    bounds_their_age(&*make(short).await).await;
}

async fn reads_back_what_is_judged_alike(recorder: &dyn Recorder) {
    let id = MigrationId::from_text("m-1");
    let written = look(&id, 1);
    recorder.record(written.clone());
    recorder.settled().await;
    let read = recorder.looks(&id, 0, 10).await.expect("read").remove(0);
    let plan = Settings::default().plan("v1", "v2", None).expect("valid");
    let judged = |look: &Recorded| Evidence::at_once(&plan, &look.sample);
    let (before, after) = (judged(&written), judged(&read));
    assert_eq!(before.ledger, after.ledger);
    let analyses = [&before, &after].map(|seen| {
        let analysis = crate::analysis::analyse(&plan.thresholds, seen);
        (
            analysis.verdict,
            analysis.reasons.len(),
            analysis.stable.calls,
            analysis.candidate.failed,
        )
    });
    assert_eq!(analyses[0], analyses[1]);
    assert_eq!(before.stage.len(), after.stage.len());
    for (program, lanes) in &before.stage {
        for (lane, calls) in lanes.iter().enumerate() {
            assert!(
                calls
                    .total
                    .buckets()
                    .eq(after.stage[program][lane].total.buckets())
            );
        }
    }
    let told = |look: &Recorded| {
        let beginning = (look.stage, look.watched, look.epoch);
        let of_look = (look.seq, look.at, beginning, look.missing);
        (
            of_look,
            look.pools.clone(),
            look.verdict,
            look.action,
            look.summary.clone(),
        )
    };
    assert_eq!(told(&read), told(&written));
    assert_eq!(read.sample.percent, written.sample.percent);
    assert_eq!(read.sample.differences, written.sample.differences);
}

async fn keeps_migrations_apart_and_in_order(recorder: &dyn Recorder) {
    let ids = ["m-1", "m-2"].map(MigrationId::from_text);
    for seq in 1..=9 {
        recorder.record(look(&ids[usize::from(seq % 3 == 0)], seq));
    }
    recorder.settled().await;
    let seqs = |looks: Vec<Recorded>| looks.iter().map(|look| look.seq).collect::<Vec<_>>();
    let all = recorder.looks(&ids[0], 0, 100).await.expect("read");
    assert_eq!(seqs(all), [1, 2, 4, 5, 7, 8]);
    let some = recorder.looks(&ids[0], 2, 3).await.expect("read");
    assert_eq!(seqs(some), [4, 5, 7]);
    let other = recorder
        .looks(&MigrationId::from_text("m-9"), 0, 5)
        .await
        .expect("read");
    assert!(other.is_empty());
    assert_eq!(recorder.lost(), 0);
}

/// More looks than one write removes; and a second time there is nothing to remove.
async fn removes_one_migration_alone(recorder: &dyn Recorder) {
    const LOOKS: u64 = 300;
    let ids = ["m-1", "m-2"].map(MigrationId::from_text);
    for seq in 1..=LOOKS {
        recorder.record(look(&ids[0], seq));
        recorder.record(look(&ids[1], seq));
        recorder.settled().await;
    }
    assert_eq!(recorder.remove(&ids[0]).await.expect("removed"), LOOKS);
    assert!(
        recorder
            .looks(&ids[0], 0, 9)
            .await
            .expect("read")
            .is_empty()
    );
    let other = recorder.looks(&ids[1], 0, 2 * LOOKS).await.expect("read");
    assert_eq!(other.len() as u64, LOOKS);
    assert_eq!(recorder.remove(&ids[0]).await.expect("nothing there"), 0);
    let line = other[0].line().expect("JSON");
    let line: serde_json::Value = serde_json::from_str(&line).expect("one object");
    assert_eq!(line["migration"], "m-2");
    assert_eq!(line["seq"], 1);
    assert_eq!(
        line["lanes"][1]["calls"], other[0].sample.lanes[1].calls,
        "{line}"
    );
}

async fn bounds_their_number(recorder: &dyn Recorder) {
    let id = MigrationId::from_text("m-1");
    for seq in 1..=30 {
        recorder.record(look(&id, seq));
        recorder.settled().await;
    }
    let looks = recorder.looks(&id, 0, 100).await.expect("read");
    assert_eq!((looks.len(), looks[0].seq), (7, 24));
}

/// An older migration goes first, then what came after the newest one's rollout, the oldest first.
async fn spares_the_newest_rollout(recorder: &dyn Recorder) {
    let ids = ["m-1", "m-2"].map(MigrationId::from_text);
    for seq in 1..=10 {
        recorder.record(look(&ids[0], seq));
        recorder.settled().await;
    }
    for seq in 1..=40 {
        recorder.record(Recorded {
            watched: seq > 15,
            ..look(&ids[1], 10 + seq)
        });
        recorder.settled().await;
    }
    let older = recorder.looks(&ids[0], 0, 100).await.expect("read");
    assert!(older.is_empty(), "{} of the older", older.len());
    let newest = recorder.looks(&ids[1], 0, 100).await.expect("read");
    let seqs: Vec<u64> = newest.iter().map(|look| look.seq - 10).collect();
    assert_eq!(seqs, (1..=15).chain(36..=40).collect::<Vec<_>>());
    assert!(newest.iter().all(|look| look.watched == (look.seq > 25)));
}

async fn bounds_their_age(recorder: &dyn Recorder) {
    let id = MigrationId::from_text("m-1");
    for seq in [1, 2, 30, 34] {
        recorder.record(look(&id, seq));
        recorder.settled().await;
    }
    let looks = recorder.looks(&id, 0, 100).await.expect("read");
    assert_eq!(
        looks.iter().map(|look| look.seq).collect::<Vec<_>>(),
        [30, 34]
    );
}
