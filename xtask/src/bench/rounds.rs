//! Runs every contender once a round, and keeps what each said.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::contenders::Contenders;
use super::spread::Spread;
use crate::interrupt::Interrupt;
use crate::process::{Group, last_lines};
use crate::progress::Progress;

/// No single measurement takes this long.
const LIMIT: Duration = Duration::from_secs(300);

/// What was said, by contender, a value for each round.
#[derive(Debug, Default)]
pub(super) struct Samples {
    values: BTreeMap<String, Vec<Value>>,
    /// Contenders that failed, with the reason: they are not run again.
    pub(super) failed: BTreeMap<String, String>,
    /// Only a part of the contenders was asked for.
    pub(super) part: bool,
}

impl Samples {
    /// One number of each round that has one. Nothing where the contender failed in one of them.
    pub(super) fn numbers(&self, contender: &str, field: &str) -> Vec<f64> {
        let number = |value: &Value| value.get(field).and_then(Value::as_f64);
        self.rounds(contender).iter().filter_map(number).collect()
    }

    /// All numbers of all rounds, of a field that is a list.
    pub(super) fn pooled(&self, contender: &str, field: &str) -> Vec<f64> {
        self.rounds(contender)
            .iter()
            .filter_map(|value| value.get(field).and_then(Value::as_array))
            .flatten()
            .filter_map(Value::as_f64)
            .collect()
    }

    /// A text that every round says alike.
    pub(super) fn text(&self, contender: &str, field: &str) -> Option<&str> {
        self.rounds(contender).first()?.get(field)?.as_str()
    }

    /// Whoever was measured.
    pub(super) fn contenders(&self) -> impl Iterator<Item = &str> {
        self.values
            .keys()
            .map(String::as_str)
            .filter(|name| !self.failed.contains_key(*name))
    }

    /// These fields of whoever was measured, where they have them.
    pub(super) fn spreads(&self, fields: &[&str]) -> BTreeMap<String, BTreeMap<String, Spread>> {
        self.contenders()
            .map(|name| {
                let spreads = fields.iter().filter_map(|field| {
                    let spread = Spread::of(&self.numbers(name, field))?;
                    Some(((*field).to_owned(), spread))
                });
                (name.to_owned(), spreads.collect())
            })
            .collect()
    }

    /// Whoever was not measured, with the reason: those known before, and those that failed.
    pub(super) fn absent(&self, before: &[(String, String)]) -> BTreeMap<String, String> {
        before.iter().cloned().chain(self.failed.clone()).collect()
    }

    fn rounds(&self, contender: &str) -> &[Value] {
        if self.failed.contains_key(contender) {
            return &[];
        }
        self.values.get(contender).map_or(&[], Vec::as_slice)
    }

    pub(super) fn note(&mut self, contender: &str, value: Value) {
        self.values
            .entry(contender.to_owned())
            .or_default()
            .push(value);
    }
}

/// Runs all rounds. A contender that fails is noted and left out; the others go on.
pub(super) fn run(
    contenders: &Contenders,
    samples: &mut Samples,
    interrupt: &Interrupt,
) -> Result<()> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let progress = Progress::start("measuring");
    for round in 1..=contenders.amount.rounds {
        for contender in &contenders.list {
            if samples.failed.contains_key(&contender.name) {
                continue;
            }
            let rounds = contenders.amount.rounds;
            progress.tick(&format!("round {round} of {rounds}: {}", contender.name));
            match measure(contender.command(), folder.path(), interrupt) {
                Ok(value) => samples.note(&contender.name, value),
                Err(error) => {
                    interrupt.check()?;
                    eprintln!("{} cannot be measured: {error:#}", contender.name);
                    let why = format!("{error:#}");
                    samples.failed.insert(contender.name.clone(), why);
                }
            }
        }
    }
    progress.done(&format!("{} rounds", contenders.amount.rounds));
    Ok(())
}

/// Runs one command to its end. Its last line on standard output is the result.
fn measure(mut command: Command, folder: &Path, interrupt: &Interrupt) -> Result<Value> {
    let (out_path, log_path) = (folder.join("out"), folder.join("log"));
    command
        .stdin(Stdio::null())
        .stdout(File::create(&out_path).context("cannot write a result's file")?)
        .stderr(File::create(&log_path).context("cannot write a log file")?);
    let mut group = Group::start(&mut command, Duration::from_secs(2))?;
    let started = Instant::now();
    let status = loop {
        if let Some(status) = group.ended() {
            break status;
        }
        if started.elapsed() > LIMIT {
            bail!("it took longer than {LIMIT:?}");
        }
        interrupt.sleep(Duration::from_millis(50))?;
    };
    if !status.success() {
        bail!("it failed ({status}): {}", last_lines(&log_path, 3));
    }
    let out = fs::read_to_string(&out_path).context("cannot read a result")?;
    let line = out.lines().last().unwrap_or_default();
    serde_json::from_str(line).with_context(|| format!("its result {line:?} is not JSON"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shell(script: &str) -> Result<Value> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = Command::new("sh");
        command.arg("-c").arg(script);
        measure(command, folder.path(), &Interrupt::default())
    }

    #[test]
    fn the_last_line_is_the_result_and_a_failure_says_why() {
        let value = shell(r#"echo chatter; echo '{"rate": 2}'"#).expect("it answers");
        assert_eq!(value, json!({ "rate": 2 }));
        let error = shell("echo 'no such rival' >&2; exit 1").expect_err("it fails");
        assert!(error.to_string().contains("no such rival"), "{error}");
        shell("echo chatter").expect_err("no JSON");
    }

    #[test]
    fn a_contender_that_failed_once_has_no_figures() {
        let mut samples = Samples::default();
        samples.note("echo/a", json!({ "rate": 1.0, "all": [1, 2] }));
        samples.note("echo/a", json!({ "rate": 2.0, "all": [3] }));
        assert_eq!(samples.numbers("echo/a", "rate"), [1.0, 2.0]);
        assert_eq!(samples.pooled("echo/a", "all"), [1.0, 2.0, 3.0]);
        assert_eq!(samples.numbers("echo/b", "rate"), [0.0; 0]);
        samples
            .failed
            .insert("echo/a".to_owned(), "gone".to_owned());
        assert_eq!(samples.numbers("echo/a", "rate"), [0.0; 0]);
        assert_eq!(samples.contenders().count(), 0);
    }
}
