//! Generators: their outputs everywhere, their chunks where the pool sends them.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Harness, Verdict, answered, failed_with};
use crate::{Call, ChunkReceiver, PoolError, SharedPool, chunks};

const WINDOW: u32 = 4;

impl Harness {
    fn stream(&self, attribute: &str, inputs: Value) -> (Call, ChunkReceiver) {
        let (sender, receiver) = chunks(WINDOW);
        let call = Call {
            chunks: Some(sender),
            ..self.call(attribute, inputs)
        };
        (call, receiver)
    }
}

async fn collect(receiver: &mut ChunkReceiver) -> Vec<String> {
    let mut got = Vec::new();
    while let Some(chunk) = receiver.next().await {
        got.push(chunk.get().to_owned());
    }
    got
}

/// The outputs do not depend on whether chunks are asked for.
pub(super) async fn outputs(harness: &Harness, pool: &SharedPool) -> Verdict {
    for (attribute, inputs, wanted) in [
        ("counts_to", json!({"n": 5}), json!({"sum": 15})),
        (
            "async_counts_to",
            json!({"n": 3}),
            json!({"result": [1, 2, 3]}),
        ),
        ("spells", json!({"text": "word"}), json!({"result": "word"})),
    ] {
        let named = |wrong: String| format!("{attribute}: {wrong}");
        let ended = pool.execute(harness.call(attribute, inputs.clone())).await;
        answered(ended, wanted.clone()).map_err(named)?;
        let (call, mut receiver) = harness.stream(attribute, inputs);
        let (ended, _) = tokio::join!(pool.execute(call), collect(&mut receiver));
        answered(ended, wanted).map_err(named)?;
    }
    Ok(())
}

pub(super) async fn in_order(harness: &Harness, pool: &SharedPool) -> Verdict {
    if !harness.streams {
        return Ok(());
    }
    for attribute in ["counts_to", "async_counts_to"] {
        let (call, mut receiver) = harness.stream(attribute, json!({"n": 100}));
        let sender = call.chunks.clone();
        let execute = pool.execute(call);
        tokio::pin!(execute);
        // Nobody takes any: the window fills, and that is all.
        tokio::select! {
            ended = &mut execute => return Err(format!("{attribute}: it did not wait: {ended:?}")),
            full = window_is_full(sender.as_ref(), harness.patience) => full?,
        }
        drop(sender);
        let (ended, got) = tokio::join!(execute, collect(&mut receiver));
        ended.map_err(|error| format!("{attribute}: {error:?}"))?;
        let wanted: Vec<String> = (1..=100).map(|n| n.to_string()).collect();
        if got != wanted {
            return Err(format!("{attribute}: chunks {got:?}"));
        }
    }
    Ok(())
}

async fn window_is_full(sender: Option<&crate::ChunkSender>, patience: Duration) -> Verdict {
    let until = Instant::now() + patience;
    while sender.is_some_and(|sender| sender.sent() < u64::from(WINDOW)) {
        if Instant::now() > until {
            return Err("the window did not fill".to_owned());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

pub(super) async fn breaks_off(harness: &Harness, pool: &SharedPool) -> Verdict {
    let (call, mut receiver) = harness.stream("breaks_off", json!({"n": 3}));
    let (ended, got) = tokio::join!(pool.execute(call), collect(&mut receiver));
    failed_with(
        ended,
        "the program's own ValueError",
        |error| matches!(error, PoolError::Program { exception, .. } if exception == "ValueError"),
    )?;
    if harness.streams && got != ["0", "1", "2"] {
        return Err(format!("chunks before the error: {got:?}"));
    }
    harness.answers_again(pool).await
}

/// Whether the call is dropped or only its chunks are: the generator ends, and its slot is free.
pub(super) async fn reader_leaves(harness: &Harness, pool: &SharedPool) -> Verdict {
    if !harness.streams {
        return Ok(());
    }
    let folder = std::env::temp_dir().join(format!("dspex-streams-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let verdict = leave_each_way(harness, pool, &folder).await;
    let _ = std::fs::remove_dir_all(&folder);
    verdict
}

async fn leave_each_way(harness: &Harness, pool: &SharedPool, folder: &Path) -> Verdict {
    for attribute in ["counts_for_ever", "async_counts_for_ever"] {
        for drops_call in [true, false] {
            let path = folder.join(format!("{attribute}-{drops_call}"));
            let (call, mut receiver) = harness.stream(attribute, json!({ "path": path }));
            let mut execute = Box::pin(pool.execute(call));
            tokio::select! {
                ended = &mut execute => return Err(format!("{attribute} ended: {ended:?}")),
                _ = receiver.next() => {}
            }
            if drops_call {
                drop(execute);
            } else {
                drop(receiver);
                failed_with(execute.await, "that the call was given up", |error| {
                    matches!(error, PoolError::InvalidInput { .. })
                })?;
            }
            let until = Instant::now() + harness.patience;
            while !path.exists() {
                if Instant::now() > until {
                    return Err(format!(
                        "{attribute} did not end (call dropped: {drops_call})"
                    ));
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            harness.answers_again(pool).await?;
        }
    }
    Ok(())
}
