//! The user's own comparer: a program that is asked whether two answers say the same.
//!
//! Invariants: it runs on stable's pool like any program, and never for longer than it is given; it
//! yields to callers as a copy does, within the same caps, and is not asked where there is no room. One
//! that fails several times in a row is left alone for a while: on pools that replace a worker for
//! every call that outstays its time, a comparer that hangs would cost callers their workers.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use dspex_pool::{Call, PoolError, ProgramId, ProgramKey, Reply};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::copy::NoRoom;
use super::view::ComparerView;
use super::{cost, lock};
use crate::catalog::cache::Entry;
use crate::dispatch::LaneState;
use crate::router::Router;

/// Failures in a row after which a comparer is left alone.
const IN_A_ROW: u32 = 3;

/// For how long. A new version of it is asked at once.
const REST: Duration = Duration::from_secs(600);

/// How long past its time a pool may take to say so.
const GRACE: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
struct Standing {
    version: u64,
    judged: u64,
    failed: u64,
    in_a_row: u32,
    rests_until: Option<Instant>,
    /// What its last answer cost, which the next is expected to cost.
    tokens: u64,
    trouble: Option<String>,
}

/// How each comparer has done.
#[derive(Debug, Default)]
pub(super) struct Comparers(HashMap<ProgramId, Standing>);

impl Comparers {
    fn of(&mut self, comparer: &ProgramKey) -> &mut Standing {
        let standing = self.0.entry(comparer.id.clone()).or_default();
        if standing.version != comparer.version {
            *standing = Standing {
                version: comparer.version,
                ..Standing::default()
            };
        }
        standing
    }

    /// Why this comparer is not asked now, where it is not.
    fn rests(&mut self, comparer: &ProgramKey, now: Instant) -> Option<String> {
        let standing = self.of(comparer);
        let until = standing.rests_until.filter(|until| *until > now)?;
        let trouble = standing.trouble.as_deref().unwrap_or("it failed");
        Some(format!(
            "the comparer {} failed {IN_A_ROW} times in a row and is not asked for another {}s: {trouble}",
            comparer.id,
            (until - now).as_secs()
        ))
    }

    fn ended(&mut self, comparer: &ProgramKey, trouble: Option<&str>, now: Instant) {
        let standing = self.of(comparer);
        let Some(trouble) = trouble else {
            standing.judged += 1;
            standing.in_a_row = 0;
            return;
        };
        standing.failed += 1;
        standing.in_a_row += 1;
        standing.trouble = Some(trouble.to_owned());
        if standing.in_a_row >= IN_A_ROW {
            standing.in_a_row = 0;
            standing.rests_until = Some(now + REST);
            tracing::warn!(comparer = %comparer.id, trouble, "a comparer is left alone for a while");
        }
    }

    pub(super) fn told(&self, now: Instant) -> Vec<ComparerView> {
        let mut told: Vec<_> = self
            .0
            .iter()
            .map(|(program, standing)| {
                let rest = standing
                    .rests_until
                    .map(|until| until.saturating_duration_since(now));
                ComparerView {
                    program: program.clone(),
                    judged: standing.judged,
                    failed: standing.failed,
                    suspended_ms: rest
                        .filter(|rest| !rest.is_zero())
                        .map(|rest| u64::try_from(rest.as_millis()).unwrap_or(u64::MAX)),
                    trouble: standing.trouble.clone(),
                }
            })
            .collect();
        told.sort_by(|a, b| a.program.cmp(&b.program));
        told
    }
}

impl Router {
    /// What the comparer says of two answers: whether they are the same, and why.
    ///
    /// # Errors
    ///
    /// Why it did not judge, in one line for whoever wrote it.
    pub(super) async fn ask_comparer(
        &self,
        comparer: &ProgramId,
        stable: &Map<String, Value>,
        candidate: &Map<String, Value>,
    ) -> Result<(bool, String), String> {
        let entry = self.find_comparer(comparer).await?;
        let key = &entry.program.key;
        let now = Instant::now();
        let expected = {
            let mut comparers = lock(&self.shadow.comparers);
            if let Some(why) = comparers.rests(key, now) {
                return Err(why);
            }
            comparers.of(key).tokens
        };
        let lane = self.stable_lane();
        if let Err(no_room) = self.take_room(&lane, expected, now) {
            let counters = &self.shadow.counters;
            counters.comparer_no_room.fetch_add(1, Relaxed);
            let why = match no_room {
                NoRoom::Circuit => "stable's circuit is not closed",
                NoRoom::Busy => "stable has no room beside its callers",
                NoRoom::Cost => "the cap on what copies cost in a minute is used up",
                NoRoom::Budget => "the retry budget has nothing left for copies",
            };
            return Err(format!(
                "the comparer {comparer} was not asked: no room, {why}"
            ));
        }
        let (said, answer) = self.comparer_says(&entry, &lane, stable, candidate).await;
        let trouble = said.as_ref().err().map(String::as_str);
        if let Some(reply) = &answer {
            self.used(reply, expected);
        }
        let mut comparers = lock(&self.shadow.comparers);
        if let Some(reply) = &answer {
            comparers.of(key).tokens = cost::tokens(reply);
        }
        comparers.ended(key, trouble, Instant::now());
        said
    }

    /// The same for a person who waits for it: asked whatever it did before, and not counted.
    ///
    /// # Errors
    ///
    /// As [`Router::ask_comparer`].
    pub(super) async fn replay_comparer(
        &self,
        comparer: &ProgramId,
        stable: &Map<String, Value>,
        candidate: &Map<String, Value>,
    ) -> Result<(bool, String), String> {
        let entry = self.find_comparer(comparer).await?;
        let lane = self.stable_lane();
        self.comparer_says(&entry, &lane, stable, candidate).await.0
    }

    async fn find_comparer(&self, comparer: &ProgramId) -> Result<Arc<Entry>, String> {
        let found = self.find(comparer).await;
        found.map_err(|error| format!("the comparer {comparer} cannot be had: {error}"))
    }

    /// Asks it: what it says, and its whole answer, where there is one.
    async fn comparer_says(
        &self,
        entry: &Entry,
        lane: &LaneState,
        stable: &Map<String, Value>,
        candidate: &Map<String, Value>,
    ) -> (Result<(bool, String), String>, Option<Reply>) {
        let comparer = &entry.program.key.id;
        let begun = Instant::now();
        let limit = self.shadow.config.comparer_timeout;
        let inputs = [("stable", stable), ("candidate", candidate)]
            .map(|(name, outputs)| (name.to_owned(), Value::Object(outputs.clone())));
        let call = Call {
            request_id: format!("compare-{}", uuid::Uuid::now_v7()).into(),
            session: None,
            caller: None,
            program: Arc::clone(&entry.program),
            inputs: Arc::new(Map::from_iter(inputs)),
            state: None,
            chunks: None,
            deadline: begun + limit,
        };
        let answer = lane.pool.execute(call);
        let said = match tokio::time::timeout_at(begun + limit + GRACE, answer).await {
            Ok(Ok(reply)) => {
                let said = read(&reply.outputs)
                    .map_err(|problem| format!("the comparer {comparer} {problem}"));
                return (said, Some(reply));
            }
            Ok(Err(PoolError::ProgramTimeout { .. } | PoolError::Hung { .. })) | Err(_) => {
                Err(format!(
                    "the comparer {comparer} did not answer within {}: make it faster, or raise \
                     router.shadow.comparer_timeout",
                    humantime::format_duration(limit)
                ))
            }
            Ok(Err(error)) => Err(format!("the comparer {comparer} failed: {error}")),
        };
        (said, None)
    }
}

/// Reads `{"equal": bool, "why": str}`.
fn read(outputs: &Map<String, Value>) -> Result<(bool, String), String> {
    // A callable that answers a bare truth value has it under `result`.
    let equal = outputs.get("equal").or(outputs.get("result"));
    let Some(equal) = equal.and_then(Value::as_bool) else {
        let names: Vec<_> = outputs.keys().take(8).map(String::as_str).collect();
        return Err(format!(
            "answered no `equal` that is true or false, but {names:?}: it must answer \
             {{\"equal\": true or false, \"why\": \"text\"}}"
        ));
    };
    let why = outputs.get("why").and_then(Value::as_str);
    Ok((
        equal,
        why.unwrap_or("it says they differ")
            .chars()
            .take(500)
            .collect(),
    ))
}
