//! After the last stage: validation, the way back while it lasts, and the old pool's end.

use std::sync::atomic::Ordering;
use std::time::Duration;

use dspex_migration::report::Met;
use dspex_migration::{
    Action, Command, Entry, Event, Phase, Removed, Scenario, Status, Step, Validate, Verdict,
    report,
};
use dspex_telemetry::Lane;

use crate::house::{House, rolled_back, rolls_back};

const HOUR: Duration = Duration::from_secs(3600);

/// Minutes instead of hours: the old pool is kept for 24 minutes.
async fn house() -> House {
    let house = House::new().await.in_minutes();
    house.traffic(100, Duration::from_secs(5));
    house
}

fn is(phase: Phase) -> impl Fn(&Status) -> bool {
    move |status| status.phase == phase
}

fn may_go(status: &Status) -> bool {
    status.served_for >= status.retention.decommission_after
}

#[tokio::test(start_paused = true)]
async fn a_failed_validation_pauses_and_runs_again_when_resumed() {
    let house = house().await;
    house.others.validate_fails.store(2, Ordering::SeqCst);
    let controller = house.start().await;
    for _ in 0..2 {
        let status = controller.until(|status| status.paused.is_some()).await;
        assert_eq!((status.phase, house.share()), (Phase::Validate, 10_000));
        let why = status.paused.as_ref().expect("paused").why().to_owned();
        assert!(why.contains("validate failed: equivalence"), "{why}");
        let refused = controller.command(Command::Promote { to_end: false }).await;
        assert!(refused.expect_err("paused").contains("resume it first"));
        controller.command(Command::Resume).await.expect("resumed");
    }
    controller.until(is(Phase::Complete)).await;
    assert_eq!(house.others.times("validate"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_failed_validation_rolls_back_where_the_plan_says_so() {
    let mut house = house().await;
    house.plan.validation.on_failure = Action::Rollback;
    house.others.validate_fails.store(1, Ordering::SeqCst);
    let controller = house.start().await;
    let status = controller.until(rolled_back).await;
    assert_eq!(status.scenario, Some(Scenario::Validation));
    assert_eq!(house.share(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_person_completes_past_a_validation_and_rolls_back_out_of_it() {
    let house = house().await;
    house.others.validate_hangs.store(true, Ordering::SeqCst);
    let controller = house.start().await;
    controller.until(is(Phase::Validate)).await;
    let promote = Command::Promote { to_end: false };
    controller.command(promote).await.expect("promoted");
    controller.until(is(Phase::Complete)).await;

    let house = self::house().await;
    house.others.validate_hangs.store(true, Ordering::SeqCst);
    let controller = house.start().await;
    controller.until(is(Phase::Validate)).await;
    rolls_back(&house, &controller).await;
}

#[tokio::test(start_paused = true)]
async fn a_plan_without_a_validation_says_that_it_had_none() {
    let mut house = house().await;
    house.plan.validation.run = Validate::None;
    let controller = house.start().await;
    controller.until(is(Phase::Complete)).await;
    assert_eq!(house.others.times("validate"), 0);
    let skipped = |event: &Event| matches!(event, Event::ValidationSkipped { .. });
    assert!(controller.events().await.iter().any(skipped));
}

#[tokio::test(start_paused = true)]
async fn the_old_pool_is_kept_warm_then_cold_and_a_person_may_go_back_from_both() {
    let house = house().await;
    house.others.rest_fails.store(2, Ordering::SeqCst);
    let controller = house.start().await;
    let status = controller.until(is(Phase::Complete)).await;
    assert!(status.backup.is_some() && !status.rested);
    let began = tokio::time::Instant::now();
    let status = controller.until(|status| status.rested).await;
    let took = began.elapsed();
    let warm = status.retention.warm;
    assert!(
        took >= warm && took < warm + Duration::from_secs(120),
        "{took:?}"
    );
    assert!(house.others.resting.load(Ordering::SeqCst));
    let written = controller.events().await.len();
    tokio::time::sleep(10 * HOUR).await;
    let later = controller.events().await.len();
    assert_eq!(written, later, "it is looked at, and nothing is written");
    let status = controller.migrations.status().expect("one");
    assert_eq!(
        status.analysis.as_ref().expect("looked").verdict,
        Verdict::Healthy
    );
    rolls_back(&house, &controller).await;
}

#[tokio::test(start_paused = true)]
async fn complete_and_warm_the_evidence_rolls_back_and_cold_it_alerts() {
    for cold in [false, true] {
        let house = house().await;
        let controller = house.start().await;
        controller.until(is(Phase::Complete)).await;
        if cold {
            controller.until(|status| status.rested).await;
        }
        house.behave(Lane::Candidate, |how| how.pool_faults = 0.8);
        if !cold {
            let status = controller.until(rolled_back).await;
            assert_eq!(status.scenario, Some(Scenario::ErrorRateSpike));
            tells_what_broke(&status, &controller.entries().await);
            continue;
        }
        let critical = |status: &Status| {
            let alerts = status.alerts.iter();
            alerts
                .clone()
                .any(|alert| alert.verdict == Verdict::Critical)
        };
        let status = controller.until(critical).await;
        assert_eq!((status.phase, house.share()), (Phase::Complete, 10_000));
        let refused = controller.command(Command::Decommission).await;
        assert!(
            refused.expect_err("ill").contains("pool faults"),
            "says why"
        );
        rolls_back(&house, &controller).await;
    }
}

/// The look that asks for a rollback is told by the rollback alone: the report and the alerts have it.
fn tells_what_broke(status: &Status, entries: &[Entry]) {
    let mut alerts = status.alerts.iter();
    assert!(
        alerts.any(|alert| alert.verdict == Verdict::Critical && alert.ended_at.is_some()),
        "{:?}",
        status.alerts
    );
    let report = report(&status.id, entries).expect("a whole journal");
    let impact = &report.criteria[0];
    assert!(impact.name.contains("customer impact"), "{impact:?}");
    assert_eq!(impact.met, Met::No, "{impact:?}");
    let told = report.markdown();
    assert!(told.contains("Mend what broke"), "{told}");
    assert!(!told.contains("No rule warned."), "{told}");
}

#[tokio::test(start_paused = true)]
async fn the_old_pool_goes_step_by_step_and_the_candidate_is_stable() {
    let house = house().await;
    for failing in [
        &house.others.archive_fails,
        &house.others.promote_fails,
        &house.others.retire_fails,
    ] {
        failing.store(2, Ordering::SeqCst);
    }
    let controller = house.start().await;
    controller.until(is(Phase::Complete)).await;
    let refused = controller.command(Command::Decommission).await;
    let refused = refused.expect_err("too soon");
    assert!(refused.contains("are asked for"), "{refused}");
    controller.until(may_go).await;
    controller
        .command(Command::Decommission)
        .await
        .expect("begun");
    let status = controller.until(is(Phase::Decommissioned)).await;
    assert_eq!(house.share(), 0, "both lanes are one pool");
    assert!(status.archive.is_some() && !status.is_live());
    let others = &house.others;
    assert!(others.promoted.load(Ordering::SeqCst) && others.retired.load(Ordering::SeqCst));
    assert_eq!(*others.share_at_retirement.lock().expect("unpoisoned"), [0]);
    assert!(controller.migrations.candidate_wanted().is_none());
    assert_eq!(house.candidate.times("withdraw"), 0);
    let events = controller.events().await;
    let removed = events.iter().find_map(|event| match event {
        Event::StepDone { removed, .. } => *removed,
        _ => None,
    });
    assert_eq!(
        removed,
        Some(Removed {
            looks: 7,
            files: 1,
            ..Removed::default()
        })
    );
    let done: Vec<_> = events
        .into_iter()
        .filter_map(|event| match event {
            Event::StepDone { step, .. } => Some(step),
            _ => None,
        })
        .collect();
    let expected = [
        Step::Preflight,
        Step::Backup,
        Step::Deploy,
        Step::Verify,
        Step::Validate,
        Step::Confirm,
        Step::Archive,
        Step::Promote,
        Step::Settle,
        Step::Retire,
    ];
    assert_eq!(done, expected);
    let refused = controller.command(Command::Rollback).await;
    let refused = refused.expect_err("there is no way back");
    assert!(refused.contains("start a new migration to v1"), "{refused}");
    let next = controller
        .migrations
        .start(house.plan.clone(), "ada", "again")
        .await
        .expect("it starts from here");
    controller.until(|status| status.id == next).await;
}

#[tokio::test(start_paused = true)]
async fn a_decommission_counts_the_time_that_is_seen_and_not_written_down_yet() {
    let mut house = house().await;
    // Time is written down in pieces of the longer one: more than a minute.
    (
        house.plan.retention.warm,
        house.plan.retention.decommission_after,
    ) = (HOUR, Duration::from_secs(30));
    let controller = house.start().await;
    controller.until(is(Phase::Complete)).await;
    tokio::time::sleep(Duration::from_secs(15)).await;
    let soon = controller.command(Command::Decommission).await;
    let soon = soon.expect_err("too soon");
    assert!(
        soon.contains("for 15s") && soon.contains("30s are asked for"),
        "{soon}"
    );
    tokio::time::sleep(Duration::from_secs(20)).await;
    let begun = controller
        .command(Command::Decommission)
        .await
        .expect("begun");
    assert!(
        begun.served_for >= begun.retention.decommission_after && begun.served_for < HOUR / 48,
        "each moment is counted once: {:?}",
        begun.served_for
    );
    controller.until(is(Phase::Decommissioned)).await;
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_may_not_go_stays_and_one_that_cannot_go_waits_for_a_person() {
    let house = house().await;
    house.others.confirm_fails.store(1, Ordering::SeqCst);
    house.others.archive_fails.store(5, Ordering::SeqCst);
    let controller = house.start().await;
    controller.until(may_go).await;
    controller
        .command(Command::Decommission)
        .await
        .expect("begun");
    let called_off = |status: &Status| {
        status.phase == Phase::Complete && status.reasons.iter().any(|why| why.contains("writable"))
    };
    controller.until(called_off).await;
    controller
        .command(Command::Decommission)
        .await
        .expect("begun again");
    let status = controller.until(|status| status.paused.is_some()).await;
    let why = status.paused.as_ref().expect("paused").why().to_owned();
    assert!(why.contains("archive failed: archive: no space left") && why.contains("5 times"));
    assert_eq!((status.phase, house.share()), (Phase::Decommission, 10_000));
    controller.command(Command::Resume).await.expect("resumed");
    controller.until(is(Phase::Decommissioned)).await;
}

#[tokio::test(start_paused = true)]
async fn a_rollback_in_the_middle_of_a_promotion_undoes_it() {
    let house = house().await;
    house.others.promote_hangs.store(true, Ordering::SeqCst);
    house.others.demote_fails.store(2, Ordering::SeqCst);
    let controller = house.start().await;
    controller.until(may_go).await;
    controller
        .command(Command::Decommission)
        .await
        .expect("begun");
    while !house.others.promoted.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    rolls_back(&house, &controller).await;
    assert!(!house.others.promoted.load(Ordering::SeqCst));
    assert!(!house.others.retired.load(Ordering::SeqCst));
    assert_eq!(house.others.times("demote"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_failed_backup_takes_everything_back() {
    let house = house().await;
    house.others.backup_fails.store(1, Ordering::SeqCst);
    let controller = house.start().await;
    let status = controller.until(rolled_back).await;
    assert_eq!(status.scenario, Some(Scenario::StepFailed));
    let outcome = status.outcome.clone().expect("over");
    assert!(
        outcome.contains("backup failed: backup: no space left"),
        "{outcome}"
    );
    assert_eq!(house.candidate.times("deploy"), 0);
}

#[tokio::test(start_paused = true)]
async fn the_old_pool_does_not_rest_while_it_is_the_one_that_serves() {
    let house = house().await;
    let controller = house.start().await;
    controller.until(is(Phase::Complete)).await;
    // The flags say 100 %, and every call is answered by stable.
    house.candidate.up.store(false, Ordering::SeqCst);
    let down = |status: &Status| {
        let mut alerts = status.alerts.iter();
        alerts.any(|alert| alert.rule == "candidate" && alert.verdict == Verdict::Critical)
    };
    let status = controller.until(down).await;
    assert!(
        status.reasons.iter().any(|why| why.contains("is not up")),
        "{status:?}"
    );
    let served = status.served_for;
    tokio::time::sleep(HOUR).await;
    let status = controller.migrations.status().expect("one");
    assert!(status.served_for <= served + status.retention.warm / 10);
    assert!(!status.rested && house.others.times("rest") == 0);
    house.candidate.up.store(true, Ordering::SeqCst);
    let status = controller.until(|status| status.rested).await;
    assert!(status.alerts.iter().all(|alert| alert.ended_at.is_some()));
}

#[tokio::test(start_paused = true)]
async fn what_is_validated_is_complete_once_it_is_seen_healthy_or_a_person_says_so() {
    for by_person in [false, true] {
        let house = house().await;
        house.others.validate_hangs.store(true, Ordering::SeqCst);
        let controller = house.start().await;
        controller.until(is(Phase::Validate)).await;
        // It succeeds when nobody has called for long: what was healthy is not known to be so now.
        house.quiet.store(true, Ordering::SeqCst);
        // The first one runs out of time, and waits for a person.
        controller.until(|status| status.paused.is_some()).await;
        house.others.validate_hangs.store(false, Ordering::SeqCst);
        controller.command(Command::Resume).await.expect("resumed");
        let validated = |status: &Status| status.step.is_none();
        controller.until(validated).await;
        tokio::time::sleep(HOUR).await;
        let status = controller.migrations.status().expect("one");
        assert_eq!(status.phase, Phase::Validate);
        assert!(
            status.reasons.iter().any(|why| why.contains("calls")),
            "it says what it waits for: {:?}",
            status.reasons
        );
        if by_person {
            let promote = Command::Promote { to_end: false };
            controller.command(promote).await.expect("promoted");
        } else {
            house.quiet.store(false, Ordering::SeqCst);
        }
        controller.until(is(Phase::Complete)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn each_life_of_the_controller_spends_a_part_of_the_significance_of_its_own() {
    let house = house().await;
    let mut controller = house.start().await;
    controller.until(is(Phase::Complete)).await;
    let begun = |events: &[Event]| {
        let epochs = events.iter().filter_map(|event| match event {
            Event::Watched { .. } | Event::Ticked { .. } => {
                serde_json::to_value(event).expect("json")["ledger"]["epoch"].as_u64()
            }
            _ => None,
        });
        epochs.max().unwrap_or_default()
    };
    let mut last = begun(&controller.events().await);
    for _ in 0..3 {
        controller.kill().await;
        controller = house.open().await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        let now = begun(&controller.events().await);
        assert_eq!(now, last + 1, "a restart is a beginning");
        last = now;
    }
}
