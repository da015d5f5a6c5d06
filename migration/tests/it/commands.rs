//! What people ask for beside a rollback: pauses, promotions, starts, signatures.

use std::sync::atomic::Ordering;
use std::time::Duration;

use dspex_migration::{Cause, Command, Event, MigrationError, Phase, Post};
use dspex_telemetry::Lane;

use crate::house::{House, at_stage, rolled_back};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn paused_nothing_moves_and_nothing_ages() {
    let house = House::new().await;
    house.traffic(100, Duration::from_secs(5));
    let controller = house.start().await;
    controller
        .until(|status| status.healthy_for > HOUR / 2)
        .await;
    let before = controller.command(Command::Pause).await.expect("paused");
    let Some(Cause::Person { who, why }) = &before.paused else {
        panic!("{before:?}")
    };
    assert_eq!((who.as_str(), why.as_str()), ("ada", "because"));
    let refused = controller.command(Command::Pause).await.expect_err("it is");
    assert!(refused.contains("paused already"), "{refused}");
    let refused = controller
        .command(Command::Promote { to_end: false })
        .await
        .expect_err("paused");
    assert!(refused.contains("resume it first"), "{refused}");
    tokio::time::sleep(10 * HOUR).await;
    let status = controller.migrations.status().expect("one");
    assert_eq!(
        (status.healthy_for, status.stage),
        (before.healthy_for, Some(0))
    );
    assert_eq!(house.share(), 500);
    controller.command(Command::Resume).await.expect("resumed");
    let refused = controller
        .command(Command::Resume)
        .await
        .expect_err("it is not paused");
    assert!(refused.contains("not paused"), "{refused}");
    let began = tokio::time::Instant::now();
    controller.until(at_stage(1)).await;
    let left = began.elapsed();
    assert!(
        left > HOUR / 3 && left < HOUR * 2 / 3,
        "the other half of the hold: {left:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn promoting_skips_the_hold_on_a_persons_word() {
    let house = House::new().await;
    house.traffic(100, Duration::from_secs(5));
    let controller = house.start().await;
    controller.until(at_stage(0)).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    controller
        .command(Command::Promote { to_end: false })
        .await
        .expect("promoted");
    let status = controller.until(at_stage(1)).await;
    let Some(Cause::Person { who, .. }) = &status.stages[0].left_by else {
        panic!("{status:?}")
    };
    assert_eq!((who.as_str(), house.share()), ("ada", 1_000));
    assert!(status.stages[0].healthy < status.stages[0].hold);
    assert!(status.stages[0].calls_candidate > 0);
    controller
        .command(Command::Promote { to_end: true })
        .await
        .expect("promoted");
    let status = controller.until(|status| !status.is_live()).await;
    assert_eq!((status.phase, house.share()), (Phase::Complete, 10_000));
    let shares: Vec<_> = status
        .stages
        .iter()
        .map(|one| one.percent.basis_points())
        .collect();
    assert_eq!(shares, [500, 1_000, 10_000]);
}

#[tokio::test(start_paused = true)]
async fn promoting_is_refused_where_there_is_no_stage_and_against_the_evidence() {
    let house = House::new().await;
    house.candidate.deploy_hangs.store(true, Ordering::SeqCst);
    let controller = house.start().await;
    controller
        .until(|status| status.phase == Phase::Deploy)
        .await;
    let refused = controller.command(Command::Promote { to_end: false }).await;
    assert!(
        refused
            .expect_err("no stage")
            .contains("no stage to promote")
    );
    assert_eq!(house.share(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_command_left_by_another_process_is_taken_at_the_next_look() {
    let house = House::new().await;
    house.traffic(100, Duration::from_secs(5));
    let controller = house.start().await;
    let status = controller.until(at_stage(0)).await;
    let at = status.started_at;
    for command in [Command::Pause, Command::Rollback, Command::Resume] {
        let post = Post {
            command,
            who: "grace",
            why: "from afar",
            at,
        };
        house.journal.post(&status.id, post).await.expect("posted");
    }
    let began = tokio::time::Instant::now();
    controller.until(rolled_back).await;
    assert!(
        began.elapsed() <= house.plan.interval * 2,
        "{:?}",
        began.elapsed()
    );
    let taken: Vec<_> = controller
        .events()
        .await
        .into_iter()
        .filter_map(|event| match event {
            Event::Commanded {
                command, refused, ..
            } => Some((command, refused.is_some())),
            _ => None,
        })
        .collect();
    let expected = [
        (Command::Pause, true),
        (Command::Rollback, false),
        (Command::Resume, true),
    ];
    assert_eq!(
        taken, expected,
        "each once, and a rollback wins over all of them"
    );
}

#[tokio::test(start_paused = true)]
async fn a_start_is_refused_where_it_makes_no_sense() {
    let house = House::new().await.in_minutes();
    house.traffic(100, Duration::from_secs(5));
    let controller = house.open().await;
    let start = async |who, why| {
        controller
            .migrations
            .start(house.plan.clone(), who, why)
            .await
            .map_err(|e| e.to_string())
    };
    let none = controller
        .migrations
        .command(Command::Pause, "ada", "because")
        .await;
    assert!(matches!(none, Err(MigrationError::None)), "{none:?}");
    assert!(
        start("", "why")
            .await
            .expect_err("refused")
            .contains("say who")
    );
    assert!(
        start("ada", "  ")
            .await
            .expect_err("refused")
            .contains("say why")
    );
    let mut invalid = house.plan.clone();
    invalid.stages.pop();
    let refused = controller.migrations.start(invalid, "ada", "why").await;
    assert!(
        matches!(refused, Err(MigrationError::InvalidPlan(_))),
        "{refused:?}"
    );
    let first = start("ada", "newer").await.expect("begun");
    assert!(
        start("ada", "newer")
            .await
            .expect_err("refused")
            .contains(first.as_str())
    );
    controller
        .until(|status| status.phase == Phase::Complete)
        .await;
    let refused = start("ada", "newer").await.expect_err("refused");
    assert!(
        refused.contains("decommission it first") && refused.contains(first.as_str()),
        "{refused}"
    );
    controller.command(Command::Rollback).await.expect("obeyed");
    controller.until(rolled_back).await;
    let second = start("ada", "once more").await.expect("begun");
    controller
        .until(|status| status.id == second && status.phase == Phase::Rollout)
        .await;
    let history = controller.migrations.history(10).await.expect("read");
    assert_eq!(
        history.iter().map(|one| &one.id).collect::<Vec<_>>(),
        [&second, &first]
    );
    assert!(
        history[1]
            .outcome
            .as_ref()
            .expect("over")
            .contains("ada: because")
    );
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_pauses_pauses_and_leaves_traffic_alone() {
    let mut house = House::new().await;
    house.plan.thresholds.error_ratio.action = dspex_migration::Action::Pause;
    house.traffic(100, Duration::from_secs(5));
    let controller = house.start().await;
    controller.until(at_stage(1)).await;
    house.behave(Lane::Candidate, |how| how.provider_faults = 0.3);
    let status = controller.until(|status| status.paused.is_some()).await;
    assert!(
        status
            .paused
            .as_ref()
            .expect("paused")
            .why()
            .contains("3 times stable's")
    );
    tokio::time::sleep(HOUR).await;
    assert_eq!(house.share(), 1_000);
    house.behave(Lane::Candidate, |how| how.provider_faults = 0.0);
    controller.command(Command::Resume).await.expect("resumed");
    controller.until(at_stage(2)).await;
}

#[tokio::test(start_paused = true)]
async fn a_person_signs_for_a_line_while_it_runs_and_after_its_end() {
    let house = House::new().await;
    house.traffic(100, Duration::from_secs(5));
    let none = house.open().await;
    let line = "cost".parse().expect("a line");
    let refused = none.command(Command::Sign { line }).await;
    assert!(
        refused
            .expect_err("nothing to sign")
            .contains("no migration")
    );
    none.kill().await;

    let controller = house.start().await;
    controller.until(at_stage(0)).await;
    let unsigned = controller
        .migrations
        .command(Command::Sign { line }, "ada", " ");
    assert!(matches!(
        unsigned.await,
        Err(MigrationError::Unsigned { missing: "why" })
    ));
    let before = controller.command(Command::Pause).await.expect("paused");
    let after = controller
        .command(Command::Sign { line })
        .await
        .expect("signed");
    assert_eq!((before.phase, before.stage), (after.phase, after.stage));
    assert!(after.paused.is_some(), "it moves nothing");

    // Beside a rollback, and after it.
    let post = |command| Post {
        command,
        who: "grace",
        why: "seen",
        at: after.started_at,
    };
    let beside = "alerts".parse().expect("a line");
    for command in [Command::Sign { line: beside }, Command::Rollback] {
        house
            .journal
            .post(&after.id, post(command))
            .await
            .expect("posted");
    }
    controller.until(rolled_back).await;
    let late = "documentation".parse().expect("a line");
    let status = controller
        .command(Command::Sign { line: late })
        .await
        .expect("signed");
    assert_eq!((status.phase, house.share()), (Phase::RolledBack, 0));

    let signed: Vec<_> = controller
        .events()
        .await
        .into_iter()
        .filter(|event| matches!(event, Event::Signed { .. }))
        .map(|event| serde_json::to_value(event).expect("JSON"))
        .collect();
    let by = |line: &str, who: &str, why: &str| serde_json::json!({"type": "signed", "line": line, "who": who, "why": why});
    assert_eq!(
        signed,
        [
            by("cost", "ada", "because"),
            by("alerts", "grace", "seen"),
            by("documentation", "ada", "because")
        ]
    );
}
