//! Workers forked from a warm process: as good as started ones, sooner.

use dspex_pool::testing::fixture_programs::call;
use dspex_pool::{PoolError, StartError, Worker};
use serde_json::{Value, json};

use crate::LONG;
use crate::house::{House, ask, is_gone, number, wait_gone, wait_until};

async fn answer(worker: &Worker, name: &str, inputs: Value) -> Value {
    let reply = worker.call(&call(name, inputs, LONG), Box::new(())).await;
    Value::Object(reply.unwrap().outputs)
}

#[tokio::test]
async fn a_forked_worker_answers_calls() {
    let house = House::new();
    let server = house.server(&["fixture_programs"]).await.unwrap();
    let worker = house.fork(&server, "w-0.0").await.unwrap();
    assert_eq!(
        answer(&worker, "echo", json!({"text": "x"})).await,
        json!({"text": "x"})
    );
    assert_eq!(
        answer(&worker, "pid", json!({})).await,
        json!({"pid": worker.pid()})
    );
    assert_ne!(worker.pid(), server.pid());
    assert!(worker.memory().unwrap().private > 0);
}

#[tokio::test]
async fn a_worker_begins_where_the_warm_up_ended() {
    let house = House::new();
    let warmup = ["fixture_programs:counter", "fixture_programs:counter"];
    let server = house
        .warm_server(&["fixture_programs"], &warmup)
        .await
        .unwrap();
    for name in ["w-0.0", "w-1.0"] {
        let worker = house.fork(&server, name).await.unwrap();
        let counted = answer(&worker, "counter", json!({})).await;
        assert_eq!(
            counted,
            json!({"result": 3}),
            "a worker is nobody's successor"
        );
    }
}

#[tokio::test]
async fn many_forks_at_once_are_each_answered() {
    let house = House::new();
    let server = house.server(&["fixture_processes"]).await.unwrap();
    let forks = (0..8).map(|number| {
        let (house, server) = (&house, &server);
        async move { house.fork(server, &format!("w-{number}.0")).await.unwrap() }
    });
    let workers = futures_util::future::join_all(forks).await;
    let mut numbers = Vec::new();
    for worker in &workers {
        assert_eq!(
            answer(worker, "pid", json!({})).await,
            json!({"pid": worker.pid()})
        );
        let rolled = ask(worker, "rolls", json!({})).await.unwrap();
        numbers.push(rolled["number"].to_string());
    }
    numbers.sort();
    numbers.dedup();
    assert_eq!(numbers.len(), 8, "each has its own random numbers");
}

#[tokio::test]
async fn the_end_of_a_forked_worker_is_told_as_of_a_started_one() {
    let house = House::new();
    let server = house.server(&[]).await.unwrap();
    let worker = house.fork(&server, "w-0.0").await.unwrap();
    let crash = call("crash", json!({}), LONG);
    match worker.call(&crash, Box::new(())).await.unwrap_err() {
        PoolError::Crashed { reason, .. } => assert!(reason.contains("exit code 17"), "{reason}"),
        other => panic!("{other:?}"),
    }
    let worker = house.fork(&server, "w-0.1").await.unwrap();
    worker.condemn("a test wants it gone");
    assert!(worker.ended().await.contains("a test wants it gone"));
    wait_gone(worker.pid()).await;
    let worker = house.fork(&server, "w-0.2").await.unwrap();
    worker.shutdown(LONG).await;
    assert!(worker.ended().await.contains("stopped"));
}

#[tokio::test]
async fn a_fork_that_cannot_be_asked_for_is_told_and_the_next_one_can() {
    let mut house = House::new();
    let server = house.server(&[]).await.unwrap();
    let large = "x".repeat(65 * 1024 * 1024);
    house.spec.env.insert("LARGE".to_owned(), large);
    let error = house.fork(&server, "w-0.0").await.unwrap_err().to_string();
    assert!(
        error.contains("w-0.0") && error.contains("environment"),
        "{error}"
    );
    house.spec.env.remove("LARGE");
    let worker = house.fork(&server, "w-0.1").await.unwrap();
    let pid = answer(&worker, "pid", json!({})).await;
    assert_eq!(pid, json!({"pid": worker.pid()}));
}

#[tokio::test]
async fn a_forked_worker_shares_nothing_that_it_must_not() {
    let mut house = House::new();
    house.spec.pass_env.push("CARGO_PKG_NAME".to_owned());
    let profile = json!({"model": "m", "api_key_env": "CARGO_PKG_NAME"});
    let profile = serde_json::from_value(profile).unwrap();
    house.spec.lms.insert("default".to_owned(), profile);
    let server = house.server(&["fixture_processes"]).await.unwrap();
    let held = std::fs::read(format!("/proc/{}/environ", server.pid())).unwrap();
    let held = String::from_utf8_lossy(&held).into_owned();
    assert!(
        !held.contains("dspex-pool"),
        "the server holds a key: {held}"
    );

    let [started, forked] = house.both(&server).await;
    let of_started = ask(&started, "sees", json!({})).await.unwrap();
    let of_forked = ask(&forked, "sees", json!({})).await.unwrap();
    assert_eq!(of_forked["environment"]["CARGO_PKG_NAME"], "dspex-pool");
    assert_eq!(number(&of_forked, "session"), forked.pid());
    assert_eq!(number(&of_forked, "parent"), server.pid());
    let names = |seen: &Value| -> Vec<String> {
        seen["environment"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect()
    };
    // A wrapper around the interpreter may add some of its own.
    let known = names(&of_started);
    let unknown = names(&of_forked)
        .into_iter()
        .find(|name| !known.contains(name));
    assert_eq!(unknown, None);
    let marks = [&of_started, &of_forked].map(|seen| seen["environment"]["DSPEX_PROCESS"].clone());
    assert_ne!(marks[0], marks[1]);
    let shown = of_forked["shown"].as_str().unwrap();
    assert!(
        shown.contains(marks[1].as_str().unwrap()),
        "the kernel shows {shown}"
    );
    let held = of_forked["descriptors"].as_array().unwrap();
    let kinds = |prefix: &str| {
        let is_kind = |one: &&Value| one.as_str().unwrap().starts_with(prefix);
        held.iter().filter(is_kind).count()
    };
    // Standard input is empty, output and error are pipes, and the wire is the one socket.
    assert_eq!(
        (kinds("/dev/null"), kinds("pipe:"), kinds("socket:")),
        (1, 2, 1),
        "{held:?}"
    );
    assert_eq!(held.len(), 4, "{held:?}");
}

#[tokio::test]
async fn what_is_unsafe_to_fork_is_refused_with_the_culprits_name() {
    let house = House::new();
    for (import, culprit) in [
        ("leaves_thread", "cache-refresher"),
        ("leaves_socket", "socket:"),
    ] {
        match house.server(&["json", import]).await {
            Err(StartError::ForkUnsafe { reason, .. }) => {
                assert!(
                    reason.contains(culprit) && reason.contains(import),
                    "{reason}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
    match house.server(&["no_such_module"]).await {
        Err(StartError::Fatal { reason, .. }) => {
            assert!(reason.contains("no_such_module"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn workers_die_with_their_fork_server_and_nothing_stays() {
    let house = House::new();
    let server = house.server(&[]).await.unwrap();
    let mut all = vec![server.pid()];
    let mut workers = Vec::new();
    for number in 0..2 {
        let worker = house.fork(&server, &format!("w-{number}.0")).await.unwrap();
        for by_exec in [true, false] {
            let daemon = ask(&worker, "leaves_daemon", json!({"by_exec": by_exec})).await;
            all.push(crate::house::number(&daemon.unwrap(), "pid"));
        }
        all.push(worker.pid());
        workers.push(worker);
    }
    assert!(all.iter().all(|pid| !is_gone(*pid)));
    let pid = rustix::process::Pid::from_raw(i32::try_from(server.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    assert!(server.ended().await.contains("signal 9"));
    assert!(server.is_over());
    for worker in &workers {
        assert!(worker.ended().await.contains("it ended"));
    }
    for pid in all {
        wait_gone(pid).await;
    }
    match house.fork(&server, "w-2.0").await {
        Err(StartError::Ended { reason, .. }) => assert!(reason.contains("signal 9"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_fork_server_ends_with_its_last_worker() {
    let house = House::new();
    let server = house.server(&[]).await.unwrap();
    let pid = server.pid();
    let worker = house.fork(&server, "w-0.0").await.unwrap();
    drop(server);
    assert_eq!(
        answer(&worker, "echo", json!({"text": "still here"})).await,
        json!({"text": "still here"})
    );
    drop(worker);
    wait_gone(pid).await;
}

/// Descriptors, threads and children of this process.
fn possessions() -> (usize, usize, usize) {
    let count = |path: &str| std::fs::read_dir(path).unwrap().count();
    let children = std::fs::read_dir("/proc/self/task").unwrap().map(|task| {
        let children = std::fs::read_to_string(task.unwrap().path().join("children"));
        children.unwrap_or_default().split_whitespace().count()
    });
    let children = children.sum();
    (count("/proc/self/fd"), count("/proc/self/task"), children)
}

/// 300 of them, or as many as `DSPEX_TEST_FORKS` says.
#[tokio::test]
async fn hundreds_of_forks_leave_nothing_behind() {
    let house = House::new();
    let server = house.server(&[]).await.unwrap();
    let path = format!("/proc/{0}/task/{0}/children", server.pid());
    let children = || std::fs::read_to_string(&path).unwrap();
    let descriptors = || {
        std::fs::read_dir(format!("/proc/{}/fd", server.pid()))
            .unwrap()
            .count()
    };
    // Once, so that threads of the runtime and the guardian are there.
    house
        .fork(&server, "w-0.0")
        .await
        .unwrap()
        .shutdown(LONG)
        .await;
    wait_until("the first is reaped", || children().is_empty()).await;
    let (ours, servers) = (possessions(), descriptors());
    let rounds = std::env::var("DSPEX_TEST_FORKS").map_or(300, |text| text.parse().unwrap());
    for round in 1..=rounds {
        let worker = house.fork(&server, &format!("w-0.{round}")).await.unwrap();
        if round % 2 == 0 {
            worker.shutdown(LONG).await;
        }
    }
    wait_until("all are reaped", || children().is_empty()).await;
    // It closes what was a worker's a moment after it has reaped it; a leak would be one for each fork.
    wait_until("its descriptors are as before", || descriptors() <= servers).await;
    wait_until("descriptors and children are as before", || {
        let now = possessions();
        // Threads of the runtime for blocking work come and go; a leak would be one for each fork.
        now.0 <= ours.0 && now.1 <= ours.1 + 8 && now.2 <= ours.2
    })
    .await;
}
