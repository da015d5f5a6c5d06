//! What the workers of a fork server know of its end, which is theirs too.
//!
//! Invariant: the server's end is told before any of the ends that follow from it, so a worker that
//! asks when it is gone itself is answered rightly.

use std::sync::Arc;

use tokio::sync::watch;

use crate::error::PoolError;

/// Whether a fork server has ended. All its workers end with it at the same moment.
#[derive(Debug)]
pub(crate) struct Fate {
    /// In place of a worker's name: it is all of them.
    name: Arc<str>,
    ended: watch::Receiver<Option<String>>,
}

impl Fate {
    pub(super) fn new(pid: u32, ended: watch::Receiver<Option<String>>) -> Self {
        Self {
            name: format!("of fork server {pid}").into(),
            ended,
        }
    }

    /// Whether the server is gone: then its worker is too, also where nobody has seen that yet.
    pub(crate) fn is_sealed(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// How all of its workers were lost, where they were: one loss under one name, and not as many
    /// as there were workers.
    pub(crate) fn shared_by_all(&self) -> Option<PoolError> {
        let ended = self.ended.borrow();
        let why = ended.as_ref()?;
        Some(PoolError::Crashed {
            worker: self.name.to_string(),
            reason: format!("the server is gone, and every worker with it: {why}"),
        })
    }
}
