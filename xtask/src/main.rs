//! `cargo xtask`: the chores of this repository, as one small program.
//!
//! - `demo`: the main job, seen from outside, on the release binary under traffic.
//! - `drill`: rehearsals of migrations and of faults, judged by what callers see.
//! - `test`: every check, with what the checks need installed on the way.
//! - `decommission --check`: that pool V1 can be deleted.
//! - `bench`: what dspex costs, beside Python's own pools.
//! - `checklist`: the production checklist, each line ticked by evidence or not at all.
//! - `release`: one archive with everything that an operator unpacks.
//! - `tidy`: the laws of the repository that no compiler holds.
//!
//! Invariants: it links none of our crates, so it compiles in seconds while they are broken and
//! knows dspex only as a stranger does, by its command line and its HTTP interface. What it
//! starts, it ends: every child is held by a guard (`process::Group`).
#![expect(
    clippy::disallowed_methods,
    reason = "this is the outermost layer of another program: it drives processes and measures real time, and no test pauses its clock"
)]

mod bench;
#[cfg(test)]
mod book;
mod checklist;
mod decommission;
mod demo;
mod drill;
mod evidence;
mod interrupt;
mod live;
mod places;
mod process;
mod progress;
mod python;
mod release;
mod repository;
mod surroundings;
mod test;
mod tidy;
mod venv;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::drill::CouldNotRun;
use self::interrupt::{Interrupt, Interrupted};
use self::places::Places;

/// The chores of this repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Move live traffic from pool V1 to pool V2, then watch a broken candidate be rolled back
    Demo(demo::Options),
    /// Rehearse migrations and faults, judged by what callers see
    Drill(drill::Options),
    /// Run every check, installing what it needs
    Test(test::Options),
    /// Check that everything builds and passes once pool V1 is deleted
    Decommission(decommission::Options),
    /// Measure dspex beside Python's own pools
    Bench(bench::Options),
    /// The production checklist: each line ticked by evidence, or not at all
    Checklist(checklist::Options),
    /// Put together what an operator unpacks: binary, scripts, units, manifests, dashboard, runbooks
    Release(release::Options),
    /// Check the laws of the repository: arrows between crates, headers, README tables, licences
    Tidy,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = Interrupt::install().and_then(|interrupt| {
        let places = Places::find()?;
        match cli.chore {
            Chore::Demo(options) => demo::run(&options, &places, &interrupt),
            Chore::Drill(options) => drill::run(&options, &places, &interrupt),
            Chore::Test(options) => test::run(&options, &places, &interrupt),
            Chore::Decommission(options) => decommission::run(&options, &places, &interrupt),
            Chore::Bench(options) => bench::run(&options, &places, &interrupt),
            Chore::Checklist(options) => checklist::run(&options, &places),
            Chore::Release(options) => release::run(&options, &places, &interrupt),
            Chore::Tidy => tidy::run(&places),
        }
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            // 130 is what a shell reports for a program ended by Ctrl-C.
            if error.is::<Interrupted>() {
                ExitCode::from(130)
            } else if error.is::<CouldNotRun>() {
                ExitCode::from(2)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}
