//! The permanent thread that forks.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, Signal};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use super::adopt::adopt;
use super::guardian::Guardian;
use super::trail::{Family, Trail, VARIABLE};
use super::watch_over::{Charge, Kept, Reaper};
use super::{Launch, Process, SpawnError, Wire, WireEnd};
use crate::launch::WorkerLimits;

/// The descriptor under which a worker finds its wire.
const WIRE_FD: i32 = 3;
/// The variable that tells a worker so.
const WIRE_FD_VARIABLE: &str = "DSPEX_WIRE_FD";

/// A handle on the thread that starts every child. Clones share the thread; it ends with the last
/// of them, and every [`Process`] holds one.
#[derive(Debug, Clone)]
pub struct Spawner {
    orders: mpsc::Sender<Order>,
    family: Family,
    guardian: Guardian,
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
        let family = Family::new()?;
        let guardian = Guardian::new(family.clone());
        let (mark, guard) = (family.clone(), guardian.clone());
        std::thread::Builder::new()
            .name("dspex-spawner".to_owned())
            .spawn(move || {
                while let Ok(Order { launch, answer }) = inbox.recv() {
                    // Where whoever ordered it has left, it comes back and is dropped here.
                    let _ = answer.send(start(&launch, &mark, &guard));
                }
            })?;
        Ok(Self {
            orders,
            family,
            guardian,
        })
    }

    /// For a child that somebody else forks on our behalf.
    pub(crate) fn family(&self) -> &Family {
        &self.family
    }

    pub(super) fn guardian(&self) -> &Guardian {
        &self.guardian
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
fn start(launch: &Launch, family: &Family, guardian: &Guardian) -> Result<Started, SpawnError> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => SpawnError::NotFound {
            program: launch.program.clone(),
        },
        _ => SpawnError::Refused {
            program: launch.program.clone(),
            reason: error.to_string(),
        },
    };
    let cookie = family.cookie().map_err(failed)?;
    if let Some(python) = &launch.guardian {
        guardian.ensure(python);
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that starts processes"
    )]
    let mut command = Command::new(&launch.program);
    command
        .args(&launch.args)
        .env_clear()
        .envs(&launch.env)
        .env(VARIABLE, cookie.as_str())
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
    tie_to_us(&mut command, first_foreign, launch.limits);
    let mut child = command.spawn().map_err(failed)?;
    match pidfd_of(&child) {
        Ok(pidfd) => {
            let trail = Trail::of(child.id(), &cookie);
            guardian.add(child.id(), trail.started());
            let kept = Kept {
                trail,
                guardian: guardian.clone(),
                most_processes: launch.limits.processes,
            };
            let charge = Charge::new(child.id(), pidfd, Reaper::Us(child), kept);
            Ok(Started { charge, socket })
        }
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(failed(error))
        }
    }
}

/// A child that is not reaped yet has its number for itself.
pub(super) fn pidfd_of(child: &Child) -> std::io::Result<OwnedFd> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(rustix::io::Errno::SRCH)?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// As [`leave_ours`]; and the child dies with us, and is held to its limits. Those on processes are
/// not among them: the kernel counts them per user, so a worker's limit would stop its siblings.
#[expect(
    unsafe_code,
    reason = "code between fork and exec can only be given to std as unsafe"
)]
fn tie_to_us(command: &mut Command, first_foreign: i32, limits: WorkerLimits) {
    let parent = Pid::from_raw(i32::try_from(std::process::id()).unwrap_or_default());
    leave_ours(command, first_foreign);
    // SAFETY: as in `leave_ours`: prctl, getppid and prlimit are async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // Had we died before the signal was set, nobody would kill the child any more.
            if rustix::process::getppid() != parent {
                return Err(rustix::io::Errno::SRCH.into());
            }
            limit(Resource::As, limits.address_space)?;
            limit(Resource::Nofile, limits.open_files)?;
            Ok(())
        });
    }
}

fn limit(resource: Resource, most: Option<u64>) -> rustix::io::Result<()> {
    let Some(most) = most else { return Ok(()) };
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    rustix::process::setrlimit(resource, limit)
}

/// For a child that must outlive us: it leads a session of its own and inherits its three streams.
pub(super) fn lead_own_session(command: &mut Command) {
    leave_ours(command, 3);
}

/// Makes the child lead a session of its own, and inherit no descriptor from `first_foreign` on:
/// whoever started *us* may have left some open.
#[expect(
    unsafe_code,
    reason = "code between fork and exec can only be given to std as unsafe"
)]
fn leave_ours(command: &mut Command, first_foreign: i32) {
    // SAFETY: between fork and exec only async-signal-safe calls are made: setsid, close_range.
    // Nothing is allocated: the error is built from an errno. Descriptors are marked to be closed
    // by exec and not closed at once, since std still tells an exec that failed through one of
    // them. Kernels before 5.11 lack the call; there, what we opened ourselves is marked already.
    unsafe {
        command.pre_exec(move || {
            libc::syscall(
                libc::SYS_close_range,
                first_foreign,
                libc::c_uint::MAX,
                libc::CLOSE_RANGE_CLOEXEC,
            );
            rustix::process::setsid()?;
            Ok(())
        });
    }
}
