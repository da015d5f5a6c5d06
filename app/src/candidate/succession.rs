//! Puts the candidate's pool into the old one's place.

use std::time::Duration;

use async_trait::async_trait;
use dspex_migration::{Check, Plan, Succession};
use dspex_pool::Drained;

/// See the module.
pub(crate) struct Heir;

const NOT_YET: &str = "the old pool cannot be replaced yet";

#[async_trait]
impl Succession for Heir {
    async fn confirm(&self, _: &Plan) -> Vec<Check> {
        vec![Check {
            name: "the old pool can be replaced".to_owned(),
            ok: false,
            value: NOT_YET.to_owned(),
            limit: "every check".to_owned(),
            hint: None,
        }]
    }

    async fn promote(&self, _: &Plan) -> Result<(), String> {
        Err(NOT_YET.to_owned())
    }

    async fn demote(&self, _: &Plan) -> Result<(), String> {
        // Nothing is ever promoted.
        Ok(())
    }

    async fn retire(&self, _: &Plan, _: Duration) -> Result<Drained, String> {
        Err(NOT_YET.to_owned())
    }

    async fn rest(&self, _: &Plan, _: Duration) -> Result<Drained, String> {
        Err(NOT_YET.to_owned())
    }
}
