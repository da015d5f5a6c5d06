//! What is served before the store has it.
//!
//! Invariant: it only ever lowers, and is there until the store has taken it.

use std::time::Duration;

use super::Flags;
use crate::audit::Write;
use crate::error::FlagError;
use crate::value::FlagValue;

/// How long [`Flags::run`] tries to store what is only served yet, before it looks at the rest again.
const PENDING_LIMIT: Duration = Duration::from_secs(5);

impl Flags {
    /// Lowers flags in this process at once, without the store, until the store has taken the write.
    ///
    /// It is for the moment when [`Flags::write`] fails and traffic must go away all the same. From
    /// now on every [`Snapshot`](crate::Snapshot) has these flags at most that high, whatever the store holds, and is
    /// marked [`overridden`](crate::Snapshot::overridden). The revision stays what it was, so
    /// an acknowledgement says nothing about it: wait for that of the stored write.
    ///
    /// [`Flags::run`] tries at every poll to store it; it also ends with any [`Flags::write`] that
    /// sets the same flags no higher. Until then it is in [`Flags::pending`]. Other processes do not
    /// see it before it is stored, and it does not outlive this one.
    ///
    /// # Errors
    ///
    /// As [`Flags::write`] before anything is written; and [`FlagError::BadWrite`] for a write that
    /// expects a revision, or sets a flag higher than it is served now.
    pub fn override_until_written(&self, write: Write) -> Result<(), FlagError> {
        write.check()?;
        self.snapshot().check(&write)?;
        if write.expected.is_some() {
            return Err(FlagError::BadWrite {
                problem: "it expects a revision, and is served whatever the store holds".to_owned(),
            });
        }
        let (who, why, set) = (write.who.clone(), write.why.clone(), write.set.clone());
        let again = self.pending().iter().any(|pending| pending.set == set);
        self.publish(|served| served.lower(write))?;
        if !again {
            tracing::warn!(
                who,
                why,
                ?set,
                "flags are lowered in this process until the store takes it"
            );
        }
        Ok(())
    }

    /// What [`Flags::override_until_written`] has lowered and the store has not taken yet.
    pub fn pending(&self) -> Vec<Write> {
        self.served().pending().to_vec()
    }

    /// Errors change nothing: it stays pending, and served.
    pub(super) async fn write_pending(&self) {
        for write in self.pending() {
            // A store that went back takes it, and it stays pending all the same: once is enough.
            if self.is_behind() && self.is_stored(&write).await {
                continue;
            }
            let _tried = tokio::time::timeout(PENDING_LIMIT, self.write(write)).await;
        }
    }

    /// Whether the store was last seen at an older revision than what is served.
    fn is_behind(&self) -> bool {
        let trouble = self.store_error();
        matches!(trouble.as_deref(), Some(FlagError::WentBack { .. }))
    }

    async fn is_stored(&self, write: &Write) -> bool {
        let loaded = tokio::time::timeout(PENDING_LIMIT, self.store.load()).await;
        let Ok(Ok(stored)) = loaded else {
            return false;
        };
        let holds = |(key, value): &(String, FlagValue)| {
            let held = stored.values.get(key);
            held.is_some_and(|held| held.value == *value)
        };
        write.set.iter().all(holds)
    }
}
