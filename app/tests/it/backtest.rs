//! A run that is judged again by other rules, and a plan that is tried before it runs: what the shipped
//! binary says of them.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use crate::house::{House, LONG, rehearsal};
use crate::traffic::Traffic;

async fn complete(house: &House) -> Value {
    let began = Instant::now();
    loop {
        let migration = house.migration().await;
        if migration["phase"] == "complete" {
            return migration;
        }
        assert!(began.elapsed() < LONG, "{migration:#}\n{}", house.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn says(house: &House, arguments: &[&str]) -> Value {
    let output = house.run(&[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn moment(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn stricter_rules_would_have_rolled_a_recorded_run_back() {
    let house = Arc::new(House::start("").await);
    house.create("echo").await;
    let traffic = Traffic::start(&house, 4);
    house.start_migration().await;
    let done = complete(&house).await;
    assert!(traffic.stop().await.is_empty());

    // By its own rules it ends as it did.
    let same = says(
        &house,
        &["migrate", "backtest", "--rule", "minimum_samples=20"],
    );
    let replay = &same["backtest"];
    assert_eq!(same["migration"], done["id"]);
    assert_eq!(
        (&replay["then"], &replay["now"], &replay["rollback"]),
        (&Value::Null, &Value::Null, &Value::Null),
        "{replay:#}"
    );
    let looks = replay["verdicts"].as_array().unwrap();
    assert!(looks.len() > 5, "{replay:#}");
    assert_eq!(replay["looks"], looks.len());
    assert!(
        looks.iter().all(|look| look["then"]["action"].is_null()),
        "{replay:#}"
    );

    // No call is as quick as this, so the first look with samples enough takes it back.
    let strict = [
        "migrate",
        "backtest",
        "--rule",
        "overhead_p99.limit=1us",
        "--rule",
        "overhead_p99.action=rollback",
        "--rule",
        "latency_samples=20",
    ];
    let replay = says(&house, &strict)["backtest"].take();
    assert_eq!(replay["then"], Value::Null, "it was not: {replay:#}");
    let rollback = &replay["rollback"];
    assert_eq!(&replay["now"], rollback, "{replay:#}");
    assert_eq!(rollback["action"], "rollback", "{replay:#}");
    let why = rollback["why"].as_str().unwrap();
    assert!(why.contains("overhead p99 on the candidate"), "{why}");
    let at = moment(&rollback["at"]);
    let place = rollback["stage"].as_u64().unwrap();
    let stage = &done["stages"][usize::try_from(place).unwrap()];
    assert!(
        moment(&stage["entered_at"]) <= at && at <= moment(&stage["left_at"]),
        "{at}: {stage:#}"
    );
    // When: at the first look that the rule breaks, and no later.
    let broken = replay["verdicts"].as_array().unwrap().iter();
    let first = broken
        .filter(|look| look["now"]["action"] == "rollback")
        .map(|look| moment(&look["at"]))
        .next();
    assert_eq!(first, Some(at));
    assert!(replay["changed"].as_u64().unwrap() > 0, "{replay:#}");

    // For people, and without a server: the store is enough.
    let mut house = Arc::into_inner(house).unwrap();
    house.kill();
    let output = house.run(&[&strict[..], &["--looks"]].concat());
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for words in [
        "then: nothing stopped it",
        "now : rolled back at",
        ": overhead p99 on the candidate",
        "would have been judged otherwise",
        "WHY NOW",
    ] {
        assert!(text.contains(words), "{words:?} is missing: {text}");
    }
    let output = house.run(&["migrate", "backtest", "--rule", "no_such_rule.limit=2"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("no_such_rule"), "{words}");
}

#[tokio::test]
async fn a_plan_says_how_many_calls_it_takes_to_see_a_difference() {
    // What was called is in the window for as long as it is asked for.
    let (short, long) = (r#"window = "10s""#, r#"window = "60s""#);
    let configuration = rehearsal();
    assert!(configuration.contains(short));
    let mut house = House::with(&configuration.replace(short, long));
    house.open().await;
    let house = Arc::new(house);
    house.create("echo").await;
    let simulate = ["migrate", "plan", "--simulate", "--runs", "8"];
    let output = house.run(&simulate);
    assert!(!output.status.success(), "nobody calls: {output:?}");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("too few to simulate"), "{words}");
    assert!(words.contains("--rate"), "{words}");

    let of = |errors: &str| {
        let difference = ["--rate", "400", "--errors", errors, "--latency", "100"];
        says(&house, &[&simulate[..], &difference].concat())["simulation"].take()
    };
    let (large, small) = (of("50"), of("1"));
    assert_eq!(large["calls_per_second"], 400.0, "{large:#}");
    // With all traffic on the candidate there is nothing to compare with: one stage of two.
    let stage = |simulated: &Value| {
        let stages = simulated["errors"]["stages"].as_array().unwrap();
        assert_eq!(stages.len(), 1, "{simulated:#}");
        stages[0].clone()
    };
    let (large, small) = (stage(&large), stage(&small));
    assert_eq!(large["percent"], 25.0, "{large:#}");
    assert_eq!(large["told"], 1.0, "{large:#}");
    let half = large["half"]["candidate"].as_u64().unwrap();
    let most = large["most"]["candidate"].as_u64().unwrap();
    assert!(10 <= half && half <= most && most <= 400, "{large:#}");
    assert!(
        small["told"].as_f64() < large["told"].as_f64(),
        "a smaller difference takes longer: {small:#}"
    );

    // With traffic of its own, nobody has to say how much there is.
    let traffic = Traffic::start(&house, 4);
    let began = Instant::now();
    while traffic.answered() < 300 {
        assert!(began.elapsed() < LONG, "{}", house.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(traffic.stop().await.is_empty());
    let status = house.get("/v1/status").await.ok(200);
    let stable = &status["traffic"]["stable"];
    let rate = stable["calls"].as_f64().unwrap() / stable["seconds"].as_f64().unwrap();
    let own = says(&house, &simulate)["simulation"].take();
    let seen = own["calls_per_second"].as_f64().unwrap();
    assert!(seen > 0.0 && seen <= rate * 1.5, "{seen} of {rate}");
    let output = house.run(&simulate);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for words in ["calls a second", "CALLS (95%)", "5% more failures"] {
        assert!(text.contains(words), "{words:?} is missing: {text}");
    }
}
