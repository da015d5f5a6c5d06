//! `dspex notifications`: whether those who are to be told of migrations can be told.

use clap::{Args, Subcommand};
use serde_json::json;

use super::exit::{Exit, Failure};
use super::output::{Format, Output};
use super::settings::Settings;
use super::style::{Tone, plain};
use crate::clock;
use crate::config::Config;
use crate::notify::{Hook, hooks, sample};
use crate::webhook::{Post, Webhooks};

/// Try the notifications of the configuration.
#[derive(Debug, Args)]
pub(crate) struct Notifications {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Post a test message to each receiver, once. Asks no server.
    Test(Test),
}

#[derive(Debug, Args)]
struct Test {
    /// Only this receiver; all of them where it is not given.
    name: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

impl Notifications {
    pub(crate) async fn run(self, output: Output) -> Result<(), Failure> {
        let Verb::Test(test) = self.verb;
        let config = test.settings.load()?;
        let mut hooks = hooks(&config)?;
        if let Some(name) = &test.name {
            hooks.retain(|hook| hook.name == *name);
        }
        if hooks.is_empty() {
            let message = match test.name {
                Some(name) => format!("there is no notification {name:?}"),
                None => "no notifications are configured".to_owned(),
            };
            return Err(Failure::usage(message).hint("they are under [[notifications]]"));
        }
        let webhooks = Webhooks::new();
        let mut tried = Vec::new();
        for hook in &hooks {
            tried.push((hook, post(&webhooks, &config, hook).await));
        }
        let failed = tried.iter().any(|(_, result)| result.is_err());
        let body: Vec<_> = tried
            .iter()
            .map(|(hook, result)| {
                json!({"name": hook.name, "to": hook.to.to_string(), "taken": result.is_ok(),
                    "trouble": result.as_ref().err()})
            })
            .collect();
        output.either(&json!({"notifications": body}), |paint| {
            let rows = tried.iter().map(|(hook, result)| {
                let said = match result {
                    Ok(()) => ("taken".to_owned(), Tone::Good),
                    Err(problem) => (problem.clone(), Tone::Bad),
                };
                [plain(&hook.name), plain(hook.to.to_string()), said]
            });
            paint.table(["NAME", "TO", "TEST"], rows)
        })?;
        if failed {
            return Err(Failure::silent(Exit::Failed));
        }
        Ok(())
    }
}

async fn post(webhooks: &Webhooks, config: &Config, hook: &Hook) -> Result<(), String> {
    let message = sample(&hook.name, clock::now());
    let post = Post {
        to: &hook.to,
        secret: &hook.secret,
        id: &message.id,
        at: clock::now(),
        body: message.body,
        within: config.webhooks.timeout,
    };
    let answer = webhooks.post(post).await?;
    if answer.is_success() {
        return Ok(());
    }
    Err(format!("it answered {}", answer.status))
}
