//! What the controller reads before it decides: the journal, the inbox, the lever, the candidate.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use dspex_flags::Percent;
use tokio::time::Instant;

use super::{Driver, PATIENCE, STORE_LIMIT, slow};
use crate::analysis::{Verdict, analyse};
use crate::error::JournalError;
use crate::id::MigrationId;
use crate::observation::{FlagsSeen, Look, Observation};
use crate::state::State;
use crate::traffic;

impl Driver {
    /// Reads the newest migration, where another one may have begun or somebody else wrote.
    ///
    /// While one is known, this takes no longer than the time between two looks at it; and once a
    /// rollback of it is asked for, no longer than a rollback waits to be written down.
    pub(super) async fn catch_up(&mut self) -> Result<(), JournalError> {
        let Some(state) = self.state.as_ref() else {
            return self.read_newest().await;
        };
        if state.phase.is_live() && !self.stale {
            return Ok(());
        }
        let id = state.id.clone();
        let limit = state.plan.interval.clamp(PATIENCE, STORE_LIMIT);
        let (house, insists) = (Arc::clone(&self.house), self.insisted.is_some());
        let out_of_patience = async {
            if !insists {
                house.insisted(&id).await;
            }
            tokio::time::sleep(PATIENCE).await;
        };
        tokio::select! {
            read = in_time(limit, self.read_newest()) => read,
            () = out_of_patience => Err(slow("it did not answer in the time that a rollback has")),
        }
    }

    async fn read_newest(&mut self) -> Result<(), JournalError> {
        let journal = &self.house.parts.journal;
        let Some(newest) = in_time(STORE_LIMIT, journal.history(1)).await?.pop() else {
            return Ok(());
        };
        let known = self.state.as_ref().filter(|_| !self.stale);
        let known = known.map(|state| (&state.id, state.seq));
        if known == Some((&newest.id, newest.last_seq)) {
            return Ok(());
        }
        let told = match self.tried_after(&newest.id) {
            Some(seq) => {
                let next = in_time(STORE_LIMIT, journal.entries(&newest.id, seq, 1)).await?;
                next.first()
                    .is_some_and(|next| self.tried.contains(&next.at))
            }
            None => false,
        };
        let state = in_time(STORE_LIMIT, State::load(&**journal, &newest.id)).await?;
        tracing::info!(
            migration = %state.id, phase = %state.phase, stage = state.stage.map(|stage| stage + 1),
            seq = state.seq,
            "following the migration"
        );
        if told {
            self.outcome = None;
        }
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
        (self.state, self.stale) = (Some(state), false);
        Ok(())
    }

    /// The last entry known, where a try to write the next one was answered by an error. It may be there
    /// all the same, with what came of the last act, and is ours then, by the moment of that try.
    fn tried_after(&self, id: &MigrationId) -> Option<u64> {
        let known = self.state.as_ref().filter(|known| known.id == *id)?;
        (!self.tried.is_empty()).then_some(known.seq)
    }

    /// Sees what there is to see. An inbox that cannot be read is trouble, and hides nothing else.
    pub(super) async fn observe(
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
            let look = self
                .watcher
                .look(state, &parts.telemetry, &*parts.candidate, now);
            // Flags say where traffic is meant to go. Whether it is served there is seen.
            let verdict = analyse(&state.plan.thresholds, &look.evidence).verdict;
            let serves = all && look.is_ready() && verdict != Verdict::Inconclusive;
            let served = self.watcher.serves(state, serves, now);
            Look { served, ..look }
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
}

async fn in_time<T>(
    limit: Duration,
    read: impl Future<Output = Result<T, JournalError>>,
) -> Result<T, JournalError> {
    let read = tokio::time::timeout(limit, read).await;
    read.unwrap_or_else(|_| Err(slow("it did not answer in time")))
}
