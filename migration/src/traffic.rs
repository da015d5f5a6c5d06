//! The one lever: writing the flags that move traffic, and having it acknowledged.
//!
//! Invariants: a raise is a compare-and-set on a lever that is where we left it, so it can never
//! land after a rollback's write; a rollback's write asks nobody and may be written again.

use std::time::Duration;

use dspex_flags::dspex::{GRADUAL_ROLLOUT_PERCENTAGE, POOL_V2_ENABLED, SHADOW_PERCENTAGE};
use dspex_flags::{FlagError, FlagValue, Flags, Percent, Revision, Write};

use crate::cause::Cause;
use crate::id::MigrationId;
use crate::observation::{FlagsSeen, NotRaised, NotZeroed};

/// How long a store may keep a rollback waiting before traffic is taken away in this process, beside
/// the tries to write. Longer than a disk that is well takes, and short for somebody whose candidate
/// burns.
pub(crate) const PROMPT: Duration = Duration::from_millis(500);

/// How long the store may take to say who moved the lever before nobody is named.
const PATIENCE: Duration = Duration::from_secs(1);

/// As much of the reason for a rollback as goes into the flags' audit, in characters: four bytes at
/// most, and flags take 4,096 of them.
pub(crate) const WHY: usize = 1_000;

/// Tries against writers who come in between, before it is left to the next look.
const TRIES: usize = 5;

/// The lever as this process serves it.
pub(crate) fn seen(flags: &Flags) -> FlagsSeen {
    let snapshot = flags.snapshot();
    FlagsSeen {
        revision: snapshot.revision(),
        enabled: snapshot.enabled(&POOL_V2_ENABLED),
        percent: snapshot.percent(&GRADUAL_ROLLOUT_PERCENTAGE),
        changed_by: None,
    }
}

/// Who moved the lever last and why, where the store can say.
pub(crate) async fn changed_by(flags: &Flags) -> Option<String> {
    let levers = [POOL_V2_ENABLED.key, GRADUAL_ROLLOUT_PERCENTAGE.key];
    let changes = tokio::time::timeout(PATIENCE, flags.history(50)).await;
    let changes = changes.ok()?.ok()?;
    let change = changes
        .into_iter()
        .find(|change| levers.contains(&change.key.as_str()))?;
    Some(format!("{} ({}) at {}", change.who, change.why, change.at))
}

/// Raises traffic to `to`, and waits until every router serves it. `from` is where the lever must
/// still be, unless it is at `to` already; `None` takes it from wherever it is.
pub(crate) async fn raise(
    flags: &Flags,
    to: Percent,
    from: Option<Percent>,
    who: &str,
    why: &str,
    within: Duration,
) -> Result<Revision, NotRaised> {
    let delayed = |error: &FlagError| NotRaised::Delayed(error.to_string());
    let mut written = None;
    for _ in 0..TRIES {
        flags.refresh().await.map_err(|error| delayed(&error))?;
        let lever = seen(flags);
        if lever.enabled && lever.percent == to {
            written = Some(lever.revision);
            break;
        }
        if from.is_some_and(|from| lever.effective() != from) {
            let changed_by = changed_by(flags).await;
            return Err(NotRaised::Drift(FlagsSeen {
                changed_by,
                ..lever
            }));
        }
        let write = lever_write(Some(lever.revision), true, to, who, why);
        match flags.write(write).await {
            Ok(revision) => {
                written = Some(revision);
                break;
            }
            Err(FlagError::Conflict { .. }) => {}
            Err(error) => return Err(delayed(&error)),
        }
    }
    let Some(revision) = written else {
        return Err(NotRaised::Delayed(format!(
            "the flags were changed by others {TRIES} times while they were being written"
        )));
    };
    flags
        .wait_acknowledged(revision, within)
        .await
        .map_err(|error| delayed(&error))?;
    Ok(revision)
}

/// Has this share of calls copied to the other lane. No traffic moves by it, so nobody is waited for.
/// It is written even where it reads so: a write that takes it back may not have arrived here yet.
///
/// # Errors
///
/// Why the flag could not be written, in one line.
pub(crate) async fn copy(
    flags: &Flags,
    share: Percent,
    who: &str,
    why: &str,
) -> Result<(), String> {
    let write = Write {
        expected: None,
        set: vec![shadow(share)],
        who: who.to_owned(),
        why: why.to_owned(),
    };
    let written = flags.write(write).await;
    let failed = |error| format!("the share of copied calls cannot be written: {error}");
    written.map(drop).map_err(failed)
}

pub(crate) fn shadow(share: Percent) -> (String, FlagValue) {
    (SHADOW_PERCENTAGE.key.to_owned(), FlagValue::Percent(share))
}

/// Takes traffic to 0 %, wherever it is, and waits until every router serves that.
///
/// It is written even where it reads as 0 %: a raise that was cut off may still be on its way to
/// the store, and this write comes after it. `written` is the revision of such a write, when only
/// its acknowledgement is still waited for.
///
/// Where the store does not take the write, or is older than what is served, traffic goes to 0 % in
/// this process before it does: that is not the answer yet, for it is neither acknowledged nor known to other processes.
pub(crate) async fn zero(
    flags: &Flags,
    written: Option<Revision>,
    who: &str,
    why: &str,
    within: Duration,
) -> Result<Revision, NotZeroed> {
    let failed = |written: Option<Revision>, error: &str| NotZeroed {
        written,
        reason: format!("traffic is not certain to be at 0 %: {error}"),
    };
    let lever = seen(flags);
    let at_rest = !lever.enabled && lever.percent == Percent::ZERO;
    let mut revision = written.filter(|_| at_rest);
    let mut tries = 0;
    while revision.is_none() {
        tries += 1;
        let write = rollback_write(who, why);
        let mut writing = std::pin::pin!(flags.write(write.clone()));
        let answer = match tokio::time::timeout(PROMPT, &mut writing).await {
            Ok(answer) => Some(answer),
            Err(_) => {
                without_the_store(flags, &write);
                tokio::time::timeout(within, writing).await.ok()
            }
        };
        match answer {
            Some(Ok(written)) => revision = Some(written),
            Some(Err(FlagError::Conflict { .. })) if tries < TRIES => {}
            Some(Err(error)) => {
                without_the_store(flags, &write);
                return Err(failed(None, &error.to_string()));
            }
            None => {
                return Err(failed(
                    None,
                    "the flag store does not answer; this process sends no traffic there",
                ));
            }
        }
    }
    let revision = revision.unwrap_or_default();
    match flags.wait_acknowledged(revision, within).await {
        Ok(()) => Ok(revision),
        Err(error) => Err(failed(Some(revision), &error.to_string())),
    }
}

/// The write that takes traffic to 0 %, whatever the store is at.
pub(crate) fn zero_write(who: &str, why: &str) -> Write {
    lever_write(None, false, Percent::ZERO, who, why)
}

/// The same for a rollback: nothing is sent to a candidate that is taken back, copies neither. They are
/// ended even where none are seen: a write that begins them may still be on its way to the store.
fn rollback_write(who: &str, why: &str) -> Write {
    let mut write = zero_write(who, why);
    write.set.push(shadow(Percent::ZERO));
    write
}

/// How a rollback of this migration signs its write. Flags refuse a reason that is too long or has a
/// NUL in it, and this write must not be refused. The whole of it is in the journal.
pub(crate) fn rollback_signature(id: &MigrationId, cause: Option<&Cause>) -> (String, String) {
    let why = cause.map_or_else(
        || "rollback".to_owned(),
        |cause| format!("rollback: {cause}"),
    );
    let why = why.replace('\0', " ").chars().take(WHY).collect();
    (format!("migration {id}"), why)
}

/// Takes traffic of a rollback away in this process at once, until the store takes the write.
pub(crate) fn lower_here(flags: &Flags, id: &MigrationId, cause: &Cause) {
    let (who, why) = rollback_signature(id, Some(cause));
    without_the_store(flags, &rollback_write(&who, &why));
}

/// Takes traffic away in this process, until the store takes the write.
fn without_the_store(flags: &Flags, write: &Write) {
    if let Err(error) = flags.override_until_written(write.clone()) {
        tracing::error!(%error, "traffic cannot be taken to 0 % without the store either");
    }
}

fn lever_write(
    expected: Option<Revision>,
    enabled: bool,
    percent: Percent,
    who: &str,
    why: &str,
) -> Write {
    Write {
        expected,
        set: vec![
            (POOL_V2_ENABLED.key.to_owned(), FlagValue::Bool(enabled)),
            (
                GRADUAL_ROLLOUT_PERCENTAGE.key.to_owned(),
                FlagValue::Percent(percent),
            ),
        ],
        who: who.to_owned(),
        why: why.to_owned(),
    }
}
