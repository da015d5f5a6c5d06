//! A journal that is gone with its process: for tests and rehearsals.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::Notify;

use super::{Append, Inbox, Journal, Post, Start, Summary};
use crate::command::CommandRow;
use crate::error::JournalError;
use crate::event::{Entry, Event};
use crate::id::MigrationId;
use crate::phase::Phase;

/// A journal in memory. Share it to "restart" on it.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    migrations: Mutex<Vec<Written>>,
    posted: Notify,
}

#[derive(Debug)]
struct Written {
    summary: Summary,
    entries: Vec<Entry>,
    commands: Vec<CommandRow>,
}

impl MemoryJournal {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Written>> {
        // Every change is a push after all checks: a panic elsewhere leaves nothing half-done.
        self.migrations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn find<'a>(
    migrations: &'a mut [Written],
    id: &MigrationId,
) -> Result<&'a mut Written, JournalError> {
    let unknown = || JournalError::Unknown { id: id.clone() };
    migrations
        .iter_mut()
        .find(|written| written.summary.id == *id)
        .ok_or_else(unknown)
}

fn live_beside(migrations: &[Written], id: &MigrationId) -> Result<(), JournalError> {
    let live = |summary: &&Summary| summary.phase.is_live() && summary.id != *id;
    match migrations.iter().map(|written| &written.summary).find(live) {
        Some(summary) => Err(JournalError::AlreadyRunning {
            id: summary.id.clone(),
        }),
        None => Ok(()),
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn create(&self, id: &MigrationId, start: Start<'_>) -> Result<(), JournalError> {
        let mut migrations = self.lock();
        live_beside(&migrations, id)?;
        let (who, why) = (start.who.to_owned(), start.why.to_owned());
        let event = Event::Started {
            plan: start.plan.clone(),
            who: who.clone(),
            why: why.clone(),
        };
        migrations.push(Written {
            summary: Summary {
                id: id.clone(),
                candidate: start.plan.candidate.clone(),
                stable: start.plan.stable.clone(),
                phase: Phase::Prepare,
                who,
                why,
                outcome: None,
                started_at: start.at,
                ended_at: None,
                last_seq: 1,
            },
            entries: vec![Entry {
                seq: 1,
                at: start.at,
                event,
            }],
            commands: Vec::new(),
        });
        Ok(())
    }

    async fn append(&self, id: &MigrationId, append: Append<'_>) -> Result<u64, JournalError> {
        let mut migrations = self.lock();
        if append.phase.is_live() {
            live_beside(&migrations, id)?;
        }
        let written = find(&mut migrations, id)?;
        let actual = written.summary.last_seq;
        if actual != append.expected_seq {
            let (id, expected) = (id.clone(), append.expected_seq);
            return Err(JournalError::Conflict {
                id,
                expected,
                actual,
            });
        }
        for event in append.events {
            written.summary.last_seq += 1;
            let seq = written.summary.last_seq;
            written.entries.push(Entry {
                seq,
                at: append.at,
                event: event.clone(),
            });
        }
        let summary = &mut written.summary;
        summary.phase = append.phase;
        summary.outcome = append.outcome.map(str::to_owned);
        let ended_at = summary.ended_at.or(Some(append.at));
        summary.ended_at = ended_at.filter(|_| !append.phase.is_live());
        Ok(summary.last_seq)
    }

    async fn entries(
        &self,
        id: &MigrationId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, JournalError> {
        let mut migrations = self.lock();
        let entries = &find(&mut migrations, id)?.entries;
        Ok(entries
            .iter()
            .filter(|entry| entry.seq > after)
            .take(limit)
            .cloned()
            .collect())
    }

    async fn history(&self, limit: usize) -> Result<Vec<Summary>, JournalError> {
        Ok(self
            .lock()
            .iter()
            .rev()
            .take(limit)
            .map(|written| written.summary.clone())
            .collect())
    }
}

#[async_trait]
impl Inbox for MemoryJournal {
    async fn post(&self, id: &MigrationId, post: Post<'_>) -> Result<u64, JournalError> {
        let mut migrations = self.lock();
        let commands = &mut find(&mut migrations, id)?.commands;
        let number = commands.last().map_or(0, |row| row.id) + 1;
        commands.push(CommandRow {
            id: number,
            command: post.command,
            who: post.who.to_owned(),
            why: post.why.to_owned(),
            at: post.at,
        });
        self.posted.notify_waiters();
        Ok(number)
    }

    async fn commands(
        &self,
        id: &MigrationId,
        after: u64,
    ) -> Result<Vec<CommandRow>, JournalError> {
        let mut migrations = self.lock();
        let commands = &find(&mut migrations, id)?.commands;
        Ok(commands
            .iter()
            .filter(|row| row.id > after)
            .cloned()
            .collect())
    }

    async fn last_command(&self, id: &MigrationId) -> Result<u64, JournalError> {
        let mut migrations = self.lock();
        let commands = &find(&mut migrations, id)?.commands;
        Ok(commands.last().map_or(0, |row| row.id))
    }

    async fn news(&self, id: &MigrationId, after: u64) {
        loop {
            let mut posted = std::pin::pin!(self.posted.notified());
            // Before the look, so that what is posted after it is heard.
            posted.as_mut().enable();
            if self.last_command(id).await.is_ok_and(|last| last > after) {
                return;
            }
            posted.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::journal::conformance;

    #[tokio::test]
    async fn it_conforms() {
        conformance::run(|| async { Arc::new(MemoryJournal::new()) as Arc<dyn Journal> }).await;
    }
}
