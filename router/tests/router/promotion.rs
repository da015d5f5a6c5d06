//! The candidate's pool takes the stable lane, under calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use dspex_breaker::CircuitConfig;
use dspex_pool::PoolError;
use dspex_pool::testing::FakePool;
use dspex_router::{MemoryCatalog, RouterConfig};
use dspex_telemetry::Lane;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::support::{House, crashed};

/// Long enough for a loaded machine; nothing waits for it where things are well.
const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn both_lanes_are_the_promoted_pool_until_the_flags_are_settled_and_after() {
    let house = House::all_on_candidate().await;
    let program = house.program("p", true).await;
    let before = house.router.promote().expect("there is a candidate");
    assert_eq!(before.status().name, "v1");
    assert_eq!(house.router.stable().status().name, "v2");
    let health = house.router.health();
    assert_eq!(
        (health.stable.name.as_str(), health.candidate),
        ("v2", None)
    );
    for percent in ["100", "50", "0"] {
        house.percent(percent).await;
        for session in ["a", "b", "c", "d"] {
            let answer = house.call(&program, session).await.unwrap();
            assert_eq!((answer.lane, answer.failed_over), (Lane::Stable, false));
        }
    }
    assert_eq!((house.stable.calls(), house.candidate.calls()), (0, 12));
    assert!(house.router.promote().is_none(), "there is none any more");
    assert_eq!(house.router.stable().status().name, "v2");
}

#[tokio::test]
async fn a_circuit_goes_with_its_pool() {
    let circuit = CircuitConfig {
        consecutive_failures: 2,
        ..CircuitConfig::default()
    };
    let config = RouterConfig {
        circuit,
        ..RouterConfig::default()
    };
    let house = House::with(Arc::new(MemoryCatalog::new()), config).await;
    house.percent("100").await;
    let program = house.program("p", true).await;
    house.candidate.fail_with(crashed());
    for call in 0..4 {
        house.call(&program, &format!("s{call}")).await.unwrap();
    }
    let of = |lane| {
        let circuits = house.router.health().circuits;
        let circuit = circuits.iter().find(|circuit| circuit.lane == lane);
        circuit.map(|circuit| circuit.state)
    };
    assert_eq!(
        (of(Lane::Stable), of(Lane::Candidate)),
        (Some("closed"), Some("open"))
    );
    house.router.promote().expect("there is a candidate");
    assert_eq!(
        (of(Lane::Stable), of(Lane::Candidate)),
        (Some("open"), None)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_pools_take_the_lane_and_the_old_ones_drain() {
    let house = Arc::new(House::new().await);
    house.percent("50").await;
    let program = house.program("p", false).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let all = Arc::new(AtomicU64::new(0));
    let mut callers = JoinSet::new();
    for caller in 0..8 {
        let (house, program, stopped) = (house.clone(), program.clone(), stopped.clone());
        let all = all.clone();
        callers.spawn(async move {
            let mut answered = 0_u32;
            while !*stopped.borrow() {
                let session = format!("{caller}-{answered}");
                // Not repeatable: nothing but a call that never started may be sent again.
                house.call(&program, &session).await.unwrap();
                answered += 1;
                all.fetch_add(1, Relaxed);
                tokio::task::yield_now().await;
            }
        });
    }
    for round in 0..50 {
        let pool = FakePool::new(&format!("v2-{round}"));
        house.router.set_candidate(Some(pool.shared()));
        // There is traffic in each round, however slow the machine.
        let before = all.load(Relaxed);
        let traffic = async {
            while all.load(Relaxed) < before + 16 {
                sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            () = traffic => {}
            // None ends by itself before the end.
            died = callers.join_next() => panic!("round {round}: a caller failed: {died:?}"),
            () = sleep(LONG) => panic!("round {round}: no traffic"),
        }
        let old = house.router.promote().expect("there is a candidate");
        let drained = old.drain(LONG).await;
        assert_eq!(drained.abandoned, 0, "round {round}");
    }
    stop.send_replace(true);
    let ended = timeout(LONG, callers.join_all()).await;
    ended.expect("a caller is still waiting");
    assert_eq!(house.router.stable().status().name, "v2-49");
}

#[tokio::test]
async fn a_stable_pool_that_was_drained_without_a_successor_says_so() {
    let house = House::new().await;
    let program = house.program("p", true).await;
    house.router.stable().drain(Duration::from_secs(1)).await;
    let failed = house.call(&program, "s").await.unwrap_err();
    let pool = matches!(
        failed.error,
        dspex_router::RouterError::Pool(PoolError::Draining)
    );
    assert!(pool, "{failed:?}");
}

#[tokio::test]
async fn a_promotion_is_taken_back_whole() {
    let house = House::all_on_candidate().await;
    let program = house.program("p", true).await;
    let before = house.router.promote().expect("there is a candidate");
    house.router.demote(before);
    let health = house.router.health();
    let candidate = health.candidate.map(|pool| pool.name);
    assert_eq!(
        (health.stable.name.as_str(), candidate.as_deref()),
        ("v1", Some("v2"))
    );
    assert_eq!(
        house.call(&program, "s").await.unwrap().lane,
        Lane::Candidate
    );
    house.percent("0").await;
    assert_eq!(house.call(&program, "s").await.unwrap().lane, Lane::Stable);
    assert_eq!((house.stable.calls(), house.candidate.calls()), (1, 1));
}
