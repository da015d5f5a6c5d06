//! The live handle: the newest snapshot, writes, and the watch over the store.
//!
//! Invariants: readers never wait; what is published never goes back to an older revision; while the
//! store is away or unreadable, the last good snapshot is served and [`Flags::store_error`] says why;
//! a flag may be lowered in this process before the store has it, and is never raised so.

mod following;
mod pending;
mod revert;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Mutex as AsyncMutex, Notify, watch};

use crate::audit::{Change, Write};
use crate::clock;
use crate::current::Current;
use crate::declared::Declared;
use crate::error::FlagError;
use crate::flag::Declaration;
use crate::layers::{Base, Layers};
use crate::revision::Revision;
use crate::served::Served;
use crate::snapshot::Snapshot;
use crate::store::FlagStore;
use crate::value::{FlagValue, Kind};
use crate::watch::{Observer, Subscriber, SubscriberList};

/// The flags of one process: shared as an `Arc`, read without waiting.
pub struct Flags {
    store: Arc<dyn FlagStore>,
    declared: Arc<Declared>,
    /// What lies under the store.
    base: Arc<Base>,
    /// What `published` is made from. Locked before `published`, never after.
    served: Mutex<Served>,
    /// The same snapshot as in `published`, for readers: they take no lock.
    current: ArcSwap<Snapshot>,
    published: watch::Sender<Arc<Snapshot>>,
    subscribers: SubscriberList,
    trouble: Mutex<Option<Arc<FlagError>>>,
    /// One write at a time: each is published before the next one is made.
    writing: AsyncMutex<()>,
    /// Wakes [`Flags::run`] when a write was abandoned and may have reached the store.
    look: Notify,
}

impl Flags {
    /// Opens the flags of a store: loads it, and lays it over the compiled defaults.
    ///
    /// # Errors
    ///
    /// [`FlagError::BadDeclaration`] for a mistake in the declarations, [`FlagError::Corrupt`] and
    /// [`FlagError::HashVersion`] for a store that must not be served from, [`FlagError::Store`] for
    /// one that cannot be read.
    pub async fn open(
        store: Arc<dyn FlagStore>,
        declarations: Vec<Declaration>,
    ) -> Result<Arc<Self>, FlagError> {
        Self::open_layered(store, declarations, Layers::new()).await
    }

    /// As [`Flags::open`], with a configuration and an environment between the compiled defaults and
    /// the store.
    ///
    /// # Errors
    ///
    /// As [`Flags::open`]; and [`FlagError::UnknownFlag`] and [`FlagError::BadValue`] for what a
    /// layer sets.
    pub async fn open_layered(
        store: Arc<dyn FlagStore>,
        declarations: Vec<Declaration>,
        layers: Layers,
    ) -> Result<Arc<Self>, FlagError> {
        let declared = Arc::new(Declared::new(declarations)?);
        let base = Arc::new(layers.over(&declared)?);
        let stored = store.load().await?;
        let snapshot = Arc::new(Snapshot::new(declared.clone(), base.clone(), &stored)?);
        for key in stored
            .values
            .keys()
            .filter(|key| declared.place(crate::rules::split(key).0).is_none())
        {
            tracing::warn!(
                key,
                "the store has a flag that this program does not know; it is left alone"
            );
        }
        Ok(Arc::new(Self {
            store,
            declared,
            base,
            served: Mutex::new(Served::new(Snapshot::clone(&snapshot))),
            current: ArcSwap::new(snapshot.clone()),
            published: watch::Sender::new(snapshot),
            subscribers: SubscriberList::new(),
            trouble: Mutex::new(None),
            writing: AsyncMutex::new(()),
            look: Notify::new(),
        }))
    }

    /// The newest snapshot this process knows, to be kept: for several decisions at one revision, or
    /// across an await. No lock, no await.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// The newest snapshot this process knows, to be looked at and let go: for one decision on a busy
    /// path. It writes nothing that another thread reads or writes, so it costs the same however many
    /// threads decide at once.
    pub fn current(&self) -> Current {
        Current::new(self.current.load())
    }

    /// Every flag there is, in the order of the keys.
    pub fn declarations(&self) -> &[Declaration] {
        self.declared.all()
    }

    /// Reads JSON or typed text as a value of the flag of that name, or as its rules: see
    /// [`rules_key`](crate::rules_key).
    ///
    /// # Errors
    ///
    /// [`FlagError::UnknownFlag`] with the nearest name, or [`FlagError::BadValue`].
    pub fn read_value(&self, key: &str, json: &serde_json::Value) -> Result<FlagValue, FlagError> {
        self.declared.read(key, json)
    }

    /// Changes flags: checked, written to the store, and published to every subscriber.
    ///
    /// When this returns, [`Flags::snapshot`] has the new revision; whether everybody *serves* it is
    /// for [`Flags::wait_acknowledged`] to say. A dropped future has written all or nothing, and
    /// [`Flags::run`] then looks into the store at once.
    ///
    /// # Errors
    ///
    /// [`FlagError::UnknownFlag`], [`FlagError::BadValue`] and [`FlagError::BadWrite`] before anything
    /// is written; [`FlagError::Conflict`] and [`FlagError::Store`] from the store;
    /// [`FlagError::WentBack`] where the store is older than what is served: it may have kept the write,
    /// and it is not served.
    pub async fn write(&self, mut write: Write) -> Result<Revision, FlagError> {
        write.check()?;
        let _one_at_a_time = self.writing.lock().await;
        // Rules are checked together with those of other flags, so at one revision, and written on top
        // of that: at another the check may say something else, such as that two writers have made a
        // cycle.
        let has_rules = write
            .set
            .iter()
            .any(|(_, value)| value.kind() == Kind::Rules);
        if has_rules && write.expected.is_none() {
            // Where it cannot be read, the write will say so.
            let _newest = self.refresh().await;
            write.expected = Some(self.snapshot().revision());
        }
        self.snapshot().check(&write)?;
        let abandoned = LookOnDrop(Some(&self.look));
        // A store that holds what is served answers with a newer revision. One that does not went back:
        // it has the write, but nobody will serve it, and everybody acknowledged more long ago.
        let served = self.snapshot().revision();
        let revision = match self.store.write(&write, clock::now()).await {
            Ok(stored) if stored <= served => {
                abandoned.disarm();
                return Err(self.went_back(served, stored));
            }
            Ok(revision) => revision,
            Err(FlagError::Conflict { actual, .. }) if actual < served => {
                abandoned.disarm();
                return Err(self.went_back(served, actual));
            }
            Err(refused @ (FlagError::Conflict { .. } | FlagError::BadWrite { .. })) => {
                abandoned.disarm();
                return Err(refused);
            }
            // The store may have taken the write and failed to say so: the guard has `run` look.
            Err(unknown) => return Err(unknown),
        };
        tracing::info!(
            %revision,
            who = write.who,
            why = write.why,
            set = ?write.set,
            "flags changed"
        );
        // The write stands, and what it sets must take effect even where something else in the
        // store cannot be read: a rollback may not wait for a repair. The error is kept by `note`.
        let read = self.refresh().await.is_ok();
        self.publish(|served| served.wrote(&write, revision, read));
        abandoned.disarm();
        Ok(revision)
    }

    /// Follows the flags under a name that [`Flags::wait_acknowledged`] reports. A new subscriber has
    /// acknowledged nothing, not even the snapshot that is current.
    pub fn subscribe(&self, name: &str) -> Subscriber {
        self.subscribers.subscribe(name, self.published.subscribe())
    }

    /// Follows the flags without a name: [`Flags::wait_acknowledged`] does not wait for observers.
    pub fn observe(&self) -> Observer {
        Observer(self.published.subscribe())
    }

    /// Waits until every subscriber has acknowledged the revision or a newer one, and until there is
    /// a subscriber at all.
    ///
    /// Those are the subscribers of this handle, in this process. Of other processes on the same store
    /// it says nothing: they see the write at their next poll, or sooner where the store wakes them.
    ///
    /// # Errors
    ///
    /// [`FlagError::NotAcknowledged`] with the names of those who have not, after `within`.
    pub async fn wait_acknowledged(
        &self,
        revision: Revision,
        within: Duration,
    ) -> Result<(), FlagError> {
        self.subscribers.wait(revision, within).await
    }

    /// Each subscriber and the newest revision it has acknowledged, [`Revision::ZERO`] for none.
    pub fn acknowledgements(&self) -> Vec<(String, Revision)> {
        self.subscribers.acknowledgements()
    }

    /// The newest changes first, at most `limit` of them.
    ///
    /// # Errors
    ///
    /// [`FlagError::Store`] or [`FlagError::Corrupt`].
    pub async fn history(&self, limit: usize) -> Result<Vec<Change>, FlagError> {
        self.store.history(limit).await
    }

    fn served(&self) -> MutexGuard<'_, Served> {
        // Whole snapshots are put in: a panic elsewhere leaves nothing half-done.
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is served, and tells every subscriber if that makes a difference.
    fn publish<T>(&self, change: impl FnOnce(&mut Served) -> T) -> T {
        let mut served = self.served();
        let answer = change(&mut served);
        let snapshot = Arc::new(served.snapshot());
        self.published.send_if_modified(|current| {
            let differs = !snapshot.is_same(current);
            if differs {
                // Within the channel's lock, so that both always change in the same order.
                self.current.store(snapshot.clone());
                *current = snapshot;
            }
            differs
        });
        answer
    }
}

impl std::fmt::Debug for Flags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flags")
            .field("snapshot", &self.snapshot())
            .finish_non_exhaustive()
    }
}

/// Has [`Flags::run`] look into the store if a write is given up half-way.
struct LookOnDrop<'a>(Option<&'a Notify>);

impl LookOnDrop<'_> {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for LookOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(look) = self.0 {
            look.notify_one();
        }
    }
}

#[cfg(test)]
mod misfit_tests;
#[cfg(test)]
mod override_tests;
#[cfg(test)]
mod prerequisite_tests;
#[cfg(test)]
mod revert_tests;
#[cfg(test)]
mod rule_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod went_back_tests;
