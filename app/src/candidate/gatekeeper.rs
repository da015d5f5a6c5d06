//! Asks webhooks whether a stage may be left.
//!
//! Invariant: only a plain yes is one: status 200 and `{"approve": true}`. Whatever else comes (another
//! status, another word, silence, a secret that is not set) is none, and keeps the gate shut.

use std::time::Duration;

use async_trait::async_trait;
use dspex_migration::{Answer, Gatekeeper, Question};
use serde::Deserialize;
use serde_json::json;

use crate::clock;
use crate::webhook::{Address, Answered, Post, Secret, Webhooks};

/// The longest text that is taken over into the journal, in characters.
const LONGEST_TEXT: usize = 500;

/// See the module.
pub(crate) struct WebhookGates {
    webhooks: Webhooks,
    /// Or why there is none.
    secret: Result<Secret, String>,
    timeout: Duration,
}

/// What a gate answers.
#[derive(Deserialize)]
struct Said {
    approve: bool,
    #[serde(default)]
    text: Option<String>,
}

impl WebhookGates {
    pub(crate) fn new(
        webhooks: Webhooks,
        secret: Result<Secret, String>,
        timeout: Duration,
    ) -> Self {
        Self {
            webhooks,
            secret,
            timeout,
        }
    }
}

#[async_trait]
impl Gatekeeper for WebhookGates {
    async fn ask(&self, url: &str, question: &Question) -> Result<Answer, String> {
        let to = Address::parse(url).map_err(|problem| format!("the gate's address {problem}"))?;
        let secret = self.secret.as_ref().map_err(Clone::clone)?;
        let at = clock::now();
        let body = json!({
            "type": "dspex.migration.gate",
            "timestamp": at,
            "text": text(question),
            "data": question,
        });
        // Asked anew each time, so each question is its own message.
        let id = format!("gate_{}", uuid::Uuid::now_v7());
        let post = Post {
            to: &to,
            secret,
            id: &id,
            at,
            body: body.to_string().into(),
            within: self.timeout,
        };
        let answered = self.webhooks.post(post).await;
        read(&answered.map_err(|problem| format!("the gate {to} does not answer: {problem}"))?)
            .map_err(|problem| format!("the gate {to} {problem}"))
    }
}

/// The question for people.
fn text(question: &Question) -> String {
    format!(
        "May migration {} leave stage {} ({})?",
        question.migration,
        question.stage + 1,
        question.percent
    )
}

fn read(answered: &Answered) -> Result<Answer, String> {
    if answered.status != 200 {
        return Err(format!(
            "answered {}, and only 200 is an answer",
            answered.status
        ));
    }
    let said: Said = serde_json::from_slice(&answered.body).map_err(|error| {
        format!("answered something else than {{\"approve\": true, \"text\": \"…\"}}: {error}")
    })?;
    Ok(Answer {
        yes: said.approve,
        text: said
            .text
            .map(|text| text.chars().take(LONGEST_TEXT).collect()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, body: &'static str) -> Answered {
        Answered {
            status,
            retry_after: None,
            body: body.into(),
        }
    }

    #[test]
    fn only_a_plain_yes_is_one() {
        let yes = read(&answered(200, r#"{"approve": true, "text": "go"}"#)).unwrap();
        assert_eq!((yes.yes, yes.text.as_deref()), (true, Some("go")));
        assert!(!read(&answered(200, r#"{"approve": false}"#)).unwrap().yes);
        for (status, body) in [
            (200, "true"),
            (200, r#"{"approve": "true"}"#),
            (200, r#"{"approve": 1}"#),
            (200, "{}"),
            (200, ""),
            (201, r#"{"approve": true}"#),
            (302, r#"{"approve": true}"#),
            (500, r#"{"approve": true}"#),
        ] {
            assert!(read(&answered(status, body)).is_err(), "{status} {body}");
        }
    }

    #[test]
    fn people_are_asked_in_their_words() {
        let question = Question {
            migration: dspex_migration::MigrationId::from_text("m-1"),
            stage: 0,
            percent: "5%".parse().unwrap(),
            next: None,
            analysis: None,
        };
        assert_eq!(text(&question), "May migration m-1 leave stage 1 (5%)?");
    }

    #[tokio::test]
    async fn without_a_secret_nobody_is_asked() {
        let gates = WebhookGates::new(
            Webhooks::new(),
            Err("the variable GATE is not set".to_owned()),
            Duration::from_secs(1),
        );
        let question = Question {
            migration: dspex_migration::MigrationId::from_text("m-1"),
            stage: 0,
            percent: dspex_flags::Percent::ZERO,
            next: None,
            analysis: None,
        };
        let refused = gates.ask("http://127.0.0.1:9/", &question).await;
        assert!(refused.unwrap_err().contains("GATE"));
    }
}
