//! Backups of a server that runs and is written to, restored beside it, and a server on what was
//! restored.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::house::{House, rehearsal};

fn json_of(house: &House, arguments: &[&str], code: i32) -> Value {
    let output = house.run(arguments);
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(code), "{out}\n{err}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}\n{err}"))
}

/// Runs a command that must fail with this code and these words on standard error.
#[track_caller]
fn fails(house: &House, arguments: &[&str], code: i32, words: &str) {
    let output = house.run(arguments);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(words), "{words:?} is missing: {text}");
    assert!(text.contains("hint: "), "{text}");
}

#[tokio::test]
async fn a_backup_of_a_running_server_is_proven_and_another_server_starts_from_it() {
    let house = House::start("\n[pools.v2.env]\nSECRET = \"hush-hush\"\n").await;
    house.create("echo").await;
    let tally = json!({"id": "tally", "kind": "callable", "stateful": true,
        "target": "fixture_programs:Tally", "repeatable": true});
    house.post("/v1/programs", tally).await.ok(201);
    house.execute("tally", "s", json!({"n": 2})).await.ok(200);
    house
        .execute("echo", "s", json!({"text": "x"}))
        .await
        .ok(200);

    let made = json_of(
        &house,
        &["backup", "create", "--json", "--why", "a test"],
        0,
    );
    let file = made["file"].as_str().unwrap().to_owned();
    // What comes after it is not in it.
    house.create("add").await;
    let listed = json_of(&house, &["backup", "list", "--json"], 0);
    assert_eq!(listed["backups"].as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(listed["backups"][0]["reason"], "a test", "{listed}");
    let proven = json_of(&house, &["backup", "verify", &file, "--json"], 0);
    assert_eq!(proven["proof"]["programs"], 2, "{proven}");
    assert_eq!(proven["proof"]["sessions"], 1, "{proven}");

    let restored = json_of(
        &house,
        &["backup", "restore", &file, "--into", "copy", "--json"],
        0,
    );
    let contents = &restored["manifest"]["contents"];
    assert_eq!(contents["metrics"], "about/metrics.prom", "{restored}");
    let metrics = std::fs::read_to_string(house.path("copy/about/metrics.prom")).unwrap();
    assert!(metrics.contains("dspex_calls_total"), "{metrics}");
    for member in ["dspex.db", "about/configuration.json", "about/pools.json"] {
        let bytes = std::fs::read(house.path("copy").join(member)).unwrap();
        let told = bytes.windows(9).any(|window| window == b"hush-hush");
        assert!(!told, "{member} tells a secret");
    }
    fails(
        &house,
        &["backup", "restore", &file, "--into", "copy"],
        2,
        "is not empty",
    );

    let configuration = rehearsal() + "\n[pools.v2.env]\nSECRET = \"hush-hush\"\n";
    let mut second = House::with(&configuration);
    std::fs::rename(house.path("copy"), second.path("data")).unwrap();
    second.open().await;
    let programs = second.get("/v1/programs").await.ok(200);
    assert_eq!(programs["programs"].as_array().unwrap().len(), 2);
    let counted = second.execute("tally", "s", json!({"n": 3})).await;
    assert_eq!(
        counted.ok(200)["outputs"]["total"],
        5,
        "the session goes on"
    );
}

#[tokio::test]
async fn without_a_server_a_backup_has_all_but_what_only_a_server_knows() {
    let mut house = House::start("").await;
    house.create("echo").await;
    house.terminate();
    assert!(house.ended().await.success());
    let made = json_of(&house, &["backup", "create", "--json"], 0);
    let file = made["file"].as_str().unwrap();
    let proven = json_of(&house, &["backup", "verify", file, "--json"], 0);
    assert_eq!(proven["proof"]["programs"], 1, "{proven}");
    let restored = json_of(
        &house,
        &["backup", "restore", file, "--into", "copy", "--json"],
        0,
    );
    let remarks = restored["manifest"]["remarks"].to_string();
    assert!(remarks.contains("No server answered"), "{remarks}");
}

#[tokio::test]
async fn a_damaged_backup_is_refused_by_what_is_wrong_with_it() {
    let mut house = House::start("").await;
    house.terminate();
    assert!(house.ended().await.success());
    let made = json_of(&house, &["backup", "create", "--json"], 0);
    let file = PathBuf::from(made["file"].as_str().unwrap());
    let good = std::fs::read(house.path("").join(&file)).unwrap();
    let damaged = |name: &str, bytes: &[u8]| {
        std::fs::write(house.path(name), bytes).unwrap();
        name.to_owned()
    };
    let middle = good.len() / 2;
    // In the checksum at the end: a bit of what is packed may also make the stream end too early, and then it
    // is said to be cut short.
    let flip = |place: usize| {
        let mut flipped = good.clone();
        flipped[place] ^= 4;
        damaged("flipped.tar.gz", &flipped)
    };
    let flipped = flip(good.len() - 8);
    fails(
        &house,
        &["backup", "verify", &flipped],
        1,
        "altered or damaged",
    );
    let flipped = flip(middle);
    let output = house.run(&["backup", "verify", &flipped]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    let words = ["altered or damaged", "is cut short"];
    assert!(words.iter().any(|words| told.contains(words)), "{told}");
    assert!(told.contains("hint: "), "{told}");
    let cut = damaged("cut.tar.gz", &good[..middle]);
    fails(&house, &["backup", "verify", &cut], 1, "is cut short");
    let letter = damaged("letter.tar.gz", b"dear aunt, this is a letter");
    fails(
        &house,
        &["backup", "verify", &letter],
        1,
        "not an archive of dspex",
    );
    fails(
        &house,
        &["backup", "verify", "none.tar.gz"],
        1,
        "none.tar.gz",
    );
    fails(
        &House::with(&rehearsal()),
        &["backup", "create"],
        3,
        "there is no database",
    );
}
