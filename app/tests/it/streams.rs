//! Answers as events, from real generators to a real reader.

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::house::{House, LONG, rehearsal};

async fn alone(stable: &str) -> House {
    let configuration = rehearsal()
        .replace("stable = \"v1\"", &format!("stable = {stable:?}"))
        .replace("candidate = \"v2\"", "candidate = \"\"");
    let mut house = House::with(&configuration);
    house.open().await;
    house
}

async fn events(house: &House, program: &str, inputs: Value) -> reqwest::Response {
    let request = house
        .request("POST", &format!("/v1/programs/{program}/execute"))
        .header("accept", "text/event-stream")
        .json(&json!({"inputs": inputs}));
    request.send().await.unwrap()
}

/// Each event's name and data.
fn read(text: &str) -> Vec<(String, Value)> {
    let field = |event: &str, name: &str| {
        let line = event.lines().find_map(|line| line.strip_prefix(name));
        line.map(|line| line.trim().to_owned())
    };
    text.split("\n\n")
        .filter_map(|event| {
            let data = serde_json::from_str(&field(event, "data:")?).unwrap();
            Some((field(event, "event:")?, data))
        })
        .collect()
}

#[tokio::test]
async fn what_a_generator_yields_comes_as_events_and_what_it_returns_at_the_end() {
    let house = alone("v2").await;
    for callable in ["counts_to", "async_counts_to", "breaks_off", "echo"] {
        house.create(callable).await;
    }
    for callable in ["counts_to", "async_counts_to"] {
        let response = events(&house, callable, json!({"n": 200})).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["x-dspex-lane"], "stable");
        let events = read(&response.text().await.unwrap());
        let (last, chunks) = events.split_last().unwrap();
        let numbers: Vec<_> = chunks.iter().map(|(_, data)| data.clone()).collect();
        let wanted: Vec<_> = (1..=200).map(Value::from).collect();
        assert_eq!(numbers, wanted, "{callable}");
        assert_eq!(last.0, "result", "{last:?}");
        assert!(last.1["outputs"].is_object(), "{last:?}");
    }
    let response = events(&house, "breaks_off", json!({"n": 2})).await;
    let told = read(&response.text().await.unwrap());
    let names: Vec<_> = told.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["chunk", "chunk", "error"]);
    assert_eq!(told[2].1["exception"], "ValueError");

    // Before the first chunk it is a problem like any other.
    let refused = events(&house, "echo", json!({})).await;
    assert_eq!(refused.status(), 422);
    assert_eq!(
        refused.headers()["content-type"],
        "application/problem+json"
    );

    let line = [
        "programs",
        "execute",
        "counts_to",
        "n:=3",
        "--stream",
        "--json",
    ];
    let ran = house.run(&line);
    let out = String::from_utf8(ran.stdout).unwrap();
    let lines: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        lines[..3],
        [
            json!({"chunk": 1}),
            json!({"chunk": 2}),
            json!({"chunk": 3})
        ]
    );
    assert_eq!(lines[3]["result"]["outputs"]["sum"], 6);
}

#[tokio::test]
async fn a_reader_who_leaves_closes_the_generator() {
    let house = alone("v2").await;
    for callable in ["counts_for_ever", "async_counts_for_ever"] {
        house.create(callable).await;
        let trace = house.path(callable);
        let mut response = events(&house, callable, json!({"path": trace})).await;
        let first = response.chunk().await.unwrap().unwrap();
        assert!(!first.is_empty());
        drop(response);
        let began = Instant::now();
        while !trace.exists() {
            assert!(began.elapsed() < LONG, "{callable} counts on");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}
