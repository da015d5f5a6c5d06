//! The way back to an older revision.
//!
//! Invariant: a revert is a write like any other: checked, with a who and a why, on top of the revision
//! that was read, and kept in the history.

use std::collections::BTreeMap;

use super::Flags;
use crate::audit::Write;
use crate::dspex;
use crate::error::FlagError;
use crate::revision::Revision;
use crate::rules;
use crate::value::FlagValue;

impl Flags {
    /// Sets everything back to what it was at an older revision: a new revision, not a way back in
    /// time. What was set since and not before is unset, so that the layer below decides. What this
    /// program does not declare stays as it is, with a warning in the log.
    ///
    /// # Errors
    ///
    /// [`FlagError::BadWrite`] for a revision that has not been or that differs in nothing,
    /// [`FlagError::BadValue`] where it had rules that [`dspex::check_rules`] refuses,
    /// [`FlagError::Conflict`] if somebody else writes meanwhile; else as [`Flags::write`] and
    /// [`Flags::history`].
    pub async fn revert(&self, to: Revision, who: &str, why: &str) -> Result<Revision, FlagError> {
        let stored = self.store.load().await?;
        let refuse = |problem| Err(FlagError::BadWrite { problem });
        if to > stored.revision {
            return refuse(format!(
                "revision {to} has not been; the newest is {}",
                stored.revision
            ));
        }
        // The oldest change after that revision tells what stood at it.
        let mut then = BTreeMap::new();
        for change in self.store.history(usize::MAX).await? {
            if change.revision > to && change.revision <= stored.revision {
                then.insert(change.key, change.before.unwrap_or(FlagValue::Unset));
            }
        }
        let unset = FlagValue::Unset;
        then.retain(|key, value| {
            let now = stored
                .values
                .get(key)
                .map_or(&unset, |stored| &stored.value);
            now != value
        });
        // Flags of another version of this program are in the store on purpose. Nobody here can say what
        // they may be, so they are that version's to set back.
        then.retain(|key, _| {
            let known = self.declared.place(rules::split(key).0).is_some();
            if !known {
                tracing::warn!(
                    key,
                    "this program does not know that flag: the revert leaves it as it is"
                );
            }
            known
        });
        if then.is_empty() {
            return refuse(format!(
                "nothing that this program knows differs from revision {to}"
            ));
        }
        // The history may hold rules from before they were checked, or of another writer: what nobody
        // would look at is not brought back either.
        for (key, value) in &then {
            dspex::check_rules(key, value)?;
        }
        self.write(Write {
            expected: Some(stored.revision),
            set: then.into_iter().collect(),
            who: who.to_owned(),
            why: why.to_owned(),
        })
        .await
    }
}
