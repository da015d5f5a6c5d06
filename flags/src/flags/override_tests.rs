//! What must hold of flags that are lowered before the store has it: at once, never higher than the
//! store, and until the store has taken it.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::dspex::{self, GRADUAL_ROLLOUT_PERCENTAGE, POOL_V2_ENABLED};
use crate::percent::Percent;
use crate::testing::FaultyStore;

const DEADLINE: Duration = Duration::from_secs(20);

fn lever(enabled: bool, basis_points: u16) -> Write {
    let percent = Percent::from_basis_points(basis_points).unwrap();
    Write {
        expected: None,
        set: vec![
            (POOL_V2_ENABLED.key.to_owned(), enabled.into()),
            (GRADUAL_ROLLOUT_PERCENTAGE.key.to_owned(), percent.into()),
        ],
        who: "ada".to_owned(),
        why: "test".to_owned(),
    }
}

fn served(flags: &Flags) -> (bool, u16, bool) {
    let snapshot = flags.snapshot();
    (
        snapshot.enabled(&POOL_V2_ENABLED),
        snapshot.percent(&GRADUAL_ROLLOUT_PERCENTAGE).basis_points(),
        snapshot.overridden(),
    )
}

/// The lever at 25 %, and a store that takes no writes any more.
async fn stuck_at_a_quarter() -> (Arc<FaultyStore>, Arc<Flags>) {
    let store = Arc::new(FaultyStore::new());
    let flags = Flags::open(store.clone(), dspex::declarations())
        .await
        .unwrap();
    flags.write(lever(true, 2_500)).await.unwrap();
    store.fail_writes(true);
    flags.write(lever(false, 0)).await.unwrap_err();
    assert_eq!(served(&flags), (true, 2_500, false));
    (store, flags)
}

#[tokio::test]
async fn it_is_served_at_once_and_ends_with_the_stored_write() {
    let (store, flags) = stuck_at_a_quarter().await;
    let mut subscriber = flags.subscribe("router");
    subscriber.current();
    flags.override_until_written(lever(false, 0)).unwrap();
    assert_eq!(served(&flags), (false, 0, true));
    let seen = tokio::time::timeout(DEADLINE, subscriber.changed())
        .await
        .unwrap()
        .unwrap();
    assert!(!seen.enabled(&POOL_V2_ENABLED) && seen.overridden());
    assert_eq!(flags.pending(), [lever(false, 0)]);

    flags.override_until_written(lever(false, 0)).unwrap();
    assert_eq!(flags.pending().len(), 1, "asked for again, it is one write");

    store.fail_writes(false);
    let revision = flags.write(lever(false, 0)).await.unwrap();
    assert_eq!(served(&flags), (false, 0, false));
    assert_eq!(flags.snapshot().revision(), revision);
    assert!(flags.pending().is_empty());
    flags.write(lever(true, 500)).await.unwrap();
    assert_eq!(served(&flags), (true, 500, false), "it is over");
}

#[tokio::test(start_paused = true)]
async fn run_stores_it_once_the_store_is_back() {
    let (store, flags) = stuck_at_a_quarter().await;
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    tracker.spawn(flags.clone().run(Duration::from_secs(1), stop.clone()));
    flags.override_until_written(lever(false, 0)).unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(served(&flags), (false, 0, true), "the store still has 25 %");

    store.fail_writes(false);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(served(&flags), (false, 0, false));
    assert!(flags.pending().is_empty());
    let theirs = Flags::open(store, dspex::declarations()).await.unwrap();
    assert_eq!(served(&theirs), (false, 0, false), "others see it too");
    assert_eq!(theirs.history(1).await.unwrap()[0].who, "ada");
    stop.cancel();
    tracker.close();
    tracker.wait().await;
}

#[tokio::test]
async fn nothing_that_is_stored_in_the_meantime_raises_it() {
    let (store, flags) = stuck_at_a_quarter().await;
    flags.override_until_written(lever(false, 0)).unwrap();
    store.fail_writes(false);
    let theirs = Flags::open(store, dspex::declarations()).await.unwrap();
    let raised = theirs.write(lever(true, 5_000)).await.unwrap();
    flags.refresh().await.unwrap();
    assert_eq!(flags.snapshot().revision(), raised);
    assert_eq!(served(&flags), (false, 0, true));
    // Nor does a write of our own, which may have been under way before.
    flags.write(lever(true, 7_500)).await.unwrap();
    assert_eq!(served(&flags), (false, 0, true));
    flags.write_pending().await;
    assert_eq!(served(&flags), (false, 0, false));
}

#[tokio::test]
async fn a_store_that_went_back_does_not_end_it() {
    let (store, flags) = stuck_at_a_quarter().await;
    store.fail_writes(false);
    flags.write(lever(true, 5_000)).await.unwrap();
    flags.override_until_written(lever(false, 0)).unwrap();
    store.lose_everything();
    flags.write_pending().await;
    assert!(flags.store_error().is_some());
    assert_eq!(served(&flags), (false, 0, true));
    // The store has it for whoever starts from it, once and not at every poll.
    for _ in 0..3 {
        flags.write_pending().await;
    }
    assert_eq!(store.revision().await.unwrap(), Revision::new(1));
    assert_eq!(served(&flags), (false, 0, true));
    let restarted = Flags::open(store, dspex::declarations()).await.unwrap();
    assert_eq!(served(&restarted), (false, 0, false));
}

#[tokio::test]
async fn it_never_raises_and_expects_nothing() {
    let (_store, flags) = stuck_at_a_quarter().await;
    let refused = |write| flags.override_until_written(write).unwrap_err().to_string();
    assert_eq!(
        refused(lever(true, 5_000)),
        "this change of flags is refused: it raises `gradual_rollout_percentage` from 25% to 50%; \
         before it is stored, a flag may only be lowered"
    );
    let expecting = Write {
        expected: Some(Revision::new(1)),
        ..lever(false, 0)
    };
    assert!(refused(expecting).contains("it expects a revision"));
    let unsigned = Write {
        who: String::new(),
        ..lever(false, 0)
    };
    assert!(refused(unsigned).contains("say who you are"));
    assert_eq!(served(&flags), (true, 2_500, false));
    assert!(flags.pending().is_empty());
}
