//! Writing down what was decided, and what is done where that fails: nothing, but for a rollback.

use super::{Driver, PATIENCE, STORE_LIMIT, slow};
use crate::acts;
use crate::controller::Decision;
use crate::error::JournalError;
use crate::event::{Entry, Event};
use crate::journal::Append;
use crate::lever::Act;
use crate::observation::{Insisted, Outcome};
use crate::scenario::Scenario;
use crate::state::State;
use crate::status::outcome;
use crate::traffic::{self, PROMPT};
use tokio::time::Instant;

impl Driver {
    /// Appends what was decided, and answers the state after it.
    pub(super) async fn write_down(
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
        let flags = &self.house.parts.flags;
        // Traffic does not wait for a store that is slow to take the rollback. It stays where it was for
        // anything else.
        let lowered = async {
            if let Some((cause, _)) = decision.rollback() {
                tokio::time::sleep(PROMPT).await;
                traffic::lower_here(flags, &state.id, cause);
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            written = tokio::time::timeout(limit, append) => {
                written.unwrap_or_else(|_| Err(slow("it did not answer in time")))?;
            }
            () = lowered => {}
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
    pub(super) fn unwritten(
        &mut self,
        state: &State,
        decision: &Decision,
        error: &JournalError,
        at: jiff::Timestamp,
    ) {
        if matches!(error, JournalError::Store { .. }) && self.outcome.is_some() {
            self.tried.push(at);
        }
        if matches!(
            error,
            JournalError::Conflict { .. }
                | JournalError::AlreadyRunning { .. }
                | JournalError::Corrupt { .. }
        ) {
            // Somebody else wrote: the journal is the truth.
            self.stale = true;
            self.next_turn = Instant::now();
        }
        if let Some((cause, scenario)) = decision.rollback() {
            self.insisted = Some(Insisted {
                cause: cause.clone(),
                scenario: scenario.unwrap_or(Scenario::Manual),
            });
        }
        if matches!(self.outcome, Some(Outcome::Zeroed(Err(_)))) {
            // The flags are lowered in this process by now. Writing is tried again at the next turn,
            // and not at once: both stores may be away for long.
            self.outcome = None;
            return;
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
}
