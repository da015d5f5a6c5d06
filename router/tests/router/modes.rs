//! Circuits that a person takes in hand, and what is told of them.

use std::sync::Arc;
use std::time::Duration;

use dspex_breaker::CircuitConfig;
use dspex_flags::{FlagValue, dspex};
use dspex_router::{
    CircuitChange, CircuitDeed, CircuitMode, InHand, MemoryCatalog, RouterConfig, RouterError,
};
use dspex_telemetry::Lane;

use crate::support::{House, crashed};

fn ada() -> InHand {
    InHand {
        who: "ada".to_owned(),
        why: "a test".to_owned(),
    }
}

fn mode(house: &House, lane: Lane) -> CircuitMode {
    let circuits = house.router.health().circuits;
    let of_lane = circuits.iter().find(|circuit| circuit.lane == lane);
    of_lane.expect("a pool stands there").mode
}

/// Waits until so many changes were told, and answers them.
async fn told(house: &House, changes: u64) -> Vec<Arc<CircuitChange>> {
    let mut newest = house.router.watch_circuits();
    let seen = newest.wait_for(|newest| *newest >= changes);
    let seen = tokio::time::timeout(Duration::from_secs(60), seen).await;
    assert!(seen.is_ok_and(|newest| newest.is_ok()), "it is told");
    house.router.circuit_changes(0)
}

#[tokio::test]
async fn a_candidate_that_a_person_holds_off_has_no_calls_and_no_blame() {
    let house = House::all_on_candidate().await;
    let program = house.program("p", true).await;
    let (lane, open) = (Lane::Candidate, CircuitMode::ForcedOpen);
    let health = house.router.set_circuit_mode(lane, open, ada()).unwrap();
    assert_eq!((health.state, health.mode), ("open", open));
    assert_eq!((health.held_by, health.retry_after_ms), (Some(ada()), None));
    for _ in 0..10 {
        let answer = house.call(&program, "s").await.unwrap();
        assert_eq!((answer.lane, answer.failed_over), (Lane::Stable, true));
    }
    assert_eq!(house.candidate.calls(), 0);
    assert_eq!(house.window(lane).calls, 0, "unknown, and not ill");

    house
        .router
        .set_circuit_mode(lane, CircuitMode::Automatic, ada());
    assert_eq!(house.call(&program, "s").await.unwrap().lane, lane);
    assert_eq!(mode(&house, lane), CircuitMode::Automatic);
}

#[tokio::test]
async fn stable_held_open_answers_while_it_has_a_worker_and_asks_no_second_one() {
    let house = House::new().await;
    let program = house.program("p", true).await;
    let open = CircuitMode::ForcedOpen;
    house.router.set_circuit_mode(Lane::Stable, open, ada());
    assert_eq!(house.call(&program, "s").await.unwrap().lane, Lane::Stable);
    house.stable.fail_with(crashed());
    house.call(&program, "s").await.unwrap_err();
    assert_eq!(house.stable.calls(), 2, "asked once each");
    house.stable.set_ready(0);
    let failed = house.call(&program, "s").await.unwrap_err();
    assert!(
        matches!(failed.error, RouterError::CircuitOpen { .. }),
        "{failed:?}"
    );
}

#[tokio::test]
async fn a_circuit_that_only_counts_and_one_that_is_off_never_open() {
    for mode in [CircuitMode::MetricsOnly, CircuitMode::Disabled] {
        let house = House::all_on_candidate().await;
        let program = house.program("p", true).await;
        house.router.set_circuit_mode(Lane::Candidate, mode, ada());
        house.candidate.fail_with(crashed());
        for _ in 0..20 {
            house.call(&program, "s").await.unwrap();
        }
        assert_eq!(house.circuit(Lane::Candidate), "closed", "{mode}");
        assert_eq!(house.candidate.calls(), 20, "{mode}");
    }
}

#[tokio::test]
async fn a_persons_mode_goes_before_the_flag_and_a_flags_before_none() {
    let house = House::new().await;
    let flag = async |on| {
        let set = [(dspex::CIRCUIT_BREAKER.key, FlagValue::Bool(on))];
        let revision = house.set(&set).await;
        let within = Duration::from_secs(60);
        let acknowledged = house.flags.wait_acknowledged(revision, within).await;
        acknowledged.unwrap();
    };
    let set = |mode| house.router.set_circuit_mode(Lane::Candidate, mode, ada());
    for by_hand in [CircuitMode::ForcedOpen, CircuitMode::Disabled] {
        set(by_hand);
        for on in [false, true] {
            flag(on).await;
            assert_eq!(mode(&house, Lane::Candidate), by_hand, "{on}");
        }
    }
    assert_eq!(mode(&house, Lane::Stable), CircuitMode::Automatic);
    flag(false).await;
    set(CircuitMode::Automatic);
    for lane in Lane::ALL {
        assert_eq!(
            mode(&house, lane),
            CircuitMode::Disabled,
            "as the flag says"
        );
    }
    flag(true).await;
    assert_eq!(mode(&house, Lane::Candidate), CircuitMode::Automatic);

    // A mode is its circuit's: another candidate begins without one.
    set(CircuitMode::ForcedOpen);
    house.router.set_candidate(Some(house.candidate.shared()));
    assert_eq!(mode(&house, Lane::Candidate), CircuitMode::Automatic);
    house.router.set_candidate(None);
    assert!(set(CircuitMode::ForcedOpen).is_none(), "there is none");
    // By the flag: both off, and both on.
    let by_flag =
        |change: &&Arc<CircuitChange>| matches!(change.what, CircuitDeed::Mode { by: None, .. });
    let changes = house.router.circuit_changes(0);
    assert!(changes.iter().filter(by_flag).count() >= 2, "{changes:#?}");
}

#[tokio::test]
async fn what_circuits_go_through_is_told_with_the_lane_where_they_stand() {
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
    let changes = told(&house, 1).await;
    assert_eq!((changes[0].number, changes[0].lane), (1, Lane::Candidate));
    let CircuitDeed::State { to, cause, .. } = &changes[0].what else {
        panic!("{changes:?}")
    };
    assert_eq!((to.name(), cause.as_str()), ("open", "2 failures in a row"));
    let health = house.router.health().circuits;
    let last = health[1].last.as_ref().unwrap();
    assert_eq!((last.to, last.cause.as_str()), (*to, "2 failures in a row"));

    // Its pool takes the other lane, and its circuit with it.
    house.router.promote().unwrap();
    house
        .router
        .set_circuit_mode(Lane::Stable, CircuitMode::Disabled, ada());
    let changes = told(&house, 3).await;
    let closed = |change: &Arc<CircuitChange>| matches!(&change.what, CircuitDeed::State { to, .. } if to.name() == "closed");
    let closed = changes.iter().find(|change| closed(change)).unwrap();
    assert_eq!(closed.lane, Lane::Stable, "{changes:#?}");
    let counted: Vec<_> = house
        .router
        .circuit_transitions()
        .into_iter()
        .filter(|each| each.count > 0)
        .map(|each| (each.lane, each.to, each.count))
        .collect();
    assert_eq!(
        counted,
        [(Lane::Stable, "closed", 1), (Lane::Candidate, "open", 1)]
    );
}
