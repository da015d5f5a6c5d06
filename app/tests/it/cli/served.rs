//! The command line against the real server: what the scripted one cannot prove is that both mean
//! the same by a request.

use serde_json::Value;

use crate::house::{House, OLD};

/// Runs `dspex` beside the server and gives back its exit code and standard output.
fn dspex(house: &House, arguments: &[&str]) -> (i32, String) {
    let output = house.run(arguments);
    let err = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code().unwrap_or_else(|| panic!("{err}"));
    (
        code,
        format!("{}{err}", String::from_utf8_lossy(&output.stdout)),
    )
}

#[track_caller]
fn says(house: &House, arguments: &[&str], code: i32, words: &str) {
    let (got, said) = dspex(house, arguments);
    assert_eq!(got, code, "{arguments:?}: {said}\n{}", house.log());
    assert!(
        said.contains(words),
        "{arguments:?}: {words:?} is missing: {said}"
    );
}

#[tokio::test]
async fn programs_and_flags_work_from_the_command_line() {
    let house = House::start("").await;
    let create = [
        "programs",
        "create",
        "add",
        "--callable",
        "fixture_programs:add",
    ];
    says(
        &house,
        &create,
        0,
        "created add (version 1, fixture_programs:add)",
    );
    says(&house, &create, 5, "error: ");
    let missing = ["programs", "create", "x", "--callable", "os:system"];
    says(&house, &missing, 5, "os");
    says(&house, &["programs", "list"], 0, "fixture_programs:add");
    says(
        &house,
        &["programs", "execute", "add", "a:=1", "b:=2"],
        0,
        "sum: 3",
    );
    says(
        &house,
        &["programs", "execute", "add", "a=1", "b:=2"],
        5,
        "write a:=1",
    );
    says(&house, &["programs", "execute", "ad"], 5, "add");
    says(
        &house,
        &["flags", "set", "circuit_breaker", "off", "--why", "a test"],
        0,
        "revision 1",
    );
    says(&house, &["flags", "get", "circuit_breaker"], 0, "false");
    says(
        &house,
        &[
            "flags",
            "set",
            "circuit_breaker",
            "on",
            "--why",
            "late",
            "--expect",
            "0",
        ],
        5,
        "dspex flags list",
    );
    for percent in ["101", "-1", "NaN"] {
        let set = [
            "flags",
            "set",
            "gradual_rollout_percentage",
            percent,
            "--why",
            "a test",
        ];
        says(&house, &set, 5, percent);
    }
    says(&house, &["flags", "history"], 0, "a test");
    says(&house, &["health"], 0, "ready");
    says(&house, &["status", "--workers"], 0, "2 of 2");
    says(&house, &["pools"], 0, "not up");
    says(
        &house,
        &["pools", "v1"],
        0,
        &format!("v1 ({OLD}) in the stable lane: 2 of 2 workers ready"),
    );
    says(&house, &["pools", "v11"], 5, "there is no pool \"v11\"");
    says(&house, &["doctor", "--json"], 3, "held by process");
    says(&house, &["programs", "delete", "add"], 0, "deleted add");
}

#[tokio::test]
async fn a_migration_is_steered_and_watched_from_the_command_line() {
    let house = House::start("").await;
    says(
        &house,
        &["migrate", "status"],
        0,
        "no migration was ever started",
    );
    says(
        &house,
        &["migrate", "start", "--why", "a test"],
        0,
        "dspex migrate watch",
    );
    says(
        &house,
        &["migrate", "start", "--why", "again"],
        5,
        "dspex migrate rollback",
    );
    // Without traffic nothing is healthy, so it stays until it is told otherwise.
    says(&house, &["migrate", "status"], 0, "of traffic on v2");
    says(
        &house,
        &["migrate", "rollback", "--why", "enough"],
        0,
        "rollback was accepted",
    );
    let (code, watched) = dspex(&house, &["migrate", "watch", "--interval", "50ms"]);
    assert_eq!(code, 1, "{watched}");
    for words in [
        "started by ",
        "rolling back: ",
        "enough",
        "\n",
        "rolled back",
    ] {
        assert!(watched.contains(words), "{words:?} is missing: {watched}");
    }
    let (_, history) = dspex(&house, &["migrate", "history", "--json"]);
    let history: Value = serde_json::from_str(&history).unwrap();
    assert_eq!(history["migrations"][0]["phase"], "rolled_back");
}
