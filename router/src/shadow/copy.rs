//! One copy: from the queue, to the other lane, to its judgement.
//!
//! Invariant: a copy yields to callers, and so does every call that is made for its sake. It is made
//! only where the lane's circuit is closed, where its pool has room and nobody waits, and where the
//! cost cap allows it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use dspex_breaker::{CircuitState, Draw};
use dspex_pool::{Call, Definition, PoolError, Program, Reply, Signature};
use dspex_telemetry::{Blame, Lane};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::{Map, Value};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::case::Case;
use super::record::Judged;
use super::{Comparison, Job, cost, lock};
use crate::classify::judge;
use crate::clock;
use crate::compare::{Difference, Tier, differences};
use crate::dispatch::LaneState;
use crate::router::Router;

/// How long past its deadline a pool may take to say that there is no answer.
const GRACE: std::time::Duration = std::time::Duration::from_millis(500);

/// Why a call that nobody waits for is not made now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoRoom {
    /// The lane's circuit is not closed.
    Circuit,
    /// Callers wait for the lane's pool, or it has nobody left.
    Busy,
    /// The cost cap of the minute is used up.
    Cost,
    /// The budget that callers' second tries come from has nothing left for copies.
    Budget,
}

impl Router {
    /// Makes the copies that [`Router::execute`] leaves, until `stop`; what is under way then is
    /// dropped. One at a time may run this; a second ends at once.
    pub async fn run_shadow(self: Arc<Self>, stop: CancellationToken) {
        let Some(mut queue) = lock(&self.shadow.taken_from).take() else {
            return;
        };
        let mut running = FuturesUnordered::new();
        loop {
            let room = running.len() < self.shadow.config.concurrency;
            tokio::select! {
                () = stop.cancelled() => break,
                Some(()) = running.next(), if !running.is_empty() => {}
                Some(job) = queue.recv(), if room => running.push(self.copy(job)),
            }
        }
        drop(running);
        *lock(&self.shadow.taken_from) = Some(queue);
    }

    async fn copy(&self, job: Job) {
        let shadow = &self.shadow;
        let counters = &shadow.counters;
        let wanted = &job.wanted;
        let now = Instant::now();
        if now.saturating_duration_since(job.offered) > shadow.config.max_wait {
            counters.too_old.fetch_add(1, Relaxed);
            return;
        }
        let current = || shadow.epoch.load(Relaxed) == wanted.epoch;
        let Some(candidate) = self.candidate_lane().filter(|_| current()) else {
            counters.no_candidate.fetch_add(1, Relaxed);
            return;
        };
        let stable = self.stable_lane();
        let other = match wanted.leading {
            Lane::Stable => &*candidate,
            Lane::Candidate => &*stable,
        };
        // Before anybody is asked: an answer that nothing is made of is money for nothing.
        if !lock(&shadow.record).has_place(&wanted.program.key) {
            counters.too_many_programs.fetch_add(1, Relaxed);
            return;
        }
        let tokens = job.tokens;
        if !self.may_copy(other, tokens, now) {
            return;
        }
        counters.copied.fetch_add(1, Relaxed);
        let control = lock(&shadow.record).wants_control(&wanted.program.key, shadow.config.noise);
        let answered = self.ask(other, &wanted.program, &wanted.inputs, &wanted.request_id);
        let answered = answered.await;
        if let Ok(reply) = &answered {
            self.used(reply, tokens);
        }
        let (stable, theirs) = match wanted.leading {
            Lane::Stable => (
                Ok(&job.outputs),
                answered.as_ref().map(|reply| &reply.outputs),
            ),
            Lane::Candidate => (
                answered.as_ref().map(|reply| &reply.outputs),
                Ok(&job.outputs),
            ),
        };
        let comparison = shadow.comparison(&wanted.program.key.id);
        if let (true, Ok(stable)) = (control, stable) {
            self.learn_noise(&job, stable, comparison, tokens).await;
        }
        let (judged, hidden) = self
            .judge_pair(&wanted.program, stable, theirs, comparison)
            .await;
        if !current() {
            counters.no_candidate.fetch_add(1, Relaxed);
            return;
        }
        let limit = shadow.config.max_copy_bytes;
        let case = |differences| Case {
            id: 0,
            at: clock::wall(),
            program: wanted.program.key.clone(),
            request_id: wanted.request_id.to_string(),
            answered_by: wanted.leading,
            inputs: Arc::clone(&wanted.inputs),
            stable: stable.cloned().unwrap_or_default(),
            candidate: theirs
                .ok()
                .filter(|outputs| {
                    serde_json::to_writer(crate::execute::Room(limit), outputs).is_ok()
                })
                .cloned(),
            differences,
        };
        lock(&shadow.record).count(
            &wanted.program.key,
            judged,
            hidden,
            shadow.config.noise,
            shadow.config.max_cases,
            case,
        );
    }

    /// Whether the lane has room for a copy beside its callers, and the cap allows one. Counts why
    /// not.
    fn may_copy(&self, lane: &LaneState, tokens: u64, now: Instant) -> bool {
        let counters = &self.shadow.counters;
        let refused = match self.take_room(lane, tokens, now) {
            Ok(()) => return true,
            Err(NoRoom::Circuit) => &counters.circuit,
            Err(NoRoom::Busy) => &counters.busy,
            Err(NoRoom::Cost) => &counters.cost,
            Err(NoRoom::Budget) => &counters.budget,
        };
        refused.fetch_add(1, Relaxed);
        false
    }

    /// Takes room for a call that nobody waits for, and that is expected to use so many tokens.
    pub(super) fn take_room(
        &self,
        lane: &LaneState,
        tokens: u64,
        now: Instant,
    ) -> Result<(), NoRoom> {
        if !matches!(lane.circuit.state(now), CircuitState::Closed) {
            return Err(NoRoom::Circuit);
        }
        let pool = lane.pool.status();
        if pool.queued > 0 || pool.in_flight >= pool.capacity {
            return Err(NoRoom::Busy);
        }
        if !lock(&self.shadow.cost).take(tokens, now) {
            return Err(NoRoom::Cost);
        }
        let drawn = self.rescue.budget.withdraw(Draw::Shadow, now);
        drawn.map_err(|_| {
            // What is not made costs nothing.
            lock(&self.shadow.cost).give_back(tokens, now);
            NoRoom::Budget
        })
    }

    /// Such a call was answered: what it used beyond what was expected counts too.
    pub(super) fn used(&self, reply: &Reply, expected: u64) {
        let more = cost::tokens(reply).saturating_sub(expected);
        lock(&self.shadow.cost).used_more(more, Instant::now());
    }

    /// Runs the call on stable once more, and learns where stable differs from itself.
    async fn learn_noise(
        &self,
        job: &Job,
        stable: &Map<String, Value>,
        comparison: &Comparison,
        tokens: u64,
    ) {
        let wanted = &job.wanted;
        let lane = self.stable_lane();
        if !self.may_copy(&lane, tokens, Instant::now()) {
            return;
        }
        self.shadow.counters.controls.fetch_add(1, Relaxed);
        let again = self.ask(&lane, &wanted.program, &wanted.inputs, &wanted.request_id);
        if let Ok(again) = again.await {
            self.used(&again, tokens);
            let signature = signature(&wanted.program);
            let found = differences(&comparison.rules, signature, stable, &again.outputs);
            // As for a copy: a comparer is asked about answers whose form is the same.
            let asked = comparison.comparer.as_ref().filter(|_| found.is_empty());
            let said = match asked {
                Some(comparer) => self
                    .ask_comparer(comparer, stable, &again.outputs)
                    .await
                    .ok(),
                None => None,
            };
            if self.shadow.epoch.load(Relaxed) != wanted.epoch {
                // Another candidate came, and with it perhaps another stable pool.
                return;
            }
            let judged = said.map(|(equal, _)| equal);
            lock(&self.shadow.record).learn(&wanted.program.key, &found, judged);
        }
    }

    /// Judges two answers; also whether noise left nothing to judge.
    async fn judge_pair(
        &self,
        program: &Program,
        stable: Result<&Map<String, Value>, &PoolError>,
        candidate: Result<&Map<String, Value>, &PoolError>,
        comparison: &Comparison,
    ) -> (Judged, bool) {
        let (stable, candidate) = match (stable, candidate) {
            (Ok(stable), Ok(candidate)) => (stable, candidate),
            // Stable cannot say what would have been right.
            (Err(error), _) => return (Judged::Failed(format!("stable: {error}")), false),
            (Ok(stable), Err(error)) => return (failure(stable, error), false),
        };
        let found = differences(&comparison.rules, signature(program), stable, candidate);
        let (noise, rules) = (self.shadow.config.noise, &comparison.rules);
        let (found, hidden) =
            lock(&self.shadow.record).beyond_noise(&program.key, found, noise, rules, stable);
        if !found.is_empty() {
            return (Judged::Different(found), false);
        }
        let Some(comparer) = &comparison.comparer else {
            return (Judged::Equal, hidden);
        };
        match self.ask_comparer(comparer, stable, candidate).await {
            Ok((true, _)) => (Judged::Equal, false),
            Ok((false, why)) => {
                let found = Difference::new("", Tier::Comparer, why, None, None);
                (Judged::Different(vec![found]), false)
            }
            Err(trouble) => (Judged::Unjudged(trouble), false),
        }
    }

    /// Runs a call on one lane for comparison's sake: recorded in no window, told to no circuit,
    /// without session and caller, so that no limit of a caller and no worker's session is touched.
    pub(super) async fn ask(
        &self,
        lane: &LaneState,
        program: &Arc<Program>,
        inputs: &Arc<Map<String, Value>>,
        request_id: &str,
    ) -> Result<Reply, PoolError> {
        let after = self.shadow.config.timeout;
        let deadline = Instant::now() + after;
        let call = Call {
            request_id: format!("{request_id}~shadow").into(),
            session: None,
            caller: None,
            program: Arc::clone(program),
            inputs: Arc::clone(inputs),
            state: None,
            chunks: None,
            deadline,
        };
        let answer = tokio::time::timeout_at(deadline + GRACE, lane.pool.execute(call));
        let answer = answer.await;
        answer.unwrap_or(Err(PoolError::ProgramTimeout { after }))
    }
}

/// A candidate that did not answer what stable answered. Where that is the program's doing, or says
/// that the inputs do not fit, it is a difference; what is the pool's, the provider's or time's says
/// nothing about the answer, and is counted by others.
fn failure(stable: &Map<String, Value>, error: &PoolError) -> Judged {
    let judged = judge(error);
    let of_program = matches!(judged.blame, Blame::Program | Blame::Caller)
        && !matches!(
            error,
            PoolError::ProgramTimeout { .. } | PoolError::TooMany { .. }
        );
    if !of_program {
        return Judged::Failed(format!("the candidate: {error}"));
    }
    let stable = Value::Object(stable.clone());
    let what = format!("the candidate failed: {error}");
    Judged::Different(vec![Difference::new(
        "",
        Tier::Failure,
        what,
        Some(&stable),
        None,
    )])
}

pub(super) fn signature(program: &Program) -> Option<&Signature> {
    match &program.definition {
        Definition::Dspy { signature, .. } => Some(signature),
        Definition::Callable { .. } => None,
    }
}
