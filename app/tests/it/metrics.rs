//! What a scraper reads while a migration goes its way.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::again::{MIGRATION, phase, retaining, steer, until};
use crate::house::{House, LONG};
use crate::traffic::Traffic;

/// One scrape: what belongs together is read out of the same.
async fn scrape(house: &House) -> String {
    let text = house.get("/metrics").await.body;
    text.as_str().expect("text").to_owned()
}

/// The value of a metric, by its name with its labels; none where it is not told.
fn value(scraped: &str, name: &str) -> Option<f64> {
    let mut lines = scraped.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

/// Waits for a scrape in which all these are as wanted.
async fn sees(house: &House, wanted: &[(&str, f64)]) -> String {
    let began = Instant::now();
    loop {
        let scraped = scrape(house).await;
        let other = wanted
            .iter()
            .find(|(name, wanted)| value(&scraped, name) != Some(*wanted));
        let Some(other) = other else { return scraped };
        assert!(
            began.elapsed() < LONG,
            "never {other:?}: {scraped}\n{}",
            house.log()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_scraper_sees_where_the_migration_is() {
    // The first stage ends by a person's word only, so that it is there for as long as it is read.
    let (short, long) = (
        r#"percent = "25%", hold = "1s""#,
        r#"percent = "25%", hold = "10m""#,
    );
    let configuration = retaining("20s");
    assert!(configuration.contains(short));
    let mut house = House::with(&configuration.replace(short, long));
    house.open().await;
    let house = Arc::new(house);
    house.create("echo").await;
    let rollout = r#"dspex_migration_phase{phase="rollout"}"#;
    assert_eq!(value(&scrape(&house).await, rollout), None, "there is none");
    let traffic = Traffic::start(&house, 4);
    house.start_migration().await;
    until(&house, MIGRATION, "first stage", |it| {
        it["stage"] == 0 && it["acknowledged"] == true && it["analysis"].is_object()
    })
    .await;
    steer(&house, "pause").await;
    let stands = [
        (rollout, 1.0),
        (r#"dspex_migration_phase{phase="stuck"}"#, 0.0),
        ("dspex_migration_stage", 1.0),
        ("dspex_migration_stages", 2.0),
        ("dspex_migration_share_percent", 25.0),
        ("dspex_migration_paused", 1.0),
        ("dspex_migration_hold_seconds", 600.0),
    ];
    let scraped = sees(&house, &stands).await;
    let verdicts: f64 = ["healthy", "warning", "inconclusive", "critical"]
        .map(|verdict| format!("dspex_migration_verdict{{verdict={verdict:?}}}"))
        .map(|name| value(&scraped, &name).expect("told"))
        .iter()
        .sum();
    assert!((verdicts - 1.0).abs() < f64::EPSILON, "{scraped}");
    let seen = value(&scraped, "dspex_migration_seen_healthy_seconds").unwrap();
    assert!((0.0..=600.0).contains(&seen), "{seen}");
    steer(&house, "resume").await;
    until(&house, MIGRATION, "resumption", |it| it["paused"].is_null()).await;
    steer(&house, "promote").await;
    phase(&house, "complete").await;
    let stands = [
        (rollout, 0.0),
        (r#"dspex_migration_phase{phase="complete"}"#, 1.0),
        ("dspex_migration_share_percent", 100.0),
        ("dspex_migration_paused", 0.0),
    ];
    sees(&house, &stands).await;
    assert_eq!(traffic.stop().await, Vec::<String>::new());
}
