//! Taking traffic back, pausing and resuming with nothing but the stores: for the moment when the
//! server does not answer.
//!
//! Invariants: traffic first; the flags and the journal are two stores, and trouble with one never
//! keeps the other from being tried. A server that lives, or comes back, finds the command in its
//! journal and obeys it before it sends any traffic to the candidate.

use dspex_flags::dspex::SHADOW_PERCENTAGE;
use dspex_flags::{FlagError, FlagStore, Percent, Revision, Write};

use crate::clock;
use crate::command::Command;
use crate::error::{JournalError, MigrationError, signed};
use crate::id::MigrationId;
use crate::journal::{Journal, Post, Summary};
use crate::phase::Phase;
use crate::traffic;
use crate::unclear;

/// Tries against writers who come in between.
const TRIES: usize = 5;

/// A command that waits for a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    /// Which migration it is for.
    pub migration: MigrationId,
    /// Where that migration was when it was left.
    pub phase: Phase,
    /// The command's number in the inbox: it is taken once the migration's
    /// [`last_command`](crate::State::last_command) is no less.
    pub number: u64,
}

/// What came of an emergency rollback: two stores, each of which may have failed.
#[derive(Debug)]
pub struct Lowered {
    /// The revision of the flags that has traffic at 0 %.
    pub flags: Result<Revision, FlagError>,
    /// The command that has the candidate taken away. None where there is no migration that could
    /// be rolled back.
    pub command: Result<Option<Posted>, MigrationError>,
}

/// Takes traffic to 0 % in the store of the flags, and leaves a rollback for the newest migration.
///
/// # Errors
///
/// [`MigrationError::Unsigned`] only: what the stores said is in the answer.
pub async fn rollback(
    journal: &dyn Journal,
    flags: &dyn FlagStore,
    who: &str,
    why: &str,
) -> Result<Lowered, MigrationError> {
    signed(who, why)?;
    let flags = lower(flags, who, why).await;
    let command = ask(journal, who, why).await;
    Ok(Lowered { flags, command })
}

/// The first half of [`rollback`]: takes traffic to 0 % in the store of the flags. For who cannot open
/// the journal, or not yet.
///
/// # Errors
///
/// The store's.
pub async fn lower(flags: &dyn FlagStore, who: &str, why: &str) -> Result<Revision, FlagError> {
    // Copies are calls too. Where the store cannot be read, the lever alone must do.
    let stored = flags.load().await.unwrap_or_default();
    let mut write = traffic::zero_write(&kept(who), &kept(&format!("emergency rollback: {why}")));
    if stored.values.contains_key(SHADOW_PERCENTAGE.key) {
        write.set.push(traffic::shadow(Percent::ZERO));
    }
    for _ in 1..TRIES {
        match written(flags, &write).await {
            Err(FlagError::Conflict { .. }) => {}
            answer => return answer,
        }
    }
    written(flags, &write).await
}

/// The second half of [`rollback`]: leaves it for the newest migration. None where there is none that
/// could be rolled back.
///
/// # Errors
///
/// [`MigrationError::Unsigned`], or the journal's.
pub async fn ask(
    journal: &dyn Journal,
    who: &str,
    why: &str,
) -> Result<Option<Posted>, MigrationError> {
    signed(who, why)?;
    match newest(journal).await? {
        Some(newest) if !is_over(newest.phase) => {
            let posted = post(journal, newest, Command::Rollback, who, why).await?;
            Ok(Some(posted))
        }
        _ => Ok(None),
    }
}

/// Leaves a pause for the newest migration.
///
/// # Errors
///
/// [`MigrationError::None`], [`MigrationError::Unsigned`], or the journal's.
pub async fn pause(journal: &dyn Journal, who: &str, why: &str) -> Result<Posted, MigrationError> {
    leave(journal, Command::Pause, who, why).await
}

/// Leaves a resume for the newest migration.
///
/// # Errors
///
/// [`MigrationError::None`], [`MigrationError::Unsigned`], or the journal's.
pub async fn resume(journal: &dyn Journal, who: &str, why: &str) -> Result<Posted, MigrationError> {
    leave(journal, Command::Resume, who, why).await
}

async fn leave(
    journal: &dyn Journal,
    command: Command,
    who: &str,
    why: &str,
) -> Result<Posted, MigrationError> {
    signed(who, why)?;
    let newest = newest(journal).await?.ok_or(MigrationError::None)?;
    Ok(post(journal, newest, command, who, why).await?)
}

async fn newest(journal: &dyn Journal) -> Result<Option<Summary>, JournalError> {
    Ok(journal.history(1).await?.pop())
}

async fn post(
    journal: &dyn Journal,
    newest: Summary,
    command: Command,
    who: &str,
    why: &str,
) -> Result<Posted, JournalError> {
    let at = clock::now();
    let post = Post {
        command,
        who,
        why,
        at,
    };
    let number = match journal.post(&newest.id, post).await {
        Ok(number) => number,
        Err(error) => unclear::posted(journal, &newest.id, 0, &post, error).await?,
    };
    Ok(Posted {
        number,
        migration: newest.id,
        phase: newest.phase,
    })
}

/// Whether there is nothing left that a rollback could take back.
fn is_over(phase: Phase) -> bool {
    matches!(phase, Phase::RolledBack | Phase::Decommissioned)
}

async fn written(flags: &dyn FlagStore, write: &Write) -> Result<Revision, FlagError> {
    flags.write(write, clock::now()).await
}

/// As much of a text as the flags' audit keeps: a long reason must not keep traffic where it is. The
/// whole of it is in the command.
fn kept(text: &str) -> String {
    text.replace('\0', " ").chars().take(traffic::WHY).collect()
}
