//! A slot's task: it starts a worker, waits until that worker is lost, and starts the next.
//!
//! Invariant: a slot starts at most one worker a second, and waits longer while starts fail.

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
        let lost = Arc::clone(&self.state().slots[slot].lost);
        let mut pause = SHORTEST_RESTART;
        loop {
            let began = Instant::now();
            let started = tokio::select! {
                started = self.start_worker(slot) => started,
                () = self.stop.cancelled() => break,
            };
            match started {
                Ok(seat) => {
                    {
                        let mut state = self.state();
                        let status = &mut state.slots[slot];
                        status.state = WorkerState::Ready;
                        status.pid = Some(seat.worker.process().pid());
                        status.calls = 0;
                        state.last_failure = None;
                        if state.draining {
                            break;
                        }
                        state.seats.push(seat);
                    }
                    self.idle.add_permits(1);
                    self.slot_settled.notify_waiters();
                    pause = SHORTEST_RESTART;
                    tokio::select! {
                        () = lost.notified() => {}
                        () = self.stop.cancelled() => break,
                    }
                }
                Err(reason) => {
                    tracing::warn!(pool = %self.name, slot, %reason, "a worker cannot be started");
                    {
                        let mut state = self.state();
                        state.failures += 1;
                        state.slots[slot].detail = Some(reason.clone());
                        state.slots[slot].state = WorkerState::Terminated;
                        state.last_failure = Some(reason);
                    }
                    self.slot_settled.notify_waiters();
                    pause = (pause * 2).min(LONGEST_RESTART);
                }
            }
            tokio::select! {
                () = tokio::time::sleep_until(began + pause) => {}
                () = self.stop.cancelled() => break,
            }
        }
    }

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
        let pong = worker
            .request("ping", &Value::Object(Map::new()), deadline)
            .await
            .map_err(|error| format!("worker {name} did not start: {error}"))?;
        if pong.get("status").and_then(Value::as_str) != Some("ok") {
            return Err(format!(
                "worker {name} did not answer `ping` with status \"ok\""
            ));
        }
        Ok(Seat::new(
            slot,
            worker,
            mode,
            self.config.sessions_per_worker,
        ))
    }
}
