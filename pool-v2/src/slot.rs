//! A slot's task: starts a worker, watches it, and replaces it when it is lost or due.
//!
//! Invariants:
//! - A slot starts at most one worker a second, and waits longer while starts fail; the starts of
//!   all slots share one circuit, which a crash loop opens.
//! - A worker that is replaced on purpose serves until its successor is warm. One that is lost is
//!   replaced at once.
//! - A worker that stops answering without computing, or keeps a call that nobody waits for, does
//!   not stay.

mod starts;
mod vitals;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use dspex_pool::Switches;
use tokio::sync::watch::Receiver;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use self::starts::{Probation, Starts};
use self::vitals::Vitals;
use self::watch::End;
use crate::config::Config;
use crate::dispatcher::Dispatcher;
use crate::rotation::Rotation;
use crate::seated::Seated;
use crate::warmer::Warmer;

/// How soon a worker that nobody may be sent away from is asked again whether it may go.
const DISMISSAL: Duration = Duration::from_millis(100);

/// What the slots' tasks share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) config: Config,
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) warmer: Warmer,
    pub(crate) starts: Starts,
    pub(crate) rotation: Rotation,
    pub(crate) switches: Receiver<Switches>,
    pub(crate) tracker: TaskTracker,
}

impl Shared {
    pub(crate) fn switches(&self) -> Switches {
        *self.switches.borrow()
    }

    /// How many workers stay in service although they are under suspicion.
    pub(crate) fn keep_ready(&self) -> usize {
        self.config.keep_ready(self.dispatcher.size())
    }
}

/// A slot's task.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) slot: usize,
    pub(crate) shared: Arc<Shared>,
    /// The pool stops: at once.
    pub(crate) stop: CancellationToken,
    /// The slot is not wanted any more: its calls may end.
    pub(crate) dismissed: CancellationToken,
}

/// A worker in its slot.
#[derive(Debug)]
struct Resident {
    seated: Arc<Seated>,
    generation: u64,
    began: Instant,
    probation: Probation,
    vitals: Vitals,
}

impl Keeper {
    /// Runs until the pool stops or the slot is dismissed.
    pub(crate) async fn run(self) {
        let stop = self.stop.clone();
        stop.run_until_cancelled(self.keep()).await;
    }

    async fn keep(&self) {
        let mut failed_starts = 0;
        let mut not_before = Instant::now();
        loop {
            let wait = tokio::time::sleep_until(not_before);
            if self.dismissed.run_until_cancelled(wait).await.is_none() {
                return;
            }
            let Some(mut permit) = self.shared.starts.permit(&self.shared.dispatcher) else {
                not_before = Instant::now() + self.shared.starts.retry();
                continue;
            };
            let began = Instant::now();
            let name = self.shared.dispatcher.starting(self.slot);
            match self.start(&name).await {
                Ok(seated) => {
                    failed_starts = 0;
                    self.shared
                        .dispatcher
                        .started(self.slot, Arc::clone(&seated));
                    let resident = self.resident(seated, began, permit);
                    let Some(last_began) = self.stay(resident).await else {
                        return;
                    };
                    not_before = last_began + self.shared.starts.spacing();
                }
                Err(reason) => {
                    failed_starts += 1;
                    permit.failed(Instant::now());
                    self.shared.dispatcher.start_failed(self.slot, &reason);
                    not_before = began + self.shared.starts.delay(failed_starts);
                }
            }
        }
    }

    /// Watches over the slot's worker, and over those that take over from it while it still runs.
    /// Answers when the last of them was started, once it is lost; nothing where the slot was
    /// dismissed.
    async fn stay(&self, mut resident: Resident) -> Option<Instant> {
        let dispatcher = &self.shared.dispatcher;
        loop {
            match self.watch(&mut resident).await {
                End::Lost { why, failed } => {
                    let worker = resident.seated.worker.name();
                    tracing::warn!(pool = %self.shared.name, %worker, why, "a worker is lost");
                    dispatcher.gone(self.slot, &why, failed);
                    return Some(resident.began);
                }
                End::Dismissed => {
                    while !dispatcher.dismiss(self.slot, "the pool needs fewer workers") {
                        tokio::time::sleep(DISMISSAL).await;
                    }
                    self.see_off(resident);
                    return None;
                }
                End::Due { why } => match self.successor(&resident, &why).await {
                    Some(next) => {
                        let old = std::mem::replace(&mut resident, next);
                        if old.seated.worker.is_over() {
                            dispatcher.gone(self.slot, "it ended before it was replaced", true);
                            dispatcher.started(self.slot, Arc::clone(&resident.seated));
                        } else {
                            dispatcher.replace(self.slot, Arc::clone(&resident.seated), &why);
                            self.see_off(old);
                        }
                    }
                    None => {
                        // The old one serves on, and is looked at again after a while.
                        tokio::time::sleep(self.shared.starts.spacing()).await;
                    }
                },
            }
        }
    }

    /// Starts the worker that is to take over.
    async fn successor(&self, old: &Resident, why: &str) -> Option<Resident> {
        let spaced = old.began + self.shared.starts.spacing();
        tokio::time::sleep_until(spaced).await;
        let mut permit = self.shared.starts.permit(&self.shared.dispatcher)?;
        let began = Instant::now();
        let name = self.shared.dispatcher.starting_successor(self.slot);
        let (pool, worker) = (&self.shared.name, old.seated.worker.name());
        tracing::info!(%pool, %worker, why, "a worker is replaced; its successor is started first");
        match self.start(&name).await {
            Ok(seated) => Some(Resident {
                generation: old.generation + 1,
                ..self.resident(seated, began, permit)
            }),
            Err(_) => {
                permit.failed(Instant::now());
                self.shared.dispatcher.successor_failed();
                None
            }
        }
    }

    async fn start(&self, name: &str) -> Result<Arc<Seated>, String> {
        let warm = self.shared.switches().enhanced_workers;
        let pool = &self.shared.name;
        match self.shared.warmer.start(name, warm).await {
            Ok(worker) => {
                let (pid, python) = (worker.pid(), &worker.hello().python);
                tracing::info!(%pool, worker = name, pid, python, "a worker is ready");
                Ok(Seated::new(worker))
            }
            Err(error) => {
                let reason = error.to_string();
                tracing::warn!(%pool, worker = name, reason, "a worker cannot be started");
                Err(reason)
            }
        }
    }

    fn resident(&self, seated: Arc<Seated>, began: Instant, probation: Probation) -> Resident {
        Resident {
            vitals: Vitals::new(seated.worker.name(), began),
            seated,
            generation: self.shared.dispatcher.in_use(self.slot).0,
            began,
            probation,
        }
    }

    /// Lets a worker that takes no new calls finish those that it has, and ends it.
    fn see_off(&self, old: Resident) {
        let shared = Arc::clone(&self.shared);
        let (slot, stop) = (self.slot, self.stop.clone());
        self.shared.tracker.spawn(async move {
            let Resident {
                seated, generation, ..
            } = old;
            let deadline = Instant::now() + shared.config.drain_limit;
            let calls_end = async {
                // A call that was given up and is still kept is not waited for.
                while !shared
                    .dispatcher
                    .emptied(slot, generation, watch::LOOK)
                    .await
                    && seated.worker.wanted_calls() > 0
                {}
            };
            tokio::select! {
                _ = tokio::time::timeout_at(deadline, calls_end) => {}
                // The pool ends its workers by itself.
                () = stop.cancelled() => return,
            }
            seated.worker.shutdown(shared.config.shutdown_timeout).await;
            shared
                .dispatcher
                .retired(slot, generation, &seated.worker.ended().await);
        });
    }
}
