//! What is measured: commands that each print one JSON object.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Pool;
use crate::interrupt::Interrupt;
use crate::places::Places;
use crate::process::run_logged;
use crate::progress::Progress;
use crate::python::Python;
use crate::surroundings::cores;
use crate::venv::Venv;

/// Calls in flight and workers of the comparison with other pools.
pub(super) const IN_FLIGHT: usize = 16;
pub(super) const WORKERS: usize = 2;
/// Workers of which one after the other is killed. Each slot starts one worker a second at most.
const KILLED: usize = 4;
/// The length of the echoed text.
const BYTES: usize = 100;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Amount {
    pub(super) rounds: usize,
    /// Of each closed loop.
    pub(super) seconds: f64,
    /// Workers killed in each round.
    pub(super) kills: usize,
    /// Calls of each caller that waits 0.2 s a call.
    pub(super) waits: u32,
}

/// One thing that is measured once a round.
#[derive(Debug)]
pub(super) struct Contender {
    /// What is measured and of whom, such as `echo/dspex`.
    pub(super) name: String,
    /// Where a round's command comes from.
    program: PathBuf,
    arguments: Vec<String>,
}

impl Contender {
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        command
    }
}

/// All of them, in the order of a round.
#[derive(Debug)]
pub(super) struct Contenders {
    pub(super) list: Vec<Contender>,
    pub(super) amount: Amount,
    /// The workers' interpreter.
    pub(super) python: PathBuf,
    /// What cannot be measured here, with the reason.
    pub(super) absent: Vec<(String, String)>,
}

impl Contenders {
    /// Builds the harness and makes the venvs.
    pub(super) fn prepare(pool: &Pool, places: &Places, interrupt: &Interrupt) -> Result<Self> {
        let amount = if pool.quick {
            Amount {
                rounds: 3,
                seconds: 1.0,
                kills: 10,
                waits: 10,
            }
        } else {
            Amount {
                rounds: 5,
                seconds: 3.0,
                kills: 40,
                waits: 25,
            }
        };
        let base = Python::find("DSPEX_BENCH_PYTHON")?;
        let requirements = [places.root.join("pool/python/requirements-dspy.txt")];
        let workers = Venv::ensure(places, "bench", &base, &requirements, interrupt)?;
        let mut contenders = Self {
            list: Vec::new(),
            amount,
            python: workers.python(),
            absent: Vec::new(),
        };
        let harness = build(places, interrupt)?;
        contenders.add_echo(&harness, places);
        contenders.add_rivals(pool, places, &base, interrupt)?;
        contenders.add_sequential(&harness, places);
        contenders.add_rest(&harness, places);
        if let Some(only) = &pool.only {
            contenders.list.retain(|one| one.name.starts_with(only));
            ensure!(
                !contenders.list.is_empty(),
                "nothing that is measured begins with {only:?}"
            );
        }
        Ok(contenders)
    }

    fn add_echo(&mut self, harness: &Path, places: &Places) {
        let load = load(WORKERS, IN_FLIGHT, self.amount.seconds);
        for (name, kind) in [("dspex", "echo"), ("bare", "bare")] {
            self.add(
                harness,
                places,
                &format!("echo/{name}"),
                &json!({ kind: load }),
                None,
            );
        }
    }

    /// The pools of the standard library always, the others where they are asked for.
    fn add_rivals(
        &mut self,
        pool: &Pool,
        places: &Places,
        base: &Python,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let python = self.python.clone();
        for rival in ["process-pool-executor", "multiprocessing-pool"] {
            self.add_rival(places, &python, rival);
        }
        let others: [(&str, &str, &[&str]); 2] = [
            ("rivals", "requirements.txt", &["loky", "pebble"]),
            ("rivals-ray", "requirements-ray.txt", &["ray"]),
        ];
        for (venv, file, rivals) in others {
            if !pool.rivals {
                self.lack(rivals, "it is measured with --rivals only");
                continue;
            }
            let requirements = [places.root.join("bench/rivals").join(file)];
            match Venv::ensure(places, venv, base, &requirements, interrupt) {
                Ok(venv) => {
                    for rival in rivals {
                        self.add_rival(places, &venv.python(), rival);
                    }
                }
                Err(error) => {
                    interrupt.check()?;
                    self.lack(rivals, &format!("it cannot be installed here: {error:#}"));
                }
            }
        }
        Ok(())
    }

    fn lack(&mut self, rivals: &[&str], why: &str) {
        for rival in rivals {
            self.absent.push((format!("echo/{rival}"), why.to_owned()));
        }
    }

    fn add_rival(&mut self, places: &Places, python: &Path, rival: &str) {
        let script = places.root.join("bench/rivals/rivals.py");
        let arguments = [
            script.to_string_lossy().into_owned(),
            format!("--rival={rival}"),
            format!("--workers={WORKERS}"),
            format!("--in-flight={IN_FLIGHT}"),
            format!("--seconds={}", self.amount.seconds),
            format!("--bytes={BYTES}"),
        ];
        self.list.push(Contender {
            name: format!("echo/{rival}"),
            program: python.to_owned(),
            arguments: arguments.into(),
        });
    }

    /// One caller, one worker: both on one core, and each on its own.
    fn add_sequential(&mut self, harness: &Path, places: &Places) {
        let load = load(1, 1, self.amount.seconds / 2.0);
        let cores = cores();
        let placements = [("together", cores.first()), ("apart", cores.get(1))];
        for (place, workers) in placements {
            for (name, kind) in [("dspex", "echo"), ("bare", "bare")] {
                let name = format!("{place}/{name}");
                let (Some(client), Some(workers)) = (cores.first(), workers) else {
                    self.absent
                        .push((name, "this process may use one core only".to_owned()));
                    continue;
                };
                let placement = json!({ "client": client, "workers": workers });
                self.add(
                    harness,
                    places,
                    &name,
                    &json!({ kind: load }),
                    Some(&placement),
                );
            }
        }
    }

    fn add_rest(&mut self, harness: &Path, places: &Places) {
        let Amount { kills, waits, .. } = self.amount;
        let measures = [
            (
                "waiting/dspex",
                json!({ "waiting": {
                    "workers": WORKERS, "concurrency": 128, "calls": waits, "seconds": 0.2,
                }}),
            ),
            ("dispatch/2", dispatch(2)),
            ("dispatch/64", dispatch(64)),
            (
                "workers/dspy",
                json!({ "memory": { "workers": 8, "predicts": 100 }}),
            ),
            (
                "fork/dspy",
                json!({ "forks": { "workers": 8, "repeats": 5 }}),
            ),
            (
                "kills/dspy",
                json!({ "kills": { "workers": KILLED, "kills": kills, "dspy": true }}),
            ),
            (
                "sessions/dspex",
                json!({ "sessions": { "sessions": 1_000_000 }}),
            ),
        ];
        for (name, measure) in measures {
            self.add(harness, places, name, &measure, None);
        }
    }

    fn add(
        &mut self,
        harness: &Path,
        places: &Places,
        name: &str,
        measure: &Value,
        placement: Option<&Value>,
    ) {
        let order = json!({
            "python": self.python,
            "programs": places.root.join("bench/workers"),
            "placement": placement,
            "measure": measure,
        });
        self.list.push(Contender {
            name: name.to_owned(),
            program: harness.to_owned(),
            arguments: vec![order.to_string()],
        });
    }
}

fn load(workers: usize, in_flight: usize, seconds: f64) -> Value {
    json!({ "workers": workers, "in_flight": in_flight, "seconds": seconds, "bytes": BYTES })
}

fn dispatch(workers: usize) -> Value {
    json!({ "dispatch": { "workers": workers, "calls": 10_000, "repeats": 5 }})
}

/// Builds the program that links what xtask must not.
fn build(places: &Places, interrupt: &Interrupt) -> Result<PathBuf> {
    let progress = Progress::start("harness");
    let log = places.log("bench-build")?;
    let mut cargo = Command::new(Places::cargo());
    cargo
        .args([
            "build",
            "--release",
            "--package=dspex-pool-v2",
            "--example=bench",
        ])
        .current_dir(&places.root);
    run_logged(&mut cargo, &log, &progress, interrupt).context("cannot build the harness")?;
    progress.done("built");
    Ok(places.target.join("release/examples/bench"))
}
