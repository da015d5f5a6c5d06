//! Leases, the queue and workers that come and go, with workers without processes.

use std::collections::HashMap;

use proptest::prelude::*;
use tokio::time::Duration;

use super::*;
use crate::affinity::AffinityConfig;
use crate::recovery::WorkerAct;

/// A worker without a process.
#[derive(Debug)]
struct Paper;

impl Handle for Paper {
    fn pid(&self) -> Option<u32> {
        None
    }

    fn answered(&self) -> u64 {
        0
    }
}

fn dispatcher(workers: usize, config: &Config) -> Arc<Dispatcher<Paper>> {
    let dispatcher = Dispatcher::new("p", config);
    for slot in 0..workers {
        dispatcher.want(slot, Kind::Regular);
        dispatcher.starting(slot);
        dispatcher.started(slot, Arc::new(Paper));
    }
    dispatcher
}

fn config(concurrency: usize, mode: AffinityMode) -> Config {
    Config {
        concurrency,
        affinity: AffinityConfig {
            mode,
            ..AffinityConfig::default()
        },
        ..Config::default()
    }
}

fn ask(session: Option<&str>) -> Ask<'_> {
    Ask {
        session,
        caller: None,
        deadline: Instant::now() + Duration::from_secs(3600),
    }
}

/// A lease that must be there at once.
fn now(dispatcher: &Arc<Dispatcher<Paper>>, session: Option<&str>) -> Lease<Paper> {
    dispatcher.lease_now(&ask(session)).unwrap().unwrap()
}

/// A place in the queue, where there is no lease.
fn queued(dispatcher: &Arc<Dispatcher<Paper>>, session: Option<&str>) -> Queued<Paper> {
    match dispatcher.lease_now(&ask(session)).unwrap() {
        Err(queued) => queued,
        Ok(lease) => panic!("slot {} was free", lease.slot),
    }
}

async fn granted(queued: Queued<Paper>) -> Lease<Paper> {
    queued.wait(Instant::now()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_least_busy_worker_is_chosen_and_of_several_the_first() {
    let dispatcher = dispatcher(3, &config(2, AffinityMode::Hint));
    let leases: Vec<_> = (0..6).map(|_| now(&dispatcher, None)).collect();
    let slots: Vec<usize> = leases.iter().map(|lease| lease.slot).collect();
    assert_eq!(slots, [0, 1, 2, 0, 1, 2]);
    drop(queued(&dispatcher, None));
    assert_eq!(dispatcher.figures().queued, 0, "whoever leaves, leaves");
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_is_served_in_order_of_arrival() {
    let dispatcher = dispatcher(1, &config(1, AffinityMode::Hint));
    let held = now(&dispatcher, None);
    let (first, second, third) = (
        queued(&dispatcher, None),
        queued(&dispatcher, Some("s")),
        queued(&dispatcher, None),
    );
    drop(second);
    drop(held);
    let first = granted(first).await;
    let third = third.look().unwrap_err();
    drop(first);
    granted(third).await;
}

#[tokio::test(start_paused = true)]
async fn a_hint_goes_elsewhere_where_its_worker_is_full() {
    let dispatcher = dispatcher(2, &config(1, AffinityMode::Hint));
    let home = now(&dispatcher, Some("s")).slot;
    let at_home = now(&dispatcher, Some("s"));
    assert_eq!(at_home.slot, home);
    let away = now(&dispatcher, Some("s"));
    assert_ne!(away.slot, home);
    drop((at_home, away));
    assert_eq!(
        now(&dispatcher, Some("s")).slot,
        home,
        "it comes home again"
    );
    let hits = dispatcher.affinity().hits;
    assert_eq!((hits.hits, hits.misses), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_strict_session_waits_for_its_worker_and_nobody_waits_for_it() {
    let dispatcher = dispatcher(2, &config(1, AffinityMode::StrictQueue));
    let at_home = now(&dispatcher, Some("s"));
    let waiting = queued(&dispatcher, Some("s"));
    let other = now(&dispatcher, None);
    assert_ne!(
        other.slot, at_home.slot,
        "the other worker is free for others"
    );
    drop(other);
    let home = at_home.slot;
    drop(at_home);
    assert_eq!(granted(waiting).await.slot, home);
}

#[tokio::test(start_paused = true)]
async fn a_strict_session_that_fails_fast_is_refused_at_once() {
    let dispatcher = dispatcher(2, &config(1, AffinityMode::StrictFailFast));
    let _at_home = now(&dispatcher, Some("s"));
    let error = dispatcher.lease_now(&ask(Some("s"))).unwrap_err();
    assert!(matches!(error, PoolError::TooMany { .. }), "{error:?}");
    now(&dispatcher, None);
}

#[tokio::test(start_paused = true)]
async fn sessions_stay_with_the_slot_when_its_worker_is_replaced() {
    for mode in [AffinityMode::Hint, AffinityMode::StrictQueue] {
        let dispatcher = dispatcher(4, &config(1, mode));
        let home = now(&dispatcher, Some("s")).slot;
        dispatcher.gone(home, "it crashed", true);
        dispatcher.starting(home);
        dispatcher.started(home, Arc::new(Paper));
        assert_eq!(now(&dispatcher, Some("s")).slot, home);
        dispatcher.starting_successor(home);
        dispatcher.replace(home, Arc::new(Paper), "it is old", false);
        assert_eq!(now(&dispatcher, Some("s")).slot, home);
    }
}

#[tokio::test(start_paused = true)]
async fn a_strict_session_waits_for_the_successor_of_a_lost_worker() {
    let dispatcher = dispatcher(2, &config(1, AffinityMode::StrictQueue));
    let home = now(&dispatcher, Some("s")).slot;
    dispatcher.gone(home, "it crashed", true);
    let waiting = queued(&dispatcher, Some("s"));
    dispatcher.starting(home);
    dispatcher.started(home, Arc::new(Paper));
    assert_eq!(granted(waiting).await.slot, home);
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_somebody_waits_for_is_not_dismissed() {
    let dispatcher = dispatcher(2, &config(1, AffinityMode::StrictQueue));
    let at_home = now(&dispatcher, Some("s"));
    let home = at_home.slot;
    let waiting = queued(&dispatcher, Some("s"));
    assert!(!dispatcher.dismiss(home, "fewer"));
    drop(at_home);
    drop(granted(waiting).await);
    assert!(dispatcher.dismiss(home, "fewer"));
    assert_ne!(
        now(&dispatcher, Some("s")).slot,
        home,
        "the session has moved"
    );
}

#[tokio::test(start_paused = true)]
async fn a_replaced_worker_keeps_its_calls_and_its_successor_starts_empty() {
    let dispatcher = dispatcher(1, &config(2, AffinityMode::Hint));
    let old = now(&dispatcher, None);
    dispatcher.replace(0, Arc::new(Paper), "it is old", false);
    let successor = [now(&dispatcher, None), now(&dispatcher, None)];
    drop(queued(&dispatcher, None));
    assert_eq!(dispatcher.leases().0, 3);
    assert!(!dispatcher.emptied(0, 0, Duration::from_secs(1)).await);
    drop(old);
    assert!(dispatcher.emptied(0, 0, Duration::from_secs(1)).await);
    dispatcher.retired(0, 0, "it was stopped");
    drop(queued(&dispatcher, None));
    drop(successor);
    assert_eq!(dispatcher.leases(), (0, 3));
    let worker = &dispatcher.figures().workers[0];
    let states: Vec<_> = worker.history.iter().map(|change| change.to).collect();
    use dspex_pool::WorkerState::{Ready, Terminated, Terminating};
    assert_eq!(states, [Ready, Terminating, Ready, Terminated]);
    assert_eq!(worker.history[3].worker, "p-0.0");
    assert_eq!(worker.id, "p-0.1");
}

#[tokio::test(start_paused = true)]
async fn a_doubted_worker_serves_where_too_few_others_would() {
    let dispatcher = dispatcher(2, &config(1, AffinityMode::Hint));
    dispatcher.doubt(0, WorkerAct::Degrade, "no answer");
    let first = now(&dispatcher, None);
    assert_eq!(first.slot, 1, "it is out of service");
    drop(queued(&dispatcher, None));
    // The other is doubted too: one of them must serve.
    dispatcher.doubt(1, WorkerAct::LastChoice, "no answer");
    drop(first);
    assert_eq!(now(&dispatcher, None).slot, 1);
    dispatcher.trust(0);
    let both = [now(&dispatcher, None), now(&dispatcher, None)];
    assert_eq!(
        both.map(|lease| lease.slot),
        [0, 1],
        "the one that is well first"
    );
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_workers_that_cannot_be_had() {
    let dispatcher = dispatcher(1, &config(1, AffinityMode::Hint));
    let _held = now(&dispatcher, None);
    let waiting = queued(&dispatcher, None);
    dispatcher.despair("crash loop");
    drop(queued(&dispatcher, None));
    dispatcher.gone(0, "it crashed", true);
    dispatcher.despair("crash loop");
    let told = waiting.wait(Instant::now()).await.unwrap_err();
    assert_eq!(
        told,
        PoolError::Unavailable {
            reason: "crash loop".to_owned()
        }
    );
    let told = dispatcher.lease_now(&ask(None)).unwrap_err();
    assert_eq!(
        told,
        PoolError::Unavailable {
            reason: "crash loop".to_owned()
        }
    );
    dispatcher.starting(0);
    dispatcher.started(0, Arc::new(Paper));
    now(&dispatcher, None);
}

#[tokio::test(start_paused = true)]
async fn a_session_at_its_limit_is_refused_and_counted_out_with_its_places() {
    let config = Config {
        calls_per_session: 2,
        ..config(1, AffinityMode::Hint)
    };
    let dispatcher = dispatcher(1, &config);
    let running = now(&dispatcher, Some("s"));
    let waiting = queued(&dispatcher, Some("s"));
    let refused = |dispatcher: &Arc<_>| Dispatcher::lease_now(dispatcher, &ask(Some("s")));
    assert!(matches!(
        refused(&dispatcher).unwrap_err(),
        PoolError::TooMany { .. }
    ));
    drop(waiting);
    drop(queued(&dispatcher, Some("s")));
    drop(running);
    let both = [now(&dispatcher, Some("s")).slot, 0];
    assert_eq!(both, [0, 0]);
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Ask(Option<u8>),
    Drop(usize),
    Leave(usize),
    Lose(usize),
    Replace(usize),
    Retire(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => proptest::option::of(0_u8..5).prop_map(Step::Ask),
        4 => (0_usize..32).prop_map(Step::Drop),
        1 => (0_usize..32).prop_map(Step::Leave),
        1 => (0_usize..3).prop_map(Step::Lose),
        1 => (0_usize..3).prop_map(Step::Replace),
        1 => (0_usize..3).prop_map(Step::Retire),
    ];
    proptest::collection::vec(step, 1..200)
}

fn modes() -> impl Strategy<Value = AffinityMode> {
    prop_oneof![
        Just(AffinityMode::Hint),
        Just(AffinityMode::StrictQueue),
        Just(AffinityMode::StrictFailFast),
    ]
}

proptest! {
    /// Whatever happens, no worker has more leases than it may, no lease is lost or freed twice,
    /// and nobody waits while there is room.
    #[test]
    fn leases_are_never_too_many_and_never_lost(steps in steps(), mode in modes()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let _inside = runtime.enter();
        let dispatcher = dispatcher(3, &config(2, mode));
        let mut leases: Vec<Lease<Paper>> = Vec::new();
        let mut waiting: Vec<Queued<Paper>> = Vec::new();
        for step in steps {
            match step {
                Step::Ask(session) => {
                    let session = session.map(|session| session.to_string());
                    match dispatcher.lease_now(&ask(session.as_deref())) {
                        Ok(Ok(lease)) => leases.push(lease),
                        Ok(Err(queued)) => waiting.push(queued),
                        Err(_) => {}
                    }
                }
                Step::Drop(at) if !leases.is_empty() => {
                    let at = at % leases.len();
                    leases.swap_remove(at);
                }
                Step::Leave(at) if !waiting.is_empty() => {
                    let at = at % waiting.len();
                    waiting.swap_remove(at);
                }
                Step::Lose(slot) => {
                    dispatcher.gone(slot, "lost", true);
                    dispatcher.starting(slot);
                    dispatcher.started(slot, Arc::new(Paper));
                }
                Step::Replace(slot) => dispatcher.replace(slot, Arc::new(Paper), "due", false),
                Step::Retire(slot) => {
                    let generation = dispatcher.generation(slot);
                    for old in 0..generation {
                        dispatcher.retired(slot, old, "stopped");
                    }
                }
                Step::Drop(_) | Step::Leave(_) => {}
            }
            // Those who were served meanwhile.
            for queued in std::mem::take(&mut waiting) {
                match queued.look() {
                    Ok(lease) => leases.push(lease),
                    Err(still) => waiting.push(still),
                }
            }
            let mut by_worker: HashMap<(usize, u64), usize> = HashMap::new();
            for lease in &leases {
                *by_worker.entry((lease.slot, lease.generation)).or_default() += 1;
            }
            prop_assert!(by_worker.values().all(|count| *count <= 2), "{by_worker:?}");
            prop_assert_eq!(dispatcher.leases().0, leases.len());
            prop_assert_eq!(dispatcher.figures().queued, waiting.len());
            let figures = dispatcher.figures();
            let room = figures.workers.iter().take(3).any(|worker| worker.in_flight < 2);
            prop_assert!(mode != AffinityMode::Hint || !room || waiting.is_empty());
        }
        drop(leases);
        while !waiting.is_empty() {
            let before = waiting.len();
            // Those who were served give their places to those who were not.
            waiting = waiting
                .into_iter()
                .filter_map(|queued| queued.look().err())
                .collect();
            prop_assert!(waiting.len() < before, "somebody is served in each round");
        }
        prop_assert_eq!(dispatcher.leases().0, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_ended_before_its_successor_was_there_leaves_it_a_slot_that_serves() {
    let dispatcher = dispatcher(1, &config(1, AffinityMode::Hint));
    dispatcher.starting_successor(0);
    dispatcher.gone(0, "it ended before it was replaced", true);
    dispatcher.started(0, Arc::new(Paper));
    let figures = dispatcher.figures();
    assert_eq!((figures.ready, figures.failures), (1, 1));
    assert_eq!(figures.workers[0].id, "p-0.1");
    now(&dispatcher, None);
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_is_dismissed_while_it_has_no_worker_is_not_counted_on() {
    let dispatcher = dispatcher(2, &config(1, AffinityMode::StrictQueue));
    dispatcher.gone(1, "killed", true);
    assert!(dispatcher.dismiss(1, "fewer"));
    assert_eq!(dispatcher.figures().size, 1);
    for n in 0..20 {
        let session = format!("s{n}");
        assert_eq!(now(&dispatcher, Some(&session)).slot, 0);
    }
}
