//! No child outlives its owner.

use std::collections::BTreeMap;
use std::path::Path;

use dspex_pool::{Launch, Process, SpawnError, Spawner, Wire, WireEnd, WorkerLimits};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::LONG;
use crate::house::{is_gone, wait_gone};

fn shell(script: &str, wire: Wire) -> Launch {
    Launch {
        name: "test".to_owned(),
        program: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
        env: BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
        wire,
        limits: WorkerLimits::default(),
        guardian: None,
    }
}

async fn start(launch: Launch) -> (Process, WireEnd) {
    Spawner::start()
        .unwrap()
        .spawn(launch, &TaskTracker::new())
        .await
        .unwrap()
}

async fn first_line(wire: WireEnd) -> String {
    let WireEnd::Stdio { stdout, .. } = wire else {
        panic!("started with standard output")
    };
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).await.unwrap();
    line.trim().to_owned()
}

#[tokio::test]
async fn an_exit_is_told_with_code_and_last_words() {
    let (process, _wire) = start(shell("echo going >&2; exit 7", Wire::None)).await;
    let exit = process.wait().await.unwrap();
    assert_eq!(exit.to_string(), "exit code 7");
    assert!(!exit.success());
    let began = Instant::now();
    while process.output().last().as_deref() != Some("going") {
        assert!(began.elapsed() < LONG);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_child_inherits_nothing_but_what_it_is_given() {
    let (_process, wire) = start(shell("env; ls /proc/self/fd | tr '\\n' ' '", Wire::Stdio)).await;
    let WireEnd::Stdio { mut stdout, .. } = wire else {
        panic!("started with standard output")
    };
    let mut text = String::new();
    stdout.read_to_string(&mut text).await.unwrap();
    assert!(!text.contains("CARGO"), "{text}");
    // Its three streams, and the folder that `ls` itself reads.
    assert!(text.trim_end().ends_with("0 1 2 3"), "{text}");
}

#[tokio::test]
async fn dropping_the_handle_ends_the_child_and_what_it_started() {
    let script = "sleep 600 & echo $! $$; wait";
    let (process, wire) = start(shell(script, Wire::Stdio)).await;
    let pids: Vec<u32> = first_line(wire)
        .await
        .split(' ')
        .map(|pid| pid.parse().unwrap())
        .collect();
    drop(process);
    for pid in pids {
        wait_gone(pid).await;
    }
}

#[tokio::test]
async fn what_a_child_started_does_not_outlive_its_own_exit() {
    let script = "sleep 600 >/dev/null 2>&1 & echo $!";
    let (process, wire) = start(shell(script, Wire::Stdio)).await;
    let grandchild: u32 = first_line(wire).await.parse().unwrap();
    assert!(process.wait().await.unwrap().success());
    wait_gone(grandchild).await;
}

#[tokio::test]
async fn a_child_that_does_not_end_in_time_is_killed() {
    let (process, _wire) = start(shell("trap '' TERM; sleep 600", Wire::None)).await;
    let exit = process
        .end_within(std::time::Duration::from_millis(50))
        .await
        .unwrap();
    assert_eq!(exit.to_string(), "signal 9");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let launch = Launch {
        program: "/no/such/program".into(),
        ..shell("", Wire::None)
    };
    let error = Spawner::start()
        .unwrap()
        .spawn(launch, &TaskTracker::new())
        .await
        .unwrap_err();
    assert!(matches!(error, SpawnError::NotFound { .. }), "{error:?}");
    assert!(error.to_string().contains("/no/such/program"), "{error}");
}

/// Set in the copy of this test binary that plays the server.
const PLAY_SERVER: &str = "DSPEX_TEST_PLAY_SERVER";

/// Not a test of its own: what the copy does. It starts a child, tells its id, and waits.
#[tokio::test]
async fn a_server_that_will_be_killed() {
    let Some(told) = std::env::var_os(PLAY_SERVER) else {
        return;
    };
    let (process, _wire) = start(shell("sleep 600", Wire::None)).await;
    let aside = Path::new(&told).with_extension("new");
    std::fs::write(&aside, process.pid().to_string()).unwrap();
    std::fs::rename(aside, told).unwrap();
    process.wait().await;
}

#[tokio::test]
async fn a_child_dies_with_a_server_that_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let told = folder.path().join("pid");
    let launch = Launch {
        name: "server".to_owned(),
        program: std::env::current_exe().unwrap(),
        args: ["--exact", "process::a_server_that_will_be_killed"]
            .map(Into::into)
            .into(),
        env: BTreeMap::from([(PLAY_SERVER.into(), told.clone().into())]),
        wire: Wire::None,
        limits: WorkerLimits::default(),
        guardian: None,
    };
    let (server, _wire) = start(launch).await;
    let began = Instant::now();
    while !told.exists() {
        assert!(began.elapsed() < LONG, "{:?}", server.output().all());
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let child: u32 = std::fs::read_to_string(told).unwrap().parse().unwrap();
    assert!(!is_gone(child));
    server.kill();
    wait_gone(child).await;
}
