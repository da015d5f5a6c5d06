//! Gates that ask a webhook, on the shipped binary, with a gatekeeper of this test: only a plain yes
//! lets a stage be left, and nothing that it does or leaves undone is in a rollback's way.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::time::Instant;

use crate::house::{House, LONG, TOKEN, rehearsal};
use crate::traffic::Traffic;

/// What a gatekeeper says to a question.
#[derive(Debug, Clone, Copy)]
enum Says {
    Yes,
    No,
    Broken,
    /// Nothing: the question stays open.
    Nothing,
}

/// A question, and the connection it came by where it is not answered.
struct Asked {
    id: String,
    body: Value,
    open: Option<TcpStream>,
}

/// A gatekeeper that says the same to every question until the test has it say something else.
struct Gatekeeper {
    port: u16,
    says: Arc<Mutex<Says>>,
    asked: Receiver<Asked>,
}

impl Gatekeeper {
    fn start(says: Says) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tell, asked) = channel();
        let says = Arc::new(Mutex::new(says));
        let now = Arc::clone(&says);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if answer(stream.unwrap(), &now, &tell).is_none() {
                    return;
                }
            }
        });
        Self { port, says, asked }
    }

    fn says(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }

    /// The next question. The test's own thread waits for it, not the runtime that makes the traffic.
    async fn next(self) -> (Self, Asked) {
        let waiting = tokio::task::spawn_blocking(move || {
            let question = self.asked.recv_timeout(LONG).expect("it is asked");
            (self, question)
        });
        waiting.await.unwrap()
    }
}

fn answer(stream: TcpStream, says: &Mutex<Says>, tell: &Sender<Asked>) -> Option<()> {
    // Who asks may have given up by now, as the time for an answer is short in some of the tests.
    let Ok((id, body)) = read(&stream) else {
        return Some(());
    };
    let mut asked = Asked {
        id,
        body,
        open: None,
    };
    let says = *says.lock().unwrap();
    let (status, body) = match says {
        Says::Yes => ("200 OK", r#"{"approve": true, "text": "go"}"#),
        Says::No => ("200 OK", r#"{"approve": false, "text": "not yet"}"#),
        // A gate that fails does not open, whatever else it says.
        Says::Broken => ("500 Internal Server Error", r#"{"approve": true}"#),
        Says::Nothing => {
            asked.open = Some(stream);
            return tell.send(asked).ok();
        }
    };
    let _ = say(&stream, status, body);
    tell.send(asked).ok()
}

fn say(mut stream: &TcpStream, status: &str, body: &str) -> std::io::Result<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    )
}

/// Reads one question, and holds its signature against the secret.
fn read(stream: &TcpStream) -> std::io::Result<(String, Value)> {
    let mut reader = BufReader::new(stream);
    let (mut id, mut at, mut signature) = (String::new(), String::new(), String::new());
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        let Some((name, value)) = line.split_once(": ") else {
            if line.is_empty() {
                break;
            }
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "webhook-id" => id = value.to_owned(),
            "webhook-timestamp" => at = value.to_owned(),
            "webhook-signature" => signature = value.to_owned(),
            "content-length" => length = value.parse().unwrap(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut mac = Hmac::<Sha256>::new_from_slice(TOKEN.as_bytes()).unwrap();
    mac.update(format!("{id}.{at}.").as_bytes());
    mac.update(&body);
    let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    assert_eq!(signature, expected, "signed by the secret");
    Ok((id, serde_json::from_slice(&body).unwrap()))
}

/// A server whose first stage asks this gatekeeper.
async fn asks(port: u16, timeout: &str) -> Arc<House> {
    let gate = format!(
        r#"{{ percent = "25%", hold = "1s", gate = {{ webhook = {{ url = "http://127.0.0.1:{port}/s3cret" }} }} }}"#
    );
    let text = rehearsal().replace(r#"{ percent = "25%", hold = "1s" }"#, &gate);
    let more = format!("[webhooks]\nsecret_env = \"DSPEX_ADMIN_TOKEN\"\ntimeout = {timeout:?}\n");
    let mut house = House::with(&(text + &more));
    house.open().await;
    house.create("echo").await;
    Arc::new(house)
}

async fn until(house: &House, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let migration = house.migration().await;
        if wanted(&migration) {
            return migration;
        }
        assert!(
            began.elapsed() < LONG,
            "no {what}: {migration:#}\n{}",
            house.log()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Keeps the stage at this answer, and leaves it at the yes after it.
async fn keeps_then_leaves(says: Says, timeout: &str, words: &str) {
    let gatekeeper = Gatekeeper::start(says);
    let house = asks(gatekeeper.port, timeout).await;
    let traffic = Traffic::start(&house, 4);
    house.start_migration().await;
    let (gatekeeper, first) = gatekeeper.next().await;
    assert_eq!(first.body["type"], "dspex.migration.gate");
    assert_eq!(first.body["data"]["stage"], 0, "{}", first.body);
    let held = until(&house, words, |migration| {
        migration["waiting_for"].to_string().contains(words)
    })
    .await;
    assert_eq!(held["percent"], 25.0, "{held:#}");
    assert_eq!(first.body["data"]["migration"], held["id"]);
    gatekeeper.says(Says::Yes);
    let (_gatekeeper, second) = gatekeeper.next().await;
    assert_ne!(second.id, first.id, "each question is its own message");
    until(&house, "end", |migration| migration["phase"] == "complete").await;
    let failures = traffic.stop().await;
    assert!(failures.is_empty(), "{failures:#?}");
    let id = held["id"].as_str().unwrap();
    let path = format!("/admin/v1/migrations/{id}/events?limit=1000");
    let events = house.get(&path).await.ok(200);
    let kinds: Vec<&str> = events["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["event"]["type"].as_str().unwrap())
        .collect();
    let place = |wanted: &str| kinds.iter().position(|kind| *kind == wanted);
    let (waited, opened, left) = (
        place("gate_waiting"),
        place("gate_opened"),
        place("stage_left"),
    );
    assert!(
        waited.is_some() && waited < opened && opened < left,
        "{kinds:?}"
    );
    let text = events.to_string();
    assert!(
        text.contains(words) && text.contains("says yes: go"),
        "{text}"
    );
    assert!(!text.contains("s3cret") && !house.log().contains("s3cret"));
}

#[tokio::test]
async fn a_no_keeps_the_stage() {
    keeps_then_leaves(Says::No, "30s", "says no: not yet").await;
}

#[tokio::test]
async fn a_gate_that_fails_keeps_the_stage() {
    keeps_then_leaves(Says::Broken, "30s", "answered 500").await;
}

#[tokio::test]
async fn a_gate_that_is_silent_keeps_the_stage() {
    keeps_then_leaves(Says::Nothing, "1s", "does not answer").await;
}

#[tokio::test]
async fn a_rollback_does_not_wait_for_a_gate_that_hangs() {
    let gatekeeper = Gatekeeper::start(Says::Nothing);
    let house = asks(gatekeeper.port, "50s").await;
    let traffic = Traffic::start(&house, 4);
    house.start_migration().await;
    let (gatekeeper, question) = gatekeeper.next().await;
    let stays = house.migration().await;
    assert_eq!(stays["percent"], 25.0, "{stays:#}");
    let began = Instant::now();
    let back = json!({"why": "enough", "who": "ada"});
    let path = "/admin/v1/migrations/current/rollback";
    house.post(path, back).await.ok(200);
    until(&house, "0 %", |migration| {
        let down = ["rolling_back", "rolled_back"].map(Value::from);
        // Asked for at once, and a little later served by the router too.
        let zero = migration["percent"] == 0.0 && migration["acknowledged"] == true;
        zero && down.contains(&migration["phase"])
    })
    .await;
    // Far below the time that the gate has.
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    for number in 0..40 {
        let session = format!("after-{number}");
        let answer = house.execute("echo", &session, json!({"text": "x"})).await;
        assert_eq!(
            (answer.status, answer.lane.as_deref()),
            (200, Some("stable")),
            "{answer:?}"
        );
    }
    // Its yes comes too late for anything; whether anybody still reads it is not ours to say.
    let _ = say(
        &question.open.expect("it is open"),
        "200 OK",
        r#"{"approve": true}"#,
    );
    until(&house, "end", |migration| {
        migration["phase"] == "rolled_back"
    })
    .await;
    let failures = traffic.stop().await;
    assert!(failures.is_empty(), "{failures:#?}");
    assert_eq!(house.migration().await["percent"], 0.0);
    assert!(
        gatekeeper.asked.try_recv().is_err(),
        "nobody is asked any more"
    );
}
