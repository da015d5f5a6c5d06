//! Closed-loop traffic: visitors, each asking, reading the answer, asking again.
//!
//! A visitor's session lives for a few calls and is followed by a fresh one, so that a new
//! percentage is soon seen in the share of the calls: a session keeps its side for its life.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};

use super::call::{Call, Fate, Turns};
use super::client::Client;
use super::ledger::{Ledger, Sample};
use super::programs::Program;
use super::questions::Question;

/// How long the first calls may be put off: all come at once, more than there will be later.
const WARM_UP: Duration = Duration::from_secs(30);

/// How the visitors behave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Habits {
    /// Visitors at a time.
    pub(crate) seats: usize,
    /// Calls in a session's life.
    pub(crate) calls: usize,
    /// How long a visitor tries on where it is refused, or nobody listens.
    pub(crate) patience: Duration,
    /// What a visitor waits between two calls is this, and up to two of it more.
    pub(crate) pause: Duration,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            seats: 16,
            calls: 8,
            patience: Duration::ZERO,
            pause: Duration::from_millis(20),
        }
    }
}

/// What the visitors need to know.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) client: Client,
    pub(crate) programs: Vec<Program>,
    pub(crate) questions: Vec<Question>,
    /// The answers must be those of the data file.
    pub(crate) exact: bool,
    /// Put in front of the sessions' names.
    pub(crate) act: &'static str,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) habits: Habits,
    /// The number of the first session, so that two crowds are not taken for one.
    pub(crate) first_session: usize,
}

/// The visitors, until they are told to leave. Dropping it tells them.
#[derive(Debug)]
pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    visitors: Vec<JoinHandle<()>>,
}

impl Scene {
    /// Asks every program from as many callers as there will be, all at once.
    pub(crate) fn warm_up(&self) -> Result<()> {
        std::thread::scope(|scope| {
            let callers: Vec<_> = (0..self.habits.seats)
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
            let name = format!("{}-first-{}", self.act, self.first_session + caller);
            let call = Call {
                program: *program,
                question: &self.questions[caller % self.questions.len()],
                session: &name,
                key: &name,
            };
            let patience = self.habits.patience.max(WARM_UP);
            let fate = call.make(&client, self.exact, patience, &mut Turns::default());
            if let Some(failure) = fate.failure {
                bail!(
                    "the first call of {} failed: {}",
                    program.id(),
                    failure.text
                );
            }
        }
        Ok(())
    }

    fn make(&self, client: &Client, call: &Call<'_>, turns: &mut Turns) -> Fate {
        call.make(client, self.exact, self.habits.patience, turns)
    }
}

impl Traffic {
    /// Lets the visitors in.
    pub(crate) fn start(scene: Scene) -> Self {
        let scene = Arc::new(scene);
        let stop = Arc::new(AtomicBool::new(false));
        let next_session = Arc::new(AtomicUsize::new(scene.first_session));
        let visitors = (0..scene.habits.seats)
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

    /// Tells the visitors to leave, and does not wait for it.
    pub(crate) fn leave(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Tells the visitors to leave, and waits until each has its last answer.
    pub(crate) fn stop(&mut self) -> Result<()> {
        self.leave();
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
        let habits = self.scene.habits;
        // The first sessions are of different age, or all would end at the same moment.
        let mut calls = habits.calls - seat * habits.calls / habits.seats;
        while !self.stop.load(Ordering::Relaxed) {
            let session = self.next_session.fetch_add(1, Ordering::Relaxed);
            let mut turns = Turns::default();
            for call in 0..calls {
                if self.stop.load(Ordering::Relaxed) {
                    return;
                }
                self.call(session, call, &mut turns);
                std::thread::sleep(reading_time(habits.pause, session, call));
            }
            calls = habits.calls;
        }
    }

    fn call(&self, session: usize, call: usize, turns: &mut Turns) {
        let scene = &self.scene;
        let program = scene.programs[(session + call) % scene.programs.len()];
        let question = session * scene.habits.calls + call;
        let name = format!("{}-visitor-{session}", scene.act);
        let started = scene.ledger.now();
        let fate = scene.make(
            &self.client,
            &Call {
                program,
                question: &scene.questions[question % scene.questions.len()],
                session: &name,
                key: &format!("{name}-{call}"),
            },
            turns,
        );
        let ended = scene.ledger.now();
        scene.ledger.record(Sample {
            session,
            program: program.id(),
            started,
            ended,
            lane: fate.lane,
            failed_over: fate.failed_over,
            failure: fate.failure,
            worker: fate.worker,
            attempts: fate.attempts,
        });
    }
}

/// One to three pauses, different from call to call, the same in every run.
fn reading_time(pause: Duration, session: usize, call: usize) -> Duration {
    let spread = u32::try_from((session * 31 + call * 17) % 41).unwrap_or(0);
    pause + pause * 2 * spread / 40
}
