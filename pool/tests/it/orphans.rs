//! What workers started ends with them, however they end, and however we do.

use std::collections::BTreeMap;
use std::path::Path;

use dspex_pool::testing::fixture_programs::call;
use dspex_pool::{Launch, Wire, Worker, WorkerLimits};
use rustix::process::{Pid, Signal};
use serde_json::json;

use crate::LONG;
use crate::house::{House, ask, is_gone, number, wait_gone, wait_until};

/// Two processes that have left the worker's session and lost their parent.
async fn leave_daemons(worker: &Worker) -> Vec<u32> {
    let mut daemons = Vec::new();
    for by_exec in [true, false] {
        let left = ask(worker, "leaves_daemon", json!({"by_exec": by_exec})).await;
        daemons.push(number(&left.unwrap(), "pid"));
    }
    assert!(daemons.iter().all(|pid| !is_gone(*pid)));
    daemons
}

fn kill(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
}

#[tokio::test]
async fn daemons_end_with_a_worker_that_is_killed() {
    let house = House::new();
    let server = house.server(&[]).await.unwrap();
    for worker in house.both(&server).await {
        let daemons = leave_daemons(&worker).await;
        worker.condemn("a test wants it gone");
        for pid in daemons {
            wait_gone(pid).await;
        }
    }
}

#[tokio::test]
async fn daemons_end_with_a_worker_that_ends_itself() {
    let house = House::new();
    let server = house.server(&[]).await.unwrap();
    let [started, forked] = house.both(&server).await;
    let mut daemons = leave_daemons(&started).await;
    daemons.extend(leave_daemons(&forked).await);
    let crash = call("crash", json!({}), LONG);
    assert!(started.call(&crash, Box::new(())).await.is_err());
    forked.shutdown(LONG).await;
    for pid in daemons {
        wait_gone(pid).await;
    }
}

#[tokio::test]
async fn the_end_of_one_worker_is_not_the_end_of_its_siblings_processes() {
    let house = House::new();
    let server = house.server(&[]).await.unwrap();
    let [one, other] = [
        house.fork(&server, "w-0.0").await.unwrap(),
        house.fork(&server, "w-1.0").await.unwrap(),
    ];
    let (ended, kept) = (leave_daemons(&one).await, leave_daemons(&other).await);
    one.shutdown(LONG).await;
    for pid in ended {
        wait_gone(pid).await;
    }
    assert!(kept.iter().all(|pid| !is_gone(*pid)));
    let helped = ask(&other, "runs", json!({"seconds": 0})).await.unwrap();
    assert_eq!(helped, json!({"code": 0}));
    other.shutdown(LONG).await;
    for pid in kept {
        wait_gone(pid).await;
    }
}

/// Set in the copy of this test binary that plays the server.
const PLAY_SERVER: &str = "DSPEX_TEST_PLAY_HOUSE";

/// Not a test of its own: what the copy does. It starts workers of both kinds that leave daemons
/// behind, tells every number, and waits.
#[tokio::test]
async fn a_house_that_will_be_killed() {
    let Some(told) = std::env::var_os(PLAY_SERVER) else {
        return;
    };
    let house = House::new();
    let server = house.server(&[]).await.unwrap();
    let workers = house.both(&server).await;
    let mut all = vec![server.pid()];
    for worker in &workers {
        all.push(worker.pid());
        all.extend(leave_daemons(worker).await);
    }
    let text: Vec<String> = all.iter().map(ToString::to_string).collect();
    let aside = Path::new(&told).with_extension("new");
    std::fs::write(&aside, text.join(" ")).unwrap();
    std::fs::rename(aside, told).unwrap();
    workers[0].ended().await;
}

/// The children of a process that are guardians.
fn guardians_of(parent: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).unwrap();
    let children = tasks.flat_map(|task| {
        let children = std::fs::read_to_string(task.unwrap().path().join("children"));
        let children = children.unwrap_or_default();
        children
            .split_whitespace()
            .map(|pid| pid.parse().unwrap())
            .collect::<Vec<u32>>()
    });
    let is_guardian = |pid: &u32| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.contains("dspex guardian") && !is_gone(*pid)
    };
    children.filter(is_guardian).collect()
}

/// It has read its source, and ignores what would end others. What it is to know came in the same
/// piece, and waits in its pipe also when the house is gone.
fn is_on_guard(guardian: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{guardian}/status")).unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // SIGTERM is the fifteenth bit.
    ignored.is_some_and(|mask| mask >> 14 & 1 == 1)
}

async fn kill_house(guardian_first: bool) {
    let house = House::new();
    let folder = tempfile::tempdir().unwrap();
    let told = folder.path().join("pids");
    let mut env: BTreeMap<_, _> = BTreeMap::from([(PLAY_SERVER.into(), told.clone().into())]);
    for name in ["PATH", "HOME", "DSPEX_TEST_PYTHON"] {
        env.extend(std::env::var_os(name).map(|value| (name.into(), value)));
    }
    let launch = Launch {
        name: "house".to_owned(),
        program: std::env::current_exe().unwrap(),
        args: ["--exact", "orphans::a_house_that_will_be_killed"]
            .map(Into::into)
            .into(),
        env,
        wire: Wire::None,
        limits: WorkerLimits::default(),
        guardian: None,
    };
    let (copy, _wire) = house.spawner.spawn(launch, &house.tracker).await.unwrap();
    wait_until("the house is there", || {
        assert_eq!(copy.exited(), None, "{:?}", copy.output().all());
        told.exists()
    })
    .await;
    let mut all: Vec<u32> = std::fs::read_to_string(&told)
        .unwrap()
        .split(' ')
        .map(|pid| pid.parse().unwrap())
        .collect();
    if guardian_first {
        let guardians = guardians_of(copy.pid());
        assert_eq!(guardians.len(), 1);
        kill(guardians[0]);
        wait_until("another guardian is there", || {
            let now = guardians_of(copy.pid());
            now.len() == 1 && now != guardians && is_on_guard(now[0])
        })
        .await;
    }
    all.extend(guardians_of(copy.pid()));
    assert_eq!(
        all.len(),
        8,
        "two workers, four daemons, a fork server and a guardian"
    );
    assert!(all.iter().all(|pid| !is_gone(*pid)), "all are there before");
    kill(copy.pid());
    for pid in all {
        wait_gone(pid).await;
    }
}

#[tokio::test]
async fn nothing_outlives_a_house_that_is_killed() {
    kill_house(false).await;
}

#[tokio::test]
async fn a_guardian_that_was_killed_is_replaced() {
    kill_house(true).await;
}

#[tokio::test]
async fn a_guardian_ends_with_its_spawner() {
    let house = House::new();
    let worker = house.start("w-0.0").await;
    let guardians = guardians_of(std::process::id());
    assert_eq!(guardians.len(), 1);
    worker.shutdown(LONG).await;
    drop((worker, house));
    wait_until("it is gone and reaped", || {
        !Path::new(&format!("/proc/{}", guardians[0])).exists()
    })
    .await;
}
