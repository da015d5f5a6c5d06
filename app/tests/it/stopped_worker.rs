//! A worker that is stopped in the middle of its calls: replaced soon after the first deadline,
//! and what it says later reaches nobody.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tokio::time::Instant;

use crate::fleet::{signal, until, whole, workers};
use crate::house::{Answer, House, LONG, v2_alone};

/// What callers with little patience give their call: time enough for it to begin, and for this test to stop
/// its worker meanwhile, on a machine that does other things too.
const DEADLINE: Duration = Duration::from_secs(8);

/// A call that the worker holds until the gate is open.
async fn held(house: &House, program: &str, mark: &str, patience: Duration) -> Answer {
    let body = json!({
        "inputs": {"gate": house.path("gate"), "path": house.path("answered"), "mark": mark},
        "timeout_ms": u64::try_from(patience.as_millis()).unwrap(),
    });
    let path = format!("/v1/programs/{program}/execute");
    house.post(&path, body).await
}

/// Waits for a file of the house.
async fn exists(house: &House, name: &str) {
    let began = Instant::now();
    while !house.path(name).exists() {
        assert!(began.elapsed() < LONG, "no file {name}: {}", house.log());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn open(workers: usize) -> House {
    let mut house = House::with(&v2_alone(&format!("workers = {workers}\nconcurrency = 4")));
    house.open().await;
    for (id, repeatable) in [("sturdy", true), ("fragile", false)] {
        let target = "storm_programs:answers_when_let";
        house.create_as(id, target, repeatable).await;
    }
    house.create("echo").await;
    house
}

#[tokio::test]
async fn a_stopped_worker_is_replaced_and_calls_that_may_be_repeated_are_answered() {
    let house = open(2).await;
    // Two calls on each of both workers, one of which is then stopped for good.
    let calls = async {
        tokio::join!(
            held(&house, "sturdy", "a", LONG),
            held(&house, "sturdy", "b", LONG),
            held(&house, "sturdy", "c", LONG),
            held(&house, "sturdy", "d", LONG),
        )
    };
    let stop = async {
        let busy = |pool: &serde_json::Value| workers(pool).iter().all(|w| w.in_flight == 2);
        let (pool, _) = until(&house, "v2", "busy", busy).await;
        let victim = workers(&pool)[0].clone();
        // Whoever comes now goes to that worker or to the other; enough come that some meet it.
        signal(victim.pid.unwrap(), Signal::STOP);
        let stopped = Instant::now();
        let impatient = async {
            tokio::join!(
                held(&house, "fragile", "e", DEADLINE),
                held(&house, "fragile", "f", DEADLINE),
            )
        };
        let replaced = async {
            until(&house, "v2", "replaced", |pool| {
                whole(pool) && workers(pool)[0].id != victim.id
            })
            .await;
            stopped.elapsed()
        };
        let ((e, f), after) = tokio::join!(impatient, replaced);
        std::fs::write(house.path("gate"), "").unwrap();
        (e, f, after)
    };
    let ((a, b, c, d), (e, f, after)) = tokio::join!(calls, stop);
    eprintln!(
        "a stopped worker was replaced {after:.2?} after it was stopped, deadline {DEADLINE:?}"
    );
    for (answer, mark) in [(a, "a"), (b, "b"), (c, "c"), (d, "d")] {
        assert_eq!(answer.ok(200)["outputs"]["mark"], mark);
    }
    let mut kinds = [e, f].map(|answer| {
        let problem = answer.problem(504, "answer");
        problem["type"].as_str().unwrap().to_owned()
    });
    kinds.sort();
    // Whose fault it was depends on the worker. That of the one that is well is the program's, unless this
    // machine did not let it answer a ping in its tenth of a second.
    let [well, stopped] = &kinds;
    assert_eq!(stopped, "urn:dspex:problem:worker-hung", "{kinds:?}");
    assert!(
        well == "urn:dspex:problem:program-timeout" || well == stopped,
        "{kinds:?}"
    );
    // A second is the promise; the rest is for a machine that does other things too. By its health checks
    // alone, the worker would be found out after more than half a minute.
    assert!(after < DEADLINE + Duration::from_secs(20), "{after:?}");
}

#[tokio::test]
async fn the_late_answer_of_a_stopped_worker_reaches_nobody() {
    let house = open(1).await;
    let late = held(&house, "fragile", "late", DEADLINE);
    let stop = async {
        let busy = |pool: &serde_json::Value| workers(pool)[0].in_flight == 1;
        let (pool, _) = until(&house, "v2", "busy", busy).await;
        let victim = workers(&pool)[0].clone();
        // One that has not begun by its deadline never does, and has nothing to say later.
        exists(&house, "answered.begun").await;
        signal(victim.pid.unwrap(), Signal::STOP);
        victim
    };
    let (told, victim) = tokio::join!(late, stop);
    told.problem(504, "stopped answering");
    // It has half a second to answer a ping before it is killed, and may answer its call too.
    std::fs::write(house.path("gate"), "").unwrap();
    signal(victim.pid.unwrap(), Signal::CONT);
    let calls = (0..50).map(|number| {
        let house = &house;
        async move {
            let text = format!("early-{number}");
            let answer = house.execute("echo", "s", json!({"text": text})).await;
            assert_eq!(answer.ok(200)["outputs"]["text"], text);
        }
    });
    for call in calls {
        call.await;
    }
    let (pool, _) = until(&house, "v2", "whole", whole).await;
    let stays = workers(&pool)[0].id == victim.id;
    if stays {
        exists(&house, "answered").await;
    }
    eprintln!(
        "a worker that went on in time {}, and 50 calls after it had their own answers",
        if stays {
            "answered late and stays"
        } else {
            "was replaced all the same"
        }
    );
}
