//! What may happen to a migration while its controller dies, or its journal errs, at every write.

use std::sync::atomic::Ordering;

use dspex_migration::{Command, Phase, Status, Step};
use dspex_telemetry::Lane;

use super::{PLAIN, Story, every_fate_ends_the_same};

fn may_go(status: &Status) -> bool {
    let over = status.served_for >= status.retention.decommission_after;
    status.phase == Phase::Complete && over
}

#[tokio::test(start_paused = true)]
async fn a_good_migration() {
    let (writes, end) = every_fate_ends_the_same(&PLAIN).await;
    assert!(writes > 20, "{writes}");
    assert_eq!(
        (end.phase, end.share, end.up),
        (Phase::Complete, 10_000, true)
    );
}

#[tokio::test(start_paused = true)]
async fn a_rollback() {
    let story = Story {
        spoil: |house| {
            house.behave(Lane::Candidate, |how| how.pool_faults = 0.7);
            house.candidate.withdraw_fails.store(2, Ordering::SeqCst);
        },
        ends: Phase::RolledBack,
        ..PLAIN
    };
    let (writes, end) = every_fate_ends_the_same(&story).await;
    assert!(writes > 7, "{writes}");
    assert_eq!((end.share, end.up), (0, false));
}

#[tokio::test(start_paused = true)]
async fn the_old_pools_end() {
    let story = Story {
        spoil: |house| {
            house.others.archive_fails.store(1, Ordering::SeqCst);
            house.others.promote_fails.store(1, Ordering::SeqCst);
            house.others.retire_fails.store(1, Ordering::SeqCst);
        },
        asks: |status, _| may_go(status).then_some(Command::Decommission),
        ends: Phase::Decommissioned,
        ..PLAIN
    };
    let (writes, end) = every_fate_ends_the_same(&story).await;
    assert!(writes > 40, "{writes}");
    assert_eq!(end.share, 0);
    assert!(
        end.promoted && end.retired && end.archive && end.backup,
        "{end:?}"
    );
    assert_eq!(end.steps.last(), Some(&Step::Retire));
    assert_eq!(end.steps.len(), 10, "each once: {:?}", end.steps);
}

/// The promotion is durable and its end never told: the rollback has to take it back.
#[tokio::test(start_paused = true)]
async fn a_rollback_out_of_the_decommission() {
    let story = Story {
        spoil: |house| {
            house.others.promote_hangs.store(true, Ordering::SeqCst);
            house.others.demote_fails.store(2, Ordering::SeqCst);
        },
        asks: |status, _| match status.phase {
            Phase::Decommission if status.archive.is_some() => Some(Command::Rollback),
            _ => may_go(status).then_some(Command::Decommission),
        },
        ends: Phase::RolledBack,
        ..PLAIN
    };
    let (writes, end) = every_fate_ends_the_same(&story).await;
    assert!(writes > 35, "{writes}");
    assert_eq!((end.share, end.up), (0, false));
    assert!(!end.promoted && !end.retired, "{end:?}");
    assert!(end.archive, "{end:?}");
}

#[tokio::test(start_paused = true)]
async fn a_rollback_to_an_old_pool_that_is_cold() {
    let story = Story {
        spoil: |house| house.others.rest_fails.store(1, Ordering::SeqCst),
        asks: |status, _| {
            let cold = status.phase == Phase::Complete && status.rested;
            cold.then_some(Command::Rollback)
        },
        ends: Phase::RolledBack,
        ..PLAIN
    };
    let (writes, end) = every_fate_ends_the_same(&story).await;
    assert!(writes > 25, "{writes}");
    assert_eq!((end.share, end.up), (0, false));
    assert_eq!(end.shares, [1_000, 5_000, 10_000]);
}

#[tokio::test(start_paused = true)]
async fn a_validation_that_fails_twice() {
    let story = Story {
        spoil: |house| house.others.validate_fails.store(2, Ordering::SeqCst),
        asks: |status, _| status.paused.is_some().then_some(Command::Resume),
        ..PLAIN
    };
    let (writes, end) = every_fate_ends_the_same(&story).await;
    assert!(writes > 24, "{writes}");
    assert_eq!((end.share, end.up), (10_000, true));
    assert!(end.steps.contains(&Step::Validate), "{:?}", end.steps);
}

#[tokio::test(start_paused = true)]
async fn a_pause_and_its_end() {
    let story = Story {
        asks: |status, asked| {
            let before = |wanted| asked.iter().any(|row| row.command == wanted);
            if status.paused.is_some() {
                return Some(Command::Resume);
            }
            let second = status.stage == Some(1) && status.acknowledged;
            (second && !before(Command::Pause)).then_some(Command::Pause)
        },
        ..PLAIN
    };
    let (writes, end) = every_fate_ends_the_same(&story).await;
    assert!(writes > 24, "{writes}");
    assert_eq!((end.phase, end.share), (Phase::Complete, 10_000));
    assert_eq!(end.shares, [1_000, 5_000, 10_000]);
}
