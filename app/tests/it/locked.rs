//! A server that is started while another process keeps the database locked for a while.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tokio::time::Instant;

use crate::house::{House, LONG};

/// How long the lock is kept after the server was seen to want it: far less than `storage.busy_timeout`, so
/// that a busy machine does not make it longer than that.
const KEPT: Duration = Duration::from_millis(1_500);

#[tokio::test]
async fn a_start_waits_for_a_database_that_another_process_lets_go_of() {
    let mut house = House::start("\n[storage]\nbusy_timeout = \"30s\"\n").await;
    house.create("echo").await;
    house.kill();
    let (database, holder) = (house.path("data/dspex.db"), house.path("data/lock"));
    std::fs::remove_file(&holder).unwrap();
    let (tell, locked) = mpsc::channel();
    let locker = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let options = SqliteConnectOptions::new().filename(database);
            let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
            sqlx::query("BEGIN IMMEDIATE")
                .execute(&mut connection)
                .await
                .unwrap();
            tell.send(()).unwrap();
            // The server has its directory, and asks for the database next.
            let began = Instant::now();
            while !holder.exists() {
                assert!(began.elapsed() < LONG, "no server was started");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            // What is tried here is a lock of some length.
            tokio::time::sleep(KEPT).await;
            sqlx::query("ROLLBACK")
                .execute(&mut connection)
                .await
                .unwrap();
            connection.close().await.unwrap();
        });
    });
    locked.recv().unwrap();
    let began = Instant::now();
    house.open().await;
    assert!(began.elapsed() >= KEPT, "nobody had it locked");
    locker.join().unwrap();
    let answer = house
        .execute("echo", "s", serde_json::json!({"text": "x"}))
        .await;
    answer.ok(200);
}
