//! Who must say yes before a stage is left: nobody, a person, or a webhook.
//!
//! Invariants: only a plain yes opens a gate; whoever does not answer has not said yes. A gate keeps a
//! stage, and never a rollback.

use async_trait::async_trait;
use dspex_flags::Percent;
use serde::{Deserialize, Serialize};

use crate::analysis::Analysis;
use crate::id::MigrationId;

/// What must be said before a stage is left, beside its hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Nothing: the hold is enough.
    #[default]
    Automatic,
    /// A person approves, at any time in the stage.
    Approval,
    /// A webhook says yes, once the hold was seen.
    Webhook {
        /// Where it is asked, by POST.
        url: String,
    },
}

impl Gate {
    /// Whether nobody is asked.
    #[must_use]
    pub fn is_automatic(&self) -> bool {
        *self == Self::Automatic
    }

    /// What is wrong with this gate, if anything.
    pub(crate) fn problem(&self) -> Option<String> {
        match self {
            Self::Webhook { url }
                if !(url.starts_with("https://") || url.starts_with("http://")) =>
            {
                Some(format!(
                    "its gate asks {url:?}, which is no http:// or https:// address"
                ))
            }
            _ => None,
        }
    }
}

/// What a webhook is asked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Question {
    /// Which migration.
    pub migration: MigrationId,
    /// The stage that would be left, from 0.
    pub stage: usize,
    /// Its share of traffic.
    pub percent: Percent,
    /// The share of the stage after it; none where it is the last.
    pub next: Option<Percent>,
    /// The last look at the candidate that was written down.
    pub analysis: Option<Analysis>,
}

/// What it answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Whether the stage may be left.
    pub yes: bool,
    /// What it had to say about it.
    pub text: Option<String>,
}

/// Asks webhooks. The app implements it.
///
/// It may be dropped at any await: a pause, a promotion or a rollback does not wait for an answer.
#[async_trait]
pub trait Gatekeeper: Send + Sync + 'static {
    /// Asks, and answers what was answered. It is asked again where this was no yes.
    ///
    /// # Errors
    ///
    /// Why there is no answer, in one line for the operator.
    async fn ask(&self, url: &str, question: &Question) -> Result<Answer, String>;
}
