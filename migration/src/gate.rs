//! Who must say yes before a stage is left: nobody, a person, or a webhook.
//!
//! Invariants: only a plain yes opens a gate; whoever does not answer has not said yes. A gate keeps a
//! stage, and never a rollback. Only the plan in the journal has a webhook's whole address, because some
//! services make it the secret; whatever people or other servers are shown has its place alone.

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

    /// The same gate as anybody may see it: a webhook's scheme and host, without user, path and query.
    #[must_use]
    pub fn shown(&self) -> Self {
        match self {
            Self::Webhook { url } => Self::Webhook { url: place(url) },
            other => other.clone(),
        }
    }

    /// What is wrong with this gate, if anything.
    pub(crate) fn problem(&self) -> Option<String> {
        match self {
            Self::Webhook { url }
                if !(url.starts_with("https://") || url.starts_with("http://")) =>
            {
                Some(format!(
                    "its gate asks {:?}, which is no http:// or https:// address",
                    place(url)
                ))
            }
            _ => None,
        }
    }
}

/// Where an address is: its scheme and host.
pub(crate) fn place(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return "(no address)".to_owned();
    };
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_neither_user_nor_path_nor_query() {
        for (url, shown) in [
            ("https://ada:s3cret@gate:8443/s3cret", "https://gate:8443"),
            ("https://gate?token=s3cret", "https://gate"),
            ("https://gate#s3cret", "https://gate"),
            ("http://gate.example", "http://gate.example"),
            ("s3cret", "(no address)"),
        ] {
            assert_eq!(place(url), shown);
            let gate = Gate::Webhook {
                url: url.to_owned(),
            };
            assert!(!format!("{:?}", gate.shown()).contains("s3cret"));
            assert!(!format!("{:?}", gate.problem()).contains("s3cret"));
        }
        assert_eq!(Gate::Approval.shown(), Gate::Approval);
    }
}
