//! The durable, health-gated process that moves live traffic from one pool to its successor.
//!
//! Read in this order: [`Settings`] and [`Plan`] (what is going to be done), [`Event`] and
//! [`State`] (what can happen, and what it comes to), [`Thresholds`], [`Evidence`] and [`analyse`]
//! (is the candidate well?), [`decide`] (what to do about it: pure), [`Journal`] (written down
//! first), [`Candidate`], [`Vault`], [`Validator`], [`Succession`] and [`Gatekeeper`] (who does what
//! the controller only decides), [`Migrations`] (the handle on all of it), and [`emergency`] (what
//! can be done without one).

mod acts;
mod alert;
mod analysis;
mod candidate;
mod cause;
mod clock;
mod command;
mod comparison;
mod controller;
mod driver;
pub mod emergency;
mod error;
mod event;
mod event_text;
mod evidence;
mod freeze;
mod gate;
mod id;
mod journal;
mod lever;
mod migrations;
mod nobody;
mod observation;
mod phase;
mod plan;
pub mod report;
mod retention;
mod scenario;
mod settings;
mod stage_record;
mod state;
mod status;
mod step;
mod succession;
mod thresholds;
mod traffic;
mod validation_rule;
mod validator;
mod vault;
mod waiting;
mod watcher;
mod wording;

pub use alert::{Alert, Alerts};
pub use analysis::{Analysis, LaneSeen, Reason, Verdict, analyse};
pub use candidate::{Candidate, Check};
pub use cause::Cause;
pub use command::{Command, CommandRow};
pub use comparison::{Comparison, Throughput};
pub use controller::{Decision, decide};
pub use error::{JournalError, MigrationError};
pub use event::{Entry, Event};
pub use evidence::{Differences, Evidence};
pub use freeze::{Freeze, Frozen, When};
pub use gate::{Answer, Gate, Gatekeeper, Question};
pub use id::MigrationId;
#[cfg(any(test, feature = "testing"))]
pub use journal::conformance;
pub use journal::{Append, Inbox, Journal, MemoryJournal, Post, SqliteJournal, Start, Summary};
pub use lever::{Act, Lever};
pub use migrations::{Migrations, Parts};
pub use nobody::Nobody;
pub use observation::{FlagsSeen, Insisted, Look, NotRaised, NotZeroed, Observation, Outcome};
pub use phase::Phase;
pub use plan::{Chosen, InvalidPlan, Plan, Stage};
pub use report::{Report, report};
pub use retention::Retention;
pub use scenario::Scenario;
pub use settings::Settings;
pub use stage_record::StageRecord;
pub use state::{BrokenJournal, State};
pub use status::Status;
pub use step::Step;
pub use succession::Succession;
pub use thresholds::{Action, LatencyRule, RateRule, RatioRule, Thresholds};
pub use validation_rule::{Validate, ValidationRule};
pub use validator::Validator;
pub use vault::{Saved, Vault};
pub use waiting::Waiting;

/// Compiles and runs the README's example as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
