//! A migration from pool V1 to V2 by the release's own script, under calls.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::Unpacked;
use crate::interrupt::Interrupt;
use crate::process::{Group, last_lines};

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
    pub(super) told: String,
    /// `/metrics`, once it was over.
    pub(super) metrics: String,
}

pub(super) fn migrate(release: &Unpacked, interrupt: &Interrupt) -> Result<Done> {
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
    let (stop, called, failed) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let script_log = release.around.join("migrate_pool.log");
    let ended = std::thread::scope(|scope| {
        for caller in 0..4 {
            let (base, stop, called, failed) = (&base, &stop, &called, &failed);
            scope.spawn(move || call(base, caller, stop, called, failed));
        }
        let mut script = command(release, "bin/migrate_pool");
        script.args(["the release is checked", "--time-scale", "3600"]);
        script.env("DSPEX_URL", &base).env("DSPEX_TOKEN", TOKEN);
        let ended = start(script, &script_log).and_then(|mut script| wait(&mut script, interrupt));
        stop.store(true, Ordering::Relaxed);
        ended
    });
    let (called, failed) = (called.into_inner(), failed.into_inner());
    let code = ended.with_context(|| last_lines(&script_log, 5))?;
    if code != 0 {
        bail!("it ended with {code}:\n{}", last_lines(&script_log, 8));
    }
    if failed > 0 || called == 0 {
        bail!("{failed} of {called} calls failed meanwhile");
    }
    let metrics = ureq::get(format!("{base}/metrics"))
        .call()
        .context("no metrics")?
        .body_mut()
        .read_to_string()?;
    match server.stop() {
        Some(status) if status.success() => {}
        status => bail!("the server ended with {status:?}:\n{}", last_lines(&log, 8)),
    }
    let told = format!("all traffic moved, {called} calls, none failed");
    Ok(Done { told, metrics })
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

fn wait(script: &mut Group, interrupt: &Interrupt) -> Result<i32> {
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
