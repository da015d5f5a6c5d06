//! Whole migrations in simulated time: the good, the broken, and the ones that are nobody's fault.

use std::sync::atomic::Ordering;
use std::time::Duration;

use dspex_migration::{Event, Phase, Verdict};
use dspex_telemetry::Lane;

use crate::house::{House, assert_rises_by_plan, rolled_back};

#[tokio::test(start_paused = true)]
async fn a_good_candidate_takes_all_traffic_in_seventeen_hours() {
    let house = House::new().await.looked_at_every(Duration::from_secs(60));
    house.traffic(100, Duration::from_secs(20));
    let began = tokio::time::Instant::now();
    let controller = house.start().await;
    let status = controller.until(|status| !status.is_live()).await;
    assert_eq!(status.phase, Phase::Complete, "{:#?}", status.outcome);
    let hours = began.elapsed().as_secs_f64() / 3600.0;
    // The holds sum up to 17 hours; each stage takes a minute or two to have samples enough.
    assert!((17.0..17.5).contains(&hours), "{hours} hours");
    assert_eq!(house.share(), 10_000);
    assert!(house.candidate.up.load(Ordering::SeqCst));
    assert_eq!(
        controller
            .migrations
            .candidate_wanted()
            .expect("wanted")
            .candidate,
        "v2"
    );
    assert_rises_by_plan(&house.plan, &controller.entries().await);
    assert_eq!(status.stages.len(), 6);
    for record in &status.stages {
        assert!(record.healthy >= record.hold, "{record:?}");
        let measured = record.measured_percent.expect("measured");
        let wanted = f64::from(record.percent.basis_points()) / 100.0;
        assert!(
            (measured - wanted).abs() < 1.5,
            "{measured} % instead of {wanted} %"
        );
    }
    let stage = &status.stages[0];
    let calls = stage.calls_stable + stage.calls_candidate;
    assert!(
        (17_000..19_500).contains(&calls),
        "5 calls a second for an hour: {calls}"
    );
}

#[tokio::test(start_paused = true)]
async fn crashing_workers_roll_back_within_seconds() {
    let house = House::new().await;
    house.behave(Lane::Candidate, |how| how.pool_faults = 0.6);
    house.traffic(100, Duration::from_secs(5));
    let controller = house.start().await;
    controller
        .until(|status| status.phase == Phase::Rollout)
        .await;
    let began = tokio::time::Instant::now();
    let status = controller.until(rolled_back).await;
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "{:?}",
        began.elapsed()
    );
    let outcome = status.outcome.clone().expect("over");
    assert!(
        outcome.contains("pool faults on the candidate"),
        "{outcome}"
    );
    assert!(outcome.contains("limit 10 %"), "{outcome}");
    assert_eq!((house.share(), status.stages.len()), (0, 1));
    assert!(
        status.stages[0].calls_candidate > 0,
        "{:?}",
        status.stages[0]
    );
    assert!(!house.candidate.up.load(Ordering::SeqCst));
    assert_eq!(
        *house
            .candidate
            .share_at_withdrawal
            .lock()
            .expect("unpoisoned"),
        [0]
    );
    assert!(controller.migrations.candidate_wanted().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_slow_pool_rolls_back_although_the_model_takes_seconds() {
    let house = House::new().await;
    house.behave(Lane::Candidate, |how| {
        how.overhead = Duration::from_millis(150);
    });
    house.traffic(100, Duration::from_secs(5));
    let controller = house.start().await;
    let status = controller.until(|status| !status.is_live()).await;
    let outcome = status.outcome.clone().expect("over");
    assert!(
        outcome.contains("median of overhead of qa on the candidate"),
        "{outcome}"
    );
    assert_eq!((status.phase, house.share()), (Phase::RolledBack, 0));
}

#[tokio::test(start_paused = true)]
async fn a_candidate_whose_provider_calls_fail_more_often_rolls_back() {
    let house = House::new().await;
    house.behave(Lane::Candidate, |how| how.provider_faults = 0.15);
    house.traffic(100, Duration::from_secs(5));
    let controller = house.start().await;
    let status = controller.until(|status| !status.is_live()).await;
    let outcome = status.outcome.clone().expect("over");
    assert!(outcome.contains("limit 3 times stable's"), "{outcome}");
    assert!(outcome.contains("provider-failed"), "{outcome}");
    assert_eq!(status.phase, Phase::RolledBack);
}

#[tokio::test(start_paused = true)]
async fn an_outage_upstream_rolls_nothing_back() {
    let house = House::new().await.in_minutes();
    for lane in [Lane::Stable, Lane::Candidate] {
        house.behave(lane, |how| how.provider_faults = 0.5);
    }
    house.traffic(100, Duration::from_secs(5));
    let controller = house.start().await;
    let status = controller.until(|status| !status.is_live()).await;
    assert_eq!(status.phase, Phase::Complete, "{:?}", status.outcome);
}

#[tokio::test(start_paused = true)]
async fn without_traffic_it_waits_and_says_what_for() {
    let house = House::new().await;
    let controller = house.start().await;
    controller
        .until(|status| status.acknowledged && status.phase == Phase::Rollout)
        .await;
    tokio::time::sleep(Duration::from_secs(5 * 3600)).await;
    let status = controller.migrations.status().expect("a migration");
    assert_eq!(
        (status.phase, status.stage, house.share()),
        (Phase::Rollout, Some(0), 500)
    );
    assert_eq!(status.healthy_for, Duration::ZERO);
    let analysis = status.analysis.as_ref().expect("looked");
    assert_eq!(analysis.verdict, Verdict::Inconclusive);
    let needs: Vec<_> = analysis
        .reasons
        .iter()
        .filter_map(|r| r.needs.as_deref())
        .collect();
    assert!(
        needs.contains(&"50 more calls on the candidate"),
        "{needs:?}"
    );
    assert!(
        controller.entries().await.len() < 20,
        "what does not change is written down once"
    );
    // Once there is traffic it goes on by itself.
    house.traffic(100, Duration::from_secs(5));
    controller.until(|status| status.stage == Some(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_step_rolls_back_with_the_reason() {
    type Break = fn(&House);
    let cases: [(Break, &str, usize); 4] = [
        (
            |h| h.candidate.preflight_fails.store(true, Ordering::SeqCst),
            "found 3.8, needs at least",
            0,
        ),
        (
            |h| h.candidate.deploy_fails.store(true, Ordering::SeqCst),
            "no module named dspy",
            1,
        ),
        (
            |h| h.candidate.verify_fails.store(true, Ordering::SeqCst),
            "verify failed: workers",
            1,
        ),
        (
            |h| h.candidate.deploy_hangs.store(true, Ordering::SeqCst),
            "did not end within 5m",
            1,
        ),
    ];
    for (break_it, reason, deploys) in cases {
        let house = House::new().await;
        break_it(&house);
        let controller = house.start().await;
        let status = controller.until(rolled_back).await;
        let outcome = status.outcome.clone().expect("over");
        assert!(outcome.contains(reason), "{outcome}");
        assert_eq!(
            (house.candidate.times("deploy"), house.share()),
            (deploys, 0)
        );
        assert_eq!(house.candidate.times("withdraw"), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn workers_that_keep_dying_roll_back() {
    let house = House::new().await;
    house.traffic(100, Duration::from_secs(5));
    let controller = house.start().await;
    controller
        .until(|status| status.healthy_for > Duration::from_secs(60))
        .await;
    house
        .candidate
        .worker_failures
        .fetch_add(1, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(
        controller.migrations.status().expect("one").is_live(),
        "one death proves nothing"
    );
    house
        .candidate
        .worker_failures
        .fetch_add(6, Ordering::SeqCst);
    let status = controller.until(rolled_back).await;
    let outcome = status.outcome.clone().expect("over");
    assert!(
        outcome.contains("workers of the candidate that ended unasked"),
        "{outcome}"
    );
}

#[tokio::test(start_paused = true)]
async fn equal_lanes_are_not_told_apart_by_chance() {
    let house = House::new().await.looked_at_every(Duration::from_secs(60));
    for lane in [Lane::Stable, Lane::Candidate] {
        house.behave(lane, |how| {
            how.provider_faults = 0.04;
            how.pool_faults = 0.01;
        });
    }
    house.traffic(100, Duration::from_secs(20));
    let controller = house.start().await;
    let status = controller.until(|status| !status.is_live()).await;
    assert_eq!(status.phase, Phase::Complete, "{:?}", status.outcome);
    let events = controller.events().await;
    assert!(
        !events
            .iter()
            .any(|event| matches!(event, Event::Paused { .. }))
    );
}
