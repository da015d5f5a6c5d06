//! Sessions of a stateful program, and whether their states are kept.
//!
//! Invariant: the state is held here from turn to turn, as the router does it, so what is tried is what
//! pools owe to it: a call goes on from the state that it brings, and answers with what it leaves. A turn
//! that fails leaves the state as it was, and is made again.

use std::sync::Arc;
use std::time::Duration;

use dspex_pool::{Fault, SessionState, SharedPool};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::probe::{Ask, Probe, input};

/// One session on its way.
#[derive(Debug)]
pub(super) struct Session {
    name: Arc<str>,
    state: Option<SessionState>,
    turns: u64,
    total: u64,
}

/// How one turn ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Turn {
    /// As it must.
    Kept,
    /// The pool said that it failed, and whose fault that was is the pool's.
    Told(String),
    /// The answer is wrong, there was none, or it failed in a way that no fault of a pool explains.
    Lost(String),
}

impl Session {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            state: None,
            turns: 0,
            total: 0,
        }
    }

    /// Takes one turn, adding this number.
    pub(super) async fn turn(
        &mut self,
        pool: &SharedPool,
        probe: &Probe,
        add: u64,
        within: Duration,
    ) -> Turn {
        let ask = Ask::new(&probe.count, input("add", add), within)
            .session(&self.name, self.state.clone());
        let reply = match ask.of(pool).await {
            None => return Turn::Lost(format!("{}: no answer within {within:?}", self.name)),
            Some(Err(error)) if error.fault() == Fault::Pool => {
                return Turn::Told(format!("{}: {error}", self.name));
            }
            Some(Err(error)) => return Turn::Lost(format!("{}: {error}", self.name)),
            Some(Ok(reply)) => reply,
        };
        let (turns, total) = (self.turns + 1, self.total + add);
        let expected = json!({"turns": turns, "total": total});
        let answered = Value::Object(reply.outputs);
        if answered != expected {
            return Turn::Lost(format!(
                "{}: turn {turns} answered {answered} where {expected} is right",
                self.name
            ));
        }
        let Some(state) = reply.state else {
            return Turn::Lost(format!("{}: turn {turns} left no state", self.name));
        };
        (self.turns, self.total, self.state) = (turns, total, Some(state));
        Turn::Kept
    }

    /// Takes turns until it is told to stop, and at least one.
    pub(super) async fn keep_on(
        mut self,
        pool: SharedPool,
        probe: Probe,
        within: Duration,
        stop: CancellationToken,
    ) -> Kept {
        let mut kept = Kept::default();
        loop {
            let began = Instant::now();
            match self.turn(&pool, &probe, kept.answered + 1, within).await {
                Turn::Kept => kept.answered += 1,
                Turn::Told(_) => kept.told += 1,
                Turn::Lost(what) => kept.lost.push(what),
            }
            kept.longest = kept.longest.max(began.elapsed());
            // A pool that has lost so much is known; going on would only fill the memory.
            if stop.is_cancelled() || kept.lost.len() >= MOST_LOST {
                return kept;
            }
            // Callers leave gaps, too, and a fault is done to an idle worker.
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Between two turns of one session.
const PAUSE: Duration = Duration::from_millis(5);

/// So many losses of one session are enough.
const MOST_LOST: usize = 10;

/// What became of turns.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) answered: u64,
    pub(super) told: u64,
    pub(super) lost: Vec<String>,
    pub(super) longest: Duration,
}

impl Kept {
    /// Both together.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.answered += other.answered;
        self.told += other.told;
        self.lost.extend(other.lost);
        self.longest = self.longest.max(other.longest);
        self
    }
}
