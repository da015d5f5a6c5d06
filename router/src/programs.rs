//! Programs as callers of the router see them: made, found, listed, deleted.
//!
//! Invariants: what stands in the catalog was built by a worker of stable before it was written, or of the
//! candidate while stable rests;
//! a program that was deleted is answered by nobody, because a new one of its name has another
//! version; what is written, and what follows from it, is one change that outlives its caller (`change`).

mod change;

use std::sync::Arc;
use std::time::Duration;

use dspex_pool::{Definition, Program, ProgramId, ProgramKey, SharedPool};

use self::change::Change;
use crate::catalog::cache::Entry;
use crate::catalog::{CorruptRow, Page, Versions};
use crate::error::RouterError;
use crate::router::Router;

/// The most programs that one page holds.
pub(crate) const PAGE: usize = 1_000;

/// A program that is to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// Its name; a new one where there is none.
    pub id: Option<ProgramId>,
    /// What workers build.
    pub definition: Definition,
    /// Whether a call that may have run may be run again; what the definition suggests where nobody
    /// says.
    pub repeatable: Option<bool>,
    /// Whether each session has a state of its own, which outlives the worker.
    pub stateful: bool,
    /// Whether a call may act on the world beyond its answer, so that it is never made for the sake
    /// of comparison. Where nobody says: yes, unless it is repeatable.
    pub side_effects: Option<bool>,
}

/// What became of a program that was put.
#[derive(Debug, Clone, PartialEq)]
pub enum Put {
    /// It was not there.
    Created(Arc<Program>),
    /// It was there, and is at a new version.
    Replaced(Arc<Program>),
    /// It was there, and says the same already.
    Unchanged(Arc<Program>),
}

/// Whether a draft's calls may be repeated, have a state, act on the world.
fn marks(draft: &Draft) -> (bool, bool, bool) {
    let repeatable = draft
        .repeatable
        .unwrap_or_else(|| draft.definition.repeatable_by_default());
    let side_effects = draft.side_effects.unwrap_or(!repeatable);
    (repeatable, draft.stateful, side_effects)
}

/// What was found in the catalog at start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Loaded {
    /// How many programs can be called.
    pub programs: usize,
    /// Rows that cannot be read, and what is wrong with each.
    pub corrupt: Vec<CorruptRow>,
}

impl Router {
    /// Reads the whole catalog once, so that first calls read nothing. Rows that cannot be read are
    /// reported and logged; they do not keep the others from being served.
    ///
    /// # Errors
    ///
    /// [`RouterError::Catalog`] where the database fails.
    pub async fn load(&self) -> Result<Loaded, RouterError> {
        let mut loaded = Loaded::default();
        let mut after = None;
        loop {
            let page = self.catalog.list(after.as_ref(), PAGE).await?;
            loaded.programs += page.programs.len();
            for row in &page.corrupt {
                tracing::error!(%row, "a program cannot be served");
            }
            loaded.corrupt.extend(page.corrupt);
            self.known.file_all(page.programs);
            after = page.next;
            if after.is_none() {
                return Ok(loaded);
            }
        }
    }

    /// Makes a program: builds it in a worker of stable, and where that succeeds, keeps it.
    ///
    /// Where a candidate is up, it builds the program too. That it cannot is logged and not an
    /// error: its calls are answered by stable.
    ///
    /// # Errors
    ///
    /// [`RouterError::AlreadyExists`]; [`RouterError::Pool`] with [`dspex_pool::PoolError::Rejected`] where the
    /// definition cannot be built, or with why no worker could try; [`RouterError::CheckTimeout`];
    /// [`RouterError::Catalog`].
    pub async fn create_program(&self, draft: Draft) -> Result<Arc<Program>, RouterError> {
        let id = draft.id.clone().map_or_else(new_id, Ok)?;
        // Asked before the work is done; the catalog itself decides when the program is kept.
        if self.known.get(&id).is_some() || self.catalog.get(&id).await?.is_some() {
            return Err(RouterError::AlreadyExists { id });
        }
        let program = Arc::new(self.numbered(id, draft).await?);
        self.build(&program).await?;
        Change::of(self).keep(Arc::clone(&program), None).await?;
        Ok(program)
    }

    /// Has the program built by a worker; where that fails, nothing of it stays in any.
    async fn build(&self, program: &Arc<Program>) -> Result<(), RouterError> {
        let (mut stable, mut candidate) = (self.stable(), self.candidate());
        // A pool that rests is not woken for this while the other serves everybody: it builds the
        // program where a call of it comes.
        if stable.status().resting
            && let Some(serving) = candidate.take()
        {
            stable = serving;
        }
        let on_candidate = async {
            if let Some(candidate) = candidate {
                let within = self.config.candidate_check_timeout;
                if let Err(error) = check(&candidate, program, within).await {
                    tracing::warn!(
                        program = %program.key,
                        %error,
                        "the candidate cannot build a new program; stable answers its calls"
                    );
                }
            }
        };
        let on_stable = check(&stable, program, self.config.check_timeout);
        // Side by side: the candidate must not make the caller wait longer than it has to. Where
        // stable refuses, what the candidate thinks does not matter any more.
        let (stable, ()) = tokio::join!(on_stable, on_candidate);
        if stable.is_err() {
            self.forget(&program.key).await;
        }
        stable
    }

    /// Makes a program, or a new version of the one that has this name. A draft that says the same as
    /// the version that is served makes none.
    ///
    /// New calls get the new version as soon as this answers; calls in flight end on the one that they
    /// began with. States that sessions have of the older version are dropped: they need not fit.
    ///
    /// `expected` is the version that is to be replaced, where the caller has seen one.
    ///
    /// # Errors
    ///
    /// As [`Router::create_program`], and [`RouterError::VersionConflict`] where another version is
    /// served than was expected, or where another writer came in between.
    pub async fn put_program(
        &self,
        id: &ProgramId,
        draft: Draft,
        expected: Option<u64>,
    ) -> Result<Put, RouterError> {
        let before = self.known.generation(id);
        let Some(served) = self.catalog.get(id).await? else {
            if expected.is_some() {
                return Err(self.unknown(id));
            }
            let draft = Draft {
                id: Some(id.clone()),
                ..draft
            };
            return Ok(Put::Created(self.create_program(draft).await?));
        };
        if let Some(expected) = expected.filter(|expected| *expected != served.key.version) {
            return Err(RouterError::VersionConflict {
                id: id.clone(),
                expected,
                served: served.key.version,
            });
        }
        let same = draft.definition == served.definition
            && marks(&draft) == (served.repeatable, served.stateful, served.side_effects);
        if same {
            let served = Arc::new(served);
            // Another server may have written it: whoever is told that it is served finds it so.
            let known = self.known.get(id);
            if known.is_some_and(|known| known.program.key != served.key) {
                self.known.supersede(Arc::clone(&served), before);
            }
            return Ok(Put::Unchanged(served));
        }
        let program = Arc::new(self.numbered(id.clone(), draft).await?);
        self.build(&program).await?;
        let change = Change::of(self);
        change.keep(Arc::clone(&program), Some(served.key)).await?;
        Ok(Put::Replaced(program))
    }

    /// The versions of a program that are remembered, at most `limit`, the newest first; of those
    /// older than `before`, where one is given.
    ///
    /// # Errors
    ///
    /// [`RouterError::UnknownProgram`], [`RouterError::InvalidInput`] where `limit` is 0, or
    /// [`RouterError::Catalog`].
    pub async fn versions(
        &self,
        id: &ProgramId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Versions, RouterError> {
        if limit == 0 {
            return Err(RouterError::InvalidInput {
                message: "a page of 0 versions is not possible: ask for at least 1".to_owned(),
            });
        }
        let page = self.catalog.versions(id, before, limit).await?;
        if before.is_none() && page.versions.is_empty() && page.corrupt.is_empty() {
            return Err(self.unknown(id));
        }
        Ok(page)
    }

    /// A program from a draft, at a version that is its own.
    async fn numbered(&self, id: ProgramId, draft: Draft) -> Result<Program, RouterError> {
        let (repeatable, stateful, side_effects) = marks(&draft);
        Ok(Program {
            key: ProgramKey {
                id,
                version: self.catalog.reserve().await?,
            },
            definition: draft.definition,
            repeatable,
            stateful,
            side_effects,
        })
    }

    /// The program of this name.
    ///
    /// # Errors
    ///
    /// [`RouterError::UnknownProgram`], or [`RouterError::Catalog`].
    pub async fn get(&self, id: &ProgramId) -> Result<Arc<Program>, RouterError> {
        Ok(Arc::clone(&self.find(id).await?.program))
    }

    /// At most `limit` programs, 1,000 at most, whose names come after `after`.
    ///
    /// # Errors
    ///
    /// [`RouterError::InvalidInput`] where `limit` is 0, or [`RouterError::Catalog`].
    pub async fn list(&self, after: Option<&ProgramId>, limit: usize) -> Result<Page, RouterError> {
        if limit == 0 {
            return Err(RouterError::InvalidInput {
                message: "a page of 0 programs is not possible: ask for 1 to 1000".to_owned(),
            });
        }
        Ok(self.catalog.list(after, limit.min(PAGE)).await?)
    }

    /// Every program, in the order of names. Rows that cannot be read are left out.
    ///
    /// # Errors
    ///
    /// [`RouterError::Catalog`].
    pub async fn programs(&self) -> Result<Vec<Arc<Program>>, RouterError> {
        let mut programs = Vec::new();
        let mut after = None;
        loop {
            let page = self.catalog.list(after.as_ref(), PAGE).await?;
            programs.extend(page.programs);
            after = page.next;
            if after.is_none() {
                return Ok(programs);
            }
        }
    }

    /// Removes a program. Calls in flight run to their end; its workers' instances are dropped.
    ///
    /// # Errors
    ///
    /// [`RouterError::UnknownProgram`], or [`RouterError::Catalog`].
    pub async fn delete(&self, id: &ProgramId) -> Result<(), RouterError> {
        match Change::of(self).delete(id.clone()).await? {
            Some(_) => Ok(()),
            None => Err(self.unknown(id)),
        }
    }

    /// The program from what is known, or else from the catalog.
    pub(crate) async fn find(&self, id: &ProgramId) -> Result<Arc<Entry>, RouterError> {
        if let Some(known) = self.known.get(id) {
            return Ok(known);
        }
        let before = self.known.generation(id);
        match self.catalog.get(id).await? {
            Some(program) => Ok(self.known.file(Arc::new(program), before)),
            None => Err(self.unknown(id)),
        }
    }

    fn unknown(&self, id: &ProgramId) -> RouterError {
        RouterError::UnknownProgram {
            id: id.clone(),
            nearest: self.known.nearest(id),
        }
    }

    async fn forget(&self, key: &ProgramKey) {
        self.stable().forget(key).await;
        if let Some(candidate) = self.candidate() {
            candidate.forget(key).await;
        }
    }
}

fn new_id() -> Result<ProgramId, RouterError> {
    format!("p-{}", uuid::Uuid::now_v7())
        .parse()
        .map_err(
            |error: dspex_pool::InvalidDefinition| RouterError::InvalidInput {
                message: error.to_string(),
            },
        )
}

async fn check(pool: &SharedPool, program: &Program, within: Duration) -> Result<(), RouterError> {
    match tokio::time::timeout(within, pool.check(program)).await {
        Ok(checked) => Ok(checked?),
        Err(_) => Err(RouterError::CheckTimeout { within }),
    }
}
