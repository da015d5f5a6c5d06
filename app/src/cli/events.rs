//! Server-sent events as the server writes them: read one by one, as they come.
//!
//! Invariant: between two pieces of the stream no longer is waited than the client's timeout; the
//! server writes a comment every few seconds, so a longer silence is a dead connection.

use std::time::Duration;

use serde_json::Value;

use super::exit::{Exit, Failure};

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Event {
    /// Its kind, such as `chunk`.
    pub(super) name: String,
    /// Its JSON; text where it is none.
    pub(super) data: Value,
}

/// The events of one answer.
#[derive(Debug)]
pub(super) struct Events {
    response: reqwest::Response,
    lines: Lines,
    patience: Duration,
}

impl Events {
    pub(super) fn of(response: reqwest::Response, patience: Duration) -> Self {
        Self {
            response,
            lines: Lines::default(),
            patience,
        }
    }

    /// The next event; [`None`] at the stream's end.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, Failure> {
        loop {
            if let Some(event) = self.lines.next() {
                return Ok(Some(event));
            }
            let piece = tokio::time::timeout(self.patience, self.response.chunk()).await;
            match piece {
                Ok(Ok(Some(bytes))) => self.lines.add(&bytes),
                Ok(Ok(None)) => return Ok(None),
                Ok(Err(error)) => {
                    return Err(broken(format_args!("the stream broke off: {error}")));
                }
                Err(_) => {
                    return Err(broken(format_args!(
                        "nothing came for {}",
                        humantime::format_duration(self.patience)
                    )));
                }
            }
        }
    }
}

/// A stream that did not come to its end.
pub(super) fn broken(why: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Unreachable, why).hint("the call may have run; look before you repeat it")
}

/// What has come and is not an event yet.
#[derive(Debug, Default)]
struct Lines {
    waiting: Vec<u8>,
    name: String,
    data: String,
}

impl Lines {
    fn add(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    fn next(&mut self) -> Option<Event> {
        while let Some(end) = self.waiting.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.waiting.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\n', '\r']);
            if line.is_empty() {
                let (name, data) = (
                    std::mem::take(&mut self.name),
                    std::mem::take(&mut self.data),
                );
                // A comment, or an event without data, is nothing to tell.
                if !data.is_empty() {
                    let data = serde_json::from_str(&data).unwrap_or(Value::String(data));
                    return Some(Event { name, data });
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut self.name),
                "data" => {
                    if !self.data.is_empty() {
                        self.data.push('\n');
                    }
                    self.data.push_str(value);
                }
                // `id`, `retry`, and the empty field of a comment.
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_are_found_wherever_the_stream_is_cut() {
        let text = ": hello\n\nid: 1\r\nevent: chunk\ndata: [1,\ndata: \"ä\"]\n\n:\n\nevent: result\ndata:{}\n\nevent: half\ndata: 1\n";
        for cut in 1..text.len() {
            let mut lines = Lines::default();
            let mut events = Vec::new();
            for piece in text.as_bytes().chunks(cut) {
                lines.add(piece);
                while let Some(event) = lines.next() {
                    events.push((event.name, event.data));
                }
            }
            assert_eq!(
                events,
                [
                    ("chunk".to_owned(), json!([1, "ä"])),
                    ("result".to_owned(), json!({})),
                ],
                "cut every {cut} bytes"
            );
        }
    }
}
