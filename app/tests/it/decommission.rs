//! The old pool's end, killed in the middle of it, and refused where it would be wrong.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use tokio::time::Instant;

use crate::again::{
    MIGRATION, ask_for_the_end, decommission, phase, pools, retaining, steer, until,
};
use crate::fleet::{self, signal};
use crate::house::House;
use crate::traffic::Traffic;

/// A house whose migration to V2 is complete.
async fn complete() -> House {
    let mut house = House::with(&retaining("20s"));
    house.open().await;
    let house = Arc::new(house);
    house.create("echo").await;
    let traffic = Traffic::start(&house, 4);
    house.start_migration().await;
    phase(&house, "complete").await;
    // Seen to serve for as long as a decommission asks for, and that is written down.
    until(&house, MIGRATION, "time served", |migration| {
        let served = migration["served_for"].as_str().unwrap();
        humantime::parse_duration(served).unwrap() >= Duration::from_millis(300)
    })
    .await;
    assert!(traffic.stop().await.is_empty());
    Arc::into_inner(house).unwrap()
}

/// The server's database, to be read.
async fn database(house: &House) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(house.path("data/dspex.db"))
        .read_only(true);
    SqlitePool::connect_with(options).await.unwrap()
}

/// The phase of the only migration, as it is written down, also where no server runs.
async fn phase_on_disk(house: &House) -> String {
    let pool = database(house).await;
    let phase = sqlx::query_scalar("SELECT phase FROM migration_status")
        .fetch_one(&pool)
        .await
        .unwrap();
    pool.close().await;
    phase
}

/// How many rows there are of a migration's looks.
async fn rows(house: &House, migration: &str) -> i64 {
    let pool = database(house).await;
    let count = sqlx::query_scalar("SELECT count(*) FROM pool_metrics WHERE migration = ?")
        .bind(migration)
        .fetch_one(&pool)
        .await
        .unwrap();
    pool.close().await;
    count
}

/// Something that a process that was killed long ago would have left.
fn plant(path: &Path) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, "half").unwrap();
    File::open(path)
        .unwrap()
        .set_modified(SystemTime::UNIX_EPOCH)
        .unwrap();
}

/// The lines of a member of the archive.
fn lines(archive: &str, member: &str) -> Vec<Value> {
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(File::open(archive).unwrap()));
    let entries = tar.entries().unwrap().map(Result::unwrap);
    let mut found = entries.filter(|entry| entry.path().unwrap() == Path::new(member));
    let mut text = String::new();
    let mut entry = found.next().expect("the member");
    entry.read_to_string(&mut text).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Looks with calls are recorded from the first stage on.
async fn id_after_looks(house: &House) -> String {
    let events = |id: &str| format!("/admin/v1/migrations/{id}/events?after=0&limit=1000");
    let id = house.migration().await["id"].as_str().unwrap().to_owned();
    // The very first may have been before any call.
    until(house, &events(&id), "look", |events| {
        let mut events = events["events"].as_array().unwrap().iter();
        events.any(|entry| {
            let event = &entry["event"];
            event["type"] == "ticked" && event["calls_stable"] != 0
        })
    })
    .await;
    id
}

#[tokio::test]
async fn what_was_recorded_of_earlier_migrations_moves_into_the_archive_and_left_overs_go() {
    let mut house = House::with(&retaining("20s"));
    house.open().await;
    let house = Arc::new(house);
    house.create("echo").await;
    let traffic = Traffic::start(&house, 4);
    house.start_migration().await;
    let earlier = id_after_looks(&house).await;
    steer(&house, "rollback").await;
    phase(&house, "rolled_back").await;
    house.start_migration().await;
    let this = id_after_looks(&house).await;
    phase(&house, "complete").await;
    let before = rows(&house, &earlier).await;
    assert!(before > 0, "nothing was recorded");
    let data = house.path("data");
    let left: [PathBuf; 2] = [
        data.join("archives/.pool-20260102T030405.678Z-0123abcd.tar.gz.4711"),
        data.join("backups/.backup-20260102T030405.678Z-0123abcd.tar.gz.1"),
    ];
    let foreign: [PathBuf; 2] = [
        data.join("archives/.pool-notes.partial"),
        data.join("backups/.backup-mine.tar.gz"),
    ];
    left.iter().chain(&foreign).for_each(|path| plant(path));
    decommission(&house).await;
    assert!(traffic.stop().await.is_empty());

    assert_eq!(rows(&house, &earlier).await, 0);
    let kept = rows(&house, &this).await;
    assert!(kept > 0, "those of this migration stay");
    assert!(left.iter().all(|path| !path.exists()));
    assert!(foreign.iter().all(|path| path.exists()));
    let migration = house.migration().await;
    let archive = migration["archive"]["place"].as_str().unwrap();
    let archive = house.path(archive).display().to_string();
    let looks = lines(&archive, "about/looks.ndjson");
    let of = |id: &str| looks.iter().filter(|look| look["migration"] == id).count();
    assert_eq!(i64::try_from(of(&earlier) * 2).unwrap(), before);
    assert!(of(&this) > 0);
    for look in &looks {
        assert_eq!(look["pools"], json!(["v1", "v2"]), "{look}");
        assert_eq!(look["lanes"].as_array().unwrap().len(), 2);
    }
    let proof = house.run(&["backup", "verify", &archive, "--json"]);
    assert!(proof.status.success(), "{proof:?}");
    let proof: Value = serde_json::from_slice(&proof.stdout).unwrap();
    assert_eq!(proof["proof"]["kind"], "pool");
    assert_eq!(proof["proof"]["looks"], looks.len());

    let backtest = house.run(&["migrate", "backtest", "--json"]);
    assert!(backtest.status.success(), "{backtest:?}");
    let gone = house.run(&["migrate", "backtest", "--id", &earlier]);
    assert_eq!(gone.status.code(), Some(5), "{gone:?}");
    let told = String::from_utf8_lossy(&gone.stderr).into_owned();
    assert!(told.contains("archive"), "{told}");
    let report = house.run(&["migrate", "report", "--json"]);
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    let told = report["operations"]["cleaned"]["text"].as_str().unwrap();
    let expected = format!(
        "With the old pool were cleaned away: {} recorded looks of earlier migrations, 2 left-over files.",
        before / 2
    );
    assert_eq!(told, expected);
    // The journal of the earlier one stays, and so does its report.
    let report = house.run(&["migrate", "report", &earlier]);
    assert!(report.status.success(), "{report:?}");
}

/// Sends the command, and returns so long after, answered or not.
async fn cut_off(house: &House, after: Duration) {
    let kill_at = Instant::now() + after;
    let request = house.request("POST", &format!("{MIGRATION}/decommission"));
    let request = request.json(&json!({"why": "a test"})).timeout(after);
    // The time may be up before there is an answer.
    let _ = request.send().await;
    tokio::time::sleep_until(kill_at).await;
}

/// Decommissions up to the last step, and keeps it there: workers that stand still do not end when they are
/// asked to, and are waited for (`shutdown_timeout`, 10 s).
async fn hold_in_the_middle(house: &House) {
    let old = fleet::pool(house, "v1").await;
    for worker in fleet::workers(&old) {
        signal(worker.pid.expect("it serves"), Signal::STOP);
    }
    ask_for_the_end(house).await;
    until(house, MIGRATION, "last step", |migration| {
        migration["phase"] == "decommission" && migration["step"] == "retire"
    })
    .await;
}

#[tokio::test]
async fn a_server_killed_while_the_old_pool_goes_ends_where_the_other_would_have() {
    // So long after the command was sent, whatever the server does by then; or surely in the middle.
    for after in [Some(5), Some(40), Some(120), None] {
        let mut house = complete().await;
        match after.map(Duration::from_millis) {
            Some(after) => cut_off(&house, after).await,
            None => hold_in_the_middle(&house).await,
        }
        house.kill();
        let at_the_kill = phase_on_disk(&house).await;
        eprintln!("{after:?}: killed in phase {at_the_kill}");
        assert!(
            after.is_some() || at_the_kill == "decommission",
            "killed in phase {at_the_kill}"
        );
        house.open().await;
        let answer = house.execute("echo", "s", json!({"text": "x"})).await;
        answer.ok(200);
        let shared = Arc::new(house);
        let traffic = Traffic::start(&shared, 4);
        // Killed before the command was kept, nobody has asked for anything.
        decommission(&shared).await;
        assert_eq!(
            pools(&shared).await,
            (json!("v2@1"), Value::Null),
            "{after:?}"
        );
        let status = shared.get("/v1/status").await.ok(200);
        let share = status["flags"]["values"]["gradual_rollout_percentage"].as_f64();
        assert_eq!(share, Some(0.0), "{after:?}: {status:#}");
        let failures = traffic.stop().await;
        assert!(
            failures.is_empty(),
            "{after:?}: {failures:#?}\n{}",
            shared.log()
        );
        let mut house = Arc::into_inner(shared).unwrap();
        house.kill();
        house.open().await;
        assert_eq!(
            pools(&house).await,
            (json!("v2@1"), Value::Null),
            "{after:?}"
        );
    }
}

#[tokio::test]
async fn a_pool_that_still_has_traffic_of_its_own_is_not_decommissioned() {
    let house = complete().await;
    let flags = json!({"set": {"gradual_rollout_percentage": 50}, "why": "somebody else's hands"});
    let request = house.request("PATCH", "/admin/v1/flags").json(&flags);
    house.send(request).await.ok(200);
    let refused = house
        .post(&format!("{MIGRATION}/decommission"), json!({"why": "x"}))
        .await;
    refused.problem(409, "100");
    assert_eq!(pools(&house).await, (json!("v1@1"), json!("v2@1")));
}
