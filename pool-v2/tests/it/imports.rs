//! A module that cannot be imported any more from the n-th worker on.

use std::path::Path;
use std::time::Duration;

use dspex_pool::testing::fixture_programs::call;
use dspex_pool::testing::real;
use dspex_pool::{LaunchSpec, Pool, PoolStatus, WorkerState};
use dspex_pool_v2::{Config, Switches};
use rustix::process::{Pid, Signal};
use serde_json::json;
use tokio::sync::watch;

use crate::sizes::until;
use crate::{LONG, start_switched};

/// For how long the starts are counted at the least.
const WATCHED: Duration = Duration::from_secs(6);

/// Workers that import `counted`, which raises after so many imports.
fn wears_out(folder: &Path, imports: u32) -> LaunchSpec {
    let source = format!(
        "import os\n\
         folder = {folder:?}\n\
         for number in range({imports}):\n\
         \x20   try:\n\
         \x20       os.close(os.open(f'{{folder}}/import-{{number}}', os.O_CREAT | os.O_EXCL))\n\
         \x20       break\n\
         \x20   except FileExistsError:\n\
         \x20       pass\n\
         else:\n\
         \x20   raise OSError('no licence is left')\n",
        folder = folder.display().to_string(),
    );
    std::fs::write(folder.join("counted.py"), source).unwrap();
    let mut launch = real::launch(folder);
    launch.python_path.push(folder.to_owned());
    launch
}

fn config(workers: usize) -> Config {
    Config {
        workers,
        preload: vec!["counted".to_owned()],
        ..Config::default()
    }
}

/// Plain processes: a fork server imports once for all of them.
fn plain() -> watch::Receiver<Switches> {
    let switches = Switches {
        enhanced_workers: false,
        ..Switches::default()
    };
    switches.unchanging()
}

/// Living Python processes that were started as workers by this one.
fn workers_left() -> usize {
    let own = std::process::id();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let is_left = |entry: &std::fs::DirEntry| {
        let read = |name| std::fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        let stat = read("stat");
        let rest = stat.rsplit_once(") ").map(|(_, rest)| rest);
        let mut fields = rest.into_iter().flat_map(|rest| rest.split(' '));
        let (state, parent) = (fields.next(), fields.next());
        let ours = parent == Some(&own.to_string()) && state != Some("Z");
        ours && read("cmdline").contains("dspex_worker")
    };
    entries.filter(is_left).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_cannot_have_all_its_workers_does_not_start_and_leaves_none() {
    let folder = tempfile::tempdir().unwrap();
    let launch = wears_out(folder.path(), 2);
    let started = start_switched(config(4), launch, plain()).await;
    let error = started.unwrap_err().to_string();
    for words in ["counted", "OSError", "no licence is left"] {
        assert!(error.contains(words), "{words:?} is missing: {error}");
    }
    let began = tokio::time::Instant::now();
    while workers_left() > 0 {
        assert!(
            began.elapsed() < LONG,
            "{} workers are left",
            workers_left()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_whose_workers_never_come_up_backs_off_and_its_siblings_serve_on() {
    const WORKERS: usize = 3;
    let folder = tempfile::tempdir().unwrap();
    let launch = wears_out(folder.path(), 3);
    let pool = start_switched(config(WORKERS), launch, plain())
        .await
        .unwrap();
    let echo = async || {
        let text = json!({"text": "x"});
        pool.execute(call("echo", text, LONG)).await.unwrap().worker
    };
    echo().await;
    let victim = pool.status().workers[0].pid.unwrap();
    let victim = Pid::from_raw(i32::try_from(victim).unwrap()).unwrap();
    let (began, mut calls) = (tokio::time::Instant::now(), 0);
    rustix::process::kill_process(victim, Signal::KILL).unwrap();
    let down = |status: &PoolStatus| status.ready == WORKERS - 1 && status.starts > 3;
    until(&pool, down).await;
    // It is tried again, and on a busy machine the second try may come later.
    while began.elapsed() < WATCHED || pool.status().starts < WORKERS as u64 + 2 {
        assert!(began.elapsed() < LONG, "{:#?}", pool.status());
        let worker = echo().await;
        assert!(
            !worker.starts_with("v2-0."),
            "nobody comes up there: {worker}"
        );
        calls += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let status = pool.status();
    let watched = began.elapsed();
    let tried = status.starts - WORKERS as u64;
    eprintln!(
        "{tried} starts in {watched:.1?} of a slot whose workers never come up; {calls} calls on the \
         {} others",
        status.ready
    );
    // At once, then after 1 s, 2 s, 4 s and so on, of each of which chance may take off a fifth.
    let since_the_first = |tries: u32| Duration::from_millis(800) * (2_u32.pow(tries) - 1);
    let most = (0..10).filter(|&tries| since_the_first(tries) <= watched);
    assert!(
        tried <= most.count() as u64,
        "{tried} in {watched:?}: {status:#?}"
    );
    assert_eq!(status.ready, WORKERS - 1);
    assert_ne!(status.workers[0].state, WorkerState::Ready);
}
