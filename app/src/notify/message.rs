//! What is posted: one event of one migration, as JSON.
//!
//! Invariant: `webhook-id` is made of the migration and the entry's number, so every try of a message,
//! also after a restart, has the same.

use dspex_migration::{Entry, MigrationId, Summary};
use hyper::body::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

/// A message, ready to be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) body: Bytes,
}

/// An event's name in the journal.
pub(crate) fn name(entry: &Entry) -> String {
    let event = serde_json::to_value(&entry.event).unwrap_or_default();
    let name = event.get("type").and_then(Value::as_str);
    name.unwrap_or_default().to_owned()
}

impl Message {
    /// The message that tells of an entry.
    pub(crate) fn of(migration: &Summary, entry: &Entry, name: &str) -> Self {
        let text = format!(
            "Migration of {} to {} ({}): {}",
            migration.stable, migration.candidate, migration.id, entry.event
        );
        let body = json!({
            "type": format!("dspex.migration.{name}"),
            "timestamp": entry.at,
            // What chat services show; the rest is for machines.
            "text": plain(&text),
            "data": {
                "migration": migration.id,
                "stable": migration.stable,
                "candidate": migration.candidate,
                "seq": entry.seq,
                "trouble": entry.event.is_trouble(),
                "event": entry.event.shown(),
            },
        });
        Self::new(id(&migration.id, entry.seq), &body)
    }

    fn new(id: String, body: &Value) -> Self {
        Self {
            id,
            body: Bytes::from(body.to_string()),
        }
    }
}

/// A message that tells of nothing, to see whether messages arrive.
pub(crate) fn sample(hook: &str, at: Timestamp) -> Message {
    let body = json!({
        "type": "dspex.test",
        "timestamp": at,
        "text": plain(&format!("A test of the notification {hook} by dspex: nothing has happened.")),
        "data": {"notification": hook},
    });
    Message::new(format!("test_{}", uuid::Uuid::now_v7()), &body)
}

fn id(migration: &MigrationId, seq: u64) -> String {
    // No full stop in it: the scheme joins what it signs with them.
    format!("{}_{seq}", migration.as_str().replace('.', "_"))
}

/// Words that a chat service takes for words: it reads `<…>` and `&` as its own markup.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => plain.push_str("&amp;"),
            '<' => plain.push_str("&lt;"),
            '>' => plain.push_str("&gt;"),
            letter if letter.is_control() => plain.push(' '),
            letter => plain.push(letter),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use dspex_migration::{Cause, Event, Phase};

    use super::*;

    fn summary() -> Summary {
        Summary {
            id: MigrationId::from_text("m-1"),
            candidate: "v2".to_owned(),
            stable: "v1".to_owned(),
            phase: Phase::Rollout,
            who: "ada".to_owned(),
            why: "because".to_owned(),
            outcome: None,
            started_at: Timestamp::UNIX_EPOCH,
            ended_at: None,
            last_seq: 7,
        }
    }

    #[test]
    fn a_message_says_the_same_to_people_and_machines() {
        let cause = Cause::Person {
            who: "<!channel>".to_owned(),
            why: "a\nb & c".to_owned(),
        };
        let entry = Entry {
            seq: 7,
            at: Timestamp::UNIX_EPOCH,
            event: Event::Paused { cause },
        };
        let message = Message::of(&summary(), &entry, &name(&entry));
        assert_eq!(message.id, "m-1_7");
        let body: Value = serde_json::from_slice(&message.body).unwrap();
        assert_eq!(body["type"], "dspex.migration.paused");
        assert_eq!(body["timestamp"], "1970-01-01T00:00:00Z");
        assert_eq!(body["data"]["event"]["cause"]["who"], "<!channel>");
        assert_eq!(
            body["text"],
            "Migration of v1 to v2 (m-1): paused: &lt;!channel&gt;: a b &amp; c"
        );
    }

    #[test]
    fn a_plan_is_posted_without_the_address_of_its_gates() {
        let mut plan = dspex_migration::Settings::default()
            .plan("v1", "v2", None)
            .unwrap();
        plan.stages[0].gate = dspex_migration::Gate::Webhook {
            url: "https://gate.example/s3cret?token=s3cret".to_owned(),
        };
        let entry = Entry {
            seq: 1,
            at: Timestamp::UNIX_EPOCH,
            event: Event::Started {
                plan,
                who: "ada".to_owned(),
                why: "newer".to_owned(),
            },
        };
        let message = Message::of(&summary(), &entry, &name(&entry));
        let text = std::str::from_utf8(&message.body).unwrap();
        assert!(
            text.contains("https://gate.example") && !text.contains("s3cret"),
            "{text}"
        );
    }
}
