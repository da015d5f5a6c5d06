//! Closed-loop traffic: sixteen visitors at a time, each asking, reading the answer, asking again.
//!
//! A visitor's session lives for [`CALLS`] calls and is followed by a fresh one, so that a new
//! percentage is soon seen in the share of the calls: a session keeps its side for its life.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use serde_json::json;

use super::client::{Client, problem};
use super::ledger::{Lane, Ledger, Sample};
use super::programs::Program;
use super::questions::Question;

/// Sessions at a time.
pub(super) const SESSIONS: usize = 16;
/// Calls in a session's life.
const CALLS: usize = 8;

/// What the visitors need to know.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) client: Client,
    pub(super) programs: Vec<Program>,
    pub(super) questions: Vec<Question>,
    /// The answers must be those of the data file.
    pub(super) exact: bool,
    /// Put in front of the sessions' names.
    pub(super) act: &'static str,
    pub(super) ledger: Arc<Ledger>,
}

/// The visitors, until they are told to leave. Dropping it tells them.
#[derive(Debug)]
pub(super) struct Traffic {
    stop: Arc<AtomicBool>,
    visitors: Vec<JoinHandle<()>>,
}

impl Scene {
    /// Asks every program from as many callers as there will be, all at once.
    pub(super) fn warm_up(&self) -> Result<()> {
        std::thread::scope(|scope| {
            let callers: Vec<_> = (0..SESSIONS)
                .map(|caller| scope.spawn(move || self.ask_all(caller)))
                .collect();
            callers
                .into_iter()
                .try_for_each(|caller| caller.join().map_err(|_| anyhow!("a caller panicked"))?)
        })
    }

    fn ask_all(&self, caller: usize) -> Result<()> {
        let client = self.client.another();
        for program in &self.programs {
            let question = &self.questions[caller % self.questions.len()];
            let name = format!("{}-first-{caller}", self.act);
            let (_, _, failure) = self.ask(&client, *program, question, &name);
            ensure!(
                failure.is_none(),
                "the first call of {} failed: {}",
                program.id(),
                failure.unwrap_or_default()
            );
        }
        Ok(())
    }

    /// Runs one call: who answered, whether in the other's stead, and why it counts as failed.
    fn ask(
        &self,
        client: &Client,
        program: Program,
        question: &Question,
        session: &str,
    ) -> (Option<Lane>, bool, Option<String>) {
        let body = json!({"inputs": {"question": question.question}});
        let answer = match client.execute(program.id(), session, &body) {
            Err(error) => return (None, false, Some(format!("{error:#}"))),
            Ok(answer) => answer,
        };
        let lane = answer.lane.as_deref().and_then(Lane::read);
        let failed_over = answer.body["failed_over"].as_bool().unwrap_or(false);
        let failure = if answer.status != 200 {
            Some(problem(answer.status, &answer.body))
        } else if lane.is_none() {
            Some(format!("the answer names no lane: {:?}", answer.lane))
        } else {
            program
                .check(&answer.body["outputs"], question, self.exact)
                .err()
        };
        (lane, failed_over, failure)
    }
}

impl Traffic {
    /// Lets the visitors in.
    pub(super) fn start(scene: Scene) -> Self {
        let scene = Arc::new(scene);
        let stop = Arc::new(AtomicBool::new(false));
        let next_session = Arc::new(AtomicUsize::new(0));
        let visitors = (0..SESSIONS)
            .map(|seat| {
                let visitor = Visitor {
                    client: scene.client.another(),
                    scene: Arc::clone(&scene),
                    stop: Arc::clone(&stop),
                    next_session: Arc::clone(&next_session),
                };
                std::thread::spawn(move || visitor.stay(seat))
            })
            .collect();
        Self { stop, visitors }
    }

    /// Tells the visitors to leave, and waits until each has its last answer.
    pub(super) fn stop(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let ends: Vec<_> = self.visitors.drain(..).map(JoinHandle::join).collect();
        if ends.iter().any(Result::is_err) {
            return Err(anyhow!("a visitor's thread panicked; its words are above"));
        }
        Ok(())
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        // An error is already on its way, or the act would have stopped us itself.
        let _ = self.stop();
    }
}

struct Visitor {
    client: Client,
    scene: Arc<Scene>,
    stop: Arc<AtomicBool>,
    next_session: Arc<AtomicUsize>,
}

impl Visitor {
    fn stay(&self, seat: usize) {
        // The first sessions are of different age, or all sixteen would end at the same moment.
        let mut calls = CALLS - seat * CALLS / SESSIONS;
        while !self.stop.load(Ordering::Relaxed) {
            let session = self.next_session.fetch_add(1, Ordering::Relaxed);
            for call in 0..calls {
                if self.stop.load(Ordering::Relaxed) {
                    return;
                }
                self.call(session, call);
                std::thread::sleep(reading_time(session, call));
            }
            calls = CALLS;
        }
    }

    fn call(&self, session: usize, call: usize) {
        let scene = &self.scene;
        let program = scene.programs[(session + call) % scene.programs.len()];
        let question = &scene.questions[(session * CALLS + call) % scene.questions.len()];
        let name = format!("{}-visitor-{session}", scene.act);
        let started = scene.ledger.now();
        let (lane, failed_over, failure) = scene.ask(&self.client, program, question, &name);
        let ended = scene.ledger.now();
        scene.ledger.record(Sample {
            session,
            started,
            ended,
            lane,
            failed_over,
            failure,
        });
    }
}

/// Between 20 and 60 ms, different from call to call, the same in every run.
fn reading_time(session: usize, call: usize) -> Duration {
    let spread = (session * 31 + call * 17) % 41;
    Duration::from_millis(20 + u64::try_from(spread).unwrap_or(0))
}
