//! Which lane a call goes to, and when a change of the flags counts.

use std::collections::BTreeSet;
use std::time::Duration;

use dspex_flags::{FlagError, FlagValue, Percent, Rules, bucket, dspex, rules_key};
use dspex_pool::ProgramId;
use dspex_telemetry::Lane;
use proptest::prelude::*;

use crate::support::{House, request};

async fn on_candidate(house: &House, program: &ProgramId, sessions: u32) -> BTreeSet<u32> {
    let mut there = BTreeSet::new();
    for session in 0..sessions {
        let answer = house.call(program, &format!("s{session}")).await.unwrap();
        assert!(!answer.failed_over);
        if answer.lane == Lane::Candidate {
            there.insert(session);
        }
    }
    there
}

#[tokio::test]
async fn the_share_of_sessions_is_the_flags_share() {
    let house = House::new().await;
    let program = house.program("p", true).await;
    house.percent("25").await;
    let there = on_candidate(&house, &program, 4_000).await;
    let share = there.len() as f64 / 40.0;
    assert!((23.0..27.0).contains(&share), "{share} %");
    // Not about so many: exactly those whose bucket lies below the share.
    let key = dspex::GRADUAL_ROLLOUT_PERCENTAGE.key;
    for session in 0..4_000 {
        let below = bucket(key, &format!("s{session}")).get() < 2_500;
        assert_eq!(there.contains(&session), below, "session s{session}");
    }
    assert_eq!(house.candidate.calls(), there.len() as u64);
    assert_eq!(house.window(Lane::Candidate).calls, there.len() as u64);
    assert_eq!(house.window(Lane::Stable).calls, 4_000 - there.len() as u64);
}

#[tokio::test]
async fn sessions_keep_their_side_while_the_share_changes() {
    let house = House::new().await;
    let program = house.program("p", true).await;
    let mut seen = Vec::new();
    for percent in ["5", "10", "50", "10", "0"] {
        house.percent(percent).await;
        seen.push(on_candidate(&house, &program, 500).await);
    }
    assert!(seen[0].is_subset(&seen[1]) && seen[1].is_subset(&seen[2]));
    assert!(seen[0].len() < seen[1].len() && seen[1].len() < seen[2].len());
    assert_eq!(seen[1], seen[3], "lowering takes away the newest");
    assert!(seen[4].is_empty());
}

#[tokio::test]
async fn without_a_session_the_request_decides() {
    let house = House::new().await;
    let program = house.program("p", true).await;
    house.percent("50").await;
    for number in 0..200 {
        let request_id = format!("r{number}");
        let expected = bucket(dspex::GRADUAL_ROLLOUT_PERCENTAGE.key, &request_id).get() < 5_000;
        for session in [None, Some("".into())] {
            let mut request = request(&program, "");
            request.session = session;
            request.request_id = request_id.as_str().into();
            let answer = house.router.execute(request).await.unwrap();
            assert_eq!(answer.lane == Lane::Candidate, expected, "{request_id}");
        }
    }
}

#[tokio::test]
async fn who_is_on_the_switch_s_deny_list_stays_on_stable_and_its_allow_list_lets_nobody_past() {
    let house = House::all_on_candidate().await;
    let program = house.program("p", true).await;
    let vips = || ["s1".to_owned(), "s3".to_owned()].into();
    let rules = |rules: Rules| {
        (
            rules_key(dspex::POOL_V2_ENABLED.key),
            FlagValue::from(rules),
        )
    };
    let deny = rules(Rules {
        deny: vips(),
        ..Rules::default()
    });
    house.set_and_serve(&[(&deny.0, deny.1)]).await;
    assert_eq!(
        on_candidate(&house, &program, 5).await,
        BTreeSet::from([0, 2, 4])
    );
    let allow = rules(Rules {
        allow: vips(),
        ..Rules::default()
    });
    let off = (dspex::POOL_V2_ENABLED.key, FlagValue::Bool(false));
    house.set_and_serve(&[(&allow.0, allow.1), off]).await;
    assert!(on_candidate(&house, &program, 5).await.is_empty());
}

#[tokio::test]
async fn the_kill_switch_takes_all_traffic_to_stable() {
    let house = House::all_on_candidate().await;
    let program = house.program("p", true).await;
    assert_eq!(
        house.call(&program, "s").await.unwrap().lane,
        Lane::Candidate
    );
    let revision = house
        .set(&[(dspex::POOL_V2_ENABLED.key, FlagValue::Bool(false))])
        .await;
    let within = Duration::from_secs(60);
    house
        .flags
        .wait_acknowledged(revision, within)
        .await
        .unwrap();
    assert_eq!(house.call(&program, "s").await.unwrap().lane, Lane::Stable);
}

#[tokio::test]
async fn a_call_for_a_candidate_that_is_not_there_is_stables() {
    let house = House::all_on_candidate().await;
    let program = house.program("p", true).await;
    house.router.set_candidate(None);
    let answer = house.call(&program, "s").await.unwrap();
    assert_eq!((answer.lane, answer.failed_over), (Lane::Stable, false));
    assert!(house.router.candidate().is_none());
    assert!(house.router.health().candidate.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flags_are_acknowledged_when_they_are_served_and_not_before() {
    let house = House::new().await;
    let program = house.program("p", true).await;
    for round in 0..500_u16 {
        let percent = if round % 2 == 0 { "100" } else { "0" };
        house.percent(percent).await;
        // Not eventually: the first call after the acknowledgement goes the new way.
        let lane = house.call(&program, "s").await.unwrap().lane;
        assert_eq!(lane == Lane::Candidate, round % 2 == 0, "round {round}");
        let served = house.router.health().flag_revision;
        assert_eq!(served, house.flags.snapshot().revision());
    }
}

#[tokio::test]
async fn a_router_that_does_not_follow_is_named_and_serves_what_it_acknowledged() {
    let house = House::new().await;
    let program = house.program("p", true).await;
    house.percent("0").await;
    house.stop_following().await;
    let all = FlagValue::Percent(Percent::HUNDRED);
    let revision = house
        .set(&[(dspex::GRADUAL_ROLLOUT_PERCENTAGE.key, all)])
        .await;
    let waited = house
        .flags
        .wait_acknowledged(revision, Duration::from_millis(20))
        .await;
    match waited {
        Err(FlagError::NotAcknowledged { laggards, .. }) => assert_eq!(laggards, ["router"]),
        other => panic!("{other:?}"),
    }
    assert_eq!(house.call(&program, "s").await.unwrap().lane, Lane::Stable);
}

#[tokio::test]
async fn flags_switch_circuits_and_recording_for_lanes_old_and_new() {
    let house = House::new().await;
    let revision = house
        .set(&[
            (dspex::CIRCUIT_BREAKER.key, FlagValue::Bool(false)),
            (dspex::TELEMETRY_V2.key, FlagValue::Bool(false)),
        ])
        .await;
    let within = Duration::from_secs(60);
    house
        .flags
        .wait_acknowledged(revision, within)
        .await
        .unwrap();
    let off = |house: &House| house.router.health().circuits.iter().all(|c| !c.enabled);
    assert!(off(&house) && !house.telemetry.is_enabled());
    house.router.set_candidate(Some(house.candidate.shared()));
    assert!(off(&house), "a new candidate's circuit is off too");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn raising_the_share_only_adds_sessions(low in 0_u16..=10_000, high in 0_u16..=10_000) {
        let (low, high) = (low.min(high), low.max(high));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (before, after) = runtime.block_on(async {
            let house = House::new().await;
            let program = house.program("p", true).await;
            let percent = |share: u16| Percent::from_basis_points(share).unwrap().to_string();
            house.percent(&percent(low)).await;
            let before = on_candidate(&house, &program, 60).await;
            house.percent(&percent(high)).await;
            (before, on_candidate(&house, &program, 60).await)
        });
        prop_assert!(before.is_subset(&after));
    }
}
