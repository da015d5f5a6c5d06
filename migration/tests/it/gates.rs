//! Gates and freezes: what keeps a stage beside its hold, and what does not.

use std::time::Duration;

use dspex_migration::{Cause, Command, Event, Freeze, Gate, Phase, Status, When};

use crate::house::parts::{no, yes};
use crate::house::{Controller, House, at_stage, rolls_back};

const HOUR: Duration = Duration::from_secs(3600);

async fn gated(gate: Gate) -> House {
    let mut house = House::new().await.in_minutes();
    house.plan.stages[0].gate = gate;
    house.traffic(100, Duration::from_secs(5));
    house
}

fn webhook() -> Gate {
    let url = "https://gate.example/s3cret".to_owned();
    Gate::Webhook { url }
}

fn waits(text: &str) -> impl Fn(&Status) -> bool {
    move |status| {
        status
            .waiting_for
            .as_ref()
            .is_some_and(|waits| waits.contains(text))
    }
}

async fn waitings(controller: &Controller) -> Vec<String> {
    let events = controller.events().await;
    let reason = |event| match event {
        Event::GateWaiting { reason, .. } => Some(reason),
        _ => None,
    };
    events.into_iter().filter_map(reason).collect()
}

#[tokio::test(start_paused = true)]
async fn a_stage_waits_for_a_persons_approval_and_says_so() {
    let house = gated(Gate::Approval).await;
    let controller = house.start().await;
    let status = controller.until(waits("a person must approve it")).await;
    assert!(status.healthy_for >= status.hold.expect("one"));
    tokio::time::sleep(2 * HOUR).await;
    assert_eq!((house.share(), waitings(&controller).await.len()), (500, 1));
    controller
        .command(Command::Approve)
        .await
        .expect("approved");
    let status = controller.until(at_stage(1)).await;
    assert_eq!(
        (status.waiting_for.as_ref(), status.gate.as_ref()),
        (None, None)
    );
    let opened = controller.events().await.into_iter().any(|event| {
        matches!(event, Event::GateOpened { stage: 0, cause: Cause::Person { who, .. } } if who == "ada")
    });
    assert!(opened);
    let refused = controller.command(Command::Approve).await;
    assert!(
        refused
            .expect_err("no gate")
            .contains("needs nobody's approval")
    );
}

#[tokio::test(start_paused = true)]
async fn an_approval_ahead_of_time_opens_the_gate_and_not_the_stage() {
    let house = gated(Gate::Approval).await;
    let controller = house.start().await;
    controller.until(at_stage(0)).await;
    controller
        .command(Command::Approve)
        .await
        .expect("approved");
    let again = controller.command(Command::Approve).await;
    assert!(again.expect_err("open").contains("is open: ada: because"));
    let status = controller.until(at_stage(1)).await;
    assert!(status.stages[0].healthy >= status.stages[0].hold);
    assert!(waitings(&controller).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_person_goes_past_a_gate_and_a_rollback_asks_none() {
    let house = gated(Gate::Approval).await;
    let controller = house.start().await;
    controller.until(waits("approve")).await;
    let promote = Command::Promote { to_end: false };
    controller.command(promote).await.expect("promoted");
    controller.until(at_stage(1)).await;

    // While it is asked and does not answer.
    let house = gated(webhook()).await;
    let controller = house.start().await;
    controller
        .until(waits("https://gate.example is asked"))
        .await;
    rolls_back(&house, &controller).await;
}

#[tokio::test(start_paused = true)]
async fn a_webhook_is_asked_after_the_hold_and_again_until_it_says_yes() {
    let house = gated(webhook()).await;
    house.others.answer([
        no("not before lunch"),
        Err("connection refused".to_owned()),
        no("not before lunch"),
        no("not before lunch"),
        yes("go"),
    ]);
    let controller = house.start().await;
    controller.until(at_stage(0)).await;
    assert_eq!(house.others.times("ask"), 0, "not before the hold");
    controller.until(waits("not before lunch")).await;
    let began = tokio::time::Instant::now();
    let refused = controller.command(Command::Approve).await;
    assert!(
        refused
            .expect_err("a webhook's")
            .contains("promote goes past it")
    );
    controller.until(at_stage(1)).await;
    let waited = began.elapsed();
    assert!(
        waited >= Duration::from_secs(10 + 20 + 40 + 80) && waited < Duration::from_secs(200),
        "each time it is given longer: {waited:?}"
    );
    assert_eq!(house.others.times("ask"), 5);
    let told = waitings(&controller).await;
    let expected = [
        "https://gate.example is asked",
        "its webhook says no: not before lunch",
        "its webhook does not answer: connection refused",
        "its webhook says no: not before lunch",
    ];
    assert_eq!(told, expected, "each reason once");
    let question = house.others.questions.lock().expect("unpoisoned")[0].clone();
    assert_eq!(
        (question.stage, question.percent),
        (0, house.plan.stages[0].percent)
    );
    assert_eq!(question.next, Some(house.plan.stages[1].percent));
    assert!(question.analysis.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_webhook_that_never_answers_blocks_nothing() {
    let house = gated(webhook()).await;
    let controller = house.start().await;
    controller.until(waits("does not answer")).await;
    tokio::time::sleep(2 * HOUR).await;
    assert_eq!(house.share(), 500);
    let ticks = controller.events().await.len();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(controller.events().await.len() > ticks, "it still looks");
    controller.command(Command::Pause).await.expect("paused");
    let asked = house.others.times("ask");
    tokio::time::sleep(HOUR).await;
    assert_eq!(house.others.times("ask"), asked, "paused, nobody is asked");
    controller.command(Command::Resume).await.expect("resumed");
    house.others.answer([yes("")]);
    controller.until(at_stage(1)).await;
}

/// A freeze that lasts, whatever the clock on the wall says.
fn frozen() -> Freeze {
    let at = |text: &str| text.parse().expect("a time");
    Freeze {
        why: "the sale".to_owned(),
        when: When::Once {
            from: at("2000-01-01T00:00:00Z"),
            until: at("2999-01-01T00:00:00Z"),
        },
    }
}

#[tokio::test(start_paused = true)]
async fn in_a_freeze_nothing_goes_up_and_everything_goes_down() {
    let mut house = House::new().await.in_minutes();
    house.plan.freezes = vec![frozen()];
    house.traffic(100, Duration::from_secs(5));
    let controller = house.start().await;
    let status = controller.until(waits("the sale")).await;
    assert_eq!((status.phase, status.stage), (Phase::Rollout, None));
    assert!(
        status
            .reasons
            .iter()
            .any(|why| why.contains("frozen until")),
        "{status:?}"
    );
    tokio::time::sleep(2 * HOUR).await;
    assert_eq!(house.share(), 0);
    let told = controller.events().await;
    let told = told
        .iter()
        .filter(|event| matches!(event, Event::Frozen { .. }));
    assert_eq!(told.count(), 1, "once");
    for to_end in [false, true] {
        let refused = controller.command(Command::Promote { to_end }).await;
        assert!(refused.expect_err("frozen").contains("the sale"));
    }
    rolls_back(&house, &controller).await;
}
