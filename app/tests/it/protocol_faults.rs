//! Workers that break the protocol in the middle of serving, seen by a caller over HTTP.

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::house::{House, LONG, fixtures, own_fixtures, python, rehearsal};

/// How the wire is broken, and the words that tell it.
const FAULTS: [(&str, &str); 3] = [
    ("!long", "2147483648 bytes"),
    ("!junk", "not what the protocol allows"),
    ("!id", "4711"),
];

/// A server without a candidate whose workers also find the folder of rogues.
pub(crate) async fn open_with_rogues(configuration: &str) -> House {
    let path = format!("path = [{:?}]", fixtures());
    assert!(configuration.contains(&path));
    let both = format!("path = [{:?}, {:?}]", fixtures(), own_fixtures());
    let configuration = configuration
        .replace(&path, &both)
        .replace(r#"["fixture_programs"]"#, r#"["rogue_programs"]"#)
        .replace("candidate = \"v2\"", "candidate = \"\"");
    let mut house = House::with(&configuration);
    house.open().await;
    house
}

/// A server for each fault, since several together would open the lane's circuit, as they should.
/// Two programs of this definition: `fragile` must not be repeated, `sturdy` may be.
async fn faults_are_told_and_survived(configuration: &str, definition: Value) {
    for (fault, words) in FAULTS {
        let house = open_with_rogues(configuration).await;
        fault_is_told_and_survived(&house, &definition, fault, words).await;
    }
}

async fn fault_is_told_and_survived(house: &House, definition: &Value, fault: &str, words: &str) {
    for (id, repeatable) in [("fragile", false), ("sturdy", true)] {
        let mut body = definition.clone();
        body["id"] = json!(id);
        body["repeatable"] = json!(repeatable);
        house.post("/v1/programs", body).await.ok(201);
    }
    let ask = |program, question: String| async move {
        let inputs = json!({"question": question});
        house.execute(program, "s", inputs).await
    };
    let broken = ask("fragile", fault.to_owned()).await.problem(502, words);
    assert_eq!(
        broken["type"], "urn:dspex:problem:worker-protocol",
        "{fault}: {broken}"
    );
    ask("fragile", "what next?".to_owned()).await.ok(200);
    // The first worker that is asked breaks the wire, the next one answers.
    let trace = house.path("trace");
    let question = format!("{fault} {}", trace.display());
    ask("sturdy", question).await.ok(200);
    assert!(trace.exists(), "{fault}: the wire was broken");
    let began = Instant::now();
    loop {
        let stable = house.get("/v1/status").await.ok(200)["lanes"]["stable"].clone();
        if stable["ready"] == stable["size"] && stable["failures"] == 2 {
            break;
        }
        assert!(began.elapsed() < LONG, "{stable:#}\n{}", house.log());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    house.get("/readyz").await.ok(200);
}

#[tokio::test]
async fn a_script_on_the_bridge_protocol_of_pool_v1() {
    let command = format!(
        "kind = \"pool-v1\"\ncommand = [{:?}, {:?}]",
        python(),
        own_fixtures().join("rogue_bridge.py")
    );
    let configuration = rehearsal().replace("kind = \"pool-v1\"", &command);
    let definition = json!({"kind": "dspy", "signature": "question -> answer"});
    faults_are_told_and_survived(&configuration, definition).await;
}

#[tokio::test]
async fn a_worker_on_the_worker_protocol() {
    let configuration = rehearsal().replace("stable = \"v1\"", "stable = \"v2\"");
    let definition = json!({"kind": "callable", "target": "rogue_programs:rogue"});
    faults_are_told_and_survived(&configuration, definition).await;
}
