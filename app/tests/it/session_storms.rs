//! Sessions under fire: workers killed between and during calls, lanes changed there and back, the
//! server killed. Each call counts once, and none is lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::fleet::{pool, signal, until, workers};
use crate::house::{House, LONG, own_fixtures, rehearsal, v2_alone};

const SESSIONS: usize = 16;

/// Creates the callable that counts its session's calls and takes its time for it.
async fn create(house: &House) {
    let body = json!({"id": "tally", "kind": "callable", "target": "storm_programs:SlowTally",
        "repeatable": true, "stateful": true});
    house.post("/v1/programs", body).await.ok(201);
}

/// Callers, one for each session, who count along until stopped.
struct Callers {
    stop: Arc<AtomicBool>,
    callers: JoinSet<(u64, Vec<String>)>,
    /// The lanes that each has seen so far.
    seen: Arc<Mutex<Vec<Vec<String>>>>,
}

impl Callers {
    fn start(house: &Arc<House>, seconds: f64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(vec![Vec::new(); SESSIONS]));
        let mut callers = JoinSet::new();
        for number in 0..SESSIONS {
            let (house, stop, seen) = (Arc::clone(house), Arc::clone(&stop), Arc::clone(&seen));
            callers.spawn(async move {
                let session = format!("session-{number}");
                let (mut made, mut lanes) = (0, Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    let inputs = json!({"seconds": seconds});
                    let answer = house.execute("tally", &session, inputs).await;
                    made += 1;
                    lanes.extend(answer.lane.clone());
                    lanes.dedup();
                    let body = answer.ok(200);
                    assert_eq!(body["outputs"]["calls"], made, "{session} via {lanes:?}");
                    seen.lock().unwrap()[number].clone_from(&lanes);
                }
                (made, lanes)
            });
        }
        Self {
            stop,
            callers,
            seen,
        }
    }

    /// Waits until some caller has changed lanes so often.
    async fn until_changed(&self, times: usize) {
        let began = Instant::now();
        let changed = || {
            let seen = self.seen.lock().unwrap();
            seen.iter().any(|lanes| lanes.len() > times)
        };
        while !changed() {
            assert!(began.elapsed() < LONG, "{:?}", self.seen.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn none_gave_up(&mut self) {
        assert!(self.callers.try_join_next().is_none(), "a caller gave up");
    }

    /// Calls made in all, and the lanes that each saw.
    async fn stop(self) -> (u64, Vec<Vec<String>>) {
        self.stop.store(true, Ordering::Relaxed);
        let (made, lanes): (Vec<u64>, Vec<_>) = self.callers.join_all().await.into_iter().unzip();
        (made.iter().sum(), lanes)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_killed_between_and_during_calls_lose_no_session_and_count_no_call_twice() {
    const KILLS: usize = 12;
    const WORKERS: usize = 4;
    let mut house = House::with(&v2_alone(&format!("workers = {WORKERS}\nconcurrency = 4")));
    house.open().await;
    create(&house).await;
    let house = Arc::new(house);
    let mut callers = Callers::start(&house, 0.02);
    let mut ticks = tokio::time::interval(Duration::from_millis(400));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut hit = 0;
    for number in 0..KILLS {
        ticks.tick().await;
        let began = Instant::now();
        let victim = loop {
            let victim = workers(&pool(&house, "v2").await).swap_remove(number % WORKERS);
            if victim.pid.is_some() {
                break victim;
            }
            assert!(began.elapsed() < LONG, "{}", house.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        hit += victim.in_flight;
        signal(victim.pid.unwrap(), Signal::KILL);
        // One after the other: a call is repeated once.
        until(&house, "v2", "a slot that serves again", |pool| {
            let now = &workers(pool)[number % WORKERS];
            now.pid.is_some() && now.id != victim.id
        })
        .await;
        callers.none_gave_up();
    }
    let (made, _) = callers.stop().await;
    eprintln!(
        "{made} calls of {SESSIONS} sessions, {KILLS} workers killed with about {hit} of them in flight: each counted once"
    );
    assert!(made > KILLS as u64);
    assert!(hit > 0, "no call was hit: the storm has shown nothing");
    let status = pool(&house, "v2").await;
    assert_eq!(status["failures"], KILLS, "{status:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_that_is_rolled_back_loses_no_session() {
    // No stage is over before this test has seen it and goes on.
    let configuration = rehearsal()
        .replace(r#"hold = "1s""#, r#"hold = "10m""#)
        .replace(
            "path = [",
            &format!("path = [{:?}, ", own_fixtures().display().to_string()),
        )
        .replace(r#"["fixture_programs"]"#, r#"["storm_programs"]"#);
    let mut house = House::with(&configuration);
    house.open().await;
    create(&house).await;
    let house = Arc::new(house);
    let mut callers = Callers::start(&house, 0.01);
    house.start_migration().await;
    let until = async |what: &str, wanted: &dyn Fn(&Value) -> bool| {
        let began = Instant::now();
        loop {
            let migration = house.migration().await;
            if wanted(&migration) {
                return;
            }
            assert!(
                began.elapsed() < LONG,
                "no {what}: {migration:#}\n{}",
                house.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    until("first stage", &|migration| {
        migration["percent"] == 25.0 && migration["acknowledged"] == true
    })
    .await;
    let promote = json!({"why": "a test", "to_end": true});
    let path = "/admin/v1/migrations/current/promote";
    house.post(path, promote).await.ok(200);
    until("all traffic", &|migration| {
        migration["percent"] == 100.0 && migration["acknowledged"] == true
    })
    .await;
    callers.until_changed(1).await;
    callers.none_gave_up();
    let why = json!({"why": "a test"});
    let path = "/admin/v1/migrations/current/rollback";
    let asked = house.post(path, why).await;
    assert!((200..300).contains(&asked.status), "{asked:?}");
    until("way back", &|migration| migration["phase"] == "rolled_back").await;
    callers.until_changed(2).await;
    callers.none_gave_up();
    let (made, lanes) = callers.stop().await;
    let there_and_back = lanes.iter().filter(|lanes| lanes.len() == 3).count();
    eprintln!(
        "{made} calls of {SESSIONS} sessions, {there_and_back} of them there and back: each counted once"
    );
    for seen in &lanes {
        let ways = [
            &["stable"][..],
            &["stable", "candidate", "stable"],
            &["stable", "candidate"],
        ];
        assert!(
            ways.contains(&&seen.iter().map(String::as_str).collect::<Vec<_>>()[..]),
            "{seen:?}"
        );
    }
    assert!(there_and_back > 0, "{lanes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_no_answered_call_and_counts_none_twice() {
    const KILLS: usize = 3;
    let mut house = House::with(&v2_alone("workers = 2\nconcurrency = 8"));
    house.open().await;
    create(&house).await;
    // What each session was told last, and what it may have been beyond that.
    let mut told = [0_u64; SESSIONS];
    let mut untold = 0;
    for kill in 0..KILLS {
        let mut callers = JoinSet::new();
        for (session, last) in told.iter().copied().enumerate() {
            let request = house
                .request("POST", "/v1/programs/tally/execute")
                .header("x-session-id", format!("session-{session}"))
                .json(&json!({"inputs": {"seconds": 0.02}}));
            let mut last = last;
            callers.spawn(async move {
                // Until the server is gone: then one call has no answer, and nobody knows of it.
                while let Ok(response) = request.try_clone().unwrap().send().await {
                    let status = response.status();
                    let Ok(body) = response.json::<Value>().await else {
                        break;
                    };
                    assert_eq!(status, 200, "{body}");
                    let calls = body["outputs"]["calls"].as_u64().unwrap();
                    assert_eq!(calls, last + 1, "session {session}");
                    last = calls;
                }
                (session, last)
            });
        }
        let began = Instant::now();
        // In the middle of it: some calls have been answered, many others are under way.
        while pool(&house, "v2").await["in_flight"].as_u64() < Some(SESSIONS as u64 / 2)
            || began.elapsed() < Duration::from_millis(300)
        {
            assert!(began.elapsed() < LONG, "{}", house.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        house.kill();
        for (session, last) in callers.join_all().await {
            told[session] = last;
        }
        house.open().await;
        for (session, last) in told.iter_mut().enumerate() {
            let name = format!("session-{session}");
            let answer = house.execute("tally", &name, json!({"seconds": 0})).await;
            let calls = answer.ok(200)["outputs"]["calls"].as_u64().unwrap();
            // The call that was under way counts once or not at all.
            assert!(
                calls == *last + 1 || calls == *last + 2,
                "{name}: {last} before kill {kill}, then {calls}"
            );
            untold += calls - *last - 1;
            *last = calls;
        }
    }
    let all: u64 = told.iter().sum();
    eprintln!(
        "{all} calls of {SESSIONS} sessions, the server killed {KILLS} times: none lost or counted \
         twice; {untold} had counted when their answer was cut off"
    );
}
