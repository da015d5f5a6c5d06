//! Emergency acts on the store alone: with a server that lives, one that hangs, and none.

use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use dspex_flags::testing::PostgresServer;
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tokio::time::Instant;

use crate::house::{House, LONG, rehearsal};
use crate::traffic::Traffic;

/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:9";

/// A server in the middle of a stage that nobody leaves.
async fn in_a_stage() -> Arc<House> {
    let house = Arc::new(House::start("").await);
    house.create("echo").await;
    into_a_stage(&house).await;
    house
}

/// Begins a migration and waits for its first stage.
async fn into_a_stage(house: &House) {
    let started = json!({"why": "a test", "time_scale": 0.001});
    house.post("/admin/v1/migrations", started).await.ok(201);
    let began = Instant::now();
    loop {
        let migration = house.migration().await;
        if migration["percent"] == 25.0 && migration["acknowledged"] == true {
            return;
        }
        assert!(began.elapsed() < LONG, "{migration:#}\n{}", house.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn act(house: &House, verb: &str, wait: &str) -> (Output, Value) {
    let output = house.run(&[
        "migrate",
        verb,
        "--why",
        "the alarm",
        "--wait",
        wait,
        "--json",
    ]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = serde_json::from_str(&text);
    let told = told.unwrap_or_else(|error| panic!("{error}: {text:?} {output:?}"));
    (output, told)
}

fn signal(house: &House, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(house.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

async fn until_phase(house: &House, phase: &str) {
    let began = Instant::now();
    while house.migration().await["phase"] != phase {
        assert!(began.elapsed() < LONG, "{:#}", house.migration().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn until_paused(house: &House, paused: bool) {
    let began = Instant::now();
    while house.migration().await["paused"].is_null() == paused {
        assert!(began.elapsed() < LONG, "{:#}", house.migration().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_server_that_lives_obeys_the_store_at_once_and_no_caller_notices() {
    let house = in_a_stage().await;
    let traffic = Traffic::start(&house, 4);
    let (output, told) = act(&house, "emergency-rollback", "30s");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(told["server"]["alive"], true, "{told:#}");
    assert_eq!(told["server"]["pid"], house.pid());
    assert_eq!(told["server"]["obeyed"], true, "{told:#}");
    assert_eq!(told["server"]["acknowledged"], true, "{told:#}");
    until_phase(&house, "rolled_back").await;
    assert_eq!(traffic.stop().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_server_that_hangs_is_told_apart_and_obeys_when_it_wakes() {
    let house = in_a_stage().await;
    let mut tries = 0;
    let (output, told) = loop {
        signal(&house, Signal::STOP);
        let (output, told) = act(&house, "emergency-rollback", "1s");
        // Woken first, so that a failure below leaves no stopped process behind.
        signal(&house, Signal::CONT);
        tries += 1;
        // A server that is stopped in the middle of a write holds the database's lock: nobody can write
        // beside it then, which is tried below.
        if told["flags_revision"].is_u64() || tries == 5 {
            break (output, told);
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    };
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(told["flags_revision"].is_u64(), "{told:#}");
    assert_eq!(
        (&told["server"]["alive"], &told["server"]["obeyed"]),
        (&json!(true), &json!(false)),
        "{told:#}"
    );
    let hint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(hint.contains(&format!("kill -9 {}", house.pid())), "{hint}");
    until_phase(&house, "rolled_back").await;
}

#[tokio::test]
async fn without_a_server_the_next_start_sends_nothing_to_the_candidate() {
    let mut house = in_a_stage().await;
    let house = Arc::get_mut(&mut house).expect("nobody else has it");
    house.kill();
    let (output, told) = act(house, "emergency-rollback", "5s");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(told["server"]["alive"], false, "{told:#}");
    house.open().await;
    for session in 0..40 {
        let answer = house
            .execute("echo", &format!("s{session}"), json!({"text": "x"}))
            .await;
        assert_eq!(
            (answer.status, answer.lane.as_deref()),
            (200, Some("stable")),
            "{answer:?}"
        );
    }
    until_phase(house, "rolled_back").await;
}

/// The flags in PostgreSQL, the journal in the data directory: the lever is moved where it is, and where it
/// cannot be, that is said and the journal has the command all the same.
#[tokio::test]
async fn flags_that_are_kept_in_postgresql_are_lowered_there() {
    let Some(postgres) = PostgresServer::start() else {
        return;
    };
    let store = format!("poll = \"100ms\"\nstore = {:?}", postgres.url("postgres"));
    let configuration = rehearsal().replace("poll = \"100ms\"", &store);
    assert!(configuration.contains("postgres://"));
    let mut house = House::with(&configuration);
    house.open().await;
    house.create("echo").await;
    into_a_stage(&house).await;
    let (output, told) = act(&house, "emergency-rollback", "30s");
    assert!(output.status.success(), "{output:?}");
    assert!(told["flags_revision"].is_u64(), "{told:#}");
    assert_eq!(told["server"]["acknowledged"], true, "{told:#}");
    until_phase(&house, "rolled_back").await;

    // Without a server: the next start finds 0 % in PostgreSQL.
    into_a_stage(&house).await;
    house.kill();
    let (output, told) = act(&house, "emergency-rollback", "5s");
    assert!(output.status.success(), "{output:?}");
    let revision = told["flags_revision"].as_u64().unwrap();
    assert_eq!(told["server"]["alive"], false, "{told:#}");
    house.open().await;
    until_phase(&house, "rolled_back").await;
    let flags = house.get("/admin/v1/flags").await.ok(200);
    assert!(flags["revision"].as_u64().unwrap() >= revision, "{flags:#}");
    let answer = house.execute("echo", "s", json!({"text": "x"})).await;
    assert_eq!(answer.lane.as_deref(), Some("stable"), "{answer:?}");

    // Without either.
    into_a_stage(&house).await;
    house.kill();
    postgres.stop();
    let (output, told) = act(&house, "emergency-rollback", "1s");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(told["flags_revision"].is_null(), "{told:#}");
    assert!(told["flags_trouble"].is_string(), "{told:#}");
    assert!(told["command"].is_u64(), "{told:#}");
}

#[tokio::test]
async fn a_pause_and_its_end_go_by_the_store_where_the_server_does_not_answer() {
    let mut house = in_a_stage().await;
    let (output, told) = act(&house, "emergency-pause", "30s");
    assert!(output.status.success(), "{output:?} {told:#}");
    until_paused(&house, true).await;
    let (output, told) = act(&house, "emergency-resume", "30s");
    assert!(output.status.success(), "{output:?} {told:#}");
    until_paused(&house, false).await;
    let house = Arc::get_mut(&mut house).expect("nobody else has it");
    house.kill();
    // The plain verb finds no server, and the store of this machine.
    let output = house.run(&[
        "migrate",
        "pause",
        "--why",
        "the alarm",
        "--json",
        "--url",
        NOWHERE,
    ]);
    assert!(output.status.success(), "{output:?}");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("leaving it in the store"), "{words}");
    house.open().await;
    until_paused(house, true).await;
}

/// A server that is stopped in a write keeps the database locked for as long as it lives: to ask again and
/// again helps nobody, so the process to be ended is named.
#[tokio::test]
async fn a_server_that_hangs_with_the_store_locked_is_named_to_be_ended() {
    let mut house = in_a_stage().await;
    let house = Arc::get_mut(&mut house).expect("nobody else has it");
    let options = SqliteConnectOptions::new().filename(house.path("data/dspex.db"));
    let mut lock = SqliteConnection::connect_with(&options).await.unwrap();
    // Not stopped in a write of its own here: the lock is had first.
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut lock)
        .await
        .unwrap();
    signal(house, Signal::STOP);
    let pid = house.pid();
    let set = ["--set", "storage.busy_timeout=200ms"];
    let asked = |verb| [&["migrate", verb, "--why", "the alarm"][..], &set[..]].concat();
    let output = house.run(&asked("emergency-rollback"));
    let pause = house.run(&asked("emergency-pause"));
    house.kill();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        told.contains(&format!("the server (pid {pid}) lives and holds the store")),
        "{told}"
    );
    let end =
        format!("pid {pid} holds the store; end it with `kill -9 {pid}`, then run this again");
    assert_eq!(pause.status.code(), Some(3), "{pause:?}");
    let hint = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    for output in [output, pause] {
        assert!(hint(&output).contains(&end), "{output:?}");
    }
    let nobody = house.run(&asked("emergency-pause"));
    let another = "another process keeps the database locked";
    assert!(hint(&nobody).contains(another), "{nobody:?}");

    // What it says helps.
    sqlx::query("ROLLBACK").execute(&mut lock).await.unwrap();
    lock.close().await.unwrap();
    let (output, told) = act(house, "emergency-rollback", "1s");
    assert!(output.status.success(), "{output:?} {told:#}");
    house.open().await;
    until_phase(house, "rolled_back").await;
}

/// The data disk is gone and the flags are elsewhere: the lever is moved, and what is missing is said.
#[tokio::test]
async fn flags_that_are_kept_elsewhere_are_lowered_also_where_the_data_directory_is_gone() {
    let store = "poll = \"100ms\"\nstore = \"file:flags.json\"";
    let configuration = rehearsal().replace("poll = \"100ms\"", store);
    assert!(configuration.contains("flags.json"));
    let mut house = House::with(&configuration);
    house.open().await;
    house.create("echo").await;
    into_a_stage(&house).await;
    house.kill();
    std::fs::rename(house.path("data"), house.path("unmounted")).unwrap();
    let (output, told) = act(&house, "emergency-rollback", "1s");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(told["flags_revision"].is_u64(), "{told:#}");
    assert!(told["server"]["alive"].is_null(), "{told:#}");
    let trouble = told["command_trouble"].as_str().unwrap();
    assert!(trouble.contains("there is no database"), "{trouble}");
    let hint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(hint.contains("--data-dir"), "{hint}");

    std::fs::rename(house.path("unmounted"), house.path("data")).unwrap();
    house.open().await;
    let answer = house.execute("echo", "s", json!({"text": "x"})).await;
    assert_eq!(answer.lane.as_deref(), Some("stable"), "{answer:?}");
}

#[test]
fn without_a_store_it_says_where_it_looked() {
    let house = House::with(&rehearsal());
    let output = house.run(&["migrate", "emergency-rollback"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        words.contains("there is no database data/dspex.db"),
        "{words}"
    );
    assert!(words.contains("--data-dir"), "{words}");
}
