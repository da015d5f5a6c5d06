//! A call through a circuit, from its permit to its report, in one piece.

use std::future::Future;

use tokio::time::Instant;

use crate::{Circuit, Classify, Note, Refused};

/// Why a call through a circuit has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError<E> {
    /// The circuit did not let it through, so it was not made.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It was made, and failed.
    #[error("{0}")]
    Failed(E),
}

impl<E> CallError<E> {
    /// The callee's own error, where the call was made.
    pub fn into_failed(self) -> Option<E> {
        match self {
            Self::Refused(_) => None,
            Self::Failed(error) => Some(error),
        }
    }
}

impl Circuit {
    /// Makes a call where the circuit lets it through, and tells the circuit how it went.
    ///
    /// Dropping the future cancels the call and gives its permit back.
    ///
    /// # Errors
    ///
    /// [`CallError::Refused`] where the circuit is open; the call's own error as
    /// [`CallError::Failed`].
    pub async fn call<T, E, F>(
        &self,
        judge: &impl Classify<E>,
        call: impl FnOnce() -> F,
    ) -> Result<T, CallError<E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        let permit = self.try_borrow(Instant::now())?;
        let ended = call().await;
        let note = note_of(&ended, judge);
        permit.note(note, Instant::now());
        ended.map_err(CallError::Failed)
    }
}

/// What a circuit is told of a call that ended so.
pub(crate) fn note_of<T, E>(ended: &Result<T, E>, judge: &impl Classify<E>) -> Note {
    match ended {
        Ok(_) => Note::Success,
        Err(error) => judge.classify(error).note,
    }
}
