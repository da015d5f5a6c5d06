//! `cargo xtask drill`: rehearsals of migrations and of faults, on the release binary.
//!
//! Each drill starts a server of its own under traffic with real Python, does what its name says,
//! and is judged by what its callers saw. What every drill must keep is in `judge`; what a drill
//! does beside it stands in its own file under `plays`, and one row of the catalog names it.
//!
//! Invariants: a drill that could not be played has not passed; reports are written for every drill
//! that was asked for; nothing that was started is left, also after Ctrl-C.

mod catalog;
mod chance;
mod config;
mod journal;
mod judge;
mod observer;
mod plays;
mod refusal;
mod rehearsal;
mod report;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use self::catalog::ALL;
use self::rehearsal::{InVain, Rehearsal};
use self::report::{Calls, Claim, Migration, Outcome, Report, Summary, Told};
use crate::interrupt::{Interrupt, Interrupted};
use crate::live::setup::Setup;
use crate::places::Places;
use crate::surroundings::{Surroundings, python_versions};

/// What to rehearse.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Reports are written to target/drills: NAME.json and NAME.md for each, summary.json and summary.md.

Exit codes:
  0    every drill that was asked for has passed
  1    at least one has failed
  2    none has failed, and at least one could not be played; its report says why
  130  interrupted")]
pub(crate) struct Options {
    /// The drills to play
    #[arg(value_name = "NAME", required_unless_present_any = ["all", "list"])]
    names: Vec<String>,
    /// Play all of them
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// List them, with what each does and what must hold
    #[arg(long)]
    list: bool,
    /// Print one JSON object on standard output, and nothing else there
    #[arg(long)]
    json: bool,
    /// Fewer kills, in the drill that kills (controller-kill); the others have no short form
    #[arg(long)]
    quick: bool,
    /// Chooses the moments that are left to chance; the same number chooses the same
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    seed: u64,
    /// Drive this dspex and build none
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
}

/// The commit of a binary that was handed over. The checklist takes it for none.
const HANDED_OVER: &str = "unknown (--binary)";

/// One row of the catalog.
#[derive(Debug)]
pub(crate) struct Drill {
    name: &'static str,
    /// What it does.
    does: &'static str,
    /// What must hold beside what must hold in every drill, and why callers may see failures, where
    /// they may.
    must: &'static str,
    /// Whether it asks a language model, and so needs DSPy.
    dspy: bool,
    play: fn(&mut Rehearsal<'_>) -> Result<()>,
}

/// It could not be done here: neither passed nor failed.
#[derive(Debug)]
pub(crate) struct CouldNotRun(String);

impl std::fmt::Display for CouldNotRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CouldNotRun {}

/// Plays the drills. Answers whether all have passed; an error that is [`CouldNotRun`] says that
/// none has failed, and some could not be played.
pub(crate) fn run(options: &Options, places: &Places, interrupt: &Interrupt) -> Result<bool> {
    if options.list {
        return list(options.json).map(|()| true);
    }
    play_all(options, places, interrupt).map_err(could_not)
}

fn play_all(options: &Options, places: &Places, interrupt: &Interrupt) -> Result<bool> {
    let drills = chosen(&options.names)?;
    let folder = places.target.join("drills");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let dspy = drills.iter().any(|drill| drill.dspy);
    let setup = if dspy { Setup::make } else { Setup::plain };
    let setup = setup(options.binary.clone(), places, interrupt)?;
    let mut about = About::of(&setup)?;
    if options.binary.is_some() {
        // Of which commit it was built is known to whoever handed it over, and not to this tree.
        about.on.commit = HANDED_OVER.to_owned();
    }
    let begun = Instant::now();
    let mut reports = Vec::new();
    for drill in drills {
        eprintln!("\n{}: {}", drill.name, drill.does);
        let report = one(drill, options, &setup, &about, interrupt)?;
        report.write(&folder)?;
        eprintln!(
            "{}: {:?} in {:.1} s {}",
            drill.name,
            report.outcome,
            report.seconds,
            report.why()
        );
        reports.push(report);
    }
    let summary = Summary::of(reports, begun.elapsed().as_secs_f64());
    summary.write(&folder)?;
    if options.json {
        println!("{}", serde_json::to_string(&summary)?);
    } else {
        println!("{}\nreports: {}", summary.table(), folder.display());
    }
    if summary.failed == 0 && summary.could_not_run > 0 {
        let count = summary.could_not_run;
        return Err(CouldNotRun(format!("{count} of the drills could not be played")).into());
    }
    Ok(summary.failed == 0)
}

/// The name of every drill.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|drill| drill.name)
}

/// What keeps drills from being played says nothing of the product; an interruption stays one.
fn could_not(error: anyhow::Error) -> anyhow::Error {
    if error.is::<Interrupted>() || error.is::<CouldNotRun>() {
        return error;
    }
    CouldNotRun(format!("{error:#}")).into()
}

fn chosen(names: &[String]) -> Result<Vec<&'static Drill>> {
    if names.is_empty() {
        return Ok(ALL.iter().collect());
    }
    let find = |name: &String| {
        ALL.iter()
            .find(|drill| drill.name == name)
            .with_context(|| {
                let known: Vec<&str> = ALL.iter().map(|drill| drill.name).collect();
                format!("there is no drill {name:?}; there are {}", known.join(", "))
            })
    };
    names.iter().map(find).collect()
}

fn list(json: bool) -> Result<()> {
    if json {
        let all: Vec<_> = ALL
            .iter()
            .map(|drill| {
                serde_json::json!({"name": drill.name, "does": drill.does, "must": drill.must})
            })
            .collect();
        println!("{}", serde_json::to_string(&all)?);
    } else {
        for drill in ALL {
            println!(
                "{}\n  {}\n  Must hold: {}",
                drill.name, drill.does, drill.must
            );
        }
    }
    Ok(())
}

/// What all drills of a run have in common.
struct About {
    binary_sha256: String,
    on: Surroundings,
}

impl About {
    fn of(setup: &Setup<'_>) -> Result<Self> {
        let binary = std::fs::read(&setup.binary)
            .with_context(|| format!("cannot read {}", setup.binary.display()))?;
        let hash = Sha256::digest(&binary);
        let mut versions = python_versions(&setup.python, &["dspy"]);
        let mut ask = std::process::Command::new(&setup.binary);
        let dspex = crate::surroundings::answer(ask.arg("--version"));
        versions.insert("dspex".to_owned(), dspex.replace("dspex ", ""));
        Ok(Self {
            binary_sha256: hash.iter().map(|byte| format!("{byte:02x}")).collect(),
            on: Surroundings::of(setup.places, versions),
        })
    }
}

/// Plays one drill to its report. An error is an interruption, or a report that cannot be made.
fn one(
    drill: &'static Drill,
    options: &Options,
    setup: &Setup<'_>,
    about: &About,
    interrupt: &Interrupt,
) -> Result<Report> {
    let begun = Instant::now();
    let mut report = Report {
        schema: Report::SCHEMA,
        drill: drill.name,
        passed: false,
        commit: about.on.commit.clone(),
        at: String::new(),
        does: drill.does,
        must: drill.must,
        outcome: Outcome::CouldNotRun,
        trouble: None,
        quick: false,
        seed: options.seed,
        seconds: 0.0,
        calls: Calls::default(),
        reactions: Vec::new(),
        migrations: Vec::new(),
        verdicts: Vec::new(),
        claims: Vec::new(),
        notes: Vec::new(),
        binary_sha256: about.binary_sha256.clone(),
        on: about.on.clone(),
        log: String::new(),
    };
    let played = play(drill, options, setup, interrupt, &mut report);
    report.at = Timestamp::now().to_string();
    report.seconds = (begun.elapsed().as_secs_f64() * 10.0).round() / 10.0;
    match played {
        Ok(()) => {
            let all_held = report.claims.iter().all(|claim| claim.held);
            report.outcome = if all_held {
                Outcome::Passed
            } else {
                Outcome::Failed
            };
        }
        Err(error) if error.is::<Interrupted>() => return Err(error),
        Err(error) => report.trouble = Some(format!("{error:#}")),
    }
    report.passed = report.outcome == Outcome::Passed;
    Ok(report)
}

/// An error here says that the drill could not be played.
fn play(
    drill: &'static Drill,
    options: &Options,
    setup: &Setup<'_>,
    interrupt: &Interrupt,
    report: &mut Report,
) -> Result<()> {
    if drill.dspy && !setup.model.as_ref().is_some_and(|model| model.exact()) {
        bail!("it needs DSPy and the stand-in for a language model, and one of them is not there");
    }
    let mut rehearsal = Rehearsal::prepare(drill, setup, interrupt, options.quick, options.seed)?;
    report.log = rehearsal.log.display().to_string();
    let ended = (drill.play)(&mut rehearsal);
    let ended = ended.and_then(|()| rehearsal.close());
    report.quick = rehearsal.shortened;
    if let Err(error) = ended {
        let Some(in_vain) = error.downcast_ref::<InVain>() else {
            return Err(error);
        };
        rehearsal.claim("what is waited for comes", false, in_vain.to_string());
        // As much as can be told all the same. What fails now has failed for the same reason.
        let _ = rehearsal.close();
    }
    (report.calls, report.reactions) = judge::judge(&mut rehearsal)?;
    for journal in &rehearsal.journals {
        report.migrations.push(Migration {
            id: journal.id.clone(),
            ended: journal
                .entries
                .last()
                .map(|entry| entry.kind().to_owned())
                .unwrap_or_default(),
            entries: journal.entries.len(),
        });
        for (at, verdict) in journal.verdicts() {
            report.verdicts.push(Told {
                migration: journal.id.clone(),
                at: at.strftime("%H:%M:%S%.3f").to_string(),
                verdict,
            });
        }
    }
    report.notes = std::mem::take(&mut rehearsal.notes);
    report.claims = std::mem::take(&mut rehearsal.claims);
    Ok(())
}

/// A claim that the drill did what it is for: without it, all else holds for want of a fault.
fn took_place(what: &str, count: usize) -> Claim {
    Claim {
        what: format!("the drill took place: {what}"),
        held: count > 0,
        seen: count.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_drill_has_its_own_name_and_says_what_must_hold() {
        let names: HashSet<&str> = ALL.iter().map(|drill| drill.name).collect();
        assert_eq!(names.len(), ALL.len());
        for drill in ALL {
            for sentence in [drill.does, drill.must] {
                assert!(sentence.ends_with('.'), "{}: {sentence}", drill.name);
            }
        }
    }

    #[test]
    fn an_unknown_name_is_told_with_those_that_are_known() {
        let error = chosen(&["hapy".to_owned()])
            .expect_err("unknown")
            .to_string();
        assert!(error.contains("hapy") && error.contains("happy"), "{error}");
        assert_eq!(chosen(&[]).expect("all").len(), ALL.len());
    }
}
