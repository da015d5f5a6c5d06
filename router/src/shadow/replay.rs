//! A case that is run again, because a person wants to know what the lanes answer now.
//!
//! Invariants: nothing is counted, neither for the program nor for its comparer; whoever asks is told
//! as well where nobody judged.

use dspex_pool::{PoolError, Reply};
use serde::Serialize;
use serde_json::{Map, Value};

use super::Case;
use super::copy::signature;
use crate::compare::{Difference, Tier, differences};
use crate::router::Router;

/// A case that was run again on both lanes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Replay {
    /// What stable answers now, or why it does not.
    pub stable: Result<Map<String, Value>, String>,
    /// What the candidate answers now, or why it does not.
    pub candidate: Result<Map<String, Value>, String>,
    /// What is different now, noise included; none where one of them did not answer, or where the
    /// program's comparer did not judge.
    pub differences: Option<Vec<Difference>>,
    /// Why the program's comparer did not judge, where it was asked and did not.
    pub unjudged: Option<String>,
}

impl Router {
    /// Runs a case again on both lanes, side by side, and compares the answers as copies are, the
    /// user's comparer included; none where there is no candidate. Nothing is counted. The program is
    /// run as it is now, which may be a newer version.
    ///
    /// # Errors
    ///
    /// [`crate::RouterError::UnknownProgram`] where the program is gone.
    pub async fn replay_case(&self, case: &Case) -> Result<Option<Replay>, crate::RouterError> {
        let entry = self.find(&case.program.id).await?;
        let Some(candidate) = self.candidate_lane() else {
            return Ok(None);
        };
        let (program, inputs, id) = (&entry.program, &case.inputs, case.request_id.as_str());
        let lane = self.stable_lane();
        let (stable, candidate) = tokio::join!(
            self.ask(&lane, program, inputs, id),
            self.ask(&candidate, program, inputs, id)
        );
        let comparison = self.shadow.comparison(&case.program.id);
        let (mut found, mut unjudged) = (None, None);
        if let (Ok(ours), Ok(theirs)) = (&stable, &candidate) {
            let (ours, theirs) = (&ours.outputs, &theirs.outputs);
            let form = differences(&comparison.rules, signature(program), ours, theirs);
            // As for a copy: a comparer is asked about answers whose form is the same.
            let asked = comparison.comparer.as_ref().filter(|_| form.is_empty());
            let said = match asked {
                Some(comparer) => Some(self.replay_comparer(comparer, ours, theirs).await),
                None => None,
            };
            match said {
                None | Some(Ok((true, _))) => found = Some(form),
                Some(Ok((false, why))) => {
                    let one = Difference::new("", Tier::Comparer, why, None, None);
                    found = Some(vec![one]);
                }
                Some(Err(why)) => unjudged = Some(why),
            }
        }
        let told = |answer: Result<Reply, PoolError>| {
            answer
                .map(|reply| reply.outputs)
                .map_err(|error| error.to_string())
        };
        Ok(Some(Replay {
            stable: told(stable),
            candidate: told(candidate),
            differences: found,
            unjudged,
        }))
    }
}
