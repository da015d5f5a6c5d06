//! `[webhooks]` and `[[notifications]]`: who is told of what happens to migrations.
//!
//! Invariant: what is here is valid in itself; that a secret's variable is set is looked at where it is
//! used, because whoever shows or checks a configuration need not hold its secrets.

use std::time::Duration;

use dspex_migration::Event;
use serde::{Deserialize, Deserializer};
use serde_json::json;

use super::error::{ConfigError, nearest};
use super::sections::text_or_none;
use super::units::duration;
use crate::webhook::Address;

/// `[webhooks]`: what holds for every post to another server.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhooksSection {
    /// The variable with the secret that posts are signed with, where a notification names none of
    /// its own; gates use it too.
    #[serde(deserialize_with = "text_or_none")]
    pub secret_env: Option<String>,
    /// How long one post may take.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// An event is posted again and again until it is this old.
    #[serde(with = "duration")]
    pub keep_trying: Duration,
    /// The longest wait between two tries.
    #[serde(with = "duration")]
    pub longest_wait: Duration,
}

/// One of `[[notifications]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notification {
    /// What it is called: in the status, in metrics, and beside what was delivered.
    pub name: String,
    /// Where events are posted to.
    pub url: String,
    /// The variable with its secret; that of `[webhooks]` where it is absent.
    #[serde(default, deserialize_with = "text_or_none")]
    pub secret_env: Option<String>,
    /// Which events.
    #[serde(default)]
    pub events: Selection,
}

/// Which events are told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Selection {
    /// Everything but the looks, of which there is one every few seconds.
    #[default]
    Changes,
    /// Everything.
    All,
    /// What a person should look at.
    Trouble,
    /// These, by the names that they have in the journal.
    Named(Vec<String>),
}

impl<'de> Deserialize<'de> for Selection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "\"changes\", \"all\", \"trouble\", or a list of events"
        )]
        enum Written {
            Word(String),
            List(Vec<String>),
        }
        match Written::deserialize(deserializer)? {
            Written::List(names) => Ok(Self::Named(names)),
            Written::Word(word) => match word.as_str() {
                "changes" => Ok(Self::Changes),
                "all" => Ok(Self::All),
                "trouble" => Ok(Self::Trouble),
                other => Err(serde::de::Error::custom(format!(
                    "{other:?} is none of \"changes\", \"all\", \"trouble\"; a list names single events"
                ))),
            },
        }
    }
}

impl Selection {
    /// Whether this event, of this name, is told.
    #[must_use]
    pub fn wants(&self, event: &Event, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Changes => !matches!(event, Event::Ticked { .. }),
            Self::Trouble => event.is_trouble(),
            Self::Named(names) => names.iter().any(|wanted| wanted == name),
        }
    }
}

impl WebhooksSection {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        for (key, span) in [
            ("webhooks.timeout", self.timeout),
            ("webhooks.keep_trying", self.keep_trying),
            ("webhooks.longest_wait", self.longest_wait),
        ] {
            if span.is_zero() {
                return Err(ConfigError::of(key, "must be longer than nothing"));
            }
        }
        Ok(())
    }
}

/// Checks all notifications beside one another.
pub(super) fn check(
    notifications: &[Notification],
    webhooks: &WebhooksSection,
) -> Result<(), ConfigError> {
    let known = known_events();
    for (index, hook) in notifications.iter().enumerate() {
        let wrong = |member: &str, problem: String| {
            ConfigError::of(
                "notifications",
                format!("the one called {:?}: `{member}` {problem}", hook.name),
            )
        };
        if hook.name.trim().is_empty() || hook.name.len() > 64 {
            return Err(wrong(
                "name",
                "must be a name of 1 to 64 characters".to_owned(),
            ));
        }
        if notifications[..index]
            .iter()
            .any(|one| one.name == hook.name)
        {
            return Err(wrong("name", "is there twice".to_owned())
                .hint("what was delivered is kept by name, so each needs its own"));
        }
        Address::parse(&hook.url).map_err(|problem| wrong("url", problem))?;
        if hook.secret_env.is_none() && webhooks.secret_env.is_none() {
            return Err(wrong(
                "secret_env",
                "must be set, or webhooks.secret_env".to_owned(),
            )
            .hint(
                "the name of a variable: every post is signed, so that its receiver can trust it",
            ));
        }
        let Selection::Named(names) = &hook.events else {
            continue;
        };
        if names.is_empty() {
            return Err(wrong(
                "events",
                "is an empty list: nothing would be told".to_owned(),
            ));
        }
        for name in names {
            if known.is_empty() || known.contains(name) {
                continue;
            }
            let hint = match nearest(name, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("events: {}", known.join(", ")),
            };
            return Err(wrong(
                "events",
                format!("names {name:?}, and there is no such event"),
            )
            .hint(hint));
        }
    }
    Ok(())
}

/// The names of all events. Asked of serde, which has them from the type itself: a list of our own
/// would be one event short one day.
fn known_events() -> Vec<String> {
    let Err(error) = Event::deserialize(json!({"type": ""})) else {
        return Vec::new();
    };
    let words = error.to_string();
    let quoted = words.split('`').skip(1).step_by(2);
    quoted
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serde_knows_the_events() {
        let known = known_events();
        for name in ["started", "ticked", "rollback_began", "completed"] {
            assert!(known.iter().any(|one| one == name), "{name}: {known:?}");
        }
    }

    #[test]
    fn a_selection_is_a_word_or_a_list() {
        let read = |value| Selection::deserialize(value);
        assert_eq!(read(json!("trouble")).unwrap(), Selection::Trouble);
        assert_eq!(
            read(json!(["completed"])).unwrap(),
            Selection::Named(vec!["completed".to_owned()])
        );
        assert!(
            read(json!("everything"))
                .unwrap_err()
                .to_string()
                .contains("changes")
        );
        assert!(read(json!(5)).is_err());
        assert!(Selection::Changes.wants(&Event::Completed, "completed"));
        assert!(!Selection::Trouble.wants(&Event::Completed, "completed"));
    }
}
