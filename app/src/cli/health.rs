//! `dspex health`: whether a server lives and is ready to answer calls.

use clap::Args;
use serde_json::{Value, json};

use super::client::Remote;
use super::exit::{Exit, Failure};
use super::output::{Format, Output};
use super::problem;
use super::style::{Paint, Tone};

/// Ask a server whether it lives and is ready. Exit code 0: ready; 1: alive but not ready; 4: no
/// server.
#[derive(Debug, Args)]
pub(crate) struct Health {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    pub(crate) format: Format,
}

impl Health {
    /// Asks.
    pub(crate) async fn run(self, output: Output) -> Result<(), Failure> {
        let client = self.remote.client()?;
        let alive = client.get(&["healthz"]).json().await?;
        let ready = client.get(&["readyz"]).send_any().await?;
        let is_ready = (200..300).contains(&ready.status);
        let found = json!({
            "alive": true,
            "ready": is_ready,
            "healthz": alive,
            "readyz": ready.body,
        });
        output.either(&found, |paint| {
            text(client.url().as_str(), is_ready, &ready.body, paint)
        })?;
        if is_ready {
            Ok(())
        } else {
            Err(Failure::silent(Exit::Failed))
        }
    }
}

fn text(url: &str, ready: bool, body: &Value, paint: Paint) -> String {
    if ready {
        let mut text = format!("{url} is alive and {}", paint.text(Tone::Good, "ready"));
        let troubles = body.get("troubles").and_then(Value::as_array);
        for trouble in troubles.into_iter().flatten().filter_map(Value::as_str) {
            let trouble = paint.text(Tone::Plain, trouble);
            text.push_str(&format!("\n{} {trouble}", paint.text(Tone::Bad, "but:")));
        }
        return text;
    }
    let why = problem::failure(503, body).message;
    let not_ready = paint.text(Tone::Bad, "not ready");
    format!(
        "{url} is alive and {not_ready}: {}",
        paint.text(Tone::Plain, &why)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_not_ready_says_why() {
        let problem = json!({"title": "Starting", "detail": "the workers are being started"});
        assert_eq!(
            text("http://h/", false, &problem, Paint::PLAIN),
            "http://h/ is alive and not ready: the workers are being started"
        );
        assert_eq!(
            text("http://h/", true, &Value::Null, Paint::PLAIN),
            "http://h/ is alive and ready"
        );
        let troubled = json!({"status": "ready", "troubles": ["the store is away"]});
        assert_eq!(
            text("http://h/", true, &troubled, Paint::PLAIN),
            "http://h/ is alive and ready\nbut: the store is away"
        );
    }
}
