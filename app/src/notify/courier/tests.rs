//! Couriers against a receiver that answers as it is told.

use std::collections::VecDeque;
use std::sync::Mutex;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::post;
use dspex_migration::{Append, Cause, Event, Journal, MemoryJournal, Phase, Settings, Start};
use hyper::body::Bytes;
use jiff::Timestamp;
use serde_json::Value;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::config::Selection;
use crate::http::server::{ConnectionLimits, accept};
use crate::notify::{Cursors as _, MemoryCursors, Patience};
use crate::webhook::{Address, Secret, Webhooks};

const LONG: Duration = Duration::from_secs(20);
const SECRET: &str = "a secret that is long enough";

/// What a receiver got: `webhook-id`, and the body.
type Got = (String, Value);

#[derive(Default)]
struct Inbox {
    got: Vec<Got>,
    /// What it answers next; 200 where there is nothing.
    answers: VecDeque<u16>,
}

#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<Inbox>>);

async fn take(
    State(receiver): State<Receiver>,
    headers: HeaderMap,
    body: Bytes,
) -> impl IntoResponse {
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    let (id, at) = (text("webhook-id"), text("webhook-timestamp"));
    let at = Timestamp::from_second(at.parse().unwrap()).unwrap();
    let signature = Secret::parse(SECRET).unwrap().sign(&id, at, &body);
    assert_eq!(text("webhook-signature"), signature);
    let mut inbox = receiver.0.lock().unwrap();
    inbox.got.push((id, serde_json::from_slice(&body).unwrap()));
    let status = inbox.answers.pop_front().unwrap_or(200);
    (
        StatusCode::from_u16(status).unwrap(),
        [(header::LOCATION, "/elsewhere")],
    )
}

impl Receiver {
    async fn open(&self, tracker: &TaskTracker) -> Address {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = axum::Router::new()
            .route("/hook", post(take))
            .with_state(self.clone());
        let limits = ConnectionLimits {
            connections: 16,
            first_byte: LONG,
            headers: LONG,
            write: LONG,
        };
        let (connections, stop) = (tracker.clone(), CancellationToken::new());
        tracker.spawn(accept(listener, app, limits, connections, stop));
        Address::parse(&format!("http://{address}/hook")).unwrap()
    }

    fn answers(&self, statuses: &[u16]) {
        self.0.lock().unwrap().answers.extend(statuses);
    }

    fn names(&self) -> Vec<String> {
        let inbox = self.0.lock().unwrap();
        let names = inbox.got.iter().map(|(_, body)| {
            let name = body["type"].as_str().unwrap();
            name.trim_start_matches("dspex.migration.").to_owned()
        });
        names.collect()
    }

    fn ids(&self) -> Vec<String> {
        let inbox = self.0.lock().unwrap();
        inbox.got.iter().map(|(id, _)| id.clone()).collect()
    }

    async fn until(&self, what: impl Fn(&[String]) -> bool) {
        let waited = tokio::time::timeout(LONG, async {
            while !what(&self.names()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        waited
            .await
            .unwrap_or_else(|_| panic!("never: {:?}", self.names()));
    }
}

struct World {
    tracker: TaskTracker,
    journal: Arc<MemoryJournal>,
    cursors: Arc<MemoryCursors>,
    patience: Patience,
    /// Held, so that couriers do not take the migrations for gone.
    news: watch::Sender<Option<Arc<Status>>>,
    stop: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn id() -> MigrationId {
    MigrationId::from_text("m-1")
}

impl World {
    fn new() -> Self {
        Self {
            tracker: TaskTracker::new(),
            journal: Arc::new(MemoryJournal::new()),
            cursors: Arc::default(),
            patience: Patience {
                timeout: LONG,
                keep_trying: Duration::from_secs(3600),
                longest_wait: Duration::from_millis(20),
            },
            news: watch::Sender::new(None),
            stop: CancellationToken::new(),
        }
    }

    fn courier(&self, to: Address, events: Selection) -> watch::Receiver<Outlook> {
        let notifier = Notifier {
            webhooks: Webhooks::new(),
            journal: self.journal.clone(),
            cursors: self.cursors.clone(),
            patience: self.patience,
        };
        let hook = Hook {
            name: "chat".to_owned(),
            to,
            secret: Secret::parse(SECRET).unwrap(),
            events,
        };
        let (courier, outlook) = notifier.courier(hook, self.news.subscribe());
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            stop.run_until_cancelled(courier.run()).await;
        });
        outlook
    }

    /// Known already, so that everything is told from the first entry on.
    async fn known(&self) {
        self.cursors.begin("chat", &[]).await.unwrap();
    }

    async fn start(&self, at: Timestamp) {
        let plan = Settings::default().plan("v1", "v2", None).unwrap();
        let start = Start {
            plan: &plan,
            who: "ada",
            why: "because",
            at,
        };
        self.journal.create(&id(), start).await.unwrap();
        self.news.send_replace(None);
    }

    async fn write(&self, expected_seq: u64, events: &[Event], at: Timestamp) {
        let append = Append {
            expected_seq,
            events,
            at,
            phase: Phase::Rollout,
            outcome: None,
        };
        self.journal.append(&id(), append).await.unwrap();
        self.news.send_replace(None);
    }
}

fn cause() -> Cause {
    Cause::Person {
        who: "ada".to_owned(),
        why: "because".to_owned(),
    }
}

fn paused() -> Event {
    Event::Paused { cause: cause() }
}

fn resumed() -> Event {
    Event::Resumed { cause: cause() }
}

#[tokio::test]
async fn each_event_is_told_in_order_and_a_failure_is_tried_again_under_the_same_id() {
    let (world, receiver) = (World::new(), Receiver::default());
    world.known().await;
    world.start(clock::now()).await;
    // Refused, led elsewhere, told to wait: nothing of that is a yes.
    receiver.answers(&[200, 500, 302, 429]);
    let to = receiver.open(&world.tracker).await;
    let outlook = world.courier(to, Selection::All);
    receiver.until(|names| names == ["started"]).await;
    world.write(1, &[paused(), resumed()], clock::now()).await;
    receiver.until(|names| names.len() == 6).await;
    assert_eq!(
        receiver.names(),
        ["started", "paused", "paused", "paused", "paused", "resumed"]
    );
    let ids = receiver.ids();
    assert_eq!(ids[1..5], ["m-1_2", "m-1_2", "m-1_2", "m-1_2"]);
    let mut outlook = outlook;
    let well = outlook.wait_for(|seen| seen.delivered == 3 && seen.behind == 0);
    let well = tokio::time::timeout(LONG, well).await.unwrap().unwrap();
    assert_eq!((well.given_up, &well.trouble), (0, &None));
}

#[tokio::test]
async fn a_restart_repeats_nothing_that_was_taken_and_misses_nothing_that_was_not() {
    let (mut world, receiver) = (World::new(), Receiver::default());
    world.known().await;
    world.start(clock::now()).await;
    let to = receiver.open(&world.tracker).await;
    world.courier(to.clone(), Selection::All);
    receiver.until(|names| names == ["started"]).await;
    // The cursor moves after the yes.
    let place = Place {
        migration: id(),
        seq: 1,
    };
    while world.cursors.places("chat").await.unwrap() != Some(vec![place.clone()]) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.stop.cancel();
    world.write(1, &[paused()], clock::now()).await;
    world.stop = CancellationToken::new();
    world.courier(to, Selection::All);
    receiver.until(|names| names == ["started", "paused"]).await;
}

#[tokio::test]
async fn a_new_receiver_begins_at_the_present() {
    let (world, receiver) = (World::new(), Receiver::default());
    world.start(clock::now()).await;
    world.write(1, &[paused()], clock::now()).await;
    let to = receiver.open(&world.tracker).await;
    world.courier(to, Selection::All);
    while world.cursors.places("chat").await.unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.write(2, &[resumed()], clock::now()).await;
    receiver.until(|names| names == ["resumed"]).await;
}

#[tokio::test]
async fn what_is_too_old_is_given_up_and_said_so() {
    let (world, receiver) = (World::new(), Receiver::default());
    world.known().await;
    let long_ago = Timestamp::from_second(1_000_000_000).unwrap();
    world.start(long_ago).await;
    receiver.answers(&[500]);
    let to = receiver.open(&world.tracker).await;
    let mut outlook = world.courier(to, Selection::All);
    let given_up = outlook.wait_for(|seen| seen.given_up == 1);
    let given_up = tokio::time::timeout(LONG, given_up).await.unwrap().unwrap();
    assert!(given_up.failing_since.is_some());
    assert_eq!(given_up.trouble.as_deref(), Some("it answered 500"));
    drop(given_up);
    // The next one is tried all the same.
    world.write(1, &[paused()], clock::now()).await;
    receiver.until(|names| names == ["started", "paused"]).await;
    let well = outlook.wait_for(|seen| seen.failing_since.is_none());
    tokio::time::timeout(LONG, well).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_message_that_is_refused_for_good_does_not_keep_the_next_from_arriving() {
    let (world, receiver) = (World::new(), Receiver::default());
    world.known().await;
    world.start(clock::now()).await;
    world.write(1, &[paused()], clock::now()).await;
    // What may pass is no refusal for good, however often: only the third of those ends it.
    receiver.answers(&[408, 425, 429, 500, 404, 429, 413, 400]);
    let to = receiver.open(&world.tracker).await;
    let mut outlook = world.courier(to, Selection::All);
    receiver
        .until(|names| names.iter().any(|name| name == "paused"))
        .await;
    let mut expected = vec!["started"; 8];
    expected.push("paused");
    assert_eq!(receiver.names(), expected);
    let well = outlook.wait_for(|seen| seen.delivered == 1 && seen.behind == 0);
    let well = tokio::time::timeout(LONG, well).await.unwrap().unwrap();
    assert_eq!((well.given_up, &well.trouble), (1, &None));
}

#[tokio::test]
async fn a_receiver_that_is_not_there_is_told_of_and_holds_nobody_up() {
    let world = World::new();
    world.known().await;
    world.start(clock::now()).await;
    // A port that is taken, and on which nobody listens.
    let taken = TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let to = Address::parse(&format!("http://{}/", taken.local_addr().unwrap())).unwrap();
    let mut outlook = world.courier(to, Selection::All);
    let failing = outlook.wait_for(|seen| seen.failing_since.is_some() && seen.behind == 1);
    let failing = tokio::time::timeout(LONG, failing).await.unwrap().unwrap();
    assert!(
        failing
            .trouble
            .as_deref()
            .unwrap_or_default()
            .contains("onnect"),
        "{failing:?}"
    );
}

#[tokio::test]
async fn only_what_is_wanted_is_told() {
    let (world, receiver) = (World::new(), Receiver::default());
    world.known().await;
    world.start(clock::now()).await;
    world.write(1, &[paused(), resumed()], clock::now()).await;
    let to = receiver.open(&world.tracker).await;
    world.courier(to, Selection::Named(vec!["resumed".to_owned()]));
    receiver.until(|names| names == ["resumed"]).await;
}
