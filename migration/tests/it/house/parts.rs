//! The parts of a migration beside its candidate, simulated: they do what a test tells them to.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use dspex_flags::Flags;
use dspex_migration::{
    Answer, Check, Gatekeeper, Leaving, MigrationId, Plan, Question, Removed, Saved, Succession,
    Validator, Vault,
};
use dspex_pool::Drained;

use super::effective;
use super::simulated::check;

/// What the simulated parts are told to do wrong, and what was asked of them.
#[derive(Default)]
pub struct Simulations {
    /// How often each act fails before it succeeds.
    pub backup_fails: AtomicU64,
    pub archive_fails: AtomicU64,
    pub promote_fails: AtomicU64,
    pub demote_fails: AtomicU64,
    pub retire_fails: AtomicU64,
    pub rest_fails: AtomicU64,
    pub validate_fails: AtomicU64,
    pub confirm_fails: AtomicU64,
    pub promote_hangs: AtomicBool,
    pub validate_hangs: AtomicBool,
    /// The candidate's pool is stable.
    pub promoted: AtomicBool,
    /// The old pool is gone.
    pub retired: AtomicBool,
    /// The old pool is cold.
    pub resting: AtomicBool,
    /// What the webhook says, in turn; afterwards the last of it again.
    pub answers: Mutex<VecDeque<Result<Answer, String>>>,
    pub questions: Mutex<Vec<Question>>,
    pub asked: Mutex<Vec<&'static str>>,
    /// The effective share of traffic at the moment the old pool went, in basis points.
    pub share_at_retirement: Mutex<Vec<u16>>,
    pub flags: Mutex<Option<Arc<Flags>>>,
}

impl Simulations {
    fn asked(&self, what: &'static str, failing: &AtomicU64) -> Result<(), String> {
        self.asked.lock().expect("unpoisoned").push(what);
        let left = failing.load(Ordering::SeqCst);
        if left == 0 {
            return Ok(());
        }
        failing.store(left - 1, Ordering::SeqCst);
        Err(format!("{what}: no space left on device"))
    }

    pub fn times(&self, what: &str) -> usize {
        let asked = self.asked.lock().expect("unpoisoned");
        asked.iter().filter(|asked| **asked == what).count()
    }

    pub fn answer(&self, answers: impl IntoIterator<Item = Result<Answer, String>>) {
        *self.answers.lock().expect("unpoisoned") = answers.into_iter().collect();
    }
}

pub fn yes(text: &str) -> Result<Answer, String> {
    let text = Some(text.to_owned());
    Ok(Answer { yes: true, text })
}

pub fn no(text: &str) -> Result<Answer, String> {
    let text = Some(text.to_owned());
    Ok(Answer { yes: false, text })
}

fn saved(what: &str, id: &MigrationId) -> Saved {
    Saved {
        place: format!("/var/lib/dspex/{what}/{id}.tar"),
        bytes: 123_456,
        sha256: "e3b0c442".repeat(8),
    }
}

#[async_trait]
impl Vault for Simulations {
    async fn backup(&self, id: &MigrationId, _: &Plan) -> Result<Saved, String> {
        self.asked("backup", &self.backup_fails)?;
        Ok(saved("backups", id))
    }

    async fn archive(&self, id: &MigrationId, _: &Plan) -> Result<Saved, String> {
        self.asked("archive", &self.archive_fails)?;
        Ok(saved("archives", id))
    }
}

#[async_trait]
impl Validator for Simulations {
    async fn validate(&self, _: &Plan) -> Vec<Check> {
        let asked = self.asked("validate", &self.validate_fails);
        if self.validate_hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        check("equivalence", asked.is_err())
    }
}

#[async_trait]
impl Succession for Simulations {
    async fn confirm(&self, _: &Plan) -> Vec<Check> {
        let asked = self.asked("confirm", &self.confirm_fails);
        check("the archive's place is writable", asked.is_err())
    }

    async fn promote(&self, _: &Plan) -> Result<(), String> {
        self.asked("promote", &self.promote_fails)?;
        self.promoted.store(true, Ordering::SeqCst);
        if self.promote_hangs.load(Ordering::SeqCst) {
            // It is durable, and nobody learns of it.
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn demote(&self, _: &Plan) -> Result<(), String> {
        self.asked("demote", &self.demote_fails)?;
        assert!(!self.retired.load(Ordering::SeqCst), "it is gone");
        self.promoted.store(false, Ordering::SeqCst);
        Ok(())
    }

    async fn retire(&self, leaving: Leaving<'_>, _: Duration) -> Result<Removed, String> {
        self.asked("retire", &self.retire_fails)?;
        let flags = self.flags.lock().expect("unpoisoned").clone();
        let share = effective(&flags.expect("set by the house"));
        self.share_at_retirement
            .lock()
            .expect("unpoisoned")
            .push(share);
        // Nothing may be cleaned away that was not put aside.
        assert!(leaving.archive.is_some(), "{leaving:?}");
        self.retired.store(true, Ordering::SeqCst);
        Ok(Removed {
            looks: 7,
            files: 1,
            ..Removed::default()
        })
    }

    async fn rest(&self, _: &Plan, _: Duration) -> Result<Drained, String> {
        self.asked("rest", &self.rest_fails)?;
        self.resting.store(true, Ordering::SeqCst);
        Ok(Drained {
            finished: 2,
            abandoned: 0,
        })
    }
}

#[async_trait]
impl Gatekeeper for Simulations {
    async fn ask(&self, _: &str, question: &Question) -> Result<Answer, String> {
        self.asked.lock().expect("unpoisoned").push("ask");
        self.questions
            .lock()
            .expect("unpoisoned")
            .push(question.clone());
        let next = {
            let mut answers = self.answers.lock().expect("unpoisoned");
            if answers.len() > 1 {
                answers.pop_front()
            } else {
                answers.front().cloned()
            }
        };
        match next {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }
}
