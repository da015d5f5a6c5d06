//! Runs every contender once a round: started anew, loaded, one of its processes killed under the load.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::contenders::{CONNECTIONS, Contender, Contenders, reason};
use super::load;
use super::outcome::{Times, summary};
use super::server::Running;
use crate::bench::rounds::Samples;
use crate::interrupt::Interrupt;
use crate::progress::Progress;

/// The length of the echoed text.
const BYTES: usize = 100;
/// Connections are made, code is warm.
const WARM_UP: Duration = Duration::from_secs(1);

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Amount {
    pub(super) rounds: usize,
    /// Load before the kill.
    pub(super) before: Duration,
    /// Load after it.
    pub(super) after: Duration,
}

impl Amount {
    pub(super) fn of(quick: bool) -> Self {
        let (rounds, before, after) = if quick { (2, 1, 4) } else { (5, 3, 6) };
        Self {
            rounds,
            before: Duration::from_secs(before),
            after: Duration::from_secs(after),
        }
    }
}

/// Runs all rounds. A contender that fails is noted and left out; the others go on.
pub(super) fn run(
    contenders: &Contenders,
    amount: Amount,
    interrupt: &Interrupt,
) -> Result<Samples> {
    let mut samples = Samples::default();
    for round in 1..=amount.rounds {
        let progress = Progress::start(&format!("round {round} of {}", amount.rounds));
        for contender in &contenders.list {
            if samples.failed.contains_key(&contender.name) {
                continue;
            }
            progress.tick(&contender.name);
            match measure(contender, amount, interrupt) {
                Ok(value) => samples.note(&contender.name, value),
                Err(error) => {
                    interrupt.check()?;
                    eprintln!("{} cannot be measured: {error:#}", contender.name);
                    samples
                        .failed
                        .insert(contender.name.clone(), reason(&error));
                }
            }
        }
        progress.done("measured");
    }
    Ok(samples)
}

fn measure(contender: &Contender, amount: Amount, interrupt: &Interrupt) -> Result<Value> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let text = "x".repeat(BYTES);
    let running = Running::start(contender, folder.path(), &text, interrupt)?;
    let (times, notes) = load::during(&running.question, CONNECTIONS, |last| -> Result<Times> {
        interrupt.sleep(WARM_UP)?;
        let began = Instant::now();
        interrupt.sleep(amount.before)?;
        let pid = last.load(Ordering::Relaxed);
        let killed = Instant::now();
        running.kill(pid)?;
        interrupt.sleep(amount.after)?;
        Ok(Times {
            began,
            killed,
            ended: Instant::now(),
        })
    });
    let value = summary(&notes, times?);
    ensure!(
        value["rate"].as_f64().is_some_and(|rate| rate > 0.0),
        "no request was answered before the kill"
    );
    Ok(value)
}
