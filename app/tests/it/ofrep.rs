//! OpenFeature's own providers, unmodified, against the shipped binary.
//!
//! What they need is named by variables that `cargo xtask test` sets: `DSPEX_TEST_OPENFEATURE_PYTHON`,
//! an interpreter with the packages of `tests/ofrep/requirements.txt`, and
//! `DSPEX_TEST_OPENFEATURE_MODULES`, a `node_modules` with those of `tests/ofrep/package.json`. Without
//! them the tests say so and pass, but not under `CI`.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::house::{House, rehearsal};

const SESSIONS: usize = 200;

/// A server with half of the sessions on the candidate, as far as the flags know.
async fn half() -> House {
    let configuration = rehearsal()
        .replace("stable = \"v1\"", "stable = \"v2\"")
        .replace("candidate = \"v2\"", "candidate = \"\"");
    let mut house = House::with(&configuration);
    house.open().await;
    let set = json!({"pool_v2_enabled": true, "gradual_rollout_percentage": 50});
    change(&house, set).await;
    house
}

async fn change(house: &House, set: Value) {
    let request = house.request("PATCH", "/admin/v1/flags");
    let body = json!({"set": set, "why": "a test"});
    house.send(request.json(&body)).await.ok(200);
}

fn named(variable: &str) -> Option<OsString> {
    let value = std::env::var_os(variable);
    assert!(
        value.is_some() || std::env::var_os("CI").is_none(),
        "CI may skip nothing: set {variable}, as `cargo xtask test` does"
    );
    if value.is_none() {
        eprintln!("skipped: {variable} is not set");
    }
    value
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/ofrep")
        .join(name)
}

/// What the router does with each session.
fn routed() -> Vec<Value> {
    let bucket = |number| {
        let key = format!("session-{number}");
        dspex_flags::bucket("gradual_rollout_percentage", &key)
    };
    (0..SESSIONS)
        .map(|number| json!(bucket(number).get() < 5_000))
        .collect()
}

#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "the test waits for its child, which ends by itself"
)]
async fn the_python_provider_sees_what_the_router_does() {
    let Some(python) = named("DSPEX_TEST_OPENFEATURE_PYTHON") else {
        return;
    };
    let house = half().await;
    let output = Command::new(python)
        .arg(script("provider.py"))
        .args([house.url(), &SESSIONS.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", output.status);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["sessions"], json!(routed()));
    assert_eq!(told["keyed"]["reason"], "SPLIT", "{told}");
    assert_eq!(told["keyed"]["error"], json!(null), "{told}");
    let keyless = &told["keyless"];
    assert_eq!(keyless["value"], false);
    assert!(
        keyless["error"]
            .to_string()
            .contains("TARGETING_KEY_MISSING"),
        "{told}"
    );
    assert_eq!(told["plain"]["value"], true);
    assert_eq!(told["plain"]["variant"], "on");
    assert!(
        told["unknown"]["error"]
            .to_string()
            .contains("FLAG_NOT_FOUND"),
        "{told}"
    );
}

#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "the test waits for its child, which ends by itself"
)]
async fn the_web_provider_sees_what_the_router_does_and_hears_of_a_change() {
    let Some(modules) = named("DSPEX_TEST_OPENFEATURE_MODULES") else {
        return;
    };
    let house = half().await;
    let mut node = Command::new("node")
        // Browsers have an `EventSource`; this Node has one behind a flag.
        .arg("--experimental-eventsource")
        .arg(script("web_provider.cjs"))
        .arg(house.url())
        .arg(modules)
        .arg(SESSIONS.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(node.stdout.take().unwrap()).lines();
    let mut line = || -> Value {
        let line = lines.next().expect("it says why above").unwrap();
        serde_json::from_str(&line).unwrap()
    };
    let told = line();
    assert_eq!(told["sessions"], json!(routed()));
    assert_eq!(told["before"]["value"], true, "{told}");
    assert_eq!(told["unknown"]["errorCode"], "FLAG_NOT_FOUND", "{told}");
    change(&house, json!({"telemetry_v2": false})).await;
    assert_eq!(line(), json!({"after": false}));
    assert!(node.wait().unwrap().success());
}
