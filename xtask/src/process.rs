//! Children that end with us.
//!
//! Invariant: a child, and whatever it started in its process group, is gone and reaped when its
//! [`Group`] is dropped: by a normal end, by an error, by a panic, by Ctrl-C (see `interrupt`).

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid,
};

use crate::interrupt::Interrupt;
use crate::progress::Progress;

/// A child that leads a process group of its own.
#[derive(Debug)]
pub(crate) struct Group {
    child: Child,
    pid: Pid,
    grace: Duration,
    ended: Option<ExitStatus>,
}

impl Group {
    /// Starts the command. When it is to end, it gets SIGTERM, `grace` to leave, then its whole
    /// group gets SIGKILL.
    pub(crate) fn start(command: &mut Command, grace: Duration) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        let pid = Pid::from_child(&child);
        Ok(Self {
            child,
            pid,
            grace,
            ended: None,
        })
    }

    /// The child's own handle, for its pipes.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// The child's process id.
    pub(crate) fn id(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// How the child ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() && self.left() {
            self.finish();
        }
        self.ended
    }

    /// Ends the child, politely first, and says how it ended.
    pub(crate) fn stop(&mut self) -> Option<ExitStatus> {
        if self.ended.is_some() {
            return self.ended;
        }
        // Only the leader is asked: it knows in which order its own children should leave.
        let _ = kill_process(self.pid, Signal::TERM);
        let end = Instant::now() + self.grace;
        while !self.left() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.finish();
        self.ended
    }

    /// SIGKILL to the child alone, and waits until it is gone. What it started is not touched, so
    /// that it can be seen to end by itself.
    pub(crate) fn kill_leader(&mut self) {
        if self.ended.is_none() {
            let _ = kill_process(self.pid, Signal::KILL);
            self.ended = self.child.wait().ok();
        }
    }

    /// Sends a signal to the child alone.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.pid, signal).with_context(|| {
            format!(
                "cannot send {signal:?} to process {}",
                self.pid.as_raw_nonzero()
            )
        })
    }

    /// Whether the child has left. It stays unreaped, so that its id still names its group.
    fn left(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // An error means that there is no such child any more.
        !matches!(waitid(WaitId::Pid(self.pid), options), Ok(None))
    }

    fn finish(&mut self) {
        let _ = kill_process_group(self.pid, Signal::KILL);
        self.ended = self.child.wait().ok();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Runs the command to its end with its output in a log file, whose last line the progress shows.
pub(crate) fn run_logged(
    command: &mut Command,
    log: &Path,
    progress: &Progress,
    interrupt: &Interrupt,
) -> Result<()> {
    let shown = describe(command);
    let out = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let err = out.try_clone().context("cannot share the log file")?;
    command.stdin(Stdio::null()).stdout(out).stderr(err);
    let mut group = Group::start(command, Duration::from_secs(2))?;
    let status = loop {
        if let Some(status) = group.ended() {
            break status;
        }
        progress.tick(&last_lines(log, 1));
        interrupt.sleep(Duration::from_millis(100))?;
    };
    if !status.success() {
        bail!(
            "{shown} failed ({status}); the end of its log, {}:\n{}",
            log.display(),
            last_lines(log, 15)
        );
    }
    Ok(())
}

/// Runs the command to its end with its output on the terminal, kept off standard output where
/// `quiet_stdout` is set. Answers whether it succeeded; one that takes longer than `limit` is ended
/// and has failed.
pub(crate) fn run_shown(
    command: &mut Command,
    quiet_stdout: bool,
    limit: Duration,
    interrupt: &Interrupt,
) -> Result<bool> {
    let shown = describe(command);
    command.stdin(Stdio::null());
    if quiet_stdout {
        command.stdout(Stdio::null());
    }
    let mut group = Group::start(command, Duration::from_secs(2))?;
    let started = Instant::now();
    loop {
        if let Some(status) = group.ended() {
            return Ok(status.success());
        }
        if started.elapsed() > limit {
            bail!("{shown} was ended after {limit:?}");
        }
        interrupt.sleep(Duration::from_millis(50))?;
    }
}

/// The command as one would type it.
pub(crate) fn describe(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|part| part.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The last lines of a file, as far as they are in its last 8 KiB; nothing where it is not there.
pub(crate) fn last_lines(path: &Path, count: usize) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(8192)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.arg("-c").arg(script);
        command
    }

    #[test]
    fn a_dropped_group_takes_its_grandchildren_along() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let note = folder.path().join("pid");
        let mut command = shell(&format!("sleep 600 & echo $! > {}; wait", note.display()));
        let group = Group::start(&mut command, Duration::from_secs(5)).expect("sh starts");
        let deadline = Instant::now() + Duration::from_secs(60);
        let grandchild = loop {
            let text = std::fs::read_to_string(&note).unwrap_or_default();
            if let Ok(pid) = text.trim().parse::<i32>() {
                break Pid::from_raw(pid).expect("a pid");
            }
            assert!(Instant::now() < deadline, "the shell never wrote its note");
            std::thread::sleep(Duration::from_millis(5));
        };
        drop(group);
        let deadline = Instant::now() + Duration::from_secs(60);
        while rustix::process::test_kill_process(grandchild).is_ok() && !is_zombie(grandchild) {
            assert!(Instant::now() < deadline, "the grandchild is still there");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Nobody may reap an orphan in a container without an init; dead is dead all the same.
    fn is_zombie(pid: Pid) -> bool {
        std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))
            .is_ok_and(|stat| stat.contains(") Z "))
    }

    #[test]
    fn a_child_that_ignores_sigterm_is_killed() {
        let mut command = shell("trap '' TERM; echo ready; while true; do sleep 600; done");
        command.stdout(Stdio::piped());
        let mut group = Group::start(&mut command, Duration::from_millis(50)).expect("sh starts");
        let mut ready = [0_u8; 6];
        let mut out = group.child().stdout.take().expect("a pipe");
        out.read_exact(&mut ready).expect("the trap is set");
        let status = group.stop().expect("it was reaped");
        assert_eq!(status.code(), None, "it was ended by a signal");
    }

    #[test]
    fn a_command_that_takes_too_long_is_ended() {
        let limit = Duration::from_millis(50);
        let error = run_shown(&mut shell("sleep 600"), true, limit, &Interrupt::default())
            .expect_err("too long");
        assert!(error.to_string().contains("sleep 600"), "{error}");
        let limit = Duration::from_secs(60);
        let run = |script| run_shown(&mut shell(script), true, limit, &Interrupt::default());
        assert!(run("exit 0").expect("it runs"));
        assert!(!run("exit 1").expect("it runs"));
    }

    #[test]
    fn a_failed_command_shows_the_end_of_its_log() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = folder.path().join("x.log");
        let error = run_logged(
            &mut shell("echo first; echo 'the reason' >&2; exit 3"),
            &log,
            &Progress::silent(),
            &Interrupt::default(),
        )
        .expect_err("it exits 3");
        let text = format!("{error:#}");
        assert!(text.contains("the reason") && text.contains("exit status: 3"));
    }
}
