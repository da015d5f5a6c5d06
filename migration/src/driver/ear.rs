//! Listens for commands that another process leaves in the inbox.
//!
//! Invariant: it only listens. What is in the inbox is read, and taken, in a turn of the controller;
//! so it may be dropped, and may hear for nothing.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::id::MigrationId;
use crate::journal::Journal;

/// See the module.
#[derive(Default)]
pub(crate) struct Ear {
    listening: Option<Listening>,
}

struct Listening {
    id: MigrationId,
    after: u64,
    news: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Ear {
    /// Listens from now on for commands to this migration after `after`.
    pub(crate) fn listen(&mut self, journal: &Arc<dyn Journal>, id: &MigrationId, after: u64) {
        let listens = |now: &Listening| now.id == *id && now.after == after;
        if self.listening.as_ref().is_some_and(listens) {
            return;
        }
        let (journal, of) = (Arc::clone(journal), id.clone());
        self.listening = Some(Listening {
            id: id.clone(),
            after,
            news: Box::pin(async move { journal.news(&of, after).await }),
        });
    }

    /// Listens no more.
    pub(crate) fn close(&mut self) {
        self.listening = None;
    }

    /// Returns when there is something new in the inbox: never, while nobody listens.
    pub(crate) async fn heard(&mut self) {
        match &mut self.listening {
            Some(listening) => listening.news.as_mut().await,
            None => std::future::pending().await,
        }
        self.listening = None;
    }
}
