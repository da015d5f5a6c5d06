//! The handle: start, command, status, history, and the loop behind them.
//!
//! Invariant: whoever asks goes through the journal or its inbox, so that another process may do
//! the same. The one exception is a rollback that the store does not take: it is handed to the
//! controller directly.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dspex_flags::{Flags, Percent};
use dspex_telemetry::Telemetry;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::candidate::Candidate;
use crate::cause::Cause;
use crate::clock;
use crate::command::{Command, CommandRow};
use crate::driver::Driver;
use crate::error::{JournalError, MigrationError, signed};
use crate::event::{Entry, Event};
use crate::gate::Gatekeeper;
use crate::id::MigrationId;
use crate::journal::{Journal, Post, Start, Summary};
use crate::phase::Phase;
use crate::plan::Plan;
use crate::recording::Recorder;
use crate::state::State;
use crate::status::Status;
use crate::succession::Succession;
use crate::traffic::{self, PROMPT};
use crate::unclear;
use crate::validator::Validator;
use crate::vault::Vault;

/// How long a command is waited for. The controller takes one at once while it can.
const TAKEN_WITHIN: Duration = Duration::from_secs(3);

/// How long a rollback that went round the store is offered to it still.
const PATIENCE: Duration = Duration::from_secs(1);

/// What migrations are made with.
#[derive(Clone)]
pub struct Parts {
    /// Where they are written down.
    pub journal: Arc<dyn Journal>,
    /// The lever.
    pub flags: Arc<Flags>,
    /// What calls did.
    pub telemetry: Arc<Telemetry>,
    /// Who brings a candidate up and takes it away.
    pub candidate: Arc<dyn Candidate>,
    /// Who puts things aside.
    pub vault: Arc<dyn Vault>,
    /// Who holds the candidate against stable once more.
    pub validator: Arc<dyn Validator>,
    /// Who puts the candidate's pool into the old one's place.
    pub succession: Arc<dyn Succession>,
    /// Who asks webhooks.
    pub gatekeeper: Arc<dyn Gatekeeper>,
    /// Where what every look saw is kept.
    pub recorder: Arc<dyn Recorder>,
}

/// All migrations of one house, of which at most one is under way.
pub struct Migrations {
    pub(crate) parts: Parts,
    /// Wakes the controller: there is something new.
    pub(crate) wake: Notify,
    /// A rollback that goes round the store, and the migration that it is meant for.
    asked: Mutex<Option<(MigrationId, Cause)>>,
    asked_now: Notify,
    status: watch::Sender<Option<Arc<Status>>>,
    /// The migration before the newest, once another was started here: a turn of the controller that
    /// still had it must not put it back.
    past: Mutex<Option<MigrationId>>,
    wanted: Mutex<Option<Plan>>,
}

impl Migrations {
    /// Reads where the newest migration is. Nothing is done before [`Migrations::run`].
    ///
    /// # Errors
    ///
    /// [`MigrationError::Journal`] where the journal cannot be read.
    pub async fn open(parts: Parts) -> Result<Arc<Self>, MigrationError> {
        let newest = parts.journal.history(1).await?.pop();
        let house = Self {
            parts,
            wake: Notify::new(),
            asked: Mutex::new(None),
            asked_now: Notify::new(),
            status: watch::Sender::new(None),
            past: Mutex::new(None),
            wanted: Mutex::new(None),
        };
        if let Some(newest) = newest {
            let state = State::load(&*house.parts.journal, &newest.id).await?;
            house.publish(Status::of(&state, None, None), &state);
            house.obey_before_traffic(&state).await?;
        }
        Ok(Arc::new(house))
    }

    /// Begins a migration. The controller takes it up at once.
    ///
    /// # Errors
    ///
    /// [`MigrationError::AlreadyRunning`] where one is under way,
    /// [`MigrationError::NotDecommissioned`] where one is complete and its old pool still there,
    /// [`MigrationError::TrafficNotAtRest`] where the candidate's lane has traffic already,
    /// [`MigrationError::InvalidPlan`], [`MigrationError::Unsigned`], or the journal's.
    pub async fn start(
        &self,
        plan: Plan,
        who: &str,
        why: &str,
    ) -> Result<MigrationId, MigrationError> {
        signed(who, why)?;
        plan.validate()?;
        match self.parts.journal.history(1).await?.pop() {
            Some(newest) if newest.phase.is_live() => {
                return Err(MigrationError::AlreadyRunning { id: newest.id });
            }
            // The candidate serves everything, and stable is still the old pool: there is no lane free.
            Some(newest) if newest.phase == Phase::Complete => {
                return Err(MigrationError::NotDecommissioned { id: newest.id });
            }
            _ => {}
        }
        // A store that cannot be read now is no reason to trust an old snapshot.
        let refreshed = self.parts.flags.refresh().await;
        refreshed.map_err(|error| JournalError::Store {
            problem: error.to_string(),
        })?;
        let percent = traffic::seen(&self.parts.flags).effective();
        if percent != Percent::ZERO {
            return Err(MigrationError::TrafficNotAtRest { percent });
        }
        let (id, at) = (MigrationId::generate(), clock::now());
        let journal = &*self.parts.journal;
        let start = Start {
            plan: &plan,
            who,
            why,
            at,
        };
        if let Err(error) = journal.create(&id, start).await {
            unclear::created(journal, &id, error).await?;
        }
        let state = State::begin(id.clone(), plan, who.to_owned(), why.to_owned(), at);
        self.supersede(&id);
        self.publish(Status::of(&state, None, None), &state);
        self.wake.notify_one();
        Ok(id)
    }

    /// Asks something of the newest migration, and waits until the controller has taken it.
    ///
    /// Where the controller does not run (yet), the command waits in the store and the status is
    /// what it was.
    ///
    /// # Errors
    ///
    /// [`MigrationError::None`] where there is none, [`MigrationError::Refused`] where it makes no
    /// sense now, [`MigrationError::Unsigned`], or the journal's: never for a rollback, which goes
    /// round a store that does not answer.
    pub async fn command(
        &self,
        command: Command,
        who: &str,
        why: &str,
    ) -> Result<Status, MigrationError> {
        signed(who, why)?;
        let status = self.status().ok_or(MigrationError::None)?;
        let post = Post {
            command,
            who,
            why,
            at: clock::now(),
        };
        let posted = self.parts.journal.post(&status.id, post);
        if command != Command::Rollback {
            let number = match posted.await {
                Ok(number) => number,
                Err(error) => {
                    let (journal, after) = (&*self.parts.journal, status.last_command);
                    unclear::posted(journal, &status.id, after, &post, error).await?
                }
            };
            self.wake.notify_one();
            return self.taken(&status, number, command).await;
        }
        let mut posted = std::pin::pin!(posted);
        let prompt = tokio::time::timeout(PROMPT, &mut posted).await;
        if let Ok(Ok(number)) = prompt {
            self.wake.notify_one();
            match self.taken(&status, number, command).await {
                Ok(taken) if taken.id != status.id || taken.last_command >= number => {
                    return Ok(taken);
                }
                Err(refused @ MigrationError::Refused { .. }) => return Err(refused),
                // Not taken yet, or the store cannot say: it happens all the same.
                Ok(_) | Err(_) => {}
            }
        }
        let cause = Cause::Person {
            who: who.to_owned(),
            why: why.to_owned(),
        };
        self.insist(&status, &cause);
        if prompt.is_err() {
            // It happens anyway. One that the store takes late is found should this process die.
            let _late = tokio::time::timeout(PATIENCE, posted).await;
        }
        self.status()
            .map(|status| Status::clone(&status))
            .ok_or(MigrationError::None)
    }

    /// Where the newest migration is.
    #[must_use]
    pub fn status(&self) -> Option<Arc<Status>> {
        self.status.borrow().clone()
    }

    /// Every change of [`Migrations::status`].
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Option<Arc<Status>>> {
        self.status.subscribe()
    }

    /// The newest migrations first.
    ///
    /// # Errors
    ///
    /// [`MigrationError::Journal`] where the journal cannot be read.
    pub async fn history(&self, limit: usize) -> Result<Vec<Summary>, MigrationError> {
        Ok(self.parts.journal.history(limit).await?)
    }

    /// The journal of one migration: entries after `after_seq`, at most `limit`.
    ///
    /// # Errors
    ///
    /// [`MigrationError::Unknown`] where there is no such migration.
    pub async fn events(
        &self,
        id: &MigrationId,
        after_seq: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, MigrationError> {
        Ok(self.parts.journal.entries(id, after_seq, limit).await?)
    }

    /// What was asked of one migration, obeyed or not, in order.
    ///
    /// # Errors
    ///
    /// [`MigrationError::Unknown`] where there is no such migration.
    pub async fn commands(&self, id: &MigrationId) -> Result<Vec<CommandRow>, MigrationError> {
        Ok(self.parts.journal.commands(id, 0).await?)
    }

    /// The plan whose candidate must be up: the newest migration is past deploy and not being
    /// rolled back, also after it is complete. On start-up the app brings it up again.
    #[must_use]
    pub fn candidate_wanted(&self) -> Option<Plan> {
        lock(&self.wanted).clone()
    }

    /// Runs the controller until `stop`: first goes on with what the journal says is under way.
    /// To be run once; a stop leaves everything as it is, to be gone on with.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        Driver::new(self).run(stop).await;
    }

    /// A rollback that was left while nobody ran is done in turn, like any other; but before it is, no
    /// traffic goes to the candidate, and nobody brings one up.
    async fn obey_before_traffic(&self, state: &State) -> Result<(), MigrationError> {
        let journal = &self.parts.journal;
        let left = journal.commands(&state.id, state.last_command).await?;
        let rollback = left.iter().find(|row| row.command == Command::Rollback);
        if let Some(row) = rollback.filter(|_| state.may_roll_back()) {
            tracing::warn!(
                migration = %state.id, who = row.who, why = row.why,
                "a rollback was left while no server ran: traffic to 0 % first"
            );
            let (who, why) = (row.who.clone(), row.why.clone());
            traffic::lower_here(&self.parts.flags, &state.id, &Cause::Person { who, why });
            *lock(&self.wanted) = None;
        }
        Ok(())
    }

    /// What is told of another migration than this one is of the past. The controller may have told of this
    /// one already.
    fn supersede(&self, newest: &MigrationId) {
        if let Some(before) = self.status().filter(|told| told.id != *newest) {
            *lock(&self.past) = Some(before.id.clone());
        }
    }

    /// Publishes where the newest migration is.
    pub(crate) fn publish(&self, status: Status, state: &State) {
        self.status.send_if_modified(|current| {
            let now = current.as_deref();
            let at = |status: &Status| (status.id.clone(), status.last_seq);
            let stale = is_stale(&at(&status), now.map(at), lock(&self.past).as_ref());
            let changed = !stale && now != Some(&status);
            if changed {
                *lock(&self.wanted) = state.wants_candidate().then(|| state.plan.clone());
                *current = Some(Arc::new(status));
            }
            changed
        });
    }

    /// The rollback of this migration that goes round the store, if there is one. One that is meant
    /// for another migration is nobody's: that one is over, or not read yet.
    pub(crate) fn asked(&self, id: &MigrationId) -> Option<Cause> {
        let asked = lock(&self.asked);
        let (_, cause) = asked.as_ref().filter(|(asked, _)| asked == id)?;
        Some(cause.clone())
    }

    /// It was obeyed.
    pub(crate) fn answered(&self, id: &MigrationId) {
        lock(&self.asked).take_if(|(asked, _)| asked == id);
    }

    /// Waits for a rollback of this migration that goes round the store.
    pub(crate) async fn insisted(&self, id: &MigrationId) {
        while self.asked(id).is_none() {
            self.asked_now.notified().await;
        }
    }

    /// A person's rollback goes round the store. Traffic leaves in this process at once; what has to
    /// be written down is the controller's.
    fn insist(&self, status: &Status, cause: &Cause) {
        // Asked for first: a controller that finds the flags lowered must know on whose word.
        *lock(&self.asked) = Some((status.id.clone(), cause.clone()));
        if !matches!(status.phase, Phase::RolledBack | Phase::Decommissioned) {
            traffic::lower_here(&self.parts.flags, &status.id, cause);
        }
        self.asked_now.notify_one();
        self.wake.notify_one();
    }

    /// Waits until the controller has taken the command, and finds out whether it was obeyed.
    async fn taken(
        &self,
        before: &Status,
        number: u64,
        command: Command,
    ) -> Result<Status, MigrationError> {
        let mut watch = self.watch();
        let taken = watch.wait_for(|status| {
            status
                .as_ref()
                .is_some_and(|now| now.id != before.id || now.last_command >= number)
        });
        let taken = tokio::time::timeout(TAKEN_WITHIN, taken).await.is_ok();
        let status = self.status().ok_or(MigrationError::None)?;
        if taken && status.id == before.id {
            let journal = &self.parts.journal;
            let entries = journal.entries(&before.id, before.last_seq, 1000);
            let entries = tokio::time::timeout(TAKEN_WITHIN, entries).await;
            let entries = entries.unwrap_or_else(|_| {
                Err(JournalError::Store {
                    problem: "it did not answer in time".to_owned(),
                })
            })?;
            let refused = entries.into_iter().find_map(|entry| match entry.event {
                Event::Commanded {
                    command_id,
                    refused,
                    ..
                } if command_id == number => refused,
                _ => None,
            });
            // Who asks twice for a rollback has what they want.
            let there = command == Command::Rollback && status.phase == Phase::RollingBack;
            if let Some(reason) = refused.filter(|_| !there) {
                return Err(MigrationError::Refused {
                    command,
                    phase: status.phase,
                    reason,
                });
            }
        }
        Ok(Status::clone(&status))
    }
}

/// Whether a status (the migration, and its newest entry) is older than what is told `now`: a start
/// publishes beside the controller, whose turn may still have known no more than it knew before.
fn is_stale(
    (id, seq): &(MigrationId, u64),
    now: Option<(MigrationId, u64)>,
    past: Option<&MigrationId>,
) -> bool {
    past == Some(id) || now.is_some_and(|(told, newest)| told == *id && newest > *seq)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whole values are put in and taken out: a panic elsewhere leaves nothing half-done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_that_still_had_the_migration_before_does_not_put_it_back() {
        let [before, newest] = ["m-1", "m-2"].map(MigrationId::from_text);
        let at = |id: &MigrationId, seq| (id.clone(), seq);
        assert!(!is_stale(&at(&newest, 1), None, None), "the first of all");
        let told = || Some(at(&newest, 4));
        assert!(is_stale(&at(&before, 90), told(), Some(&before)));
        assert!(is_stale(&at(&newest, 3), told(), Some(&before)));
        assert!(!is_stale(&at(&newest, 4), told(), Some(&before)));
        let of_another_process = at(&MigrationId::from_text("m-3"), 1);
        assert!(!is_stale(&of_another_process, told(), Some(&before)));
    }
}
