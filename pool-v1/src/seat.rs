//! One worker and what it knows: its LM, and the programs of each session.
//!
//! A worker holds nothing that cannot be built again, so a seat may be thrown away at any time.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use dspex_pool::{
    BridgeError, BridgeWorker, Call, Definition, FailureClass, PoolError, Program, ProgramKey,
    Reply, WorkerFault, reported_time,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::command::{self, Lms};
use crate::config::Mode;
use crate::session_state;
use crate::state::Loss;

/// The session of callers that name none.
const ANONYMOUS: &str = "anonymous";
/// The session in which definitions are tried.
const TRIAL: &str = "dspex-check";
/// The LM profile of programs that name none.
const DEFAULT_LM: &str = "default";

/// A worker that is not in use, or is lent to one call.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) slot: usize,
    pub(crate) name: Arc<str>,
    pub(crate) worker: BridgeWorker,
    mode: Mode,
    /// The profile that the worker's one LM is set to.
    lm: Option<String>,
    programs: HashMap<String, HashMap<ProgramKey, Held>>,
    /// Sessions by the time of their first call, oldest first.
    sessions: VecDeque<String>,
    sessions_kept: usize,
}

/// How sure it is that the worker holds a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Surely,
    /// Its last execution failed, in words that may mean anything: it may be missing.
    Perhaps,
}

/// What a seat is lent for.
#[derive(Clone)]
pub(crate) enum Work {
    Execute(Call),
    Check(Program),
}

/// How the work on a seat ended.
pub(crate) struct Used {
    /// The reply, for a call.
    pub(crate) answer: Result<Option<Reply>, PoolError>,
    /// Why the worker may not be used again, where that is so.
    pub(crate) loss: Option<Loss>,
}

impl Seat {
    pub(crate) fn new(slot: usize, worker: BridgeWorker, mode: Mode, sessions_kept: usize) -> Self {
        Self {
            slot,
            name: worker.name().into(),
            worker,
            mode,
            lm: None,
            programs: HashMap::new(),
            sessions: VecDeque::new(),
            sessions_kept,
        }
    }

    /// Whether this worker has programs of the session.
    pub(crate) fn knows(&self, session: Option<&str>) -> bool {
        self.programs.contains_key(self.session_name(session))
    }

    /// Whether this worker may hold the program, in any session.
    pub(crate) fn holds(&self, key: &ProgramKey) -> bool {
        self.programs.values().any(|held| held.contains_key(key))
    }

    /// Whether its process has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.worker.process().exited().is_some()
    }

    /// How its process ended between calls, with the last line of its log.
    pub(crate) fn last_words(&self) -> String {
        let process = self.worker.process();
        let exit = process
            .exited()
            .map_or_else(|| "it is gone".to_owned(), |exit| exit.to_string());
        match process.output().last() {
            Some(line) => format!("it ended between calls: {exit}; its last words: {line}"),
            None => format!("it ended between calls: {exit}"),
        }
    }

    fn session_name<'a>(&self, session: Option<&'a str>) -> &'a str {
        match self.mode {
            Mode::PoolWorker => session.unwrap_or(ANONYMOUS),
            Mode::Standalone => "",
        }
    }

    /// Does `fault` to the worker, then asks it something, as the next call would. Answers why it is
    /// lost: after this nobody may use it, whatever it answers.
    pub(crate) async fn suffer(&mut self, fault: WorkerFault, within: Duration) -> String {
        if let Err(error) = self.worker.suffer(fault).await {
            return format!("it ended before a {fault} was tried on it: {error}");
        }
        let deadline = Instant::now() + within;
        match self.worker.request("ping", &json!({}), deadline).await {
            Ok(_) => format!("a {fault} was tried on it, and it answered all the same"),
            Err(error) => format!("a {fault} was tried on it: {error}"),
        }
    }

    /// Drops what is to be forgotten, then does the work.
    pub(crate) async fn perform(
        &mut self,
        work: &Work,
        forget: &BTreeSet<ProgramKey>,
        lms: &Lms,
        deadline: Instant,
    ) -> Used {
        let answer = self.try_perform(work, forget, lms, deadline).await;
        self.judge(answer)
    }

    async fn try_perform(
        &mut self,
        work: &Work,
        forget: &BTreeSet<ProgramKey>,
        lms: &Lms,
        deadline: Instant,
    ) -> Result<Option<Reply>, BridgeError> {
        for key in forget {
            self.delete(key, deadline).await?;
        }
        match work {
            Work::Execute(call) => {
                let session = self.session_name(call.session.as_deref()).to_owned();
                self.execute(call, &session, lms).await.map(Some)
            }
            Work::Check(program) => {
                self.check(program, lms, deadline)
                    .await
                    .map_err(|error| match error {
                        // Whatever an older script says about a definition, it says of the definition.
                        BridgeError::Failed {
                            mut failure,
                            classified,
                        } => {
                            failure.class = FailureClass::Rejected;
                            BridgeError::Failed {
                                failure,
                                classified,
                            }
                        }
                        other => other,
                    })?;
                Ok(None)
            }
        }
    }

    async fn check(
        &mut self,
        program: &Program,
        lms: &Lms,
        deadline: Instant,
    ) -> Result<(), BridgeError> {
        let session = self.session_name(Some(TRIAL)).to_owned();
        self.create(program, &session, lms, deadline).await?;
        self.delete(&program.key, deadline).await
    }

    async fn execute(
        &mut self,
        call: &Call,
        session: &str,
        lms: &Lms,
    ) -> Result<Reply, BridgeError> {
        let key = &call.program.key;
        self.use_lm(&call.program, lms, call.deadline).await?;
        match self.held(session, key) {
            Some(Held::Surely) => {}
            Some(Held::Perhaps) => {
                self.restore(&call.program, session, lms, call.deadline)
                    .await?;
            }
            None => {
                self.create(&call.program, session, lms, call.deadline)
                    .await?;
            }
        }
        let mut answer = self.run(call, session).await;
        if let Err(BridgeError::Failed { failure, .. }) = &answer
            && failure.class == FailureClass::UnknownProgram
        {
            self.drop_program(session, key);
            self.create(&call.program, session, lms, call.deadline)
                .await?;
            answer = self.run(call, session).await;
        }
        match &answer {
            Ok(_) => self.keep(session, key, Held::Surely),
            Err(BridgeError::Failed {
                classified: false, ..
            }) => self.keep(session, key, Held::Perhaps),
            Err(_) => {}
        }
        answer
    }

    async fn run(&mut self, call: &Call, session: &str) -> Result<Reply, BridgeError> {
        let mut args = json!({
            "program_id": call.program.key.to_string(),
            "inputs": &*call.inputs,
        });
        if let Some(state) = session_state::argument(call)? {
            args["state"] = state;
        }
        self.add_session(&mut args, session);
        let mut result = self
            .worker
            .request("execute_program", &args, call.deadline)
            .await?;
        let program_time = reported_time(result.get("program_ms").and_then(Value::as_f64));
        let state = session_state::answered(call, &mut result)?;
        match result.remove("outputs") {
            Some(Value::Object(outputs)) => Ok(Reply {
                outputs,
                program_time,
                worker: Arc::clone(&self.name),
                state,
                usage: None,
            }),
            _ => Err(BridgeError::Protocol(
                "its answer to execute_program has no object `outputs`".to_owned(),
            )),
        }
    }

    /// Creates a program that may be there already. It is not deleted first: where the failure was
    /// the program's own, the session would lose its state.
    async fn restore(
        &mut self,
        program: &Program,
        session: &str,
        lms: &Lms,
        deadline: Instant,
    ) -> Result<(), BridgeError> {
        match self.create(program, session, lms, deadline).await {
            // It is there; or it is not, and the execution says so.
            Ok(()) | Err(BridgeError::Failed { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn held(&self, session: &str, key: &ProgramKey) -> Option<Held> {
        self.programs.get(session)?.get(key).copied()
    }

    fn keep(&mut self, session: &str, key: &ProgramKey, held: Held) {
        if !self.programs.contains_key(session) {
            self.sessions.push_back(session.to_owned());
        }
        self.programs
            .entry(session.to_owned())
            .or_default()
            .insert(key.clone(), held);
    }

    fn drop_program(&mut self, session: &str, key: &ProgramKey) {
        if let Some(programs) = self.programs.get_mut(session) {
            programs.remove(key);
        }
    }

    async fn create(
        &mut self,
        program: &Program,
        session: &str,
        lms: &Lms,
        deadline: Instant,
    ) -> Result<(), BridgeError> {
        self.use_lm(program, lms, deadline).await?;
        self.make_room(session, deadline).await?;
        let mut args = command::create_program(program);
        self.add_session(&mut args, session);
        self.worker
            .request("create_program", &args, deadline)
            .await?;
        self.keep(session, &program.key, Held::Surely);
        Ok(())
    }

    async fn delete(&mut self, key: &ProgramKey, deadline: Instant) -> Result<(), BridgeError> {
        let holders: Vec<String> = self
            .programs
            .iter_mut()
            .filter_map(|(session, programs)| programs.remove(key).map(|_| session.clone()))
            .collect();
        for session in holders {
            let mut args = json!({ "program_id": key.to_string() });
            self.add_session(&mut args, &session);
            match self.worker.request("delete_program", &args, deadline).await {
                // A script that has lost it already has done what was asked.
                Ok(_) | Err(BridgeError::Failed { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sets the worker's one LM to what the program names.
    async fn use_lm(
        &mut self,
        program: &Program,
        lms: &Lms,
        deadline: Instant,
    ) -> Result<(), BridgeError> {
        let Definition::Dspy { lm, .. } = &program.definition else {
            return Ok(());
        };
        let name = lm.as_deref().unwrap_or(DEFAULT_LM);
        if self.lm.as_deref() == Some(name) {
            return Ok(());
        }
        let Some(args) = lms.arguments(name) else {
            // A script that is not ours may know its model by itself.
            let own_model = lm.is_none() && !lms.keys_by_name;
            return if own_model {
                Ok(())
            } else {
                Err(lms.unknown(name))
            };
        };
        self.worker.request("configure_lm", &args, deadline).await?;
        self.lm = Some(name.to_owned());
        Ok(())
    }

    /// Cleans up the oldest session where the worker keeps as many as it may.
    async fn make_room(&mut self, session: &str, deadline: Instant) -> Result<(), BridgeError> {
        while self.sessions.len() >= self.sessions_kept && !self.programs.contains_key(session) {
            let Some(oldest) = self.sessions.pop_front() else {
                break;
            };
            self.programs.remove(&oldest);
            let args = json!({ "session_id": oldest });
            self.worker
                .request("cleanup_session", &args, deadline)
                .await?;
        }
        Ok(())
    }

    fn add_session(&self, args: &mut Value, session: &str) {
        if self.mode == Mode::PoolWorker {
            args["session_id"] = session.into();
        }
    }

    fn judge(&self, answer: Result<Option<Reply>, BridgeError>) -> Used {
        let worker = self.name.to_string();
        let (answer, loss) = match answer {
            Ok(answer) => (Ok(answer), None),
            Err(BridgeError::Failed { failure, .. }) => (Err(failure.into_error(&worker)), None),
            // One call at a time and no ping beside it: whether the worker was well cannot be
            // told, and what cannot be told is not blamed on the pool.
            Err(BridgeError::TimedOut { after, .. }) => (
                Err(PoolError::ProgramTimeout { after }),
                Some(Loss::GivenUp),
            ),
            Err(BridgeError::Protocol(reason)) => (
                Err(PoolError::Protocol { worker, reason }),
                Some(Loss::Failed),
            ),
            Err(BridgeError::Ended(reason)) => (
                Err(PoolError::Crashed { worker, reason }),
                Some(Loss::Failed),
            ),
            // Never begun, even where the call may not be repeated.
            Err(BridgeError::NotSent(reason)) => (
                Err(PoolError::Unavailable {
                    reason: format!("worker {worker} was gone before the call: {reason}"),
                }),
                Some(Loss::Failed),
            ),
        };
        Used { answer, loss }
    }
}
