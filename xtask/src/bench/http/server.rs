//! One server, from its start to its end, and the process of it that is killed.
//!
//! Invariant: only a process that descends from the server is ever killed: its number came in an
//! answer, and an answer may be wrong.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use toml::{Table, Value};

use super::contenders::{CONNECTIONS, Contender, How, WORKERS};
use super::load::{self, Outcome, Question};
use crate::interrupt::Interrupt;
use crate::live::server::{Launch, Server, free_port};
use crate::process::{Group, last_lines};

/// Ray takes about fifteen seconds on two cores.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// What the others take after the first process that answers.
const ALL_WITHIN: Duration = Duration::from_secs(10);
/// Enough for every connection to be answered.
const BURST: Duration = Duration::from_millis(300);
/// What a rival may take to end; then it is killed with what it started.
const GRACE: Duration = Duration::from_secs(10);
/// No worker is further from its server.
const GENERATIONS: usize = 32;

/// A server that answers. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Running {
    process: Process,
    pub(super) question: Question,
    log: PathBuf,
}

#[derive(Debug)]
enum Process {
    Dspex(Server),
    Rival(Group),
}

impl Running {
    /// Starts the contender, with its log and data in the folder, and waits until it echoes the text.
    pub(super) fn start(
        contender: &Contender,
        folder: &Path,
        text: &str,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let log = folder.join("log");
        let (process, question) = match &contender.how {
            How::Dspex { binary, config } => {
                let server = dspex(binary, config, folder, &log, interrupt)?;
                let address = address(server.client().base())?;
                let path = "/v1/programs/echo/execute";
                let question = Question::new(address, path, text, true);
                (Process::Dspex(server), question)
            }
            How::Rival {
                program,
                arguments,
                folder: scripts,
                path,
            } => {
                let port = free_port()?;
                let mut command = Command::new(program);
                let arguments = arguments.iter();
                command
                    .args(arguments.map(|argument| argument.replace("{port}", &port.to_string())))
                    .current_dir(scripts);
                let group = rival(command, folder, &log)?;
                let address = SocketAddr::from(([127, 0, 0, 1], port));
                let question = Question::new(address, path, text, false);
                (Process::Rival(group), question)
            }
        };
        let mut running = Self {
            process,
            question,
            log,
        };
        running.wait(interrupt)?;
        Ok(running)
    }

    fn wait(&mut self, interrupt: &Interrupt) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        while !matches!(self.question.once(), Outcome::Well(_)) {
            self.check_alive()?;
            ensure!(
                Instant::now() < deadline,
                "it gave no right answer within {READY_WITHIN:?}: {}",
                last_lines(&self.log, 3)
            );
            interrupt.sleep(Duration::from_millis(100))?;
        }
        // One process may be up before the other, and would be given all connections. A server whose
        // second process never answers is measured all the same, and the table says so.
        let deadline = Instant::now() + ALL_WITHIN;
        while self.processes(interrupt)? < WORKERS && Instant::now() < deadline {
            self.check_alive()?;
        }
        Ok(())
    }

    /// How many processes answer, asked by all connections for a moment.
    fn processes(&self, interrupt: &Interrupt) -> Result<u32> {
        let (slept, notes) = load::during(&self.question, CONNECTIONS, |_| interrupt.sleep(BURST));
        slept?;
        let pids = notes.iter().filter_map(|note| match note.outcome {
            Outcome::Well(pid) => Some(pid),
            Outcome::Failed(_) => None,
        });
        let pids: BTreeSet<i32> = pids.collect();
        u32::try_from(pids.len()).context("more processes than numbers")
    }

    fn check_alive(&mut self) -> Result<()> {
        match &mut self.process {
            Process::Dspex(server) => server.check_alive(),
            Process::Rival(group) => match group.ended() {
                None => Ok(()),
                Some(status) => bail!(
                    "it ended by itself ({status}): {}",
                    last_lines(&self.log, 3)
                ),
            },
        }
    }

    /// SIGKILL to one process of the server.
    pub(super) fn kill(&self, pid: i32) -> Result<()> {
        let server = match &self.process {
            Process::Dspex(server) => server.pid(),
            Process::Rival(group) => group.id(),
        };
        ensure!(
            pid != server && descends(pid, server),
            "process {pid}, which is said to have answered, is no child of the server {server}"
        );
        let pid = Pid::from_raw(pid).context("no process has this number")?;
        kill_process(pid, Signal::KILL).context("cannot kill the process that answered")
    }
}

fn dspex(
    binary: &Path,
    config: &Table,
    folder: &Path,
    log: &Path,
    interrupt: &Interrupt,
) -> Result<Server> {
    let mut config = config.clone();
    let data = folder.join("data").to_string_lossy().into_owned();
    if let Some(Value::Table(server)) = config.get_mut("server") {
        server.insert("data_dir".to_owned(), Value::String(data));
    }
    let launch = Launch {
        binary: binary.to_owned(),
        folder: folder.to_owned(),
        config: config.to_string(),
        env: Vec::new(),
        under: Vec::new(),
        log: log.to_owned(),
    };
    let server = launch.start(interrupt)?;
    let draft = json!({
        "id": "echo",
        "definition": { "kind": "callable", "target": "echo:echo" },
        "repeatable": true,
    });
    server.client().post("/v1/programs", &draft)?;
    Ok(server)
}

fn rival(mut command: Command, folder: &Path, log: &Path) -> Result<Group> {
    let out = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("cannot write {}", log.display()))?;
    command
        // What they keep beside their work, they keep here, and they tell nobody.
        .env("BENTOML_HOME", folder.join("bentoml"))
        .env("BENTOML_DO_NOT_TRACK", "True")
        .env("RAY_TMPDIR", folder)
        .env("RAY_USAGE_STATS_ENABLED", "0")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .stdout(out.try_clone().context("cannot share the log")?)
        .stderr(out);
    Group::start(&mut command, GRACE)
}

/// `http://127.0.0.1:8080`.
fn address(base: &str) -> Result<SocketAddr> {
    base.strip_prefix("http://")
        .and_then(|rest| rest.parse().ok())
        .with_context(|| format!("{base:?} is no address of a server"))
}

/// Whether one process is the other, or its child, or its child's child.
fn descends(mut pid: i32, from: i32) -> bool {
    for _ in 0..GENERATIONS {
        if pid == from {
            return true;
        }
        let Some(parent) = parent(pid) else {
            return false;
        };
        pid = parent;
    }
    false
}

fn parent(pid: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    line.trim().parse().ok().filter(|parent| *parent > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let read = address("http://127.0.0.1:8080").expect("an address");
        assert_eq!(read, SocketAddr::from(([127, 0, 0, 1], 8080)));
        address("unix:/x").expect_err("no address");
    }

    #[test]
    fn only_descendants_are_killed() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & wait"]);
        let group = Group::start(&mut command, Duration::ZERO).expect("sh starts");
        let pid = group.id();
        let children = format!("/proc/{pid}/task/{pid}/children");
        let deadline = Instant::now() + Duration::from_secs(60);
        let child: i32 = loop {
            let text = fs::read_to_string(&children).unwrap_or_default();
            if let Some(child) = text.split_whitespace().next() {
                break child.parse().expect("a number");
            }
            assert!(Instant::now() < deadline, "the shell started nothing");
            std::thread::sleep(Duration::from_millis(5));
        };
        let ours = i32::try_from(std::process::id()).expect("a small number");
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let running = Running {
            process: Process::Rival(group),
            question: Question::new(address, "/", "", false),
            log: PathBuf::new(),
        };
        assert!(descends(child, ours), "by way of the shell");
        running.kill(ours).expect_err("our own process");
        running.kill(pid).expect_err("the server itself");
        running.kill(child).expect("its child");
    }
}
