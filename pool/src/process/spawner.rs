//! The permanent thread that forks.

use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc;

use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use super::adopt::adopt;
use super::watch_over::{Charge, Reaper};
use super::{Launch, Process, SpawnError, Wire, WireEnd};

/// The descriptor under which a worker finds its wire.
const WIRE_FD: i32 = 3;
/// The variable that tells a worker so.
const WIRE_FD_VARIABLE: &str = "DSPEX_WIRE_FD";

/// A handle on the thread that starts every child. Clones share the thread; it ends with the last
/// of them, and every [`Process`] holds one.
#[derive(Debug, Clone)]
pub struct Spawner {
    orders: mpsc::Sender<Order>,
}

#[derive(Debug)]
struct Order {
    launch: Launch,
    answer: oneshot::Sender<Result<Started, SpawnError>>,
}

/// A child, just started.
#[derive(Debug)]
struct Started {
    charge: Charge,
    socket: Option<StdUnixStream>,
}

impl Spawner {
    /// Starts the thread.
    ///
    /// # Errors
    /// Where the system has no thread for us.
    pub fn start() -> std::io::Result<Self> {
        let (orders, inbox) = mpsc::channel::<Order>();
        std::thread::Builder::new()
            .name("dspex-spawner".to_owned())
            .spawn(move || {
                while let Ok(Order { launch, answer }) = inbox.recv() {
                    // Where whoever ordered it has left, it comes back and is dropped here.
                    let _ = answer.send(start(&launch));
                }
            })?;
        Ok(Self { orders })
    }

    /// Starts a process. Its watching and log-reading tasks run on `tracker`.
    ///
    /// # Errors
    /// Where there is no such program, or the system refuses.
    pub async fn spawn(
        &self,
        launch: Launch,
        tracker: &TaskTracker,
    ) -> Result<(Process, WireEnd), SpawnError> {
        let program = launch.program.clone();
        let name = launch.name.clone();
        let gone = || SpawnError::Refused {
            program: program.clone(),
            reason: "the thread that starts processes has ended".to_owned(),
        };
        let (answer, started) = oneshot::channel();
        self.orders
            .send(Order { launch, answer })
            .map_err(|_| gone())?;
        let started = started.await.map_err(|_| gone())??;
        let Started { charge, socket } = started;
        adopt(charge, socket, &name, self.clone(), tracker).map_err(|error| SpawnError::Refused {
            program,
            reason: error.to_string(),
        })
    }
}

/// Forks and executes. Runs on the permanent thread only.
fn start(launch: &Launch) -> Result<Started, SpawnError> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => SpawnError::NotFound {
            program: launch.program.clone(),
        },
        _ => SpawnError::Refused {
            program: launch.program.clone(),
            reason: error.to_string(),
        },
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that starts processes"
    )]
    let mut command = Command::new(&launch.program);
    command
        .args(&launch.args)
        .env_clear()
        .envs(&launch.env)
        .stderr(Stdio::piped());
    command.stdout(Stdio::piped());
    command.stdin(if launch.wire == Wire::Stdio {
        Stdio::piped()
    } else {
        Stdio::null()
    });
    let socket = if launch.wire == Wire::Socket {
        let (ours, theirs) = StdUnixStream::pair().map_err(failed)?;
        command.env(WIRE_FD_VARIABLE, WIRE_FD.to_string());
        command
            .fd_mappings(vec![FdMapping {
                parent_fd: theirs.into(),
                child_fd: WIRE_FD,
            }])
            .map_err(|error| failed(std::io::Error::other(error.to_string())))?;
        Some(ours)
    } else {
        None
    };
    let first_foreign = if socket.is_some() { WIRE_FD + 1 } else { 3 };
    tie_to_us(&mut command, first_foreign);
    let mut child = command.spawn().map_err(failed)?;
    let pid = child.id();
    let opened = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let opened = opened
        .ok_or(rustix::io::Errno::SRCH)
        .and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()));
    match opened {
        Ok(pidfd) => Ok(Started {
            charge: Charge::new(pid, pidfd, Reaper::Us(child)),
            socket,
        }),
        Err(errno) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(failed(errno.into()))
        }
    }
}

/// Makes the child lead a session of its own, die with us, and inherit no descriptor from
/// `first_foreign` on: whoever started *us* may have left some open.
#[expect(
    unsafe_code,
    reason = "code between fork and exec can only be given to std as unsafe"
)]
fn tie_to_us(command: &mut Command, first_foreign: i32) {
    let parent = Pid::from_raw(i32::try_from(std::process::id()).unwrap_or_default());
    // SAFETY: between fork and exec only async-signal-safe calls are made: setsid, prctl, getppid,
    // close_range. Nothing is allocated: the error is built from an errno. Descriptors are marked
    // to be closed by exec and not closed at once, since std still tells an exec that failed
    // through one of them. Kernels before 5.11 lack the call; there, what we opened ourselves is
    // marked already.
    unsafe {
        command.pre_exec(move || {
            libc::syscall(
                libc::SYS_close_range,
                first_foreign,
                libc::c_uint::MAX,
                libc::CLOSE_RANGE_CLOEXEC,
            );
            rustix::process::setsid()?;
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // Had we died before the signal was set, nobody would kill the child any more.
            if rustix::process::getppid() != parent {
                return Err(rustix::io::Errno::SRCH.into());
            }
            Ok(())
        });
    }
}
