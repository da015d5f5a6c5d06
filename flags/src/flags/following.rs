//! Following the store: what others write into it is published, and its troubles are told.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Flags;
use crate::error::FlagError;
use crate::revision::Revision;
use crate::snapshot::Snapshot;

impl Flags {
    /// Reads the store again, and publishes what is new in it.
    ///
    /// # Errors
    ///
    /// As [`Flags::open`], and [`FlagError::WentBack`]; the last good snapshot goes on being served,
    /// and [`Flags::store_error`] tells of it.
    pub async fn refresh(&self) -> Result<(), Arc<FlagError>> {
        let read = self.read_store().await;
        self.note(read)
    }

    /// Why the store cannot be read at present; `None` while it can.
    pub fn store_error(&self) -> Option<Arc<FlagError>> {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Watches the store until `stop`: asks for its revision every `poll`, and when the store itself
    /// says that there may be news; publishes what other processes have written, and stores what is
    /// [pending](Flags::pending).
    pub async fn run(self: Arc<Self>, poll: Duration, stop: CancellationToken) {
        let mut next = Instant::now() + poll;
        loop {
            // A pending write that fails wakes `look`: only the clock tries it again.
            let on_time = tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep_until(next) => true,
                () = self.look.notified() => false,
                () = self.store.changed() => false,
            };
            // Cancelled in the middle of a read, this loses nothing: nothing was published yet. A
            // write that is cut off has written all or nothing.
            tokio::select! {
                () = stop.cancelled() => return,
                () = async {
                    if on_time {
                        self.write_pending().await;
                    }
                    self.poll_once().await;
                } => {}
            }
            if on_time {
                next = Instant::now() + poll;
            }
        }
    }

    /// Has the store's error tell it too.
    pub(super) fn went_back(&self, served: Revision, stored: Revision) -> FlagError {
        let error = || FlagError::WentBack { served, stored };
        let _kept = self.note(Err(error()));
        error()
    }

    /// Errors are told by [`Flags::note`]; here is nobody to hand them to.
    pub(super) async fn poll_once(&self) {
        let newest = self.store.revision().await;
        let read = match newest {
            Ok(newest) if newest == self.snapshot().revision() && self.store_error().is_none() => {
                return;
            }
            Ok(_) => self.read_store().await,
            Err(error) => Err(error),
        };
        let _told = self.note(read);
    }

    async fn read_store(&self) -> Result<Snapshot, FlagError> {
        // Taken before the read: whatever is read afterwards cannot be older, unless the store is.
        let served = self.snapshot().revision();
        let stored = self.store.load().await?;
        if stored.revision < served {
            return Err(FlagError::WentBack {
                served,
                stored: stored.revision,
            });
        }
        Snapshot::new(self.declared.clone(), self.base.clone(), &stored)
    }

    /// Publishes what was read, or keeps why it was not; says each once, not at every poll.
    fn note(&self, read: Result<Snapshot, FlagError>) -> Result<(), Arc<FlagError>> {
        let result = read
            .map(|snapshot| self.publish(|served| served.read(snapshot)))
            .map_err(Arc::new);
        let now = result.as_ref().err().cloned();
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *trouble, now);
        drop(trouble);
        match (before, &result) {
            (None, Err(error)) => {
                tracing::warn!(%error, "the flag store cannot be read; the last good flags are served");
            }
            (Some(_), Ok(())) => tracing::info!("the flag store can be read again"),
            _ => {}
        }
        result
    }
}
