//! `cargo xtask demo`: the main job, as a new user meets it.
//!
//! Act `happy` moves live traffic from pool V1 to pool V2 through six stages. Act `break` does it
//! again with a candidate whose workers crash and stall, and is rolled back. In both, sixteen
//! callers at a time ask without pause, and every answer is checked. The demo knows the server
//! only over HTTP: what it shows was measured on the callers' side.

mod act;
mod config;
mod report;
mod screen;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use self::act::Act;
use self::report::Report;
use crate::interrupt::Interrupt;
use crate::live::setup::Setup;
use crate::places::Places;

/// What to play.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
DSPEX_DEMO_PYTHON     the Python (3.10 or newer) that the venv is made with; python3 otherwise
DSPEX_DEMO_MODEL      a model of your own in place of the stand-in, such as openai/gpt-4o-mini
DSPEX_DEMO_KEY_ENV    the variable with its key; PROVIDER_API_KEY otherwise
DSPEX_DEMO_API_BASE   its address, where it is not at its provider's own
DSPEX_CACHE           where the venv is kept; inside the target folder otherwise

Exit code 0: act one is complete and act two is rolled back, each without a failed request.")]
pub(crate) struct Options {
    /// Print one JSON object on standard output, and nothing else there
    #[arg(long)]
    json: bool,
    /// Which act to play
    #[arg(long, value_enum, default_value_t = Acts::All)]
    act: Acts,
    /// Divide the time that each stage is held by this
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
    speed: f64,
    /// Drive this dspex and build none
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Acts {
    /// The candidate is well: all traffic moves to it
    Happy,
    /// The candidate crashes and stalls: it is rolled back
    Break,
    /// One after the other
    All,
}

impl Acts {
    fn list(self) -> &'static [Act] {
        match self {
            Self::Happy => &[Act::Happy],
            Self::Break => &[Act::Break],
            Self::All => &[Act::Happy, Act::Break],
        }
    }
}

/// Plays the acts. Answers whether each ended as it must.
pub(crate) fn run(options: &Options, places: &Places, interrupt: &Interrupt) -> Result<bool> {
    ensure!(
        options.speed.is_finite() && (0.05..=20.0).contains(&options.speed),
        "--speed is {}, and must be from 0.05 to 20",
        options.speed
    );
    let setup = Setup::make(options.binary.clone(), places, interrupt)?;
    let mut report = Report { acts: Vec::new() };
    let mut as_wanted = true;
    for act in options.act.list() {
        let played = act::play(*act, options.speed, &setup, interrupt)
            .with_context(|| format!("act {} could not be played", act.name()))?;
        as_wanted &= played.as_wanted(act.wanted());
        if options.json {
            eprintln!("{}", played.summary());
        } else {
            println!("{}", played.summary());
        }
        report.acts.push(played);
    }
    if options.json {
        println!("{}", serde_json::to_string(&report)?);
    }
    let word = if as_wanted { "as" } else { "NOT as" };
    eprintln!("all of it went {word} it must");
    Ok(as_wanted)
}
