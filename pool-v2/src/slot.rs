//! A slot's task: starts a worker, watches it, and replaces it when it is lost or due.
//!
//! Invariants:
//! - A slot starts at most one worker a second, and waits longer while starts fail; the starts of
//!   all slots share one circuit, which a crash loop opens.
//! - A worker that is replaced on purpose serves until its successor is warm. One that is lost is
//!   replaced at once.
//! - A worker that stops answering without computing, or keeps a call that nobody waits for, does
//!   not stay.

mod closer;
mod vitals;
mod watch;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use dspex_pool::Switches;
use tokio::sync::watch::Receiver;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::vitals::Vitals;
use self::watch::End;
use crate::config::Config;
use crate::dispatcher::Dispatcher;
use crate::recovery::{SlotStarts, StartPermit, Starts};
use crate::seated::Seated;
use crate::warmer::Warmer;

/// How soon a worker that nobody may be sent away from is asked again whether it may go.
const DISMISSAL: Duration = Duration::from_millis(100);
/// How long the leave to start a worker is waited for before it is asked for again: the circuit may
/// have been switched off, or closed by another slot.
const ASK: Duration = Duration::from_secs(1);

/// What the slots' tasks share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) config: Config,
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) warmer: Warmer,
    pub(crate) starts: Starts,
    pub(crate) switches: Receiver<Switches>,
    pub(crate) tracker: TaskTracker,
}

impl Shared {
    pub(crate) fn switches(&self) -> Switches {
        *self.switches.borrow()
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
    ready: Instant,
    /// Until it is known whether the worker has come to something.
    start: Option<StartPermit>,
    vitals: Vitals,
}

impl Keeper {
    /// Runs until the pool stops or the slot is dismissed.
    pub(crate) async fn run(self) {
        let stop = self.stop.clone();
        stop.run_until_cancelled(self.keep()).await;
    }

    async fn keep(&self) {
        let mut starts = SlotStarts::default();
        loop {
            let asked = self.dismissed.run_until_cancelled(self.leave(&mut starts));
            let Some(permit) = asked.await else {
                // The slot has no worker, and will have none: sessions must not count on it.
                let why = "the pool needs fewer workers";
                while !self.shared.dispatcher.dismiss(self.slot, why) {
                    tokio::time::sleep(DISMISSAL).await;
                }
                return;
            };
            let name = self.shared.dispatcher.starting(self.slot);
            match self.start(&name).await {
                Ok(seated) => {
                    self.shared
                        .dispatcher
                        .started(self.slot, Arc::clone(&seated));
                    let generation = self.shared.dispatcher.generation(self.slot);
                    let resident = Resident::new(seated, generation, permit);
                    if self.stay(resident, &mut starts).await == Left::Dismissed {
                        return;
                    }
                }
                Err(reason) => {
                    permit.failed(&mut starts, Instant::now());
                    self.shared.dispatcher.start_failed(self.slot, &reason);
                }
            }
        }
    }

    /// Waits until the slot may start a worker. Those who wait for a worker of a pool that has none,
    /// and may not start any, are told.
    async fn leave(&self, starts: &mut SlotStarts) -> StartPermit {
        let shared = &self.shared;
        // One draw for each start, so that its wait does not change while it is waited for.
        let random = RandomState::new().hash_one(self.slot);
        loop {
            match shared.starts.ask(starts, Instant::now(), random) {
                Ok(permit) => return permit,
                Err(not) => {
                    if let Some(after) = shared.starts.none_for(not, Instant::now()) {
                        shared.dispatcher.despair(&format!(
                            "workers fail as soon as they are started; the next is tried in {after:.0?}"
                        ));
                    }
                    tokio::time::sleep(not.after().min(ASK)).await;
                }
            }
        }
    }

    /// Watches over the slot's worker, and over those that take over from it while it still runs,
    /// until the last of them is lost or the slot is dismissed.
    async fn stay(&self, mut resident: Resident, starts: &mut SlotStarts) -> Left {
        let dispatcher = &self.shared.dispatcher;
        loop {
            match self.watch(&mut resident, starts).await {
                End::Lost { why } => {
                    let worker = resident.seated.worker.name();
                    tracing::warn!(pool = %self.shared.name, %worker, why, "a worker is lost");
                    dispatcher.gone(self.slot, &why, true);
                    return Left::Lost;
                }
                End::Dismissed => {
                    while !dispatcher.dismiss(self.slot, "the pool needs fewer workers") {
                        tokio::time::sleep(DISMISSAL).await;
                    }
                    self.see_off(resident);
                    return Left::Dismissed;
                }
                End::Due { why, hung } => match self.take_over(&resident, &why, starts).await {
                    TakenOver::By(next) => {
                        let old = std::mem::replace(&mut resident, next);
                        let successor = Arc::clone(&resident.seated);
                        dispatcher.replace(self.slot, successor, &why, hung);
                        if hung {
                            // Nobody would answer those who still wait.
                            old.seated.worker.condemn(&why);
                        }
                        self.see_off(old);
                    }
                    TakenOver::Late(next) => {
                        let Some(next) = next else {
                            return Left::Lost;
                        };
                        resident = next;
                        dispatcher.started(self.slot, Arc::clone(&resident.seated));
                    }
                    TakenOver::Not => {
                        // The old one serves on; the next try waits for its turn as every start does.
                        dispatcher.ask_replacement(self.slot, resident.generation, &why);
                    }
                    TakenOver::Dismissed => dispatcher.not_replaced(self.slot, false),
                },
            }
        }
    }

    /// Starts the worker that is to take over, and watches the old one meanwhile.
    async fn take_over(&self, old: &Resident, why: &str, starts: &mut SlotStarts) -> TakenOver {
        let dispatcher = &self.shared.dispatcher;
        let bell = dispatcher.bell(self.slot);
        let worker = &old.seated.worker;
        let mut successor = std::pin::pin!(self.successor(old, why, starts));
        loop {
            tokio::select! {
                how = worker.ended() => {
                    tracing::warn!(
                        pool = %self.shared.name, worker = %worker.name(), how,
                        "a worker is lost before its successor is there"
                    );
                    dispatcher.gone(self.slot, &how, true);
                    return TakenOver::Late(successor.await);
                }
                () = self.dismissed.cancelled() => return TakenOver::Dismissed,
                // Its end comes next.
                () = bell.notified() => self.condemn_the_silent(old).await,
                next = &mut successor => return next.map_or(TakenOver::Not, TakenOver::By),
            }
        }
    }

    /// Starts the worker that is to take over.
    async fn successor(
        &self,
        old: &Resident,
        why: &str,
        starts: &mut SlotStarts,
    ) -> Option<Resident> {
        let permit = self.leave(starts).await;
        let name = self.shared.dispatcher.starting_successor(self.slot);
        let (pool, worker) = (&self.shared.name, old.seated.worker.name());
        tracing::info!(%pool, %worker, why, "a worker is replaced; its successor is started first");
        match self.start(&name).await {
            Ok(seated) => Some(Resident::new(seated, old.generation + 1, permit)),
            Err(_) => {
                permit.failed(starts, Instant::now());
                self.shared.dispatcher.not_replaced(self.slot, true);
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

    /// Lets a worker that takes no new calls finish those that somebody waits for, and ends it. Each
    /// has a deadline of its own, so there is no other.
    fn see_off(&self, old: Resident) {
        let shared = Arc::clone(&self.shared);
        let (slot, stop) = (self.slot, self.stop.clone());
        self.shared.tracker.spawn(async move {
            let Resident {
                seated, generation, ..
            } = old;
            let calls_end = async {
                while !shared
                    .dispatcher
                    .emptied(slot, generation, watch::LOOK)
                    .await
                    && seated.worker.wanted_calls() > 0
                {}
            };
            // The pool ends its workers by itself.
            if stop.run_until_cancelled(calls_end).await.is_none() {
                return;
            }
            seated.worker.shutdown(shared.config.shutdown_timeout).await;
            shared
                .dispatcher
                .retired(slot, generation, &seated.worker.ended().await);
        });
    }
}

impl Resident {
    fn new(seated: Arc<Seated>, generation: u64, start: StartPermit) -> Self {
        let ready = Instant::now();
        Self {
            vitals: Vitals::new(seated.worker.name(), ready),
            seated,
            generation,
            ready,
            start: Some(start),
        }
    }

    /// The worker was lost. Before it came to anything, its start was a failed one; what it has done
    /// since it was looked at last counts.
    fn lost(&mut self, shared: &Starts, starts: &mut SlotStarts) {
        self.settle(shared, starts);
        if let Some(start) = self.start.take() {
            start.failed(starts, Instant::now());
        }
    }

    /// Whether the worker has come to something, once that is known.
    fn settle(&mut self, shared: &Starts, starts: &mut SlotStarts) {
        let (answered, now) = (self.seated.worker.answered(), Instant::now());
        if shared.has_settled(now - self.ready, answered)
            && let Some(start) = self.start.take()
        {
            start.settled(starts, now);
        }
    }
}

/// How it went with a worker that was to be replaced.
#[derive(Debug)]
enum TakenOver {
    /// Another is ready.
    By(Resident),
    /// It ended before; here is another, or none could be started.
    Late(Option<Resident>),
    /// None could be started, and it serves on.
    Not,
    /// The slot is not wanted any more.
    Dismissed,
}

/// Why a slot's worker is not there any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Lost,
    Dismissed,
}
