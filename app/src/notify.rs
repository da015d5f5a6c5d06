//! Tells other servers what happens to migrations: each event of a journal, posted and signed.
//!
//! Read in this order: `message` (what is posted), `cursor` (what was delivered, durably), `courier`
//! (one task for each receiver), `outlook` (how it goes).
//!
//! Invariants:
//! - At least once, over restarts: the cursor moves after the receiver has said yes. A receiver tells
//!   a message that it has had by `webhook-id`, which is the same for every try.
//! - In order: a receiver gets the next event only after the one before it, or after that one was given
//!   up, which the status and the metrics tell.
//! - The controller never waits: couriers read the journal as anybody else does. What they hold in
//!   memory is one page of it.

mod courier;
mod cursor;
mod message;
mod outlook;

use std::sync::Arc;
use std::time::Duration;

use dspex_migration::{Journal, MigrationId, Migrations, Status};
use tokio::sync::watch;

use crate::config::{Config, ConfigError, Notification, Selection};
use crate::tasks::Tasks;
use crate::webhook::{Address, Secret, Webhooks};

pub(crate) use courier::Courier;
pub(crate) use cursor::CursorError;
#[cfg(test)]
pub(crate) use cursor::MemoryCursors;
pub(crate) use cursor::{Cursors, SqliteCursors};
pub(crate) use message::sample;
pub(crate) use outlook::{Outlook, Outlooks};

/// A receiver.
#[derive(Debug, Clone)]
pub(crate) struct Hook {
    pub(crate) name: String,
    pub(crate) to: Address,
    pub(crate) secret: Secret,
    pub(crate) events: Selection,
}

/// How hard a courier tries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For one post.
    pub(crate) timeout: Duration,
    /// An event older than this is given up.
    pub(crate) keep_trying: Duration,
    /// Between two tries, at most.
    pub(crate) longest_wait: Duration,
}

impl Patience {
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            timeout: config.webhooks.timeout,
            keep_trying: config.webhooks.keep_trying,
            longest_wait: config.webhooks.longest_wait,
        }
    }
}

/// The receivers of a configuration, with their secrets.
///
/// # Errors
/// A secret's variable that is not set, or holds no secret.
pub(crate) fn hooks(config: &Config) -> Result<Vec<Hook>, ConfigError> {
    let hooks = config.notifications.iter();
    hooks.map(|hook| receiver(config, hook)).collect()
}

fn receiver(config: &Config, hook: &Notification) -> Result<Hook, ConfigError> {
    let wrong = |problem: String| {
        ConfigError::of(
            "notifications",
            format!("the one called {:?}: {problem}", hook.name),
        )
    };
    let to = Address::parse(&hook.url).map_err(|problem| wrong(format!("`url` {problem}")))?;
    let variable = hook
        .secret_env
        .as_deref()
        .or(config.webhooks.secret_env.as_deref());
    let secret = secret(variable).map_err(|problem| {
        wrong(problem).hint("make one with `openssl rand -base64 32`, with `whsec_` before it")
    })?;
    Ok(Hook {
        name: hook.name.clone(),
        to,
        secret,
        events: hook.events.clone(),
    })
}

/// Reads a secret from its variable.
///
/// # Errors
/// What is wrong with it, naming the variable and never showing what it holds.
pub(crate) fn secret(variable: Option<&str>) -> Result<Secret, String> {
    let Some(variable) = variable else {
        return Err("no variable with a secret is named (webhooks.secret_env)".to_owned());
    };
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| format!("the variable {variable} is not set"))?;
    Secret::parse(&text).map_err(|problem| format!("the variable {variable} {problem}"))
}

/// Everything that couriers need of the house.
#[derive(Clone)]
pub(crate) struct Notifier {
    pub(crate) webhooks: Webhooks,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) cursors: Arc<dyn Cursors>,
    pub(crate) patience: Patience,
}

impl Notifier {
    /// A courier for one receiver, and how it goes with it. `news` says that there may be new entries.
    pub(crate) fn courier(
        &self,
        hook: Hook,
        news: watch::Receiver<Option<Arc<Status>>>,
    ) -> (Courier, watch::Receiver<Outlook>) {
        let outlook = watch::Sender::new(Outlook::new(&hook.name));
        let seen = outlook.subscribe();
        (Courier::new(self.clone(), hook, news, outlook), seen)
    }
}

/// A migration's place in a receiver's deliveries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) migration: MigrationId,
    /// The last entry that was delivered, passed over or given up.
    pub(crate) seq: u64,
}

/// Who is told, and what they were told.
pub(crate) struct Receivers {
    pub(crate) hooks: Vec<Hook>,
    pub(crate) cursors: Arc<dyn Cursors>,
}

/// Starts a courier for each receiver.
pub(crate) fn begin(
    receivers: Receivers,
    webhooks: Webhooks,
    config: &Config,
    journal: &Arc<dyn Journal>,
    migrations: &Migrations,
    tasks: &Tasks,
) -> Outlooks {
    let notifier = Notifier {
        webhooks,
        journal: Arc::clone(journal),
        cursors: receivers.cursors,
        patience: Patience::of(config),
    };
    let outlooks = receivers.hooks.into_iter().map(|hook| {
        let (courier, outlook) = notifier.courier(hook, migrations.watch());
        let stop = tasks.stop.clone();
        tasks.run("notifications", async move {
            stop.run_until_cancelled(courier.run()).await;
        });
        outlook
    });
    Outlooks::new(outlooks.collect())
}
