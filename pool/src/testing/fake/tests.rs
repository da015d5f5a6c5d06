//! The fake passes the battery, and the battery notices a pool that is wrong.

use super::*;
use crate::testing::conformance::{Harness, run};

#[tokio::test]
async fn the_fake_passes_the_battery() {
    run(&Harness::new("fake", || async {
        FakePool::fixture_programs("fake").shared()
    }))
    .await;
}

#[tokio::test]
async fn the_battery_notices_a_pool_that_mixes_up_answers() {
    let harness = Harness::new("liar", || async {
        FakePool::fixture_programs("liar")
            .answer(&serde_json::json!({"text": "hello"}))
            .shared()
    });
    let failed = crate::testing::conformance::failures(&harness).await;
    assert!(
        failed
            .iter()
            .any(|(name, _)| *name == "many concurrent calls"),
        "{failed:?}"
    );
    assert!(
        failed.iter().any(|(name, _)| *name == "raises"),
        "{failed:?}"
    );
}

#[tokio::test]
async fn a_drain_cuts_off_what_outlasts_its_limit() {
    let fake = FakePool::new("fake");
    fake.hold();
    let call = fixture_programs::call(
        "echo",
        serde_json::json!({"text": "a"}),
        Duration::from_secs(5),
    );
    let (ended, drained) = tokio::join!(fake.execute(call), async {
        fake.wait_for_calls(1).await;
        fake.drain(Duration::from_millis(5)).await
    });
    assert_eq!(
        drained,
        Drained {
            finished: 0,
            abandoned: 1
        }
    );
    assert!(matches!(ended, Err(PoolError::Crashed { .. })), "{ended:?}");
}
