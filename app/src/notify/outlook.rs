//! How it goes with one receiver, for the status and the metrics.

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::watch;

/// How it goes with one receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Outlook {
    /// Its name.
    pub(crate) name: String,
    /// Messages that it has taken since the server started.
    pub(crate) delivered: u64,
    /// Messages that were given up since then: too old, or refused for good.
    pub(crate) given_up: u64,
    /// Entries that it has not been told of yet.
    pub(crate) behind: u64,
    /// Since when nothing arrives, while that is so.
    pub(crate) failing_since: Option<Timestamp>,
    /// What the last try came to, where it failed.
    pub(crate) trouble: Option<String>,
}

impl Outlook {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            delivered: 0,
            given_up: 0,
            behind: 0,
            failing_since: None,
            trouble: None,
        }
    }
}

/// How it goes with all of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outlooks(Vec<watch::Receiver<Outlook>>);

impl Outlooks {
    pub(crate) fn new(outlooks: Vec<watch::Receiver<Outlook>>) -> Self {
        Self(outlooks)
    }

    /// As of now.
    pub(crate) fn now(&self) -> Vec<Outlook> {
        self.0.iter().map(|seen| seen.borrow().clone()).collect()
    }
}
