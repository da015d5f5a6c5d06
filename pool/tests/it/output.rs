//! What a worker prints is log, whoever prints it and however much.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use dspex_pool::{PoolError, Worker};
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

use crate::house::{House, ask, wait_until};

/// An event's fields as text.
type Event = BTreeMap<&'static str, String>;

/// Keeps the log events of workers.
#[derive(Debug, Clone, Default)]
struct Kept(Arc<Mutex<Vec<Event>>>);

impl Kept {
    /// From now on, on this thread.
    fn listen() -> (Self, DefaultGuard) {
        let kept = Self::default();
        let subscriber = tracing_subscriber::registry().with(kept.clone());
        (kept, tracing::subscriber::set_default(subscriber))
    }

    fn all(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }

    fn find(&self, text: &str) -> Option<Event> {
        self.all()
            .into_iter()
            .find(|event| event["message"] == text)
    }

    async fn wait_for(&self, text: &str) -> Event {
        wait_until(&format!("the line {text:?} is logged"), || {
            self.find(text).is_some()
        })
        .await;
        self.find(text).unwrap()
    }
}

impl<S: tracing::Subscriber> Layer<S> for Kept {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "dspex::worker" {
            let mut fields = Fields(Event::new());
            event.record(&mut fields);
            self.0.lock().unwrap().push(fields.0);
        }
    }
}

struct Fields(Event);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

async fn both() -> (House, [Worker; 2]) {
    let house = House::new();
    let server = house.server(&[]).await.unwrap();
    let workers = house.both(&server).await;
    (house, workers)
}

#[tokio::test]
async fn a_line_of_a_call_tells_its_program_and_request() {
    let (kept, _guard) = Kept::listen();
    let (_house, workers) = both().await;
    for worker in &workers {
        let text = format!("hello from {}", worker.name());
        ask(worker, "says", json!({"text": text})).await.unwrap();
        for (line, from) in [
            (text.clone(), "stdout"),
            (format!("{text} aside"), "stderr"),
        ] {
            let event = kept.wait_for(&line).await;
            assert_eq!(event["worker"], **worker.name());
            assert_eq!(event["pid"], worker.pid().to_string());
            assert_eq!(event["from"], from);
            assert_eq!(event["program"], "says@1");
            assert_eq!(event["request_id"], "battery");
        }
        let raw = kept.wait_for(&format!("{text} raw")).await;
        assert_eq!(raw["worker"], **worker.name());
        assert_eq!(raw.get("program"), None, "written past Python's streams");
    }
}

#[tokio::test]
async fn lines_of_many_threads_are_not_torn() {
    let (kept, _guard) = Kept::listen();
    let (_house, [started, _]) = both().await;
    let inputs = json!({"threads": 8, "lines": 50});
    ask(&started, "prints_from_threads", inputs).await.unwrap();
    let is_line = |event: &Event| event["message"].starts_with("thread ");
    wait_until("all are logged", || {
        kept.all().iter().filter(|e| is_line(e)).count() == 400
    })
    .await;
    let mut seen: Vec<String> = kept
        .all()
        .into_iter()
        .map(|event| event["message"].clone())
        .collect();
    seen.retain(|line| line.starts_with("thread "));
    let mut expected: Vec<String> = (0..8)
        .flat_map(|thread| {
            (0..50).map(move |line| format!("thread {thread} line {line} {}", "x".repeat(50)))
        })
        .collect();
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn ten_megabytes_from_c_harm_nobody() {
    let (kept, _guard) = Kept::listen();
    let (_house, workers) = both().await;
    let [flooding, other] = &workers;
    let inputs = json!({"megabytes": 10});
    let (flood, sibling) = tokio::join!(
        ask(flooding, "floods_from_c", inputs.clone()),
        ask(other, "rolls", json!({}))
    );
    assert_eq!(flood.unwrap(), inputs);
    assert!(sibling.is_ok());
    assert!(
        ask(flooding, "rolls", json!({})).await.is_ok(),
        "it is still well"
    );
    let at_exit = json!({"megabytes": 10, "at_exit": true});
    match ask(other, "floods_from_c", at_exit).await {
        Err(PoolError::Crashed { reason, .. }) => {
            assert!(reason.contains("exit code 7"), "{reason}");
        }
        done => panic!("{done:?}"),
    }
    // Twice a hundred thousand lines: most of them are counted and not logged.
    let told = || {
        let all = kept.all();
        let dropped = all.iter().filter_map(|event| event.get("dropped"));
        let dropped: u64 = dropped.map(|count| count.parse::<u64>().unwrap()).sum();
        let logged = all
            .iter()
            .filter(|event| event["message"].starts_with("xxx"))
            .count();
        (dropped, logged as u64)
    };
    wait_until("every line is logged or counted", || {
        told().0 + told().1 >= 200_000
    })
    .await;
    let (dropped, logged) = told();
    assert_eq!(dropped + logged, 200_000);
    assert!(
        logged >= 4_000,
        "the burst of each worker is logged: {logged}"
    );
    assert!(dropped > logged, "{dropped} dropped, {logged} logged");
}
