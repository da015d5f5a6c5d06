//! `dspex programs execute`: one call.

use std::time::Duration;

use clap::Args;
use dspex_pool::ProgramId;
use serde_json::{Value, json};

use super::inputs;
use crate::cli::client::{Answer, Client, duration};
use crate::cli::events::{Events, broken};
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::Output;
use crate::cli::problem;
use crate::cli::style::{Paint, Tone};
use crate::cli::view::setting;

/// Execute a program once.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dspex programs execute qa question='Why is the sky blue?'
  dspex programs execute add a:=1 b:=2
  dspex programs execute qa --inputs @question.json --session ada
  dspex programs execute story topic=tides --stream")]
pub(crate) struct Execute {
    /// The program's name.
    id: ProgramId,
    /// Inputs: key=text, or key:=json for numbers, lists and the like.
    #[arg(value_name = "KEY=VALUE")]
    pairs: Vec<String>,
    /// All inputs as one JSON object: '{...}', @file, or - for standard input.
    #[arg(long, value_name = "JSON")]
    inputs: Option<String>,
    /// The session that the call belongs to.
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// How long the program may take; the server's own limit where it is not given.
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    call_timeout: Option<Duration>,
    /// Print the answer's chunks as they come, one a line; with --json, one object a line.
    #[arg(long)]
    stream: bool,
}

/// What the client waits beyond the time that the call was given.
const GRACE: Duration = Duration::from_secs(5);

impl Execute {
    /// Sends the call and prints its outputs.
    pub(crate) async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let inputs = inputs::collect(self.inputs.as_deref(), &self.pairs)?;
        let mut body = json!({"inputs": inputs});
        let mut request = client.post(&["v1", "programs", self.id.as_str(), "execute"]);
        if let Some(timeout) = self.call_timeout {
            let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
            body["timeout_ms"] = millis.into();
            request = request.wait_at_least(timeout.saturating_add(GRACE));
        }
        let request = request.session(self.session.as_deref()).body(body);
        let explained = |failure| explain(failure, &self.pairs);
        if self.stream {
            let events = request.events().await.map_err(explained)?;
            return stream(events, output).await.map_err(explained);
        }
        let answer = request.send().await.map_err(explained)?;
        if output.json {
            return output.value(&answer.body);
        }
        output.line(&outputs(&answer.body, output.paint))?;
        output.note(&way(&answer));
        Ok(())
    }
}

/// Prints chunks as they come, and the outputs at the end.
async fn stream(mut events: Events, output: Output) -> Result<(), Failure> {
    while let Some(event) = events.next().await? {
        match event.name.as_str() {
            "chunk" if output.json => output.value_line(&json!({"chunk": event.data}))?,
            "chunk" => output.line(&output.paint.text(Tone::Plain, &setting(&event.data)))?,
            "result" if output.json => return output.value_line(&json!({"result": event.data})),
            "result" => {
                output.line(&outputs(&event.data, output.paint))?;
                let member = |name: &str| event.data.get(name)?.as_str().map(str::to_owned);
                let answer = Answer {
                    status: 200,
                    lane: member("lane"),
                    request_id: member("request_id"),
                    body: event.data.clone(),
                };
                output.note(&way(&answer));
                return Ok(());
            }
            "error" => {
                if output.json {
                    output.value_line(&json!({"error": event.data}))?;
                }
                let status = event.data.get("status").and_then(Value::as_u64);
                let status = status.and_then(|status| u16::try_from(status).ok());
                return Err(problem::failure(status.unwrap_or(500), &event.data));
            }
            // A later release may tell more; what is not known is left out.
            _ => {}
        }
    }
    Err(broken("the stream ended without a result"))
}

/// A refused call whose inputs were given as text may have meant numbers.
fn explain(failure: Failure, pairs: &[String]) -> Failure {
    let number = pairs.iter().find_map(|pair| {
        let (name, text) = pair.split_once('=')?;
        let json = !name.ends_with(':') && serde_json::from_str::<Value>(text).is_ok();
        json.then_some((name, text))
    });
    match number {
        Some((name, text)) if failure.exit == Exit::Refused => failure.hint(format_args!(
            "{name}={text} is sent as text; write {name}:={text} to send it as JSON"
        )),
        _ => failure,
    }
}

/// Each output by its name; text as it is, everything else as JSON.
fn outputs(body: &Value, paint: Paint) -> String {
    let Some(outputs) = body.get("outputs").and_then(Value::as_object) else {
        return paint.text(Tone::Plain, &body.to_string());
    };
    let lines = outputs.iter().map(|(name, value)| {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        format!(
            "{} {}",
            paint.text(Tone::Strong, &format!("{name}:")),
            paint.text(Tone::Plain, &value)
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Which way the call went, and how long it took.
fn way(answer: &Answer) -> String {
    let mut parts = Vec::new();
    parts.extend(answer.lane.as_deref().map(|lane| format!("lane {lane}")));
    if answer.body.get("failed_over") == Some(&Value::Bool(true)) {
        parts.push("after failing over".to_owned());
    }
    for (name, member) in [("total", "total_ms"), ("program", "program_ms")] {
        let millis = answer.body.get(member).and_then(Value::as_f64);
        parts.extend(millis.map(|millis| format!("{name} {millis:.1} ms")));
    }
    parts.extend(
        answer
            .request_id
            .as_deref()
            .map(|id| format!("request {id}")),
    );
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_shown_by_name() {
        let body = json!({"outputs": {"answer": "Rayleigh\u{1b}[2J", "score": 0.5, "tags": ["a"]}});
        assert_eq!(
            outputs(&body, Paint::new(false)),
            "answer: Rayleigh\u{fffd}[2J\nscore: 0.5\ntags: [\"a\"]"
        );
    }

    #[test]
    fn the_way_names_lane_and_times() {
        let answer = Answer {
            status: 200,
            lane: Some("candidate".to_owned()),
            request_id: Some("r-1".to_owned()),
            body: json!({"outputs": {}, "total_ms": 12.34, "program_ms": 11.0, "failed_over": false}),
        };
        assert_eq!(
            way(&answer),
            "lane candidate, total 12.3 ms, program 11.0 ms, request r-1"
        );
    }

    #[test]
    fn a_number_sent_as_text_is_pointed_out_when_the_call_is_refused() {
        let pairs = ["a=1".to_owned()];
        let refused = explain(Failure::new(Exit::Refused, "a must be int"), &pairs);
        assert_eq!(
            refused.hints,
            ["a=1 is sent as text; write a:=1 to send it as JSON"]
        );
        let failed = explain(Failure::new(Exit::Failed, "crashed"), &pairs);
        assert!(failed.hints.is_empty());
        let marked = explain(Failure::new(Exit::Refused, "no"), &["a:=1".to_owned()]);
        assert!(marked.hints.is_empty());
    }
}
