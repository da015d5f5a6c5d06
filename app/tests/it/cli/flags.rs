//! Flags from the command line, against the real server: explained, set back, exported, imported and
//! forgotten.

use serde_json::Value;

use crate::house::House;

struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn flags(house: &House, arguments: &[&str]) -> Ran {
    let arguments: Vec<&str> = ["flags"].iter().chain(arguments).copied().collect();
    let output = house.run(&arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    Ran {
        code: output.status.code().expect("it exits"),
        out: text(&output.stdout),
        err: text(&output.stderr),
    }
}

#[track_caller]
fn says(house: &House, arguments: &[&str], line: &str) {
    let ran = flags(house, arguments);
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, line),
        "{arguments:?}: {}\n{}",
        ran.err,
        house.log()
    );
}

#[track_caller]
fn refuses(house: &House, arguments: &[&str], words: &str) {
    let ran = flags(house, arguments);
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (5, ""),
        "{arguments:?}: {}",
        ran.err
    );
    assert!(ran.err.contains(words), "{words:?} is missing: {}", ran.err);
}

fn json(house: &House, arguments: &[&str]) -> Value {
    let arguments: Vec<&str> = arguments.iter().chain(&["--json"]).copied().collect();
    let ran = flags(house, &arguments);
    assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.err);
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {}", ran.out))
}

const SHARE: &str = "gradual_rollout_percentage";

#[tokio::test]
async fn a_flag_is_explained_reverted_and_unset() {
    let house = House::start("").await;
    let by_key = ["explain", SHARE, "--key", "session-1"];
    says(
        &house,
        &by_key,
        "gradual_rollout_percentage is 0, off; layer compiled; decided by share; bucket 4344",
    );
    let set = ["set", SHARE, "50%", "--why", "a test"];
    says(
        &house,
        &set,
        "set gradual_rollout_percentage at revision 1; every router serves it",
    );
    says(
        &house,
        &by_key,
        "gradual_rollout_percentage is 50, on; layer store; decided by share; bucket 4344",
    );
    says(
        &house,
        &["explain", SHARE],
        "gradual_rollout_percentage is 50; layer store; decided by value",
    );
    let why = json(&house, &by_key);
    assert_eq!((&why["on"], &why["bucket"]), (&true.into(), &4_344.into()));
    refuses(&house, &["explain", "gradual_rollout"], SHARE);

    says(
        &house,
        &["revert", "0", "--why", "back"],
        "set everything to what it was at revision 0 at revision 2; every router serves it",
    );
    says(&house, &["get", SHARE], "0%");
    refuses(&house, &["revert", "0", "--why", "again"], "revision 0");
    refuses(&house, &["revert", "99", "--why", "x"], "has not been");
    let forward = json(
        &house,
        &["revert", "1", "--why", "on again", "--who", "ada"],
    );
    assert_eq!(forward["revision"], 3);
    let newest = &json(&house, &["history", "--limit", "1"])["changes"][0];
    assert_eq!(
        (&newest["who"], &newest["why"], &newest["after"]),
        (&"ada".into(), &"on again".into(), &50.into())
    );

    let unset = ["unset", SHARE, "--why", "done with it"];
    refuses(&house, &[&unset[..], &["--expect", "1"]].concat(), "1");
    says(
        &house,
        &unset,
        "unset gradual_rollout_percentage at revision 4; every router serves it",
    );
    says(&house, &["get", SHARE], "0%");
    refuses(
        &house,
        &["unset", "telemetry_v3", "--why", "x"],
        "telemetry_v2",
    );
}

#[tokio::test]
async fn flags_are_exported_for_flagd_and_imported_again() {
    let house = House::start("").await;
    for [key, value] in [[SHARE, "12.5%"], ["circuit_breaker", "off"]] {
        assert_eq!(
            flags(&house, &["set", key, value, "--why", "a test"]).code,
            0
        );
    }
    let exported = flags(&house, &["export"]);
    assert_eq!(exported.code, 0, "{}", exported.err);
    let definitions: Value = serde_json::from_str(&exported.out).unwrap();
    assert_eq!(
        definitions["flags"][SHARE]["targeting"]["fractional"],
        serde_json::json!([["on", 1_250], ["off", 8_750]])
    );
    assert_eq!(definitions, json(&house, &["export"]));
    let file = house.path("flagd.json");
    std::fs::write(&file, &exported.out).unwrap();
    let file = file.to_str().unwrap();

    let reverted = flags(&house, &["revert", "0", "--why", "back"]);
    assert_eq!(reverted.code, 0, "{}", reverted.err);
    says(&house, &["get", "circuit_breaker"], "true");
    let import = ["import", file, "--why", "as it was"];
    let stale = [&import[..], &["--expect", "1"]].concat();
    refuses(&house, &stale, "revision");
    says(
        &house,
        &import,
        &format!("set the flags of {file} at revision 4; every router serves it"),
    );
    says(&house, &["get", "circuit_breaker"], "false");
    says(&house, &["get", SHARE], "12.5%");

    let missing = format!("{file}.not");
    refuses(&house, &["import", &missing, "--why", "x"], "cannot read");
    std::fs::write(file, r#"{"flags": {"nope": {}}}"#).unwrap();
    refuses(&house, &import, "nope");
    std::fs::write(file, "{").unwrap();
    refuses(&house, &import, "cannot read");
    assert_eq!(
        json(&house, &["list"])["revision"],
        4,
        "nothing was written"
    );
}
