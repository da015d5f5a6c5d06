//! Notifications of the shipped binary, to a receiver of this test.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::again::until;
use crate::house::{House, LONG, rehearsal};

/// Takes posts until it is dropped: each with its `webhook-id` and body.
fn receiver() -> (u16, Receiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(post) = take(&stream.unwrap()) else {
                continue;
            };
            if tell.send(post).is_err() {
                return;
            }
        }
    });
    (port, told)
}

fn take(mut stream: &TcpStream) -> std::io::Result<(String, Value)> {
    let mut reader = BufReader::new(stream);
    let (mut id, mut length, mut signed) = (String::new(), 0, false);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end().to_ascii_lowercase();
        match line.split_once(": ") {
            Some(("webhook-id", value)) => id = value.to_owned(),
            Some(("content-length", value)) => length = value.parse().unwrap(),
            Some(("webhook-signature", value)) => signed = value.starts_with("v1,"),
            _ if line.is_empty() => break,
            _ => {}
        }
    }
    assert!(signed, "a post is signed");
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")?;
    Ok((id, serde_json::from_slice(&body)?))
}

fn told_to(port: u16, more: &str) -> House {
    let notified = format!(
        "[[notifications]]\nname = \"chat\"\nurl = \"http://127.0.0.1:{port}/hook\"\n\
         secret_env = \"DSPEX_ADMIN_TOKEN\"\n"
    );
    House::with(&(rehearsal() + &notified + more))
}

#[tokio::test]
async fn each_event_arrives_in_order_and_a_restart_repeats_none() {
    let (port, told) = receiver();
    let mut house = told_to(port, "");
    house.open().await;
    house.create("echo").await;
    house.start_migration().await;
    let back = json!({"why": "enough", "who": "ada"});
    house
        .post("/admin/v1/migrations/current/rollback", back)
        .await
        .ok(200);
    let mut seqs = Vec::new();
    loop {
        let (id, body) = told
            .recv_timeout(LONG)
            .unwrap_or_else(|_| panic!("{seqs:?} {}", house.log()));
        let seq = body["data"]["seq"].as_u64().unwrap();
        assert!(id.ends_with(&format!("_{seq}")), "{id}");
        seqs.push(seq);
        if body["type"] == "dspex.migration.rolled_back" {
            break;
        }
    }
    assert_eq!(seqs[0], 1);
    assert!(seqs.is_sorted_by(|one, other| one < other), "{seqs:?}");
    // The receiver has the last one before the server knows that, and has written it down.
    let status = until(&house, "/v1/status", "end of the messages", |status| {
        let chat = &status["notifications"][0];
        chat["delivered"] == seqs.len() && chat["behind"] == 0
    })
    .await;
    assert_eq!(status["notifications"][0]["name"], "chat");
    assert_eq!(status["notifications"][0]["failing_since"], Value::Null);
    let metrics = house.get("/metrics").await.ok(200);
    let metrics = metrics.as_str().unwrap();
    let told_of = format!(
        "dspex_notifications_delivered_total{{receiver=\"chat\"}} {}",
        seqs.len()
    );
    assert!(metrics.contains(&told_of), "{metrics}");
    house.terminate();
    house.ended().await;
    house.open().await;
    assert!(
        told.recv_timeout(Duration::from_secs(1)).is_err(),
        "nothing is told twice"
    );
}

/// Takes connections and never answers.
fn hangs() -> (u16, Receiver<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (keep, kept) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            if keep.send(stream.unwrap()).is_err() {
                return;
            }
        }
    });
    (port, kept)
}

#[tokio::test]
async fn a_receiver_that_hangs_is_in_nobodys_way() {
    let (port, kept) = hangs();
    // A post has a minute: far longer than what is bound to come at once, on any machine.
    let mut house = told_to(port, "[webhooks]\ntimeout = \"1m\"\n");
    house.open().await;
    house.create("echo").await;
    house.start_migration().await;
    let (mut phase, began) = (Value::Null, Instant::now());
    while phase != "rollout" {
        assert!(began.elapsed() < LONG, "{phase}: {}", house.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
        phase = house.migration().await["phase"].take();
    }
    // It has the first of the messages by now, and all the others wait behind it.
    let first = tokio::task::spawn_blocking(move || (kept.recv_timeout(LONG).unwrap(), kept));
    let (_open, _kept) = first.await.unwrap();
    let back = json!({"why": "enough", "who": "ada"});
    let began = Instant::now();
    house
        .post("/admin/v1/migrations/current/rollback", back)
        .await
        .ok(200);
    loop {
        let migration = house.migration().await;
        if migration["percent"] == 0.0 && migration["phase"] != "rollout" {
            break;
        }
        assert!(began.elapsed() < LONG, "{migration:#}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "{:?}",
        began.elapsed()
    );
    let answer = house.execute("echo", "s", json!({"text": "x"})).await;
    assert_eq!(answer.lane.as_deref(), Some("stable"), "{answer:?}");
    let began = Instant::now();
    while house.migration().await["phase"] != "rolled_back" {
        assert!(began.elapsed() < LONG, "{}", house.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn a_test_message_says_whether_it_arrives() {
    let (port, told) = receiver();
    let house = told_to(port, "");
    let output = house.run(&["notifications", "test", "--json"]);
    assert!(output.status.success(), "{output:?}");
    let (_, body) = told.recv_timeout(LONG).unwrap();
    assert_eq!(body["type"], "dspex.test");
    // Nobody listens there.
    let output = told_to(9, "").run(&["notifications", "test"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn what_is_wrong_with_a_notification_is_said_by_its_name() {
    for (text, words) in [
        (
            "name = \"chat\"\nurl = \"ftp://x\"\nsecret_env = \"S\"",
            "https://",
        ),
        ("name = \"chat\"\nurl = \"http://x\"", "secret_env"),
        (
            "name = \"chat\"\nurl = \"http://x\"\nsecret_env = \"S\"\nevents = [\"complete\"]",
            "completed",
        ),
    ] {
        let house = House::with(&(rehearsal() + "[[notifications]]\n" + text));
        let output = house.run(&["config", "check"]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("chat") && said.contains(words), "{said}");
    }
}
