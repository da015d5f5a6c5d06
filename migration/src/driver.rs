//! The loop that performs what is decided: wake, observe, decide, write down, act.
//!
//! Invariants: one turn at a time, and no turn waits for an act; acts run beside the loop and are
//! dropped only by a rollback or at the end. Nothing is done before it is written down, but for
//! one thing: where a rollback cannot be written down, traffic is taken to 0 % all the same, and
//! writing is tried on until it works.

mod backoff;
mod ear;
mod keeping;
mod reading;
mod writing;

use std::sync::Arc;
use std::time::Duration;

use dspex_flags::Revision;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::acts::{self, UnderWay};
use crate::analysis::Analysis;
use crate::clock;
use crate::controller::{Decision, decide};
use crate::error::JournalError;
use crate::event::Event;
use crate::id::MigrationId;
use crate::lever::Act;
use crate::migrations::Migrations;
use crate::observation::{Insisted, Observation, Outcome};
use crate::scenario::Scenario;
use crate::state::State;
use crate::status::Status;
use crate::watcher::Watcher;
use backoff::Backoff;
use ear::Ear;
use keeping::Keeping;

/// How often the store is looked into while there is nothing to do.
const IDLE: Duration = Duration::from_secs(5);

/// How long until a store that failed is tried again, at most.
const AGAIN: Duration = Duration::from_secs(1);

/// How long a rollback waits to be written down before it is done unwritten.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long anything else waits to be written or read.
const STORE_LIMIT: Duration = Duration::from_secs(15);

pub(crate) struct Driver {
    house: Arc<Migrations>,
    state: Option<State>,
    /// Somebody else wrote since the state was read: only a rollback is decided from it.
    stale: bool,
    running: Option<(Act, UnderWay)>,
    /// What came of the last act, until it is written down.
    outcome: Option<Outcome>,
    /// When that was tried in vain: a write that was answered by an error may be there all the same.
    tried: Vec<jiff::Timestamp>,
    /// The migration that was read last, also while its state has to be read anew.
    followed: Option<MigrationId>,
    /// A rollback of the migration followed that was decided and is not written down.
    insisted: Option<Insisted>,
    /// The revision that this controller has written to take traffic to 0 % in this rollback.
    zeroed: Option<Revision>,
    watcher: Watcher,
    keeping: Keeping,
    look: Option<Analysis>,
    trouble: Option<String>,
    next_turn: Instant,
    backoff: Backoff,
    ear: Ear,
}

enum Wake {
    Stop,
    Asked,
    Done(Outcome),
    Time,
}

impl Driver {
    pub(crate) fn new(house: Arc<Migrations>) -> Self {
        let now = Instant::now();
        Self {
            house,
            state: None,
            stale: false,
            running: None,
            outcome: None,
            tried: Vec::new(),
            followed: None,
            insisted: None,
            zeroed: None,
            watcher: Watcher::new(now),
            keeping: Keeping::default(),
            look: None,
            trouble: None,
            next_turn: now,
            backoff: Backoff::default(),
            ear: Ear::default(),
        }
    }

    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            let house = self.house.clone();
            let wake = tokio::select! {
                biased;
                () = stop.cancelled() => Wake::Stop,
                // Before what begins another turn, which may wait for a store: an act that was begun
                // comes as far as it can, and its write is on its way.
                outcome = under_way(&mut self.running) => Wake::Done(outcome),
                () = house.wake.notified() => Wake::Asked,
                () = self.ear.heard() => Wake::Asked,
                () = tokio::time::sleep_until(self.next_turn) => Wake::Time,
            };
            match wake {
                Wake::Stop => return,
                Wake::Asked => {}
                Wake::Time => self.next_turn = Instant::now() + self.interval(),
                Wake::Done(outcome) => self.done(outcome),
            }
            // A turn may be cut off anywhere: what was written down is found again, what was not
            // has not happened.
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.turn() => {}
            }
        }
    }

    /// An act has ended.
    fn done(&mut self, outcome: Outcome) {
        let Some((act, _)) = self.running.take() else {
            return;
        };
        if let Outcome::Zeroed(Err(not)) = &outcome {
            self.zeroed = not.written;
        }
        if acts::failed(&outcome) {
            let again = self.backoff.failed(act, self.interval(), Instant::now());
            self.next_turn = self.next_turn.min(again);
        } else {
            self.backoff.succeeded(act);
        }
        self.outcome = Some(outcome);
        self.tried.clear();
    }

    fn interval(&self) -> Duration {
        match &self.state {
            Some(state) if state.phase.is_live() || state.is_watched() => state.plan.interval,
            _ => IDLE,
        }
    }

    async fn turn(&mut self) {
        let trouble = self.try_turn().await.err().map(|error| error.to_string());
        if trouble != self.trouble {
            match &trouble {
                Some(trouble) => tracing::error!(trouble, "the migration holds"),
                None => tracing::info!("the migration journal can be written again"),
            }
        }
        if trouble.is_some() {
            let soon = Instant::now() + AGAIN.min(self.interval());
            self.next_turn = self.next_turn.min(soon);
        }
        self.trouble = trouble;
        self.listen();
        self.publish();
    }

    async fn try_turn(&mut self) -> Result<(), JournalError> {
        // What cannot be read is trouble, and keeps nobody from a rollback of what is known.
        let read = self.catch_up().await;
        let Some(state) = self.state.clone() else {
            return read;
        };
        if let Some(cause) = self.house.asked(&state.id) {
            let scenario = Scenario::Manual;
            self.insisted = Some(Insisted { cause, scenario });
        }
        let now = Instant::now();
        let (seen, inbox) = self.observe(&state, now).await;
        let at = clock::now();
        let decision = decide(&state, &seen, at);
        self.look = decision.analysis.clone().or(self.look.take());
        if decision.rollback().is_none() {
            read?;
        }
        let next = match self.write_down(&state, &decision, at).await {
            Ok(next) => next,
            Err(error) => {
                self.unwritten(&state, &decision, &error, at);
                return Err(error);
            }
        };
        (self.outcome, self.stale) = (None, false);
        self.tried.clear();
        self.keep(&next, &seen, &decision, at);
        if !next.may_roll_back() {
            self.insisted = None;
            self.house.answered(&next.id);
        }
        self.wind_clocks(&decision.events, now);
        self.state = Some(next);
        let act = decision.actions.first().copied();
        self.act(act, decision.rollback().is_some());
        inbox
    }

    /// Has what was seen kept, and what was made of it.
    fn keep(
        &mut self,
        state: &State,
        seen: &Observation,
        decision: &Decision,
        at: jiff::Timestamp,
    ) {
        if let (Some(look), Some(analysis)) = (&seen.look, &decision.analysis)
            && let Some(before) = &self.state
            && let judged = (analysis, before.comes_of(analysis.action()))
            && let Some(look) = self.keeping.seen(state, look, judged, at)
        {
            self.house.parts.recorder.record(look);
        }
    }

    /// What the events mean for the windows and the time since the last look.
    fn wind_clocks(&mut self, events: &[Event], now: Instant) {
        let telemetry = Arc::clone(&self.house.parts.telemetry);
        self.watcher.looked(now);
        for event in events {
            match event {
                Event::StageEntered { .. } | Event::Resumed { .. } => {
                    self.watcher.begin_anew(&telemetry, now);
                    self.keeping.begin_anew();
                }
                Event::Ticked { .. } => self.watcher.proved_is_told(),
                Event::Watched { .. } => {
                    self.watcher.proved_is_told();
                    self.watcher.served_is_told();
                }
                Event::Completed => self.watcher.served_is_told(),
                Event::TrafficSet { .. } => {
                    self.watcher.traffic_set(&telemetry, Instant::now());
                }
                // What was written for an earlier rollback is no longer the last word.
                Event::TrafficZeroed { .. } => self.zeroed = None,
                _ => {}
            }
        }
    }

    /// Begins the act, unless it is under way. Only a rollback cuts another act off; what only asks
    /// or looks, and what raises traffic, is dropped once nobody wants it.
    fn act(&mut self, act: Option<Act>, rolls_back_now: bool) {
        let Some(state) = &self.state else { return };
        let wanted = state.wants();
        self.running
            .take_if(|(running, _)| running.may_be_dropped() && wanted != Some(*running));
        let Some(act) = act else { return };
        let free = match self.running.as_ref().map(|(running, _)| *running) {
            None => true,
            Some(running) => act == Act::Zero && running != Act::Zero,
        };
        let waits = self.backoff.waits(act, Instant::now()) && !rolls_back_now;
        if free && !waits {
            tracing::debug!(migration = %state.id, ?act, "begins");
            self.running = Some((act, acts::begin(act, state, &self.house.parts, self.zeroed)));
        }
    }

    /// Listens for what other processes ask of the migration at hand. Not in trouble: what is there
    /// cannot be taken, and it is looked for at the next try.
    fn listen(&mut self) {
        match &self.state {
            _ if self.trouble.is_some() => self.ear.close(),
            Some(state) if state.phase.is_live() || state.may_roll_back() => {
                let journal = &self.house.parts.journal;
                self.ear.listen(journal, &state.id, state.last_command);
            }
            _ => self.ear.close(),
        }
    }

    fn publish(&self) {
        let Some(state) = &self.state else { return };
        let status = Status::of(state, self.look.as_ref(), self.trouble.as_deref());
        self.house.publish(status, state);
    }
}

/// The act under way, or never where there is none.
async fn under_way(running: &mut Option<(Act, UnderWay)>) -> Outcome {
    match running {
        Some((_, act)) => act.await,
        None => std::future::pending().await,
    }
}

fn slow(problem: &str) -> JournalError {
    JournalError::Store {
        problem: problem.to_owned(),
    }
}
