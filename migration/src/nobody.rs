//! Stands where a house has no such part.

use std::time::Duration;

use async_trait::async_trait;
use dspex_pool::Drained;

use crate::candidate::Check;
use crate::gate::{Answer, Gatekeeper, Question};
use crate::id::MigrationId;
use crate::plan::Plan;
use crate::succession::{Leaving, Removed, Succession};
use crate::validator::Validator;
use crate::vault::{Saved, Vault};

/// Stands where a house has nobody who puts things aside, validates, replaces the old pool or asks
/// webhooks. Whatever is asked of it fails and says so, but for what is done where nothing was.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nobody;

fn nobody<T>(does: &str) -> Result<T, String> {
    Err(format!("there is nobody here who {does}"))
}

fn failed(does: &str) -> Vec<Check> {
    vec![Check {
        name: does.into(),
        ok: false,
        value: "nobody".into(),
        limit: "somebody".into(),
        hint: None,
    }]
}

#[async_trait]
impl Vault for Nobody {
    async fn backup(&self, _: &MigrationId, _: &Plan) -> Result<Saved, String> {
        nobody("makes backups")
    }

    async fn archive(&self, _: &MigrationId, _: &Plan) -> Result<Saved, String> {
        nobody("makes archives")
    }
}

#[async_trait]
impl Validator for Nobody {
    async fn validate(&self, _: &Plan) -> Vec<Check> {
        failed("who validates the candidate")
    }
}

#[async_trait]
impl Succession for Nobody {
    async fn confirm(&self, _: &Plan) -> Vec<Check> {
        failed("who replaces the old pool")
    }

    async fn promote(&self, _: &Plan) -> Result<(), String> {
        nobody("replaces the old pool")
    }

    async fn demote(&self, _: &Plan) -> Result<(), String> {
        // Nothing was ever promoted.
        Ok(())
    }

    async fn retire(&self, _: Leaving<'_>, _: Duration) -> Result<Removed, String> {
        nobody("replaces the old pool")
    }

    async fn rest(&self, _: &Plan, _: Duration) -> Result<Drained, String> {
        nobody("makes the old pool cold")
    }
}

#[async_trait]
impl Gatekeeper for Nobody {
    async fn ask(&self, _: &str, _: &Question) -> Result<Answer, String> {
        nobody("asks webhooks")
    }
}
