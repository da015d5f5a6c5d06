//! The loop that performs what is decided: wake, observe, decide, write down, act.
//!
//! Invariants: one turn at a time, and no turn waits for an act; acts run beside the loop and are
//! dropped only by a rollback or at the end. Nothing is done before it is written down, but for
//! one thing: where a rollback cannot be written down, traffic is taken to 0 % all the same, and
//! writing is tried on until it works.

mod backoff;
mod ear;

use std::sync::Arc;
use std::time::Duration;

use dspex_flags::{Percent, Revision};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::acts::{self, UnderWay};
use crate::analysis::Analysis;
use crate::clock;
use crate::controller::{Decision, decide};
use crate::error::JournalError;
use crate::event::{Entry, Event};
use crate::id::MigrationId;
use crate::journal::{Append, read_all};
use crate::lever::Act;
use crate::migrations::Migrations;
use crate::observation::{FlagsSeen, Insisted, Observation, Outcome};
use crate::recording::Recorded;
use crate::scenario::Scenario;
use crate::state::State;
use crate::status::{Status, outcome};
use crate::traffic;
use crate::watcher::Watcher;
use backoff::Backoff;
use ear::Ear;

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
    running: Option<(Act, UnderWay)>,
    /// What came of the last act, until it is written down.
    outcome: Option<Outcome>,
    /// The migration that was read last, also while its state has to be read anew.
    followed: Option<MigrationId>,
    /// A rollback of the migration followed that was decided and is not written down.
    insisted: Option<Insisted>,
    /// The revision that this controller has written to take traffic to 0 % in this rollback.
    zeroed: Option<Revision>,
    watcher: Watcher,
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
            running: None,
            outcome: None,
            followed: None,
            insisted: None,
            zeroed: None,
            watcher: Watcher::new(now),
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
                () = house.wake.notified() => Wake::Asked,
                () = self.ear.heard() => Wake::Asked,
                outcome = under_way(&mut self.running) => Wake::Done(outcome),
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
        let live = |state: &State| state.phase.is_live();
        if !self.state.as_ref().is_some_and(live) {
            self.catch_up().await?;
        }
        let Some(state) = self.state.clone() else {
            return Ok(());
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
        let next = match self.write_down(&state, &decision, at).await {
            Ok(next) => next,
            Err(error) => {
                self.unwritten(&state, &decision, &error);
                return Err(error);
            }
        };
        self.outcome = None;
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
    fn keep(&self, state: &State, seen: &Observation, decision: &Decision, at: jiff::Timestamp) {
        if let (Some(look), Some(analysis)) = (&seen.look, &decision.analysis) {
            self.house.parts.recorder.record(Recorded {
                migration: state.id.clone(),
                seq: state.seq,
                at,
                stage: state.stage,
                epoch: look.epoch,
                missing: 0,
                pools: [state.plan.stable.clone(), state.plan.candidate.clone()],
                sample: look.sample.clone(),
                verdict: analysis.verdict,
                action: analysis.action(),
                summary: analysis.summary(),
            });
        }
    }

    /// Reads the newest migration, where it is not the one at hand.
    async fn catch_up(&mut self) -> Result<(), JournalError> {
        let journal = &self.house.parts.journal;
        let Some(newest) = in_time(STORE_LIMIT, journal.history(1)).await?.pop() else {
            return Ok(());
        };
        let known = self.state.as_ref().map(|state| (&state.id, state.seq));
        if known == Some((&newest.id, newest.last_seq)) {
            return Ok(());
        }
        let entries = in_time(STORE_LIMIT, read_all(&**journal, &newest.id)).await?;
        let state = State::replay(&newest.id, &entries)?;
        tracing::info!(
            migration = %state.id, phase = %state.phase, stage = state.stage.map(|stage| stage + 1),
            seq = state.seq,
            "following the migration"
        );
        if self.followed.as_ref() != Some(&state.id) {
            // What was decided, done and begun was for another migration, and that one is over.
            self.followed = Some(state.id.clone());
            (self.insisted, self.outcome) = (None, None);
            (self.running, self.zeroed) = (None, None);
        }
        self.watcher
            .begin_anew(&self.house.parts.telemetry, Instant::now());
        self.look = None;
        self.next_turn = self.next_turn.min(Instant::now() + state.plan.interval);
        self.state = Some(state);
        Ok(())
    }

    /// Sees what there is to see. An inbox that cannot be read is trouble, and hides nothing else.
    async fn observe(
        &mut self,
        state: &State,
        now: Instant,
    ) -> (Observation, Result<(), JournalError>) {
        let parts = &self.house.parts;
        let read = in_time(
            PATIENCE,
            parts.journal.commands(&state.id, state.last_command),
        )
        .await;
        let (commands, inbox) = match read {
            Ok(commands) => (commands, Ok(())),
            Err(error) => (Vec::new(), Err(error)),
        };
        let mut flags = traffic::seen(&parts.flags);
        if flags.effective() != state.percent() && state.may_pause() {
            flags = FlagsSeen {
                changed_by: traffic::changed_by(&parts.flags).await,
                ..flags
            };
        }
        let all = flags.effective() == Percent::HUNDRED;
        let look = state.is_watched().then(|| {
            self.watcher.serves(state, all, now);
            self.watcher
                .look(state, &parts.telemetry, &*parts.candidate, now)
        });
        let seen = Observation {
            flags,
            commands,
            outcome: self.outcome.clone(),
            insisted: self.insisted.clone(),
            look,
        };
        (seen, inbox)
    }

    /// Appends what was decided, and answers the state after it.
    async fn write_down(
        // `mut` although nothing is changed: an act under way may be sent to another thread, but
        // not shared with one.
        &mut self,
        state: &State,
        decision: &Decision,
        at: jiff::Timestamp,
    ) -> Result<State, JournalError> {
        if decision.events.is_empty() {
            return Ok(state.clone());
        }
        let mut next = state.clone();
        for event in &decision.events {
            next = next.clone().next(&Entry {
                seq: next.seq + 1,
                at,
                event: event.clone(),
            });
        }
        let outcome = outcome(&next);
        let append = self.house.parts.journal.append(
            &state.id,
            Append {
                expected_seq: state.seq,
                events: &decision.events,
                at,
                phase: next.phase,
                outcome: outcome.as_deref(),
            },
        );
        let rolls_back = decision.rollback().is_some();
        let limit = if rolls_back { PATIENCE } else { STORE_LIMIT };
        tokio::select! {
            written = tokio::time::timeout(limit, append) => {
                written.unwrap_or_else(|_| Err(slow("it did not answer in time")))?;
            }
            // A person's rollback waits for nothing, while there is something to roll back. Should
            // the append have arrived after all, the next one finds a conflict, and reads the
            // journal again.
            () = self.house.insisted(&state.id), if !rolls_back && state.may_roll_back() => {
                return Err(slow("a rollback came while it was being written"));
            }
        }
        for (event, seq) in decision.events.iter().zip(state.seq + 1..) {
            match event {
                Event::Ticked { .. } => {}
                event if event.is_trouble() => {
                    tracing::warn!(migration = %state.id, seq, "{event}");
                }
                event => tracing::info!(migration = %state.id, seq, "{event}"),
            }
        }
        Ok(next)
    }

    /// What was decided could not be written down: hold, but for a rollback.
    fn unwritten(&mut self, state: &State, decision: &Decision, error: &JournalError) {
        if matches!(
            error,
            JournalError::Conflict { .. }
                | JournalError::AlreadyRunning { .. }
                | JournalError::Corrupt { .. }
        ) {
            // Somebody else wrote: the journal is the truth.
            self.state = None;
            self.next_turn = Instant::now();
        }
        if let Some((cause, scenario)) = decision.rollback() {
            self.insisted = Some(Insisted {
                cause: cause.clone(),
                scenario: scenario.unwrap_or(Scenario::Manual),
            });
        }
        if matches!(self.outcome, Some(Outcome::Zeroed(Err(_)))) {
            self.outcome = None;
        }
        let Some(Insisted { cause, .. }) = self.insisted.clone() else {
            return;
        };
        let zeroed = matches!(self.outcome, Some(Outcome::Zeroed(Ok(_))));
        let zeroing = matches!(self.running, Some((Act::Zero, _)));
        if state.may_roll_back() && !zeroed && !zeroing {
            tracing::error!(
                migration = %state.id, %cause,
                "rolling back although it cannot be written down: traffic to 0 % first"
            );
            self.outcome = None;
            let zero = acts::zero(state, &self.house.parts, Some(&cause), self.zeroed);
            self.running = Some((Act::Zero, zero));
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
                }
                Event::Completed | Event::Watched { .. } => self.watcher.served_is_told(),
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
    /// or looks is dropped once nobody wants to know.
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

async fn in_time<T>(
    limit: Duration,
    read: impl Future<Output = Result<T, JournalError>>,
) -> Result<T, JournalError> {
    let read = tokio::time::timeout(limit, read).await;
    read.unwrap_or_else(|_| Err(slow("it did not answer in time")))
}

fn slow(problem: &str) -> JournalError {
    JournalError::Store {
        problem: problem.to_owned(),
    }
}
