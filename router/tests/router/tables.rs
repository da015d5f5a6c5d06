//! What is done about which failure is a setting.

use std::sync::Arc;

use dspex_pool::PoolError;
use dspex_router::{MemoryCatalog, RescueConfig, RouterConfig};
use dspex_telemetry::Lane;

use crate::support::{House, crashed};

/// A house whose tables say this.
async fn house(tables: &str) -> House {
    let recovery: RescueConfig = serde_json::from_str(tables).unwrap();
    let config = RouterConfig {
        recovery,
        ..RouterConfig::default()
    };
    House::with(Arc::new(MemoryCatalog::new()), config).await
}

fn table(table: &str, class: &str, strategy: &str, retries: u32) -> String {
    format!(
        r#"{{"{table}":{{"{class}":{{"severity":"critical","strategy":"{strategy}","retries":{retries},
            "backoff":{{"kind":"none"}}}}}}}}"#
    )
}

#[tokio::test]
async fn a_class_that_is_given_up_is_not_sent_to_stable_and_the_others_are() {
    let house = house(&table("failover", "connection", "abandon", 0)).await;
    house.percent("100").await;
    let program = house.program("p", true).await;
    house.candidate.fail_with(crashed());
    let failed = house.call(&program, "s").await.unwrap_err();
    assert_eq!(failed.lane, Some(Lane::Candidate));
    assert_eq!(house.stable.calls(), 0);
    house.candidate.fail_with(PoolError::Unavailable {
        reason: "a test".to_owned(),
    });
    assert_eq!(house.call(&program, "s").await.unwrap().lane, Lane::Stable);
    let failover = house.router.health().rescue.failover;
    assert_eq!((failover.abandoned, failover.recovered), (1, 1));
}

#[tokio::test]
async fn a_class_may_open_the_candidates_circuit_at_once() {
    for (retries, answered, tripped) in [(1, true, 0), (0, false, 1)] {
        let house = house(&table(
            "failover",
            "initialization",
            "circuit_break",
            retries,
        ))
        .await;
        house.percent("100").await;
        let program = house.program("p", true).await;
        house.candidate.fail_with(PoolError::Unavailable {
            reason: "a test".to_owned(),
        });
        let first = house.call(&program, "s").await;
        assert_eq!(first.is_ok(), answered, "{retries}");
        assert_eq!(house.circuit(Lane::Candidate), "open", "after one");
        assert_eq!(house.router.health().rescue.failover.tripped, tripped);
        assert_eq!(house.call(&program, "s").await.unwrap().lane, Lane::Stable);
        assert_eq!(house.candidate.calls(), 1);
        let circuits = house.router.health().circuits;
        let last = circuits[1].last.as_ref().unwrap();
        assert_eq!(last.cause, "it was told to open");
    }
}

#[tokio::test]
async fn stables_circuit_opens_once_the_tries_of_a_class_that_breaks_it_are_used_up() {
    let house = house(&table("again", "connection", "circuit_break", 1)).await;
    let program = house.program("p", true).await;
    house.stable.fail_with(crashed());
    house.call(&program, "s").await.unwrap_err();
    assert_eq!(house.stable.calls(), 2, "the first, and the one try");
    assert_eq!(house.circuit(Lane::Stable), "open");
    let again = house.router.health().rescue.again;
    assert_eq!((again.tripped, again.recent[0].tries), (1, 1));
}

#[tokio::test]
async fn a_call_that_is_asked_twice_more_is_one_recovery() {
    let house = house("{}").await;
    let program = house.program("p", true).await;
    house.stable.fail_with(crashed());
    house.call(&program, "s").await.unwrap_err();
    assert_eq!(house.stable.calls(), 3);
    let again = house.router.health().rescue.again;
    assert_eq!((again.abandoned, again.recent[0].tries), (1, 2));
}
