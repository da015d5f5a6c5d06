//! The release's own scripts, run on its own server under calls: a migration that is held, let go on and
//! taken back by the emergency scripts, and one from pool V1 to V2 to its end.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{Unpacked, emergency, named};
use crate::interrupt::Interrupt;
use crate::process::{Group, last_lines};
use crate::release::build::Source;

/// The server drains within 25 s.
const GRACE: Duration = Duration::from_secs(30);
/// Workers of plain Python are up in seconds, also on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// The stages take 17 s at this scale.
const DONE_WITHIN: Duration = Duration::from_secs(180);
const TOKEN: &str = "a token of the release check, 32 characters and more";
const PROGRAM: &str = "def echo(text):\n    return {'text': text}\n";
const LISTENING: &str = "dspex listening on ";

/// What came of it.
pub(super) struct Done {
    pub(super) named: Result<String>,
    pub(super) emergency: Result<String>,
    pub(super) migrated: Result<String>,
    /// `/metrics`, once it was over.
    pub(super) metrics: Result<String>,
}

/// The release's server, and what its scripts need to act on it.
pub(super) struct Serving<'a> {
    pub(super) release: &'a Unpacked,
    pub(super) interrupt: &'a Interrupt,
    pub(super) config: PathBuf,
    base: String,
    server: Group,
    log: PathBuf,
}

/// Everything, on one server. The outcome is an error where that does not come up or does not end well.
pub(super) fn rehearse(release: &Unpacked, source: &Source, interrupt: &Interrupt) -> Result<Done> {
    let mut serving = Serving::start(release, interrupt)?;
    let status = serving.get("/v1/status");
    let named = status.and_then(|status| named::made_of(&status, source));
    let emergency = serving.under_calls(emergency::scripts);
    interrupt.check()?;
    let migrated = serving.under_calls(Serving::migrate);
    interrupt.check()?;
    let metrics = ureq::get(format!("{}/metrics", serving.base))
        .call()
        .and_then(|mut answer| answer.body_mut().read_to_string())
        .context("no metrics");
    let log = &serving.log;
    match serving.server.stop() {
        Some(status) if status.success() => {}
        status => bail!("the server ended with {status:?}:\n{}", last_lines(log, 8)),
    }
    Ok(Done {
        named,
        emergency,
        migrated,
        metrics,
    })
}

impl<'a> Serving<'a> {
    fn start(release: &'a Unpacked, interrupt: &'a Interrupt) -> Result<Self> {
        let home = release.around.join("home");
        fs::create_dir(&home).context("cannot make a folder")?;
        fs::write(home.join("release_check.py"), PROGRAM).context("cannot write the program")?;
        let config = home.join("dspex.toml");
        fs::write(&config, configuration(release, &home)?).context("cannot write dspex.toml")?;
        if let Some(user) = release.user {
            super::hand_over(&home, user)?;
        }
        let log = release.around.join("serve.log");
        let mut serve = command(release, "bin/dspex");
        serve.args(["serve", "--config"]).arg(&config);
        let mut server = start(serve, &log)?;
        let base = listening(&mut server, &log, interrupt)?;
        let created = ureq::post(format!("{base}/v1/programs"))
            .send_json(serde_json::json!({
                "id": "echo", "definition": {"kind": "callable", "target": "release_check:echo"},
            }))
            .context("the program cannot be created")?;
        drop(created);
        Ok(Self {
            release,
            interrupt,
            config,
            base,
            server,
            log,
        })
    }

    /// Does it while callers call, none of whom may notice.
    fn under_calls(&self, what: impl FnOnce(&Self) -> Result<String>) -> Result<String> {
        let (stop, called, failed) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
        let told = std::thread::scope(|scope| {
            for caller in 0..4 {
                let (base, stop, called, failed) = (&self.base, &stop, &called, &failed);
                scope.spawn(move || call(base, caller, stop, called, failed));
            }
            let told = what(self);
            stop.store(true, Ordering::Relaxed);
            told
        })?;
        let (called, failed) = (called.into_inner(), failed.into_inner());
        if failed > 0 || called == 0 {
            bail!("{failed} of {called} calls failed meanwhile");
        }
        Ok(format!("{told}; {called} calls, none failed"))
    }

    /// All traffic to V2, in seconds.
    fn migrate(&self) -> Result<String> {
        let why = ["the release is checked", "--time-scale", "3600"];
        let (mut script, log) = self.begin("bin/migrate_pool", &why)?;
        let code = wait(&mut script, self.interrupt).with_context(|| last_lines(&log, 5))?;
        if code != 0 {
            bail!("it ended with {code}:\n{}", last_lines(&log, 8));
        }
        let migration = self.get("/admin/v1/migrations/current")?;
        if migration["phase"] != "complete" {
            bail!(
                "it ended with 0, and the migration is {}",
                migration["phase"]
            );
        }
        Ok("all traffic moved".to_owned())
    }

    /// Starts a script, and answers where its words go.
    pub(super) fn begin(&self, script: &str, arguments: &[&str]) -> Result<(Group, PathBuf)> {
        let name = script.rsplit('/').next().unwrap_or(script);
        let log = self.release.around.join(format!("{name}.log"));
        let mut command = command(self.release, script);
        command
            .args(arguments)
            .env("DSPEX_URL", &self.base)
            .env("DSPEX_TOKEN", TOKEN);
        Ok((start(command, &log)?, log))
    }

    /// What the server answers to whoever has the admin token.
    pub(super) fn get(&self, path: &str) -> Result<serde_json::Value> {
        ureq::get(format!("{}{path}", self.base))
            .header("authorization", format!("Bearer {TOKEN}"))
            .call()
            .and_then(|mut answer| answer.body_mut().read_json())
            .with_context(|| format!("{path} cannot be read"))
    }

    /// The lane that answers a call of this session.
    pub(super) fn lane(&self, session: &str) -> Result<String> {
        let answer = ureq::post(format!("{}/v1/programs/echo/execute", self.base))
            .header("x-session-id", session)
            .send_json(serde_json::json!({ "inputs": { "text": session } }))
            .context("a call failed")?;
        let lane = answer.headers().get("x-dspex-lane");
        let lane = lane.context("the answer names no lane")?.to_str()?;
        Ok(lane.to_owned())
    }
}

/// The release's own configuration, with what differs in a rehearsal.
fn configuration(release: &Unpacked, home: &Path) -> Result<String> {
    let text =
        fs::read_to_string(release.root.join("etc/dspex.toml")).context("no etc/dspex.toml")?;
    let mut table: toml::Table = text.parse().context("etc/dspex.toml is not TOML")?;
    let changes: toml::Table = format!(
        "server = {{ bind = '127.0.0.1:0', data_dir = {data:?} }}\n\
         python = {{ executable = 'python3', path = [{home:?}], allow_modules = ['release_check'] }}\n\
         migration = {{ interval = '250ms', thresholds = {{ minimum_samples = 20 }} }}\n",
        data = home.join("data"),
    )
    .parse()
    .context("the changes are not TOML")?;
    lay(&mut table, changes);
    toml::to_string(&table).context("cannot write TOML")
}

fn lay(over: &mut toml::Table, changes: toml::Table) {
    for (key, value) in changes {
        match (over.get_mut(&key), value) {
            (Some(toml::Value::Table(there)), toml::Value::Table(changes)) => lay(there, changes),
            (_, value) => {
                over.insert(key, value);
            }
        }
    }
}

/// A program of the release, as the other user and with nothing of this environment but PATH.
fn command(release: &Unpacked, program: &str) -> Command {
    let mut command = Command::new(release.root.join(program));
    command
        .current_dir(&release.root)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", release.around.join("home"))
        .env("DSPEX_ADMIN_TOKEN", TOKEN)
        .stdin(Stdio::null());
    if let Some(user) = release.user {
        command.uid(user).gid(user);
    }
    command
}

fn start(mut command: Command, log: &PathBuf) -> Result<Group> {
    let out = fs::File::create(log).context("cannot write a log")?;
    let err = out.try_clone().context("cannot share the log")?;
    command.stdout(out).stderr(err);
    Group::start(&mut command, GRACE)
}

fn listening(server: &mut Group, log: &Path, interrupt: &Interrupt) -> Result<String> {
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        let text = fs::read_to_string(log).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(LISTENING));
        if let Some(base) = line.filter(|_| text.ends_with('\n')) {
            return Ok(base.to_owned());
        }
        if let Some(status) = server.ended() {
            bail!("the server ended ({status}):\n{}", last_lines(log, 8));
        }
        if Instant::now() > deadline {
            bail!(
                "the server was not ready in {READY_WITHIN:?}:\n{}",
                last_lines(log, 8)
            );
        }
        interrupt.sleep(Duration::from_millis(50))?;
    }
}

pub(super) fn wait(script: &mut Group, interrupt: &Interrupt) -> Result<i32> {
    let deadline = Instant::now() + DONE_WITHIN;
    loop {
        if let Some(status) = script.ended() {
            return status.code().context("it was ended by a signal");
        }
        if Instant::now() > deadline {
            bail!("it did not end within {DONE_WITHIN:?}");
        }
        interrupt.sleep(Duration::from_millis(100))?;
    }
}

/// One caller, with a session of its own for each call so that the shares are met.
fn call(base: &str, caller: u32, stop: &AtomicBool, called: &AtomicU64, failed: &AtomicU64) {
    let agent = ureq::Agent::new_with_defaults();
    let url = format!("{base}/v1/programs/echo/execute");
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let text = number.to_string();
        let answer = agent
            .post(&url)
            .header("x-session-id", format!("{caller}-{number}"))
            .send_json(serde_json::json!({ "inputs": { "text": text } }))
            .and_then(|mut answer| answer.body_mut().read_json::<serde_json::Value>());
        let well = answer.is_ok_and(|body| body["outputs"]["text"] == text.as_str());
        called.fetch_add(1, Ordering::Relaxed);
        if !well {
            failed.fetch_add(1, Ordering::Relaxed);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
