//! Seeing each revision, and saying that it is served.
//!
//! Invariants: a subscriber sees revisions in order, or a jump to the newest; an acknowledgement never
//! goes back, and never runs ahead of what was published. Dropping a subscriber takes it off the list,
//! so that nobody waits for the dead. The list is that of one handle, in one process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::error::FlagError;
use crate::revision::Revision;
use crate::snapshot::Snapshot;

/// Somebody who serves from snapshots and says which one.
///
/// Take the new snapshot into use first, and [`acknowledge`](Subscriber::acknowledge) it afterwards:
/// the acknowledgement is what others take for "it is in effect".
#[derive(Debug)]
pub struct Subscriber {
    id: u64,
    name: String,
    published: watch::Receiver<Arc<Snapshot>>,
    list: SubscriberList,
}

impl Subscriber {
    /// The name it was subscribed with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The newest snapshot; [`changed`](Subscriber::changed) then waits for one after it.
    pub fn current(&mut self) -> Arc<Snapshot> {
        self.published.borrow_and_update().clone()
    }

    /// Waits for a snapshot that this subscriber has not seen. `None` once the flags are gone.
    ///
    /// Cancel-safe: a snapshot that was not returned is returned by the next call.
    pub async fn changed(&mut self) -> Option<Arc<Snapshot>> {
        self.published.changed().await.ok()?;
        Some(self.current())
    }

    /// Says that this subscriber serves the revision, and nothing older, from now on.
    pub fn acknowledge(&self, revision: Revision) {
        let published = self.published.borrow().revision();
        self.list.acknowledge(self.id, revision.min(published));
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.list.remove(self.id);
    }
}

/// Somebody who only looks: nobody waits for them to serve anything.
#[derive(Debug, Clone)]
pub struct Observer(pub(crate) watch::Receiver<Arc<Snapshot>>);

impl Observer {
    /// The newest snapshot; [`changed`](Observer::changed) then waits for one after it.
    pub fn current(&mut self) -> Arc<Snapshot> {
        self.0.borrow_and_update().clone()
    }

    /// Waits for a snapshot that this observer has not seen. `None` once the flags are gone.
    ///
    /// Cancel-safe: a snapshot that was not returned is returned by the next call.
    pub async fn changed(&mut self) -> Option<Arc<Snapshot>> {
        self.0.changed().await.ok()?;
        Some(self.current())
    }
}

/// Who subscribes, and what each has acknowledged. Clones share one list.
#[derive(Debug, Clone)]
pub(crate) struct SubscriberList {
    entries: Arc<watch::Sender<Entries>>,
}

#[derive(Debug, Default)]
struct Entries {
    next_id: u64,
    by_id: BTreeMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    name: String,
    acknowledged: Option<Revision>,
}

impl SubscriberList {
    pub(crate) fn new() -> Self {
        Self {
            entries: Arc::new(watch::Sender::new(Entries::default())),
        }
    }

    pub(crate) fn subscribe(
        &self,
        name: &str,
        published: watch::Receiver<Arc<Snapshot>>,
    ) -> Subscriber {
        let mut id = 0;
        self.entries.send_modify(|entries| {
            id = entries.next_id;
            entries.next_id += 1;
            entries.by_id.insert(
                id,
                Entry {
                    name: name.to_owned(),
                    acknowledged: None,
                },
            );
        });
        Subscriber {
            id,
            name: name.to_owned(),
            published,
            list: self.clone(),
        }
    }

    /// Each name and what it has acknowledged: [`Revision::ZERO`] where that is nothing yet.
    pub(crate) fn acknowledgements(&self) -> Vec<(String, Revision)> {
        let entries = self.entries.borrow();
        let acknowledged = |entry: &Entry| entry.acknowledged.unwrap_or(Revision::ZERO);
        entries
            .by_id
            .values()
            .map(|entry| (entry.name.clone(), acknowledged(entry)))
            .collect()
    }

    /// Waits until there is a subscriber, and every one has acknowledged the revision.
    pub(crate) async fn wait(&self, revision: Revision, within: Duration) -> Result<(), FlagError> {
        let mut entries = self.entries.subscribe();
        // Nobody at all is not "everybody": a router that has yet to subscribe serves something else.
        let everybody = entries.wait_for(|entries| {
            !entries.by_id.is_empty() && entries.laggards(revision).next().is_none()
        });
        if tokio::time::timeout(within, everybody).await.is_ok() {
            return Ok(());
        }
        let laggards = self
            .entries
            .borrow()
            .laggards(revision)
            .map(str::to_owned)
            .collect();
        Err(FlagError::NotAcknowledged {
            revision,
            within,
            laggards,
        })
    }

    fn acknowledge(&self, id: u64, revision: Revision) {
        self.entries.send_if_modified(|entries| {
            let Some(entry) = entries.by_id.get_mut(&id) else {
                return false;
            };
            let newer = entry.acknowledged < Some(revision);
            if newer {
                entry.acknowledged = Some(revision);
            }
            newer
        });
    }

    fn remove(&self, id: u64) {
        self.entries
            .send_if_modified(|entries| entries.by_id.remove(&id).is_some());
    }
}

impl Entries {
    fn laggards(&self, revision: Revision) -> impl Iterator<Item = &str> {
        let behind = move |entry: &&Entry| entry.acknowledged < Some(revision);
        self.by_id
            .values()
            .filter(behind)
            .map(|entry| entry.name.as_str())
    }
}
