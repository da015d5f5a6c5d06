//! A router that never acknowledges 0 %: traffic is taken away all the same, it is tried for ever, and
//! after a few tries a person is told what to do.

use std::sync::atomic::Ordering;
use std::time::Duration;

use dspex_migration::{Command, Event, Phase};

use crate::house::{House, at_stage, rolled_back};

#[tokio::test(start_paused = true)]
async fn after_a_few_tries_it_says_what_to_do_by_hand_and_goes_on_trying() {
    let house = House::new().await;
    house.traffic(100, Duration::from_secs(5));
    let controller = house.start().await;
    controller.until(at_stage(1)).await;
    house.acknowledges.store(false, Ordering::SeqCst);
    controller.command(Command::Rollback).await.expect("taken");
    let status = controller
        .until(|status| {
            let mut reasons = status.reasons.iter();
            reasons.any(|reason| reason.contains("What to do by hand"))
        })
        .await;
    assert_eq!((status.phase, house.share()), (Phase::RollingBack, 0));
    let said = &status.reasons[0];
    for words in [
        "not certain to be at 0 %",
        "router",
        "emergency-rollback",
        "v2",
    ] {
        assert!(said.contains(words), "{words:?} is missing: {said}");
    }
    // The last word on it: the journal of a whole night is no longer.
    let written = controller.events().await;
    tokio::time::sleep(Duration::from_secs(8 * 3600)).await;
    assert_eq!(controller.events().await, written);
    let delayed = |event: &&Event| matches!(event, Event::TrafficDelayed { .. });
    assert_eq!(written.iter().filter(delayed).count(), 5);
    assert_eq!(house.candidate.times("withdraw"), 0, "traffic first");

    // Another life of the controller knows what was said, and tries on as well.
    controller.kill().await;
    let controller = house.open().await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    // It has written 0 % anew, and waits for another revision.
    let later = controller.events().await;
    assert!(later.starts_with(&written) && later.len() <= written.len() + 1);
    house.acknowledges.store(true, Ordering::SeqCst);
    let status = controller.until(rolled_back).await;
    assert_eq!(house.candidate.times("withdraw"), 1);
    assert!(status.reasons.is_empty(), "{:?}", status.reasons);
}
