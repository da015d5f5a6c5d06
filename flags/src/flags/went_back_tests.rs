//! What must hold where the store is older than what is served: it is not served, and nothing that is
//! written into it counts as done.

use super::*;
use crate::dspex::{self, POOL_V2_ENABLED};
use crate::testing::FaultyStore;

async fn open(store: Arc<FaultyStore>) -> Arc<Flags> {
    Flags::open(store, dspex::declarations()).await.unwrap()
}

fn set(key: &str, value: impl Into<FlagValue>) -> Write {
    Write {
        expected: None,
        set: vec![(key.to_owned(), value.into())],
        who: "ada".to_owned(),
        why: "test".to_owned(),
    }
}

#[tokio::test]
async fn a_store_replaced_by_an_older_one_is_noticed_and_not_served() {
    let store = Arc::new(FaultyStore::new());
    let flags = open(store.clone()).await;
    flags.write(set("pool_v2_enabled", true)).await.unwrap();
    store.lose_everything();
    flags.poll_once().await;
    assert_eq!(
        flags.store_error().unwrap().to_string(),
        "the flag store is at revision 0, and revision 1 is served already: it was replaced or \
         restored from a backup; restart to serve from it"
    );
    assert!(flags.snapshot().enabled(&POOL_V2_ENABLED));
}

#[tokio::test]
async fn a_write_into_a_store_that_went_back_is_no_success() {
    let store = Arc::new(FaultyStore::new());
    let flags = open(store.clone()).await;
    let router = flags.subscribe("router");
    for on in [true, false, true] {
        flags.write(set("pool_v2_enabled", on)).await.unwrap();
    }
    router.acknowledge(flags.snapshot().revision());
    store.lose_everything();
    let error = flags
        .write(set("pool_v2_enabled", false))
        .await
        .unwrap_err();
    let went_back = |stored| {
        format!(
            "the flag store is at revision {stored}, and revision 3 is served already: it was \
             replaced or restored from a backup; restart to serve from it"
        )
    };
    assert_eq!(error.to_string(), went_back(1));
    assert_eq!(flags.store_error().unwrap().to_string(), went_back(1));
    assert!(flags.snapshot().enabled(&POOL_V2_ENABLED), "nothing moved");
    // Nor is it a conflict with somebody: nobody else has written.
    let expecting = Write {
        expected: Some(Revision::new(3)),
        ..set("pool_v2_enabled", false)
    };
    let error = flags.write(expecting).await.unwrap_err();
    assert_eq!(error.to_string(), went_back(1));
    // As many more as it takes to be at the revision that is served.
    flags.write(set("telemetry_v2", true)).await.unwrap_err();
    let error = flags.write(set("telemetry_v2", true)).await.unwrap_err();
    assert_eq!(error.to_string(), went_back(3));
}
