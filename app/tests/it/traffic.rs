//! Callers of a server under test: closed loops, each in a session of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;
use tokio::task::JoinSet;

use crate::house::House;

/// Calls `echo` from many sessions until stopped.
pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    callers: JoinSet<Vec<String>>,
    answered: Arc<AtomicU64>,
}

impl Traffic {
    /// Starts `callers` closed loops. A session lives for 10 calls and is followed by another.
    pub(crate) fn start(house: &Arc<House>, callers: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let mut set = JoinSet::new();
        for caller in 0..callers {
            let (house, stop, answered) =
                (Arc::clone(house), Arc::clone(&stop), Arc::clone(&answered));
            set.spawn(async move {
                let mut failures = Vec::new();
                for call in 0_u64.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let session = format!("caller-{caller}-session-{}", call / 10);
                    let text = format!("{caller}.{call}");
                    let answer = house.execute("echo", &session, json!({"text": text})).await;
                    if answer.status == 200 && answer.body["outputs"]["text"] == text {
                        answered.fetch_add(1, Ordering::Relaxed);
                    } else {
                        failures.push(format!("{answer:?}"));
                    }
                }
                failures
            });
        }
        Self {
            stop,
            callers: set,
            answered,
        }
    }

    /// Calls answered so far.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Lets the calls in flight end; answers what failed.
    pub(crate) async fn stop(mut self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut failures = Vec::new();
        while let Some(caller) = self.callers.join_next().await {
            failures.extend(caller.unwrap());
        }
        failures
    }
}
