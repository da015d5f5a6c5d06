//! Holds the candidate against stable in rehearsal pools: for a migration before it is complete, and
//! whenever a person asks for it.
//!
//! Invariants:
//! - One validation at a time: two at once would measure each other. A person who asks meanwhile is
//!   refused; a migration waits for its turn.
//! - One that is cut off, by a rollback, by a person or by the server's end, leaves no pool behind, and
//!   its record says that it was cut off.
//! - The last few are kept in memory, and no more. What a migration found stands in its journal.

mod record;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use dspex_migration::{Check, Extent, Factory, Plan, Suite, Validate, ValidationReport, Validator};
use dspex_pool::{Definition, Program};
use dspex_router::{Router, RouterError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::record::Ending;
pub(crate) use self::record::{Run, Summary};
use crate::config::Config;
use crate::pools::{PoolSource, PoolVersion};

/// How many validations are remembered.
const KEPT: usize = 20;

/// What validations need.
pub(crate) struct ValidationParts {
    pub(crate) router: Arc<Router>,
    pub(crate) pools: Arc<dyn PoolSource>,
    pub(crate) config: Arc<Config>,
    pub(crate) tracker: TaskTracker,
    /// The server's end.
    pub(crate) stop: CancellationToken,
}

/// See the module.
pub(crate) struct Validations {
    parts: ValidationParts,
    /// Held by the one that runs.
    turn: Arc<tokio::sync::Mutex<()>>,
    runs: Mutex<VecDeque<Arc<Run>>>,
}

/// What is validated.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) extent: Extent,
    pub(crate) stable: PoolVersion,
    pub(crate) candidate: PoolVersion,
    /// For whom: a migration, or who asked.
    pub(crate) who: String,
}

/// Why a validation was not begun.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotBegun {
    /// Another one runs.
    #[error("a validation of {candidate} against {stable} runs already")]
    Running {
        /// Its id, where it has one yet.
        id: Option<String>,
        /// Its pools.
        stable: String,
        /// Its pools.
        candidate: String,
    },
    /// A pool cannot be started as it is configured.
    #[error("the pool {pool} cannot be rehearsed: {reason}")]
    Unfit {
        /// `stable` or `candidate`.
        field: &'static str,
        /// Which.
        pool: PoolVersion,
        /// Why.
        reason: String,
    },
    /// A case of the configuration cannot be carried out.
    #[error("validation.cases: {0}")]
    Case(String),
    /// The catalog cannot be read.
    #[error(transparent)]
    Catalog(#[from] RouterError),
}

impl Validations {
    pub(crate) fn new(parts: ValidationParts) -> Arc<Self> {
        Arc::new(Self {
            parts,
            turn: Arc::default(),
            runs: Mutex::default(),
        })
    }

    /// Begins one in a task of its own.
    ///
    /// # Errors
    /// See [`NotBegun`]: nothing was started then.
    pub(crate) async fn begin(self: &Arc<Self>, asked: Asked) -> Result<Arc<Run>, NotBegun> {
        let Ok(turn) = Arc::clone(&self.turn).try_lock_owned() else {
            let running = self.newest().find(|run| run.is_running());
            let name = |of: fn(&Run) -> String| running.as_deref().map_or("a pool".to_owned(), of);
            return Err(NotBegun::Running {
                stable: name(|run| run.stable().to_owned()),
                candidate: name(|run| run.candidate().to_owned()),
                id: running.as_ref().map(|run| run.id().to_owned()),
            });
        };
        let programs = self.parts.router.programs().await?;
        self.check_cases(&programs)?;
        for (field, pool) in [("stable", &asked.stable), ("candidate", &asked.candidate)] {
            if let Err(reason) = self.parts.pools.interpreter(pool).await {
                let pool = pool.clone();
                return Err(NotBegun::Unfit {
                    field,
                    pool,
                    reason,
                });
            }
        }
        let run = self.remember(&asked);
        let ending = run.ending();
        let this = Arc::clone(self);
        let (cancelled, stop) = (run.cancelled(), self.parts.stop.clone());
        self.parts.tracker.spawn(async move {
            let _turn = turn;
            let whole = this.run(&asked, ending, programs);
            // Dropped where either of the two comes first, and so cut off.
            stop.run_until_cancelled(cancelled.run_until_cancelled(whole))
                .await;
        });
        Ok(run)
    }

    /// The one of this id.
    pub(crate) fn get(&self, id: &str) -> Option<Arc<Run>> {
        self.newest().find(|run| run.id() == id)
    }

    /// All that are remembered, the newest first.
    pub(crate) fn newest(&self) -> impl Iterator<Item = Arc<Run>> {
        let runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.iter().rev().cloned().collect::<Vec<_>>().into_iter()
    }

    /// Runs the suite, and keeps what it finds.
    async fn run(
        &self,
        asked: &Asked,
        ending: Ending,
        programs: Vec<Arc<Program>>,
    ) -> ValidationReport {
        let suite = Suite {
            extent: asked.extent,
            settings: self.parts.config.validation.clone(),
            stable: (asked.stable.to_string(), self.factory(&asked.stable)),
            candidate: (asked.candidate.to_string(), self.factory(&asked.candidate)),
            programs,
            lms: self.parts.config.lms.keys().cloned().collect(),
            tracker: self.parts.tracker.clone(),
        };
        let report = suite.run(&|progress| ending.note(progress)).await;
        ending.with(&report);
        report
    }

    fn factory(&self, pool: &PoolVersion) -> Factory {
        let (pools, pool) = (Arc::clone(&self.parts.pools), pool.clone());
        let workers = self.parts.config.validation.workers;
        Box::new(move || {
            Box::pin(async move {
                let started = pools.rehearse(&pool, workers).await;
                started.map_err(|error| error.to_string())
            })
        })
    }

    fn remember(&self, asked: &Asked) -> Arc<Run> {
        let run = Run::new(asked);
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        if runs.len() >= KEPT {
            runs.pop_front();
        }
        runs.push_back(Arc::clone(&run));
        run
    }

    fn check_cases(&self, programs: &[Arc<Program>]) -> Result<(), NotBegun> {
        let settings = &self.parts.config.validation;
        for (index, case) in settings.cases.iter().enumerate() {
            let mut programs = programs.iter();
            let found = programs.find(|program| program.key.id.as_str() == case.program);
            let number = index + 1;
            match found.map(|program| &program.definition) {
                None => {
                    return Err(NotBegun::Case(format!(
                        "case {number} calls {:?}, and there is no program of that name",
                        case.program
                    )));
                }
                Some(Definition::Dspy { .. }) if !settings.use_lms => {
                    return Err(NotBegun::Case(format!(
                        "case {number} calls {:?}, which asks a language model, and validation.use_lms is false",
                        case.program
                    )));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Validator for Validations {
    async fn validate(&self, plan: &Plan) -> Vec<Check> {
        let extent = match plan.validation.run {
            Validate::Full => Extent::Full,
            // The controller does not ask where nothing is to be run; a quick look does no harm.
            Validate::Quick | Validate::None => Extent::Quick,
        };
        let pools = &self.parts.pools;
        let stable = pools.find(&plan.stable, plan.stable_version);
        let candidate = pools.find(&plan.candidate, plan.candidate_version);
        let (stable, candidate) = match (stable, candidate) {
            (Ok(stable), Ok(candidate)) => (stable, candidate),
            (Err(why), _) | (_, Err(why)) => return vec![not_run(why)],
        };
        let _turn = self.turn.lock().await;
        let programs = match self.parts.router.programs().await {
            Ok(programs) => programs,
            Err(error) => return vec![not_run(error.to_string())],
        };
        let asked = Asked {
            extent,
            stable,
            candidate,
            who: "migration".to_owned(),
        };
        let run = self.remember(&asked);
        let cancelled = run.cancelled();
        let whole = self.run(&asked, run.ending(), programs);
        match cancelled.run_until_cancelled(whole).await {
            Some(report) => report.checks(),
            None => vec![not_run("a person cut it off".to_owned())],
        }
    }
}

/// What was not looked at is not known to be well.
fn not_run(why: String) -> Check {
    Check {
        name: "the validation is run".to_owned(),
        ok: false,
        value: why,
        limit: "to its end".to_owned(),
        hint: Some(
            "resume runs it again; promote completes the migration on a person's word".to_owned(),
        ),
    }
}
