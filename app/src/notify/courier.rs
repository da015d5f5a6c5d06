//! One receiver's task: reads the journals, posts what the receiver wants, and remembers what it took.

use std::sync::Arc;
use std::time::Duration;

use dspex_migration::{Entry, MigrationId, Status, Summary};
use tokio::sync::watch;

use super::message::{Message, name};
use super::outlook::Outlook;
use super::{Hook, Notifier, Place};
use crate::clock;
use crate::webhook::{Answered, Post};

/// The newest migrations that are looked at. Older ones have ended for good.
const NEWEST: usize = 100;

/// Entries that are held in memory at once.
const PAGE: usize = 100;

/// The first wait after a try that failed; each is twice the one before.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// Tries at a message that the receiver refuses for good. A few, because a receiver that is being deployed
/// answers 404 for a moment; not more, because what comes after it waits, and may be a rollback.
const REFUSALS: u32 = 3;

/// How often the journals are looked at where nobody says that there is news: another process may have
/// written.
const POLL: Duration = Duration::from_secs(5);

/// See the module.
pub(crate) struct Courier {
    notifier: Notifier,
    hook: Hook,
    news: watch::Receiver<Option<Arc<Status>>>,
    outlook: watch::Sender<Outlook>,
}

impl Courier {
    pub(super) fn new(
        notifier: Notifier,
        hook: Hook,
        news: watch::Receiver<Option<Arc<Status>>>,
        outlook: watch::Sender<Outlook>,
    ) -> Self {
        Self {
            notifier,
            hook,
            news,
            outlook,
        }
    }

    /// Delivers, for ever.
    pub(super) async fn run(mut self) {
        let mut wait = FIRST_WAIT;
        loop {
            match self.round().await {
                Ok(()) => {
                    wait = FIRST_WAIT;
                    let news = tokio::time::timeout(POLL, self.news.changed()).await;
                    if matches!(news, Ok(Err(_))) {
                        // The migrations are gone, and with them everything to tell.
                        return;
                    }
                }
                Err(problem) => {
                    // The store: what it holds is told later.
                    self.failed(&problem);
                    tokio::time::sleep(jittered(wait)).await;
                    wait = (wait * 2).min(self.notifier.patience.longest_wait);
                }
            }
        }
    }

    /// Delivers everything that there is.
    async fn round(&mut self) -> Result<(), String> {
        let words = |error: &dyn std::error::Error| error.to_string();
        let journal = Arc::clone(&self.notifier.journal);
        let cursors = Arc::clone(&self.notifier.cursors);
        let mut migrations = journal
            .history(NEWEST)
            .await
            .map_err(|error| words(&error))?;
        migrations.reverse();
        let places = cursors.places(&self.hook.name).await;
        let Some(places) = places.map_err(|error| words(&error))? else {
            let places: Vec<Place> = migrations.iter().map(end).collect();
            let begun = cursors.begin(&self.hook.name, &places).await;
            return begun.map_err(|error| words(&error));
        };
        let place = |id: &MigrationId| {
            let place = places.iter().find(|place| place.migration == *id);
            place.map_or(0, |place| place.seq)
        };
        let behind = |migration: &Summary| migration.last_seq.saturating_sub(place(&migration.id));
        let all: u64 = migrations.iter().map(behind).sum();
        self.outlook.send_modify(|outlook| outlook.behind = all);
        for migration in migrations.iter().filter(|migration| behind(migration) > 0) {
            self.catch_up(migration, place(&migration.id)).await?;
        }
        Ok(())
    }

    /// Delivers what one migration's journal has after `seq`.
    async fn catch_up(&mut self, migration: &Summary, mut seq: u64) -> Result<(), String> {
        loop {
            let journal = &self.notifier.journal;
            let page = journal.entries(&migration.id, seq, PAGE).await;
            let page = page.map_err(|error| error.to_string())?;
            let Some(last) = page.last().map(|entry| entry.seq) else {
                return Ok(());
            };
            for entry in &page {
                let name = name(entry);
                if !self.hook.events.wants(&entry.event, &name) {
                    continue;
                }
                self.deliver(&Message::of(migration, entry, &name), entry)
                    .await;
                self.moved(migration, entry.seq).await?;
            }
            // What nobody wants is passed over with one write.
            self.moved(migration, last).await?;
            let passed = last - seq;
            self.outlook
                .send_modify(|outlook| outlook.behind = outlook.behind.saturating_sub(passed));
            seq = last;
        }
    }

    async fn moved(&self, migration: &Summary, seq: u64) -> Result<(), String> {
        let place = Place {
            migration: migration.id.clone(),
            seq,
        };
        let moved = self.notifier.cursors.moved(&self.hook.name, &place).await;
        moved.map_err(|error| error.to_string())
    }

    /// Posts until the receiver says yes, or for good no, or the event is too old.
    async fn deliver(&self, message: &Message, entry: &Entry) {
        let patience = self.notifier.patience;
        let mut wait = FIRST_WAIT.min(patience.longest_wait);
        let mut refusals = 0;
        loop {
            let post = Post {
                to: &self.hook.to,
                secret: &self.hook.secret,
                id: &message.id,
                at: clock::now(),
                body: message.body.clone(),
                within: patience.timeout,
            };
            let (problem, asked) = match self.notifier.webhooks.post(post).await {
                Ok(answer) if answer.is_success() => return self.delivered(),
                Ok(answer) => {
                    refusals += u32::from(is_for_good(answer.status));
                    (refusal(&answer), answer.retry_after)
                }
                Err(problem) => (problem, None),
            };
            self.failed(&problem);
            if refusals >= REFUSALS || age(entry) >= patience.keep_trying {
                return self.given_up(message, &problem);
            }
            // The receiver may ask for more time, within what is ours.
            let pause = jittered(wait).max(asked.unwrap_or_default());
            tokio::time::sleep(pause.min(patience.longest_wait)).await;
            wait = (wait * 2).min(patience.longest_wait);
        }
    }

    fn given_up(&self, message: &Message, problem: &str) {
        tracing::error!(
            notification = self.hook.name,
            message = message.id,
            problem,
            "a notification is given up"
        );
        self.outlook.send_modify(|outlook| outlook.given_up += 1);
    }

    fn delivered(&self) {
        self.outlook.send_modify(|outlook| {
            if outlook.failing_since.is_some() {
                tracing::info!(notification = self.hook.name, "notifications arrive again");
            }
            outlook.delivered += 1;
            outlook.failing_since = None;
            outlook.trouble = None;
        });
    }

    fn failed(&self, problem: &str) {
        self.outlook.send_modify(|outlook| {
            if outlook.failing_since.is_none() {
                let (notification, to) = (&self.hook.name, &self.hook.to);
                tracing::warn!(notification, %to, problem, "a notification does not arrive; trying on");
                outlook.failing_since = Some(clock::now());
            }
            outlook.trouble = Some(problem.to_owned());
        });
    }
}

fn end(migration: &Summary) -> Place {
    Place {
        migration: migration.id.clone(),
        seq: migration.last_seq,
    }
}

/// Whether the same message will be refused again. Too slow (408), too early (425) and too many (429) pass.
fn is_for_good(status: u16) -> bool {
    (400..500).contains(&status) && !matches!(status, 408 | 425 | 429)
}

fn refusal(answer: &Answered) -> String {
    let hint = match answer.status {
        300..=399 => " (redirects are not followed: give the address that they lead to)",
        _ => "",
    };
    format!("it answered {}{hint}", answer.status)
}

/// By the wall clock of whoever wrote it; a clock that went back makes it young.
fn age(entry: &Entry) -> Duration {
    Duration::try_from(clock::now().duration_since(entry.at)).unwrap_or_default()
}

/// Between half of a wait and all of it: receivers that come back are not met by everybody at once.
fn jittered(wait: Duration) -> Duration {
    let random = uuid::Uuid::new_v4().as_u128() % 1_000;
    let part = u32::try_from(random).unwrap_or_default();
    wait / 2 + wait / 2 * part / 1_000
}

#[cfg(test)]
mod tests;
