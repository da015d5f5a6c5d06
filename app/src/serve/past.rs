//! What the newest migration has left, as far as it decides what is started.

use dspex_migration::{Journal, JournalError, MigrationError, Phase, Plan, State};

use crate::assemble::AssembleError;
use crate::pools::PoolVersion;
use crate::resting::Idle;

/// The newest migration, where there has been one.
pub(super) struct Past(Option<State>);

impl Past {
    pub(super) async fn read(journal: &dyn Journal) -> Result<Self, AssembleError> {
        let read = async {
            let Some(newest) = journal.history(1).await?.pop() else {
                return Ok(None);
            };
            let state = State::load(journal, &newest.id).await?;
            Ok::<_, JournalError>(Some(state))
        };
        Ok(Self(read.await.map_err(MigrationError::from)?))
    }

    /// The plan of a migration that holds its two pools: it is under way, or complete and can still be
    /// rolled back.
    pub(super) fn unfinished(&self) -> Option<&Plan> {
        let state = self.0.as_ref()?;
        let holds = state.phase.is_live() || state.phase == Phase::Complete;
        holds.then_some(&state.plan)
    }

    /// When this pool rests again once a call has woken it, where it was put to rest.
    pub(super) fn rests(&self, stable: &PoolVersion) -> Option<Idle> {
        let state = self.0.as_ref()?;
        let version = state.plan.stable_version.unwrap_or(stable.version);
        let rests = state.rested
            && matches!(state.phase, Phase::Complete | Phase::Decommission)
            && (state.plan.stable.as_str(), version) == (stable.name.as_str(), stable.version);
        rests.then_some(Idle {
            after: state.plan.retention.warm,
            drain: state.plan.drain_limit,
        })
    }
}
