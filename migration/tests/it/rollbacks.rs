//! Rollbacks: from every phase, by people and by the evidence, to their end.

use std::sync::atomic::Ordering;
use std::time::Duration;

use dspex_migration::{Command, MigrationError, Phase, Status};
use dspex_telemetry::Lane;

use crate::house::{House, at_stage, rolled_back, rolls_back};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn rollback_wins_while_a_deploy_hangs() {
    let house = House::new().await;
    house.candidate.deploy_hangs.store(true, Ordering::SeqCst);
    let controller = house.start().await;
    controller
        .until(|status| status.phase == Phase::Deploy)
        .await;
    rolls_back(&house, &controller).await;
}

#[tokio::test(start_paused = true)]
async fn rollback_wins_while_a_verify_hangs() {
    let house = House::new().await;
    house.candidate.verify_hangs.store(true, Ordering::SeqCst);
    let controller = house.start().await;
    controller
        .until(|status| status.phase == Phase::Verify)
        .await;
    rolls_back(&house, &controller).await;
}

#[tokio::test(start_paused = true)]
async fn rollback_wins_in_a_stage_while_paused_and_when_complete() {
    for pause in [false, true] {
        let house = House::new().await;
        house.traffic(100, Duration::from_secs(5));
        let controller = house.start().await;
        controller.until(at_stage(1)).await;
        if pause {
            controller.command(Command::Pause).await.expect("paused");
        }
        assert_eq!(house.share(), 1_000);
        rolls_back(&house, &controller).await;
    }
    let house = House::new().await.in_minutes();
    house.traffic(100, Duration::from_secs(5));
    let controller = house.start().await;
    controller
        .until(|status| status.phase == Phase::Complete)
        .await;
    rolls_back(&house, &controller).await;
}

#[tokio::test(start_paused = true)]
async fn a_rollback_for_a_long_reason_is_a_rollback() {
    let house = House::new().await;
    house.traffic(100, Duration::from_secs(5));
    let controller = house.start().await;
    controller.until(at_stage(0)).await;
    let why = "ä".repeat(10_000);
    let obeyed = controller
        .migrations
        .command(Command::Rollback, "ada", &why)
        .await;
    obeyed.expect("obeyed");
    controller.until(rolled_back).await;
    assert_eq!(house.share(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_candidate_is_not_withdrawn_before_every_router_serves_zero() {
    let house = House::new().await;
    house.acknowledges.store(false, Ordering::SeqCst);
    let controller = house.start().await;
    let told = |status: &Status| {
        status
            .reasons
            .iter()
            .any(|why| why.contains("not acknowledged"))
    };
    let status = controller.until(told).await;
    assert!(status.reasons[0].contains("router"), "{:?}", status.reasons);
    assert_eq!((status.phase, status.acknowledged), (Phase::Rollout, false));
    controller.command(Command::Rollback).await.expect("obeyed");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(house.share(), 0);
    tokio::time::sleep(HOUR).await;
    let status = controller.migrations.status().expect("one");
    assert_eq!(
        (status.phase, house.candidate.times("withdraw")),
        (Phase::RollingBack, 0)
    );
    assert!(
        status.reasons[0].contains("not certain to be at 0 %"),
        "{:?}",
        status.reasons
    );
    house.acknowledges.store(true, Ordering::SeqCst);
    controller.until(rolled_back).await;
    assert!(
        controller.entries().await.len() < 30,
        "the same trouble is written down once"
    );
}

#[tokio::test(start_paused = true)]
async fn the_evidence_rolls_back_even_while_paused() {
    let house = House::new().await;
    house.traffic(100, Duration::from_secs(5));
    let controller = house.start().await;
    controller.until(at_stage(1)).await;
    controller.command(Command::Pause).await.expect("paused");
    house.behave(Lane::Candidate, |how| how.pool_faults = 0.9);
    controller.until(rolled_back).await;
    assert_eq!(house.share(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_withdrawal_that_keeps_failing_is_stuck_and_says_what_to_do() {
    let house = House::new().await;
    house.traffic(100, Duration::from_secs(5));
    house.candidate.withdraw_fails.store(7, Ordering::SeqCst);
    let controller = house.start().await;
    controller.until(at_stage(0)).await;
    controller.command(Command::Rollback).await.expect("obeyed");
    let status = controller
        .until(|status| status.phase == Phase::Stuck)
        .await;
    assert!(status.is_live() && house.share() == 0);
    let todo = &status.reasons[0];
    assert!(
        todo.contains("pid 4711") && todo.contains("by hand"),
        "{todo}"
    );
    let refused = controller
        .migrations
        .start(house.plan.clone(), "ada", "again")
        .await;
    assert!(
        matches!(refused, Err(MigrationError::AlreadyRunning { .. })),
        "{refused:?}"
    );
    let tries = house.candidate.times("withdraw");
    tokio::time::sleep(HOUR).await;
    assert_eq!(
        house.candidate.times("withdraw"),
        tries,
        "a person must help"
    );
    controller.command(Command::Rollback).await.expect("obeyed");
    controller.until(rolled_back).await;
}
