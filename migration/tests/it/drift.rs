//! Others move the lever while a migration is under way: it pauses, says so, and does not fight.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dspex_flags::dspex::{GRADUAL_ROLLOUT_PERCENTAGE, POOL_V2_ENABLED};
use dspex_flags::testing::FaultyStore;
use dspex_flags::{FlagValue, Percent, Write};
use dspex_migration::{Command, MemoryJournal, Phase};

use crate::house::{House, at_stage, rolls_back};

const HOUR: Duration = Duration::from_secs(3600);

async fn set_by_hand(house: &House, enabled: bool, basis_points: u16) {
    let percent = Percent::from_basis_points(basis_points).expect("a share");
    let set = vec![
        (POOL_V2_ENABLED.key.to_owned(), FlagValue::Bool(enabled)),
        (
            GRADUAL_ROLLOUT_PERCENTAGE.key.to_owned(),
            FlagValue::Percent(percent),
        ),
    ];
    let (who, why) = ("grace".to_owned(), "I know better".to_owned());
    house
        .flags
        .write(Write {
            expected: None,
            set,
            who,
            why,
        })
        .await
        .expect("written");
}

#[tokio::test(start_paused = true)]
async fn a_lever_moved_by_others_pauses_and_is_not_fought_over() {
    for (enabled, basis_points, effective) in [(true, 5_000, 5_000), (false, 500, 0)] {
        let house = House::new().await;
        house.traffic(100, Duration::from_secs(5));
        let controller = house.start().await;
        controller
            .until(|status| status.healthy_for > HOUR / 2)
            .await;
        set_by_hand(&house, enabled, basis_points).await;
        let status = controller.until(|status| status.paused.is_some()).await;
        let why = status.paused.as_ref().expect("paused").why();
        assert!(why.contains("grace (I know better)"), "{why}");
        assert!(
            why.contains("this migration has the candidate at 5 %"),
            "{why}"
        );
        tokio::time::sleep(5 * HOUR).await;
        assert_eq!(house.share(), effective, "not fought over");
        controller.command(Command::Resume).await.expect("resumed");
        controller.until(at_stage(0)).await;
        assert_eq!(
            house.share(),
            500,
            "on a person's word its own share is set again"
        );
        controller.until(at_stage(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn traffic_that_somebody_sends_before_the_first_stage_pauses() {
    let house = House::new().await;
    house.candidate.verify_hangs.store(true, Ordering::SeqCst);
    let controller = house.start().await;
    controller
        .until(|status| status.phase == Phase::Verify)
        .await;
    set_by_hand(&house, true, 5_000).await;
    controller.until(|status| status.paused.is_some()).await;
    rolls_back(&house, &controller).await;
}

#[tokio::test(start_paused = true)]
async fn a_lever_that_is_up_already_lets_no_migration_begin() {
    let house = House::new().await;
    set_by_hand(&house, true, 5_000).await;
    let controller = house.open().await;
    let start = controller
        .migrations
        .start(house.plan.clone(), "ada", "why");
    let refused = start.await.expect_err("refused").to_string();
    assert!(refused.contains("50 % of the traffic"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_raise_that_waits_for_the_store_is_dropped_by_a_pause() {
    let store = Arc::new(FaultyStore::new());
    let house = House::with(Arc::new(MemoryJournal::new()), store.clone()).await;
    house.traffic(100, Duration::from_secs(5));
    let controller = house.start().await;
    controller.until(at_stage(0)).await;
    store.wait_before_writes(true);
    controller.until(|status| status.stage == Some(1)).await;
    controller.command(Command::Pause).await.expect("paused");
    store.wait_before_writes(false);
    tokio::time::sleep(HOUR).await;
    assert_eq!(house.share(), 500, "paused, nothing is raised");
    controller.command(Command::Resume).await.expect("resumed");
    controller.until(at_stage(1)).await;
    assert_eq!(house.share(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn a_history_that_never_answers_holds_nothing_up() {
    let store = Arc::new(FaultyStore::new());
    let house = House::with(Arc::new(MemoryJournal::new()), store.clone()).await;
    house.traffic(100, Duration::from_secs(5));
    let controller = house.start().await;
    controller.until(at_stage(0)).await;
    store.hang_history(true);
    set_by_hand(&house, true, 5_000).await;
    let paused = controller.until(|status| status.paused.is_some());
    let paused = tokio::time::timeout(Duration::from_secs(60), paused).await;
    let status = paused.expect("it pauses although nobody can be named");
    let why = status.paused.as_ref().expect("paused").why();
    assert!(why.contains("50 %"), "{why}");
    rolls_back(&house, &controller).await;
}
