//! What must hold of the live handle: writes take effect, watchers see them, trouble changes nothing.

use std::future::Future;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::dspex::{self, GRADUAL_ROLLOUT_PERCENTAGE, POOL_V2_ENABLED, TELEMETRY_V2};
use crate::percent::Percent;
use crate::store::MemoryStore;
use crate::testing::FaultyStore;

/// Long enough that only a fault reaches it.
const DEADLINE: Duration = Duration::from_secs(20);

async fn open(store: Arc<dyn FlagStore>) -> Arc<Flags> {
    Flags::open(store, dspex::declarations()).await.unwrap()
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .expect("it happens before the deadline")
}

fn set(key: &str, value: impl Into<FlagValue>) -> Write {
    Write {
        expected: None,
        set: vec![(key.to_owned(), value.into())],
        who: "ada".to_owned(),
        why: "test".to_owned(),
    }
}

fn percent(text: &str) -> Percent {
    text.parse().unwrap()
}

#[tokio::test]
async fn an_empty_store_serves_the_compiled_defaults() {
    let flags = open(Arc::new(MemoryStore::new())).await;
    let snapshot = flags.snapshot();
    assert_eq!(snapshot.revision(), Revision::ZERO);
    let values: Vec<_> = snapshot
        .values()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    assert_eq!(
        values,
        [
            "circuit_breaker=true",
            "enhanced_workers=true",
            "gradual_rollout_percentage=0%",
            "pool_optimizer=false",
            "pool_v2_enabled=false",
            "shadow_percentage=0%",
            "telemetry_v2=true",
        ]
    );
    for (declaration, (key, value)) in flags.declarations().iter().zip(snapshot.values()) {
        assert_eq!(
            (declaration.key.as_ref(), &declaration.default),
            (key, value)
        );
        assert!(!declaration.description.is_empty() && !declaration.owner.is_empty());
    }
}

#[tokio::test]
async fn a_write_is_served_and_an_older_snapshot_stays_what_it_was() {
    let flags = open(Arc::new(MemoryStore::new())).await;
    let before = flags.snapshot();
    let revision = flags
        .write(set("gradual_rollout_percentage", percent("25%")))
        .await
        .unwrap();
    let after = flags.snapshot();
    assert_eq!(
        (after.revision(), revision),
        (Revision::new(1), Revision::new(1))
    );
    assert_eq!(after.percent(&GRADUAL_ROLLOUT_PERCENTAGE), percent("25%"));
    assert_eq!(before.percent(&GRADUAL_ROLLOUT_PERCENTAGE), Percent::ZERO);
    let change = &flags.history(1).await.unwrap()[0];
    assert_eq!((change.who.as_str(), change.why.as_str()), ("ada", "test"));
}

#[tokio::test]
async fn a_look_at_the_flags_has_the_newest_values_and_counts_no_handle() {
    let flags = open(Arc::new(MemoryStore::new())).await;
    let revision = flags.write(set("telemetry_v2", false)).await.unwrap();
    let held = flags.snapshot();
    let handles = Arc::strong_count(&held);
    let current = flags.current();
    assert_eq!(current.revision(), revision);
    assert!(!current.enabled(&TELEMETRY_V2));
    // The count is what threads that decide at once would take turns at.
    assert_eq!(Arc::strong_count(&held), handles);
    flags.write(set("telemetry_v2", true)).await.unwrap();
    assert_eq!(current.revision(), revision, "a look does not change");
    assert!(flags.current().enabled(&TELEMETRY_V2));
}

#[tokio::test]
async fn the_candidate_gets_its_share_only_while_the_kill_switch_is_on() {
    let flags = open(Arc::new(MemoryStore::new())).await;
    flags
        .write(set("gradual_rollout_percentage", percent("30%")))
        .await
        .unwrap();
    let share = |snapshot: &Snapshot| {
        (0..10_000)
            .filter(|number| snapshot.use_v2_pool(&format!("session-{number}")))
            .count()
    };
    assert_eq!(share(&flags.snapshot()), 0);
    flags.write(set("pool_v2_enabled", true)).await.unwrap();
    let served = flags.snapshot();
    assert!(
        (2_800..=3_200).contains(&share(&served)),
        "{}",
        share(&served)
    );
    assert_eq!(
        served.use_v2_pool("session-7"),
        served.rollout(&GRADUAL_ROLLOUT_PERCENTAGE, "session-7")
    );
}

#[tokio::test]
async fn what_does_not_fit_is_refused_before_anything_is_written() {
    let store = Arc::new(MemoryStore::new());
    let flags = open(store.clone()).await;
    let refusal = async |write| flags.write(write).await.unwrap_err().to_string();
    assert_eq!(
        refusal(set("pool_v2_enable", true)).await,
        "there is no flag `pool_v2_enable`; did you mean `pool_v2_enabled`?"
    );
    assert_eq!(
        refusal(set("pool_v2_enabled", percent("5%"))).await,
        "flag `pool_v2_enabled` takes a bool: `5%` is a percent"
    );
    assert_eq!(
        refusal(Write {
            who: String::new(),
            ..set("pool_v2_enabled", true)
        })
        .await,
        "this change of flags is refused: `who` is empty; say who you are"
    );
    assert_eq!(store.revision().await.unwrap(), Revision::ZERO);
    let json = serde_json::json!(101);
    assert_eq!(
        flags
            .read_value("gradual_rollout_percentage", &json)
            .unwrap_err()
            .to_string(),
        "flag `gradual_rollout_percentage` takes a percent: `101` is not a percentage: it must be \
         between 0 and 100"
    );
}

#[tokio::test]
async fn of_two_that_expect_the_same_revision_one_is_refused() {
    let store = Arc::new(MemoryStore::new());
    let (one, other) = (open(store.clone()).await, open(store).await);
    let expecting = |value: bool| Write {
        expected: Some(Revision::ZERO),
        ..set("pool_v2_enabled", value)
    };
    one.write(expecting(true)).await.unwrap();
    let refused = other.write(expecting(false)).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the flags are at revision 1, not at 0: somebody changed them in the meantime; read them \
         again before you write"
    );
}

#[tokio::test]
async fn a_subscriber_sees_each_revision_or_jumps_to_the_newest() {
    let flags = open(Arc::new(MemoryStore::new())).await;
    let mut subscriber = flags.subscribe("router");
    assert_eq!(subscriber.current().revision(), Revision::ZERO);
    flags.write(set("pool_v2_enabled", true)).await.unwrap();
    assert_eq!(
        in_time(subscriber.changed()).await.unwrap().revision(),
        Revision::new(1)
    );
    for _ in 0..3 {
        flags.write(set("pool_v2_enabled", true)).await.unwrap();
    }
    let newest = in_time(subscriber.changed()).await.unwrap();
    assert_eq!(newest.revision(), Revision::new(4));
    drop(flags);
    assert!(in_time(subscriber.changed()).await.is_none());
}

#[tokio::test]
async fn a_revision_is_in_effect_once_every_subscriber_acknowledged_it() {
    let flags = open(Arc::new(MemoryStore::new())).await;
    let (fast, slow) = (flags.subscribe("fast"), flags.subscribe("slow"));
    let revision = flags.write(set("pool_v2_enabled", true)).await.unwrap();
    fast.acknowledge(revision);
    let waiting = flags.wait_acknowledged(revision, Duration::from_millis(1));
    assert_eq!(
        waiting.await.unwrap_err().to_string(),
        "revision 1 was not acknowledged within 1ms by: slow"
    );

    let (waited, ()) = tokio::join!(flags.wait_acknowledged(revision, DEADLINE), async {
        slow.acknowledge(revision);
    });
    waited.unwrap();
    assert_eq!(
        flags.acknowledgements(),
        [("fast".to_owned(), revision), ("slow".to_owned(), revision)]
    );
}

#[tokio::test]
async fn nobody_at_all_is_not_everybody() {
    let flags = open(Arc::new(MemoryStore::new())).await;
    let waited = flags
        .wait_acknowledged(Revision::ZERO, Duration::from_millis(1))
        .await;
    assert_eq!(
        waited.unwrap_err().to_string(),
        "revision 0 is in effect nowhere: within 1ms nobody subscribed to it"
    );
    // Nor is one who has just come and serves nothing yet.
    let late = flags.subscribe("late");
    let waited = flags
        .wait_acknowledged(Revision::ZERO, Duration::from_millis(1))
        .await;
    assert!(
        matches!(waited, Err(FlagError::NotAcknowledged { ref laggards, .. }) if laggards == &["late"])
    );
    late.acknowledge(Revision::ZERO);
    flags
        .wait_acknowledged(Revision::ZERO, DEADLINE)
        .await
        .unwrap();
}

#[tokio::test]
async fn who_has_left_is_not_waited_for() {
    let flags = open(Arc::new(MemoryStore::new())).await;
    let (stays, leaves) = (flags.subscribe("stays"), flags.subscribe("leaves"));
    let revision = flags.write(set("pool_v2_enabled", true)).await.unwrap();
    stays.acknowledge(revision);
    let (waited, ()) = tokio::join!(flags.wait_acknowledged(revision, DEADLINE), async {
        drop(leaves);
    });
    waited.unwrap();
}

#[tokio::test]
async fn an_acknowledgement_never_goes_back_nor_ahead_of_what_was_published() {
    let flags = open(Arc::new(MemoryStore::new())).await;
    let subscriber = flags.subscribe("router");
    subscriber.acknowledge(Revision::new(99));
    assert_eq!(flags.acknowledgements()[0].1, Revision::ZERO);
    let revision = flags.write(set("pool_v2_enabled", true)).await.unwrap();
    subscriber.acknowledge(revision);
    subscriber.acknowledge(Revision::ZERO);
    assert_eq!(flags.acknowledgements()[0].1, revision);
}

#[tokio::test]
async fn run_sees_what_another_process_writes_and_stops_when_told() {
    let store = Arc::new(MemoryStore::new());
    let (ours, theirs) = (open(store.clone()).await, open(store).await);
    let mut subscriber = ours.subscribe("router");
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    tracker.spawn(ours.clone().run(Duration::from_millis(1), stop.clone()));
    theirs.write(set("pool_v2_enabled", true)).await.unwrap();
    assert!(
        in_time(subscriber.changed())
            .await
            .unwrap()
            .enabled(&POOL_V2_ENABLED)
    );
    stop.cancel();
    tracker.close();
    in_time(tracker.wait()).await;
}

#[tokio::test]
async fn while_the_store_is_gone_the_last_good_flags_are_served() {
    let store = Arc::new(FaultyStore::new());
    let (flags, theirs) = (open(store.clone()).await, open(store.clone()).await);
    flags.write(set("pool_v2_enabled", true)).await.unwrap();
    assert!(flags.store_error().is_none());

    store.fail_reads(true);
    flags.refresh().await.unwrap_err();
    flags.poll_once().await;
    assert_eq!(
        flags.store_error().unwrap().to_string(),
        "the flag store failed while reading: reads fail on request"
    );
    assert!(flags.snapshot().enabled(&POOL_V2_ENABLED));

    store.fail_reads(false);
    theirs.write(set("pool_v2_enabled", false)).await.unwrap();
    flags.poll_once().await;
    assert!(flags.store_error().is_none());
    assert!(!flags.snapshot().enabled(&POOL_V2_ENABLED));
}

#[tokio::test]
async fn a_write_takes_effect_though_the_rest_of_the_store_cannot_be_read() {
    let store = Arc::new(FaultyStore::new());
    let flags = open(store.clone()).await;
    let mut subscriber = flags.subscribe("router");
    flags.write(set("pool_v2_enabled", true)).await.unwrap();
    let theirs = open(store.clone()).await;
    theirs.write(set("telemetry_v2", false)).await.unwrap();

    store.fail_reads(true);
    let revision = flags.write(set("pool_v2_enabled", false)).await.unwrap();
    let served = in_time(subscriber.changed()).await.unwrap();
    assert_eq!(
        (served.revision(), revision),
        (Revision::new(3), Revision::new(3))
    );
    assert!(!served.enabled(&POOL_V2_ENABLED));
    assert!(flags.store_error().is_some());

    // What was written by others in the meantime is published once it can be read.
    store.fail_reads(false);
    flags.poll_once().await;
    assert!(
        !in_time(subscriber.changed())
            .await
            .unwrap()
            .enabled(&TELEMETRY_V2)
    );
    assert!(flags.store_error().is_none());
}

#[tokio::test]
async fn a_write_that_fails_changes_nothing() {
    let store = Arc::new(FaultyStore::new());
    let flags = open(store.clone()).await;
    store.fail_writes(true);
    assert_eq!(
        flags
            .write(set("pool_v2_enabled", true))
            .await
            .unwrap_err()
            .to_string(),
        "the flag store failed while writing: writes fail on request"
    );
    assert_eq!(flags.snapshot().revision(), Revision::ZERO);
}

/// Whoever asks for a change may hang up after it was stored: it is published all the same, and long
/// before the next poll.
#[tokio::test]
async fn an_abandoned_write_that_reached_the_store_is_published() {
    let store = Arc::new(FaultyStore::new());
    let flags = open(store.clone()).await;
    let mut subscriber = flags.subscribe("router");
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    tracker.spawn(flags.clone().run(Duration::from_secs(3_600), stop.clone()));

    store.hang_after_writes(true);
    {
        let writing = std::pin::pin!(flags.write(set("pool_v2_enabled", true)));
        let mut writing = writing;
        std::future::poll_fn(|context| {
            assert!(writing.as_mut().poll(context).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        assert_eq!(
            store.revision().await.unwrap(),
            Revision::new(1),
            "it reached the store"
        );
        assert_eq!(
            flags.snapshot().revision(),
            Revision::ZERO,
            "and was not published"
        );
    }
    assert!(
        in_time(subscriber.changed())
            .await
            .unwrap()
            .enabled(&POOL_V2_ENABLED)
    );
    stop.cancel();
    tracker.close();
    in_time(tracker.wait()).await;
}
