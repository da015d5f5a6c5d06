//! Calls that are copied for a migration: begun with the candidate, ended with it, and a gate between.

use std::sync::atomic::Ordering;
use std::time::Duration;

use dspex_flags::dspex::SHADOW_PERCENTAGE;
use dspex_migration::{Command, Differences, Phase};

use crate::house::{House, at_stage, rolled_back};

fn copied(house: &House) -> u16 {
    let share = house.flags.snapshot().percent(&SHADOW_PERCENTAGE);
    share.basis_points()
}

async fn house() -> House {
    let mut house = House::new().await.in_minutes();
    house.plan.shadow = "10%".parse().expect("a share");
    house.traffic(50, Duration::from_secs(1));
    house
}

fn compared(compared: u64, different: u64) -> Vec<Differences> {
    vec![Differences {
        program: "qa".into(),
        compared,
        different,
        hidden_by_noise: 0,
        not_compared: 0,
        trouble: None,
    }]
}

#[tokio::test(start_paused = true)]
async fn copies_begin_with_the_candidate_and_a_rollback_ends_them() {
    let house = house().await;
    house.candidate.compare(compared(1_000, 0));
    assert_eq!(copied(&house), 0);
    let controller = house.start().await;
    controller.until(at_stage(0)).await;
    assert_eq!(copied(&house), 1_000);
    controller.command(Command::Rollback).await.expect("taken");
    controller.until(rolled_back).await;
    assert_eq!((copied(&house), house.share()), (0, 0));
    assert!(!house.candidate.up.load(Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn no_stage_ages_before_the_answers_are_known_to_agree() {
    let house = house().await;
    let controller = house.start().await;
    controller.until(at_stage(0)).await;
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let held = controller.migrations.status().expect("a migration");
    assert_eq!(held.stage, Some(0), "{held:#?}");
    house.candidate.compare(compared(1_000, 1));
    controller
        .until(|status| status.phase == Phase::Complete)
        .await;
    assert_eq!(copied(&house), 1_000, "who watches on, watches on");
}

#[tokio::test(start_paused = true)]
async fn answers_that_differ_pause_the_migration() {
    let house = house().await;
    house.candidate.compare(compared(100, 60));
    let controller = house.start().await;
    let paused = controller.until(|status| status.paused.is_some()).await;
    assert_eq!(paused.phase, Phase::Rollout);
    assert_eq!(house.share(), 500, "a person decides");
}

/// The write that begins the copies may be cut off on its way: nobody knows whether it arrived.
#[tokio::test(start_paused = true)]
async fn a_rollback_ends_copies_that_were_not_seen_to_begin() {
    let house = house().await;
    house.candidate.deploy_hangs.store(true, Ordering::SeqCst);
    let controller = house.start().await;
    let deploys = |status: &dspex_migration::Status| status.phase == Phase::Deploy;
    controller.until(deploys).await;
    assert_eq!(copied(&house), 0);
    controller.command(Command::Rollback).await.expect("taken");
    controller.until(rolled_back).await;
    let changes = house.flags.history(10).await.expect("read");
    let ended = changes
        .iter()
        .any(|change| change.key == SHADOW_PERCENTAGE.key && change.who.starts_with("migration"));
    assert!(ended, "{changes:?}");
}
