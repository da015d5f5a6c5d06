//! Thousands of workers, one after the other: nothing of them stays behind.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dspex_breaker::Backoff;
use dspex_pool::Pool;
use dspex_pool::testing::fixture_programs::call;
use dspex_pool_v2::{Config, PoolV2};
use rustix::process::{Pid, Signal};
use serde_json::json;
use tokio::task::JoinSet;

use crate::sizes::until;
use crate::{LONG, start};

const WORKERS: usize = 16;

/// What a process holds of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    descriptors: usize,
    threads: usize,
    zombies: usize,
}

fn stat(pid: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, so what is counted is counted from its end.
    let mut rest = stat.rsplit_once(") ")?.1.split(' ');
    Some((rest.next()?.chars().next()?, rest.next()?.parse().ok()?))
}

fn children(of: u32) -> Vec<(u32, char)> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| {
        let (state, parent) = stat(pid)?;
        (parent == of).then_some((pid, state))
    })
    .collect()
}

fn held(pid: u32) -> Held {
    let count = |what| {
        std::fs::read_dir(format!("/proc/{pid}/{what}"))
            .unwrap()
            .count()
    };
    Held {
        descriptors: count("fd"),
        threads: count("task"),
        zombies: children(pid)
            .iter()
            .filter(|(_, state)| *state == 'Z')
            .count(),
    }
}

/// Ourselves, the fork server and the guardian, by their command.
fn all() -> BTreeMap<String, Held> {
    let own = std::process::id();
    let helpers = children(own).into_iter().filter_map(|(pid, state)| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        let names = ["fork-server", "fork server", "zygote", "guardian"];
        let name = names.iter().find(|name| line.contains(*name))?;
        (state != 'Z').then(|| ((*name).to_owned(), held(pid)))
    });
    let us = ("us".to_owned(), held(own));
    std::iter::once(us).chain(helpers).collect()
}

/// Whether nobody holds more of anything.
fn no_more(after: &BTreeMap<String, Held>, before: &BTreeMap<String, Held>) -> bool {
    let within = |(name, now): (&String, &Held)| {
        before.get(name).is_some_and(|then| {
            now.descriptors <= then.descriptors
                && now.threads <= then.threads
                && now.zombies <= then.zombies
        })
    };
    after.len() == before.len() && after.iter().all(within)
}

/// Every worker has answered a call, so that each start has come to something: the calls wait until
/// all of them are there.
async fn answered(pool: &Arc<PoolV2>, gate: PathBuf) {
    let mut calls = JoinSet::new();
    for _ in 0..WORKERS {
        let (pool, inputs) = (Arc::clone(pool), json!({"path": gate}));
        calls.spawn(async move { pool.execute(call("waits_for_file", inputs, LONG)).await });
    }
    until(pool, |now| now.in_flight == WORKERS && now.queued == 0).await;
    std::fs::write(&gate, "").unwrap();
    for answer in calls.join_all().await {
        answer.unwrap_or_else(|error| panic!("{}: {error}", gate.display()));
    }
}

/// 320 workers in the ordinary run; 10,000 where `DSPEX_TEST_LONG` is set, which takes minutes.
#[tokio::test(flavor = "multi_thread")]
async fn after_ten_thousand_workers_nothing_is_left_of_them() {
    let waves = if std::env::var_os("DSPEX_TEST_LONG").is_some() {
        625
    } else {
        20
    };
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config {
        workers: WORKERS,
        concurrency: 1,
        ..Config::default()
    };
    // A slot starts one worker a second by default, and this is about what is left of them.
    config.recovery.start.spacing = Duration::from_millis(1);
    config.recovery.start.backoff = Backoff::None;
    let pool = start(config, folder.path()).await;
    answered(&pool, folder.path().join("gate-0")).await;
    let began = tokio::time::Instant::now();
    let mut before = BTreeMap::new();
    for wave in 1..=waves {
        for worker in pool.status().workers {
            let pid = Pid::from_raw(i32::try_from(worker.pid.unwrap()).unwrap()).unwrap();
            rustix::process::kill_process(pid, Signal::KILL).unwrap();
        }
        let lost = wave * WORKERS as u64;
        until(&pool, |now| now.failures == lost && now.ready == WORKERS).await;
        answered(&pool, folder.path().join(format!("gate-{wave}"))).await;
        if wave == 2 {
            // Threads and connections that are made once, and kept, are there by now.
            before = all();
        }
    }
    let took = began.elapsed();
    let started = pool.status().starts;
    // What is still being reaped is waited for, and so are idle threads of the runtime; what was
    // forgotten never comes back.
    let mut after = all();
    let waited = tokio::time::Instant::now();
    let reaped = |held: &BTreeMap<String, Held>| held.values().all(|one| one.zombies == 0);
    while !(no_more(&after, &before) && reaped(&after)) && waited.elapsed() < LONG {
        tokio::time::sleep(Duration::from_millis(20)).await;
        after = all();
    }
    eprintln!("{started} workers in {took:.1?}: before {before:?}, after {after:?}");
    assert!(
        before.len() >= 2,
        "the fork server is among them: {before:?}"
    );
    assert!(
        no_more(&after, &before),
        "before {before:?}, after {after:?}"
    );
    assert!(reaped(&after), "{after:?}");
    pool.drain(LONG).await;
}
