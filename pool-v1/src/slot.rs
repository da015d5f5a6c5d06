//! A slot's task: it starts a worker, waits until that worker is lost, and starts the next.
//!
//! Invariants: a slot starts at most one worker a second, and waits longer while starts fail. Its
//! task ends no sooner than the process it started last.

use std::sync::Arc;
use std::time::Duration;

use dspex_pool::{BridgeWorker, WorkerState};
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::pool::Inner;
use crate::seat::Seat;

const SHORTEST_RESTART: Duration = Duration::from_secs(1);
const LONGEST_RESTART: Duration = Duration::from_secs(30);

impl Inner {
    /// Waits for the first start of every slot.
    pub(crate) async fn all_ready(&self) -> Result<(), String> {
        loop {
            let settled = self.slot_settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            {
                let state = self.state();
                if let Some(reason) = &state.last_failure {
                    return Err(reason.clone());
                }
                if state
                    .slots
                    .iter()
                    .all(|slot| slot.state == WorkerState::Ready)
                {
                    return Ok(());
                }
            }
            settled.await;
        }
    }

    /// The task of one slot: starts a worker, waits until it is lost, starts the next.
    pub(crate) async fn keep_filled(self: Arc<Self>, slot: usize) {
        let mut pause = SHORTEST_RESTART;
        loop {
            let began = Instant::now();
            let started = self.start_worker(slot).await;
            if self.stop.is_cancelled() {
                // Whatever was started is dropped here, or was ended before.
                if let Ok(seat) = started {
                    end(seat).await;
                }
                return;
            }
            match started {
                Ok(seat) => {
                    pause = SHORTEST_RESTART;
                    self.tend(slot, seat).await;
                }
                Err(reason) => {
                    self.start_failed(slot, reason);
                    pause = (pause * 2).min(LONGEST_RESTART);
                }
            }
            tokio::select! {
                () = tokio::time::sleep_until(began + pause) => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    /// Offers the worker to callers until it is lost, and waits for its process's end.
    async fn tend(&self, slot: usize, seat: Seat) {
        let process = Arc::clone(seat.worker.process());
        let lost = {
            let mut state = self.state();
            let lost = state.welcome(seat);
            self.idle.add_permits(1);
            lost
        };
        self.slot_settled.notify_waiters();
        tokio::select! {
            () = lost.notified() => {}
            _ = process.wait() => {
                let was_idle = {
                    let mut state = self.state();
                    let was_idle = state.bury_idle(slot);
                    if was_idle {
                        // None is left where a caller has just taken it: he finds no seat.
                        self.idle.forget_permits(1);
                    }
                    was_idle
                };
                if !was_idle {
                    // Whoever has the seat finds out, and says so.
                    tokio::select! {
                        () = lost.notified() => {}
                        () = self.stop.cancelled() => {}
                    }
                }
            }
            () = self.stop.cancelled() => {
                // A call may be in flight; the drain asks the worker to end after it.
                tokio::select! {
                    _ = process.wait() => {}
                    () = self.dropped.cancelled() => {}
                }
            }
        }
        process.kill();
        process.wait().await;
    }

    fn start_failed(&self, slot: usize, reason: String) {
        tracing::warn!(pool = %self.name, slot, %reason, "a worker cannot be started");
        {
            let mut state = self.state();
            state.failures += 1;
            state.slots[slot].detail = Some(reason.clone());
            state.slots[slot].state = WorkerState::Terminated;
            state.last_failure = Some(reason);
        }
        self.slot_settled.notify_waiters();
    }

    /// Starts a worker that answers a ping. Where there is none, its process has ended.
    async fn start_worker(&self, slot: usize) -> Result<Seat, String> {
        let name = {
            let mut state = self.state();
            state.starts += 1;
            let status = &mut state.slots[slot];
            status.state = WorkerState::Initializing;
            let name = format!("{}-{slot}.{}", self.name, status.generation);
            status.generation += 1;
            name
        };
        let mode = self.config.mode;
        let deadline = Instant::now() + self.config.start_timeout;
        let mut worker = BridgeWorker::start(
            &name,
            &self.command,
            mode.as_str(),
            &self.launch,
            &self.spawner,
            &self.tracker,
        )
        .await
        .map_err(|error| error.to_string())?;
        let nothing = Value::Object(Map::new());
        let pong = tokio::select! {
            pong = worker.request("ping", &nothing, deadline) => pong
                .map_err(|error| format!("worker {name} did not start: {error}")),
            () = self.stop.cancelled() => Err("the pool stops".to_owned()),
        };
        let fit = pong.and_then(|pong| match pong.get("status").and_then(Value::as_str) {
            Some("ok") => Ok(()),
            _ => Err(format!(
                "worker {name} did not answer `ping` with status \"ok\""
            )),
        });
        let kept = self.config.sessions_per_worker;
        let seat = Seat::new(slot, worker, mode, kept);
        match fit {
            Ok(()) => Ok(seat),
            Err(reason) => {
                end(seat).await;
                Err(reason)
            }
        }
    }
}

/// Kills a worker and waits for its end.
async fn end(seat: Seat) {
    let process = Arc::clone(seat.worker.process());
    drop(seat);
    process.wait().await;
}
