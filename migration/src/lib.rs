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
mod backtest;
mod candidate;
mod cause;
mod checklist_line;
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
mod ledger;
mod lever;
mod migrations;
mod nobody;
mod observation;
mod phase;
mod plan;
mod recording;
pub mod report;
mod retention;
mod sample;
mod scenario;
mod sequential;
mod settings;
pub mod simulation;
mod stage_record;
mod state;
mod status;
mod step;
mod stratum;
mod succession;
mod thresholds;
mod traffic;
mod unclear;
mod validation;
mod validation_rule;
mod validator;
mod vault;
mod waiting;
mod watcher;
mod windows;
mod wording;

pub use alert::{Alert, Alerts};
pub use analysis::{Analysis, Degraded, LaneSeen, Reason, Verdict, analyse};
pub use backtest::{Backtest, Judgement, Stop, Verdicts, backtest};
pub use candidate::{Candidate, Check};
pub use cause::Cause;
pub use checklist_line::{ChecklistLine, InvalidLine};
pub use command::{Command, CommandRow};
pub use comparison::{Comparison, Throughput};
pub use controller::{Decision, decide};
pub use error::{JournalError, MigrationError};
pub use event::{Entry, Event};
pub use evidence::{Differences, Evidence, Programs};
pub use freeze::{Freeze, Frozen, When};
pub use gate::{Answer, Gate, Gatekeeper, Question};
pub use id::MigrationId;
#[cfg(any(test, feature = "testing"))]
pub use journal::conformance;
pub use journal::{Append, Inbox, Journal, MemoryJournal, Post, SqliteJournal, Start, Summary};
pub use ledger::{Ledger, LedgerChange};
pub use lever::{Act, Lever};
pub use migrations::{Migrations, Parts};
pub use nobody::Nobody;
pub use observation::{FlagsSeen, Insisted, Look, NotRaised, NotZeroed, Observation, Outcome};
pub use phase::Phase;
pub use plan::{Chosen, InvalidPlan, Plan, Stage};
#[cfg(any(test, feature = "testing"))]
pub use recording::conformance as recording_conformance;
pub use recording::{Keep, MemoryRecorder, Recorded, Recorder, SqliteRecorder};
pub use report::{Report, report};
pub use retention::Retention;
pub use sample::Sample;
pub use scenario::Scenario;
pub use sequential::Wealth;
pub use settings::Settings;
pub use stage_record::StageRecord;
pub use state::{BrokenJournal, State};
pub use status::Status;
pub use step::Step;
pub use stratum::Stratum;
pub use succession::{Leaving, Removed, Succession};
pub use thresholds::{Action, LatencyRule, RateRule, RatioRule, Thresholds};
pub use validation::{
    Area, Case, Extent, Factory, Finding, InvalidValidation, Listener, Load, LoadFigures,
    PROBE_MODULE, Performance, Progress, Recoveries, Suite, ValidationReport, ValidationSettings,
};
pub use validation_rule::{Validate, ValidationRule};
pub use validator::Validator;
pub use vault::{Saved, Vault};
pub use waiting::Waiting;

pub use windows::{Judged, Windows};

/// Compiles and runs the README's example as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
