//! Running the benchmarks of the crates, in rounds, and reading what criterion wrote.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use cargo_metadata::TargetKind;
use serde::Deserialize;

use super::super::Core;
use super::super::spread::Spread;
use crate::interrupt::Interrupt;
use crate::places::Places;
use crate::process::run_logged;
use crate::progress::Progress;

/// The crates whose benchmarks these are.
const CRATES: [&str; 3] = ["dspex-flags", "dspex-breaker", "dspex-router"];

/// Benchmarks outside the workspace, which has no use for what they bring: the crate that others are
/// measured beside, the folder of the manifest, and the benchmark.
const OUTSIDE: [(&str, &str, &str); 1] = [("dspex-flags", "flags/rivals", "rivals")];

const ROUNDS: usize = 5;

/// What all rounds gave.
#[derive(Debug, Default)]
pub(super) struct Samples {
    /// By benchmark: nanoseconds an iteration, the median of each round.
    pub(super) nanos: BTreeMap<String, Vec<f64>>,
    /// By benchmark: allocations a call.
    pub(super) allocations: BTreeMap<String, Vec<f64>>,
    pub(super) rounds: usize,
    /// What was asked for: names that begin with this,
    pub(super) only: Option<String>,
    /// and other crates too.
    pub(super) rivals: bool,
}

/// A benchmark binary.
#[derive(Debug)]
struct Bench {
    /// The crate that it measures.
    package: String,
    target: String,
    /// The folder of its manifest, where it is no part of the workspace.
    outside: Option<PathBuf>,
}

impl Bench {
    /// Whether a benchmark that begins with this may be in it: names begin with their crate's.
    fn may_hold(&self, only: &str) -> bool {
        let package = self.package.trim_start_matches("dspex-");
        only.starts_with(package) || package.starts_with(only)
    }
}

/// What criterion writes of a benchmark's name.
#[derive(Deserialize)]
struct Name {
    full_id: String,
}

/// What criterion writes of a benchmark's samples: nanoseconds, and for how many iterations.
#[derive(Deserialize)]
struct Sampled {
    iters: Vec<f64>,
    times: Vec<f64>,
}

pub(super) fn run(core: &Core, places: &Places, interrupt: &Interrupt) -> Result<Samples> {
    let mut benches = benches(places);
    if core.rivals {
        benches.extend(rivals(places));
    }
    if let Some(only) = &core.only {
        benches.retain(|bench| bench.may_hold(only));
    }
    if benches.is_empty() {
        bail!("none of {CRATES:?} has such a benchmark: there is nothing to measure");
    }
    build(&benches, places, interrupt)?;
    let rounds = if core.quick { 1 } else { ROUNDS };
    let mut samples = Samples {
        rounds,
        only: core.only.clone(),
        rivals: core.rivals,
        ..Samples::default()
    };
    for round in 1..=rounds {
        let progress = Progress::start(&format!("round {round} of {rounds}"));
        for bench in &benches {
            one(bench, core, places, &progress, &mut samples, interrupt)?;
        }
        progress.done("measured");
    }
    Ok(samples)
}

fn benches(places: &Places) -> Vec<Bench> {
    let ours = places.metadata.packages.iter();
    ours.filter(|package| CRATES.contains(&package.name.as_str()))
        .flat_map(|package| {
            let benches = package.targets.iter();
            benches
                .filter(|target| target.kind.contains(&TargetKind::Bench))
                .map(|target| Bench {
                    package: package.name.to_string(),
                    target: target.name.clone(),
                    outside: None,
                })
        })
        .collect()
}

fn rivals(places: &Places) -> impl Iterator<Item = Bench> {
    OUTSIDE.iter().map(|(package, folder, target)| Bench {
        package: (*package).to_owned(),
        target: (*target).to_owned(),
        outside: Some(places.root.join(folder)),
    })
}

fn build(benches: &[Bench], places: &Places, interrupt: &Interrupt) -> Result<()> {
    let progress = Progress::start("benchmarks of flags, breaker and router");
    for bench in benches {
        let mut cargo = cargo(bench, places);
        cargo.arg("--no-run");
        let log = places.log("bench-core-build")?;
        run_logged(&mut cargo, &log, &progress, interrupt)
            .with_context(|| format!("cannot build the benchmark {}", bench.target))?;
    }
    progress.done("built");
    Ok(())
}

fn cargo(bench: &Bench, places: &Places) -> Command {
    let mut cargo = Command::new(Places::cargo());
    cargo.args(["bench", "--all-features", "--bench", &bench.target]);
    match &bench.outside {
        None => cargo
            .args(["--package", &bench.package])
            .current_dir(&places.root),
        // Its own lock file says with which versions, and is not to be written by a measurement.
        Some(folder) => cargo
            .args(["--locked", "--target-dir"])
            .arg(&places.target)
            .current_dir(folder),
    };
    cargo
}

/// Runs a benchmark binary once and adds what it gave.
fn one(
    bench: &Bench,
    core: &Core,
    places: &Places,
    progress: &Progress,
    samples: &mut Samples,
    interrupt: &Interrupt,
) -> Result<()> {
    let home = places.target.join("bench-core");
    // What an earlier run left would be taken for this one's.
    match fs::remove_dir_all(&home) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot empty {}", home.display()));
        }
        _ => {}
    }
    let log = places.log(&format!("bench-core-{}-{}", bench.package, bench.target))?;
    let mut command = cargo(bench, places);
    command
        .args(["--", "--noplot", "--nresamples", "1001"])
        .args(["--warm-up-time", "0.2", "--measurement-time", "0.5"])
        .env("CRITERION_HOME", &home)
        .env("DSPEX_BENCH_RIVALS", if core.rivals { "1" } else { "0" });
    if core.quick {
        command.args(["--sample-size", "20"]);
    }
    if let Some(only) = &core.only {
        command.arg(format!("^{}", escaped(only)));
    }
    run_logged(&mut command, &log, progress, interrupt)
        .with_context(|| format!("the benchmark {} of {} failed", bench.target, bench.package))?;
    for (name, median) in read(&home)? {
        samples.nanos.entry(name).or_default().push(median);
    }
    let printed = fs::read_to_string(&log).unwrap_or_default();
    for (name, count) in printed.lines().filter_map(allocations) {
        samples.allocations.entry(name).or_default().push(count);
    }
    Ok(())
}

/// Text as criterion's filter, which is a regular expression, takes it literally.
fn escaped(text: &str) -> String {
    text.chars()
        .flat_map(|letter| {
            let plain = letter.is_alphanumeric() || matches!(letter, ' ' | '/' | ',' | '_');
            (!plain).then_some('\\').into_iter().chain([letter])
        })
        .collect()
}

/// `allocations router/execute on stable 3`.
fn allocations(line: &str) -> Option<(String, f64)> {
    let (name, count) = line.strip_prefix("allocations ")?.rsplit_once(' ')?;
    Some((name.to_owned(), count.parse().ok()?))
}

/// Every benchmark under criterion's folder, with the median of its samples.
fn read(home: &Path) -> Result<Vec<(String, f64)>> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![home.to_owned()];
    while let Some(folder) = folders.pop() {
        let new = folder.join("new");
        if new.join("sample.json").is_file() {
            let name: Name = json(&new.join("benchmark.json"))?;
            let sampled: Sampled = json(&new.join("sample.json"))?;
            let each = sampled.times.iter().zip(&sampled.iters);
            let each: Vec<f64> = each.map(|(time, iterations)| time / iterations).collect();
            if let Some(spread) = Spread::of(&each) {
                found.push((name.full_id, spread.median));
            }
            continue;
        }
        // A filter may have left none.
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry
                .with_context(|| format!("cannot list {}", folder.display()))?
                .path();
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    Ok(found)
}

fn json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("criterion has not written {}", path.display()))?;
    serde_json::from_str(&text)
        .with_context(|| format!("{} is not as this criterion writes it", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_allocations_are_read() {
        let read = allocations("allocations router/execute on stable, in a session 3");
        let name = "router/execute on stable, in a session".to_owned();
        assert_eq!(read, Some((name, 3.0)));
        assert_eq!(allocations("allocations many"), None);
        assert_eq!(allocations("breaker/permit time: 3"), None);
    }

    #[test]
    fn only_the_crates_that_a_prefix_may_mean_are_built() {
        let bench = Bench {
            package: "dspex-router".to_owned(),
            target: "execute".to_owned(),
            outside: None,
        };
        for only in ["router/execute", "router", "rou", ""] {
            assert!(bench.may_hold(only), "{only}");
        }
        assert!(!bench.may_hold("breaker/"));
    }

    #[test]
    fn a_filter_is_taken_literally() {
        assert_eq!(escaped("flags/a (b)"), r"flags/a \(b\)");
        assert_eq!(escaped("execute on stable, 10"), "execute on stable, 10");
    }

    #[test]
    fn what_criterion_wrote_is_found_with_its_median() {
        let home = tempfile::tempdir().expect("a folder");
        let new = home.path().join("breaker/permit_and_record/new");
        fs::create_dir_all(&new).expect("folders");
        fs::write(
            new.join("benchmark.json"),
            r#"{"group_id":"breaker","full_id":"breaker/permit and record"}"#,
        )
        .expect("a file");
        let sample = r#"{"sampling_mode":"Linear","iters":[1.0,2.0,4.0],"times":[30.0,20.0,80.0]}"#;
        fs::write(new.join("sample.json"), sample).expect("a file");
        fs::create_dir_all(home.path().join("breaker/report")).expect("a folder");
        let found = read(home.path()).expect("it is well-formed");
        assert_eq!(found, [("breaker/permit and record".to_owned(), 20.0)]);
        fs::write(new.join("sample.json"), "{}").expect("a file");
        assert!(read(home.path()).is_err());
    }
}
