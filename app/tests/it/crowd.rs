//! A hundred callers at once.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::fleet::{spread, until};
use crate::house::{House, v2_alone};

const CALLERS: usize = 100;
const CALLS: usize = 50;

/// A caller's calls, one after the other; answers what was not its own answer.
async fn caller(house: Arc<House>, number: usize) -> (Vec<String>, Vec<Duration>) {
    let (mut lost, mut times) = (Vec::new(), Vec::new());
    for call in 0..CALLS {
        let text = format!("{number}.{call}");
        let session = format!("session-{number}");
        let began = Instant::now();
        let answer = house.execute("echo", &session, json!({"text": text})).await;
        times.push(began.elapsed());
        if answer.status != 200 || answer.body["outputs"]["text"] != text {
            lost.push(format!("{text}: {answer:?}"));
        }
    }
    (lost, times)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_callers_lose_no_call() {
    // A call waits for its turn for as long as a busy machine may need for those before it.
    let settings = "workers = 4\nconcurrency = 4\nqueue_wait = \"30s\"";
    let mut house = House::with(&v2_alone(settings));
    house.open().await;
    house.create("echo").await;
    let house = Arc::new(house);
    let mut callers = JoinSet::new();
    let began = Instant::now();
    for number in 0..CALLERS {
        callers.spawn(caller(Arc::clone(&house), number));
    }
    let (mut lost, mut times) = (Vec::new(), Vec::new());
    for (theirs, took) in callers.join_all().await {
        lost.extend(theirs);
        times.extend(took);
    }
    eprintln!(
        "{} of {} calls lost in {:.1?}; {}",
        lost.len(),
        CALLERS * CALLS,
        began.elapsed(),
        spread(times)
    );
    assert!(lost.is_empty(), "{lost:#?}");
    let (pool, _) = until(&house, "v2", "at rest", |pool| pool["in_flight"] == 0).await;
    assert_eq!(pool["failures"], 0, "{pool:#}");
}
