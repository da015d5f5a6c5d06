//! Holds the candidate against stable once more, after the last stage.

use async_trait::async_trait;
use dspex_migration::{Check, Plan, Validator};

/// See the module.
pub(crate) struct Rehearsal;

#[async_trait]
impl Validator for Rehearsal {
    async fn validate(&self, _: &Plan) -> Vec<Check> {
        vec![Check {
            name: "validation".to_owned(),
            ok: false,
            value: "it is not there yet".to_owned(),
            limit: "every check of the suite".to_owned(),
            hint: Some("promote completes the migration on a person's word".to_owned()),
        }]
    }
}
