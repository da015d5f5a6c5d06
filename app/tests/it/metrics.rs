//! What a scraper reads while a migration goes its way.

use std::sync::Arc;

use crate::again::{phase, retaining, steer, until};
use crate::house::House;
use crate::traffic::Traffic;

/// The value of a metric, by its name with its labels; none where it is not told.
async fn metric(house: &House, name: &str) -> Option<f64> {
    let text = house.get("/metrics").await.body;
    let text = text.as_str().expect("text").to_owned();
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

#[tokio::test]
async fn a_scraper_sees_where_the_migration_is() {
    let mut house = House::with(&retaining("20s"));
    house.open().await;
    let house = Arc::new(house);
    house.create("echo").await;
    let rollout = r#"dspex_migration_phase{phase="rollout"}"#;
    assert_eq!(metric(&house, rollout).await, None, "there is none");
    let traffic = Traffic::start(&house, 4);
    house.start_migration().await;
    // Paused in the first stage, nothing moves while it is read.
    until(
        &house,
        "/admin/v1/migrations/current",
        "first stage",
        |it| it["stage"] == 0 && it["acknowledged"] == true && it["analysis"].is_object(),
    )
    .await;
    steer(&house, "pause").await;
    let read = async |name: &str| metric(&house, name).await;
    assert_eq!(read(rollout).await, Some(1.0));
    assert_eq!(
        read(r#"dspex_migration_phase{phase="stuck"}"#).await,
        Some(0.0)
    );
    assert_eq!(read("dspex_migration_stage").await, Some(1.0));
    assert_eq!(read("dspex_migration_stages").await, Some(2.0));
    assert_eq!(read("dspex_migration_share_percent").await, Some(25.0));
    assert_eq!(read("dspex_migration_paused").await, Some(1.0));
    assert_eq!(read("dspex_migration_hold_seconds").await, Some(1.0));
    let told = house.migration().await;
    let mut verdicts = 0.0;
    for verdict in ["healthy", "warning", "inconclusive", "critical"] {
        let name = format!("dspex_migration_verdict{{verdict={verdict:?}}}");
        verdicts += read(&name).await.expect("told");
    }
    assert!((verdicts - 1.0).abs() < f64::EPSILON, "{told:#}");
    let seen = read("dspex_migration_seen_healthy_seconds").await.unwrap();
    assert!((0.0..=1.0).contains(&seen), "{seen}");
    steer(&house, "resume").await;
    phase(&house, "complete").await;
    assert_eq!(read(rollout).await, Some(0.0));
    assert_eq!(
        read(r#"dspex_migration_phase{phase="complete"}"#).await,
        Some(1.0)
    );
    assert_eq!(read("dspex_migration_share_percent").await, Some(100.0));
    assert_eq!(read("dspex_migration_paused").await, Some(0.0));
    assert_eq!(traffic.stop().await, Vec::<String>::new());
}
