//! The five operations of the older adapter, with the meaning that they had there.
//!
//! | older adapter | here |
//! |---|---|
//! | `create_program(config, opts)` | [`Adapter::create_program`]: answers the program's name |
//! | `execute(program_id, inputs, opts)` | [`Adapter::execute`]: answers the outputs alone |
//! | `list_programs(opts)` | [`Adapter::list_programs`]: every name |
//! | `delete_program(program_id, opts)` | [`Adapter::delete_program`] |
//! | `health_check(opts)` | [`Adapter::health_check`]: fine, or why not |
//!
//! `opts` carried the session; it is a parameter of `execute` now. Which implementation answers was
//! drawn anew for each call there; here a session keeps its side.

use async_trait::async_trait;
use dspex_pool::{PoolError, ProgramId};
use serde_json::{Map, Value};

use crate::error::RouterError;
use crate::execute::Execute;
use crate::programs::Draft;
use crate::router::Router;

/// The older adapter's five operations. New code uses [`Router`]'s own methods, which say more.
#[async_trait]
pub trait Adapter: Send + Sync {
    /// Makes a program and answers with its name.
    async fn create_program(&self, draft: Draft) -> Result<ProgramId, RouterError>;

    /// Runs a program and answers with its outputs.
    async fn execute(
        &self,
        program: &ProgramId,
        inputs: Map<String, Value>,
        session: Option<&str>,
    ) -> Result<Map<String, Value>, RouterError>;

    /// The names of all programs, in order.
    async fn list_programs(&self) -> Result<Vec<ProgramId>, RouterError>;

    /// Removes a program.
    async fn delete_program(&self, program: &ProgramId) -> Result<(), RouterError>;

    /// Whether calls are answered at present.
    async fn health_check(&self) -> Result<(), RouterError>;
}

#[async_trait]
impl Adapter for Router {
    async fn create_program(&self, draft: Draft) -> Result<ProgramId, RouterError> {
        let program = Router::create_program(self, draft).await?;
        Ok(program.key.id.clone())
    }

    async fn execute(
        &self,
        program: &ProgramId,
        inputs: Map<String, Value>,
        session: Option<&str>,
    ) -> Result<Map<String, Value>, RouterError> {
        let request = Execute {
            program: program.clone(),
            inputs,
            session: session.map(Into::into),
            request_id: format!("r-{}", uuid::Uuid::now_v7()).into(),
            timeout: None,
            caller: None,
            chunks: None,
            lane: None,
        };
        Router::execute(self, request)
            .await
            .map(|executed| executed.outputs)
            .map_err(|failed| failed.error)
    }

    async fn list_programs(&self) -> Result<Vec<ProgramId>, RouterError> {
        let programs = self.programs().await?;
        Ok(programs
            .iter()
            .map(|program| program.key.id.clone())
            .collect())
    }

    async fn delete_program(&self, program: &ProgramId) -> Result<(), RouterError> {
        self.delete(program).await
    }

    async fn health_check(&self) -> Result<(), RouterError> {
        let health = self.health();
        if health.ready() {
            return Ok(());
        }
        Err(RouterError::Pool(if health.stable.draining {
            PoolError::Draining
        } else {
            let last = health
                .stable
                .workers
                .iter()
                .find_map(|worker| worker.detail.clone());
            PoolError::Unavailable {
                reason: last.unwrap_or_else(|| "no worker of the stable pool is ready".to_owned()),
            }
        }))
    }
}
